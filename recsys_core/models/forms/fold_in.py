"""A query vector from a history, by least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recsys_core import ops
from recsys_core.errors import DataError
from recsys_core.models.arrays import finite_floats
from recsys_core.models.forms.prior_mean import PriorMean
from recsys_core.types import CSR, FloatArray, IndexArray

__all__ = ["FoldIn", "HistoryRidge"]


@dataclass(frozen=True)
class HistoryRidge:
    r"""A regularization that grows with the history: :math:`\lambda_h = s\,(n + b)^\nu` for one of n distinct items.

    Parameters
    ----------
    scale, base, exponent
        :math:`s`, :math:`b` and :math:`\nu`, finite and at least 0.

    Raises
    ------
    DataError
        A number is negative or not finite.

    References
    ----------
    S. Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", 2021, arXiv 2110.14037,
    where b is the number of items times the weight of unobserved pairs.
    """

    scale: float
    base: float
    exponent: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"fold_in.ridge.{name}: expected a finite number of at least 0, got {value}.")

    def of(self, n_items: IndexArray) -> FloatArray:
        """The regularization of histories of so many distinct items, float32 (n,); an empty one has that of one."""
        return (self.scale * (np.maximum(n_items, 1) + self.base) ** self.exponent).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FoldIn:
    r"""A user vector from a history, by one regularised least-squares solve.

    .. math::

       \Big(P + \lambda_h I + \sum_{i \in h} (c_0 + c_1 r_i)\, v_i v_i^\top\Big)\, q
       = \sum_{i \in h} (t_0 + t_1 r_i - o_i)\, v_i

    Implicit ALS is :math:`P = V^\top V + \lambda I,\ c = (0, \alpha),\ t = (1, \alpha)` (Hu et al. 2008, eq. 4);
    a least-squares fit of ratings is :math:`P = \lambda I,\ c = (1, 0),\ t = (0, 1)` with the biases as offsets.

    Parameters
    ----------
    prior
        float32 (n_factors, n_factors), symmetric; positive definite, with what ``ridge`` adds for one item.
    confidence, target
        ``(c0, c1)`` and ``(t0, t1)``.
    item_offset
        float32 (n_items,) or None for zeros.
    repeats
        What an item that a history repeats weighs: the "sum" of its weights, or the "last" of them, as in training.
    default_weight
        What an item weighs that is listed without a weight: 1 for counts, something like the mean for ratings.
    ridge
        :math:`\lambda_h`, or None for 0.
    mean
        Where the vector is expected to lie by what is known of the user, or None for the origin: with
        :math:`\lambda_h m` on the right side, the regularization pulls there.  An empty history gives it.
    """

    prior: FloatArray
    confidence: tuple[float, float]
    target: tuple[float, float]
    item_offset: FloatArray | None = None
    repeats: Literal["sum", "last"] = "sum"
    default_weight: float = 1.0
    ridge: HistoryRidge | None = None
    mean: PriorMean | None = None

    def __post_init__(self) -> None:
        n_factors = np.shape(self.prior)[0] if np.ndim(self.prior) else None
        prior = finite_floats(self.prior, "fold_in.prior", n_factors, n_factors)
        if not np.allclose(prior, prior.T, rtol=1e-3, atol=1e-6 * float(np.abs(prior).max(initial=0))):
            raise DataError("fold_in.prior: expected a symmetric matrix, got one that is not.")
        try:
            np.linalg.cholesky(prior.astype(np.float64) + self._least_ridge * np.eye(len(prior)))
        except np.linalg.LinAlgError:
            raise DataError(
                "fold_in.prior: expected a positive definite matrix, got one that is not; add a regularization."
            ) from None
        object.__setattr__(self, "prior", prior)
        if self.item_offset is not None:
            object.__setattr__(self, "item_offset", finite_floats(self.item_offset, "fold_in.item_offset", None))
        if self.mean is not None:
            finite_floats(self.mean.vectors, "fold_in.mean.vectors", None, n_factors)
            if self.ridge is None or self.confidence[1] == 0:
                raise DataError(
                    "fold_in.mean: expected a ridge, which pulls to it, and a confidence that depends on weights, got "
                    f"ridge={self.ridge} and confidence={self.confidence}."
                )

    def solve(
        self, rows: CSR, item_factors: FloatArray, means: FloatArray | None = None, n_threads: int = 0
    ) -> FloatArray:
        """Solve for the vectors of histories.

        Parameters
        ----------
        rows
            CSR (n_rows, n_items) of distinct items.
        item_factors
            float32 (n_items, n_factors).
        means
            float32 (n_rows, n_factors): where the ridge pulls each; the origin if None.
        n_threads
            Threads to use, 0 for all.

        Returns
        -------
        numpy.ndarray
            float32 (n_rows, n_factors); of an empty row its mean, or zeros.
        """
        n_items_each = np.diff(rows.indptr)
        ridge, offset = None if self.ridge is None else self.ridge.of(n_items_each), self.item_offset
        if means is not None:
            assert ridge is not None
            # One more entry a row adds lambda m to the right side: of the vector lambda m, with a weight whose
            # confidence is 0, so that the matrix does not change, and an offset that makes its target 1.
            n_rows = rows.shape[0]
            if rows.nnz < len(item_factors):  # for few histories, copy their items alone
                used, columns = np.unique(rows.indices, return_inverse=True)
                rows = sp.csr_matrix((rows.data, columns, rows.indptr), shape=(n_rows, len(used)))
                item_factors, offset = item_factors[used], None if offset is None else offset[used]
            weight = -self.confidence[0] / self.confidence[1]
            own = (np.full(n_rows, weight, np.float32), np.arange(n_rows), np.arange(n_rows + 1))
            rows = sp.hstack([rows, sp.csr_matrix(own, shape=(n_rows, n_rows))], format="csr")
            pulled = np.full(n_rows, self.target[0] + self.target[1] * weight - 1.0, np.float32)
            offset = np.concatenate([np.zeros(len(item_factors), np.float32) if offset is None else offset, pulled])
            item_factors = np.vstack([item_factors, ridge[:, None] * means])
        solved = ops.solve_rows(
            rows,
            item_factors,
            prior=self.prior,
            confidence=self.confidence,
            target=self.target,
            item_offset=offset,
            ridge=ridge,
            n_threads=n_threads,
        )
        return solved if means is None else np.where(n_items_each[:, None] > 0, solved, means)

    @property
    def _least_ridge(self) -> float:
        return 0.0 if self.ridge is None else float(self.ridge.of(np.ones(1, np.int64))[0])
