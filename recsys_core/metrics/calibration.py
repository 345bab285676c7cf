"""Whether a list mirrors the mix of what its reader has chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.errors import ConfigError, DataError, ShapeError
from recsys_core.metrics.contract import ListMetric

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys_core.metrics.batch import RankedBatch
    from recsys_core.types import CSR

__all__ = ["Miscalibration", "category_mix", "category_shares", "divergence"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Miscalibration(ListMetric):
    """How far the mix of a list lies from the mix of what the asker had: ``sum_c p(c) log(p(c) / q'(c))``.

    p is the mean of the category shares of the items that the asker had, q that of the list's, and
    ``q' = (1 - smoothing) q + smoothing p`` keeps the divergence of Kullback and Leibler finite (Steck, "Calibrated
    recommendations", RecSys 2018, equations 2 to 5, with equal weights).  0 is a perfect mirror; lower is better.
    Undefined for an empty list or where no item of either has a category.

    Parameters
    ----------
    categories
        Array or CSR (n_items, n_categories), a row for each of the *model's* items, in its order: not negative, and
        divided by its sum; a row of zeros takes no part.  By default the popularity strata head, middle and tail
        (:func:`~recsys_core.metrics.popularity_strata`), which measures popularity bias as Abdollahpouri et al. do in
        "User-centered evaluation of popularity bias in recommender systems", UMAP 2021.
    smoothing
        In (0, 1).
    name
        The name in reports; give another to measure several kinds of categories at once.

    Raises
    ------
    ConfigError
        ``smoothing`` lies elsewhere, or ``categories`` is no matrix.
    DataError
        A category is negative or not finite.

    Examples
    --------
    >>> from recsys_core.data import FeatureEncoder
    >>> import polars as pl
    >>> films = pl.DataFrame({"item_id": [1, 2, 3], "genres": [["war"], ["war", "love"], ["love"]]})
    >>> genres = FeatureEncoder.from_table(films, columns=["genres"], min_count=1).encode(films)
    >>> Miscalibration(categories=genres, name="genre_miscalibration").label(10)
    'genre_miscalibration@10'
    """

    categories: npt.NDArray[Any] | CSR | None = None
    smoothing: float = 0.01
    name: str = "miscalibration"
    higher_is_better = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.smoothing < 1.0:
            raise ConfigError(f"smoothing: expected a number in (0, 1), got {self.smoothing!r}")
        if self.categories is not None:
            _ = self._shares  # refuses what cannot be used before anything is ranked

    def per_user(self, batch: RankedBatch) -> npt.NDArray[np.float64]:
        """Divergence of the list's mix from the history's."""
        shares = batch.catalog.strata if self.categories is None else self._shares
        if shares.shape[0] != batch.catalog.n_items:
            raise ShapeError(
                f"categories: expected a row for each of the model's {batch.catalog.n_items} items, "
                f"got shape {shares.shape}"
            )
        import scipy.sparse as sp

        row, column = np.nonzero(batch.valid)
        items = batch.indices[row, column]
        shown = sp.csr_array((np.ones(len(row)), (row, items)), shape=(batch.n_users, batch.catalog.n_items))
        return divergence(category_mix(batch.had, shares), category_mix(shown, shares), self.smoothing)

    # Categories are compared by identity: equality of arrays is neither cheap nor a single truth value.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Miscalibration):
            return NotImplemented
        mine, others = (self.k, self.name, self.smoothing), (other.k, other.name, other.smoothing)
        return self.categories is other.categories and mine == others

    def __hash__(self) -> int:
        return hash((self.k, self.name, self.smoothing, id(self.categories)))

    @cached_property
    def _shares(self) -> CSR:
        assert self.categories is not None
        return category_shares(self.categories)


def category_shares(categories: npt.NDArray[Any] | CSR) -> CSR:
    """Rows divided by their sums, CSR float64 (n_items, n_categories); a row of zeros stays one.

    Raises
    ------
    ConfigError
        It is no matrix.
    DataError
        A number is negative or not finite.
    """
    import scipy.sparse as sp

    if len(getattr(categories, "shape", ())) != 2:
        raise ConfigError(
            f"categories: expected an array or a CSR matrix of shape (n_items, n_categories), got "
            f"{type(categories).__name__}"
        )
    matrix: Any = categories  # scipy's types know no array of numbers
    shares: CSR = sp.csr_array(matrix, dtype=np.float64)
    if not (np.isfinite(shares.data).all() and (shares.data >= 0).all()):
        raise DataError("categories: expected finite numbers of at least 0, got others")
    total = np.asarray(shares.sum(axis=1)).ravel()
    return sp.csr_array(sp.diags_array(np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)) @ shares)


def category_mix(rows: CSR, shares: CSR) -> npt.NDArray[np.float64]:
    """Mean of the shares of each row's items that have any, float64 (n_rows, n_categories); NaN where none has.

    Parameters
    ----------
    rows
        CSR (n_rows, n_items), 1 where the item belongs to the row.
    shares
        As of :func:`category_shares`.
    """
    described = (np.diff(shares.indptr) > 0).astype(np.float64)
    number = rows @ described
    return np.asarray((rows @ shares).toarray() / np.where(number > 0, number, np.nan)[:, None])


def divergence(
    target: npt.NDArray[np.float64], mix: npt.NDArray[np.float64], smoothing: float
) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence of smoothed mixes from a target, float64 (...,); both are (..., n_categories).

    NaN where either is NaN.
    """
    smoothed = (1.0 - smoothing) * mix + smoothing * target
    ratio = np.divide(target, smoothed, out=np.ones(np.broadcast(target, smoothed).shape), where=target > 0)
    return np.asarray((target * np.log(ratio)).sum(axis=-1))
