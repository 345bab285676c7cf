"""The result of an evaluation: values, the values behind them, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.errors import ConfigError
from recsys_core.metrics.resampling import Interval, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["Evaluation"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model ranks, made by :func:`evaluate`.

    Attributes
    ----------
    model
        Name of the model.
    values
        Metric name, such as ``"ndcg@10"``, to value.  For a list metric this is the mean over the users for whom it
        is defined, NaN if there is none.
    per_user
        Table with ``user_id`` and a float64 column for each list metric; null where undefined.
    higher_is_better
        Metric name to its direction.
    n_users
        Users evaluated.
    n_users_skipped
        Test users left out: unknown to the model, and without a history that holds an item it knows.
    n_relevant
        Pairs of an evaluated user and a relevant item.
    n_relevant_unknown
        Those of them whose item the model does not know; they count as misses.
    n_relevant_filtered
        Those of them that the user had had before, where ``filter_seen`` kept such items out of the lists; they
        count as misses, too.
    n_relevant_trained_on
        Those of them that the model has been fitted on, though neither ``split.train`` nor ``split.history`` has them.
    n_users_undecided
        Users whose list says nothing, since it is empty, or its items, two or more, all have one score and stand in the
        order of the catalogue.  A model that learned nothing answers everybody so.  0 if no metric looks at lists.
    n_predicted
        Those of them whose scores a metric of ratings measured: of a known item, and where the model has something to
        say.  0 if there is no such metric.
    predicted_deviation
        Standard deviation of their ratings, which is the RMSE of always predicting their mean: a model far above it
        predicts no ratings.  NaN if there are none.
    n_history_unknown
        Events of the histories that were not told to the model since it does not know the item.
    seconds
        Wall-clock time, ranking included.
    test_digest
        SHA-256 of the test interactions, by which :func:`compare` tells that two evaluations are of one split.
    """

    model: str
    values: Mapping[str, float]
    per_user: pl.DataFrame
    higher_is_better: Mapping[str, bool]
    n_users: int
    n_users_skipped: int
    n_relevant: int
    n_relevant_unknown: int
    n_relevant_filtered: int
    n_history_unknown: int
    seconds: float
    test_digest: str = ""
    n_relevant_trained_on: int = 0
    n_users_undecided: int = 0
    n_predicted: int = 0
    predicted_deviation: float = math.nan

    def user_values(self, name: str) -> npt.NDArray[np.float64]:
        """Values of a list metric for the users for whom it is defined, float64.

        Raises
        ------
        ConfigError
            If the metric was not evaluated, or has no value for each user.
        """
        if name not in self.values:
            raise ConfigError(f"name: expected one of {', '.join(self.values)}; got {name!r}")
        if name not in self.per_user.columns:
            raise ConfigError(
                f"name: {name!r} is one value for all lists together, so it cannot be resampled over users; "
                f"expected one of {', '.join(self.per_user.columns[1:])}"
            )
        return self.per_user[name].drop_nulls().to_numpy()

    def interval(self, name: str, confidence: float = 0.95, n_samples: int = 1000, random_state: int = 0) -> Interval:
        """Percentile bootstrap interval over users of the mean of a list metric.

        Parameters
        ----------
        name
            Metric name, such as ``"ndcg@10"``.
        confidence
            In (0, 1).
        n_samples
            Bootstrap samples; O(n_users) time each, in bounded memory.
        random_state
            Seed; the same seed gives the same interval.

        Returns
        -------
        Interval
            ``low`` and ``high``.

        Raises
        ------
        ConfigError
            If the metric was not evaluated or has no value for each user, or an argument is out of range.

        Notes
        -----
        It speaks of the choice of users alone, with the trained model and the split held fixed.  To compare two
        models use :func:`compare`: intervals that overlap do not mean that there is no difference.
        """
        return bootstrap_interval(
            self.user_values(name), confidence=confidence, n_samples=n_samples, random_state=random_state
        )

    def to_frame(self, confidence: float | None = None) -> pl.DataFrame:
        """Table with one row a metric.

        Parameters
        ----------
        confidence
            Adds columns ``low`` and ``high``, the bootstrap interval, if given.

        Returns
        -------
        polars.DataFrame
            ``metric, value, std_error[, low, high]``; null where a metric has no value for each user.
        """
        columns: dict[str, list[Any]] = {
            "metric": list(self.values),
            "value": list(self.values.values()),
            "std_error": [self._std_error(name) for name in self.values],
        }
        if confidence is not None:
            intervals = [
                self.interval(name, confidence) if name in self.per_user.columns else (None, None)
                for name in self.values
            ]
            columns["low"], columns["high"] = [low for low, _ in intervals], [high for _, high in intervals]
        numbers = dict.fromkeys(list(columns)[1:], pl.Float64)
        return pl.DataFrame(columns, schema={"metric": pl.String, **numbers})

    def to_dict(self) -> dict[str, Any]:
        """All but the per-user table, JSON-safe: a NaN becomes None."""
        return {
            "model": self.model,
            "values": {name: None if math.isnan(value) else value for name, value in self.values.items()},
            "higher_is_better": dict(self.higher_is_better),
            "n_users": self.n_users,
            "n_users_skipped": self.n_users_skipped,
            "n_users_undecided": self.n_users_undecided,
            "n_relevant": self.n_relevant,
            "n_relevant_unknown": self.n_relevant_unknown,
            "n_relevant_filtered": self.n_relevant_filtered,
            "n_relevant_trained_on": self.n_relevant_trained_on,
            "n_predicted": self.n_predicted,
            "predicted_deviation": self.predicted_deviation if self.n_predicted else None,
            "n_history_unknown": self.n_history_unknown,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.n_users} users, {self.n_relevant} relevant items, {self.seconds:.2f} s"]
        if self.n_users_skipped:
            lines.append(f"  {self.n_users_skipped} test users left out: nothing known about them")
        if self.n_users_undecided:
            lines.append(f"  {self.n_users_undecided} users got an empty list, or one whose items all have one score")
        if self.n_relevant_unknown:
            lines.append(f"  {self.n_relevant_unknown} relevant items unknown to the model count as misses")
        if self.n_relevant_filtered:
            lines.append(
                f"  {self.n_relevant_filtered} relevant items the users had had before count as misses: "
                "filter_seen leaves them out"
            )
        if self.n_relevant_trained_on:
            lines.append(f"  the model was fitted on {self.n_relevant_trained_on} of them: fit it on split.train")
        if self.n_predicted:
            lines.append(
                f"  ratings predicted for {self.n_predicted} of them; to predict their mean has an rmse of "
                f"{self.predicted_deviation:.4f}"
            )
        if self.n_history_unknown:
            lines.append(f"  {self.n_history_unknown} history events dropped: items unknown to the model")
        width = max((len(name) for name in self.values), default=0)
        for name, value in self.values.items():
            error = self._std_error(name)
            spread = "" if error is None else f"  ± {error:.4f}"
            lines.append(f"  {name:<{width}}  {value:>10.4f}{spread}")
        return "\n".join(lines)

    def _std_error(self, name: str) -> float | None:
        if name not in self.per_user.columns:
            return None
        values = self.user_values(name)
        return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
