"""What a metric is: the two classes from which every metric, ours or a plugin's, derives.

A metric never sees a model.  Two kinds see ranked lists of item indices and the relevant items of the same users: a
:class:`ListMetric` has one value a user, whose mean is reported; a :class:`PopulationMetric` has one value for the
lists of all users taken together.  A :class:`RatingMetric` sees the scores of the test items themselves, as predictions
of their weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from recsys_core.metrics.batch import Population, RankedBatch
    from recsys_core.types import FloatArray

__all__ = ["ListMetric", "Metric", "PopulationMetric", "RatingMetric"]


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """Name, direction and cut-off of a metric; derive from one of the three subclasses, not from this one.

    Parameters
    ----------
    k
        The cut-off: only the first k items of a list count.  With None the metric is reported at every cut-off
        that ``evaluate(..., k=...)`` was asked for.
    """

    k: int | None = None

    def __post_init__(self) -> None:
        if self.k is not None and (isinstance(self.k, bool) or int(self.k) != self.k or self.k < 1):
            raise ConfigError(f"k of the metric {self.name!r}: expected an integer of at least 1, got {self.k!r}")

    @property
    @abstractmethod
    def name(self) -> str:
        """The name without the cut-off, such as ``"ndcg"``; a subclass sets it as a plain class attribute."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one; a subclass may set it as a plain class attribute."""
        return True

    def label(self, k: int) -> str:
        """The name in a report, such as ``"ndcg@10"``."""
        return f"{self.name}@{k}"


class ListMetric(Metric):
    """A metric with one value for each user; the mean over the users is reported.

    Examples
    --------
    A metric needs a name and one vectorised method:

    >>> class FirstIsRelevant(ListMetric):
    ...     name = "first_is_relevant"
    ...
    ...     def per_user(self, batch):
    ...         return batch.hits[:, 0].astype(float)
    >>> FirstIsRelevant(k=5).label(5)
    'first_is_relevant@5'
    """

    @abstractmethod
    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Value of each user of a batch.

        Parameters
        ----------
        batch
            The ranked lists, already cut to the first ``batch.k`` places, and what is relevant to each user.

        Returns
        -------
        float64, shape (n_users,).  NaN means "undefined for this user" and leaves the user out of the mean.
        """


class PopulationMetric(Metric):
    """A metric with one value for the lists of all users together.

    Examples
    --------
    >>> class DistinctItems(PopulationMetric):
    ...     name = "distinct_items"
    ...
    ...     def value(self, population):
    ...         return float((population.exposure > 0).sum())
    >>> DistinctItems().label(10)
    'distinct_items@10'
    """

    @abstractmethod
    def value(self, population: Population) -> float:
        """The value, from how often each item was recommended within the first ``population.k`` places."""


class RatingMetric(Metric):
    """A metric of predicted ratings: one value for all test pairs together, and no cut-off.

    Examples
    --------
    >>> import numpy as np
    >>> class Bias(RatingMetric):
    ...     name = "bias"
    ...
    ...     def value(self, predicted, actual):
    ...         return float((predicted - actual).mean())
    >>> Bias().value(np.array([4.0, 3.0]), np.array([3.0, 3.0]))
    0.5
    """

    def __post_init__(self) -> None:
        if self.k is not None:
            raise ConfigError(
                f"k of the metric {self.name!r}: expected none, since it measures no lists, got {self.k!r}"
            )

    def label(self, k: int) -> str:
        """The name in a report, which is the metric's."""
        return self.name

    @abstractmethod
    def value(self, predicted: FloatArray, actual: FloatArray) -> float:
        """The value, from the scores of at least one pair and its weights in the test part, float32 (n_pairs,)."""
