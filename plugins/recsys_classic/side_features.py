"""What is known of items or users, as where their factors are expected to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from recsys_core.data import FeaturePreparation
from recsys_core.errors import DataError
from recsys_core.models import feature_matrix
from recsys_core.types import CSR, FloatArray, IndexArray

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FeatureMeans", "check_n_features", "prepare_features", "require_table"]

_MOST_FEATURES = 20_000  # their Gram matrix is dense: 3.2 GB


def prepare_features(
    table: pl.DataFrame | None, columns: tuple[str, ...], what: str
) -> tuple[FeaturePreparation, CSR] | None:
    """The chosen columns of a feature table, and their matrix, a column of ones last; None without columns.

    Parameters
    ----------
    table
        One row an item or a user, in the order of the ids.
    columns
        Names of columns.
    what
        "item" or "user", for messages.

    Raises
    ------
    DataError
        There is no table, a column is missing, or there are too many values.
    """
    if not columns:
        return None
    table = require_table(table, columns, what)
    preparation = FeaturePreparation.from_table(table, columns=columns, text_columns=())
    features = feature_matrix(preparation, preparation.arrays(table), len(table))
    check_n_features(features, columns, what)
    return preparation, features


def require_table(table: pl.DataFrame | None, columns: tuple[str, ...], what: str) -> pl.DataFrame:
    """The table that has the columns; refuse interactions without one."""
    if table is None:
        raise DataError(
            f"{what}_features: expected a table with {', '.join(map(repr, columns))}, got interactions without one; "
            f"add it with interactions.with_features({what}_features=...)."
        )
    return table


def check_n_features(features: CSR, columns: tuple[str, ...], what: str) -> None:
    """Refuse more features than :class:`FeatureMeans` has memory for."""
    if features.shape[1] > _MOST_FEATURES:
        raise DataError(
            f"{what}_features: expected at most {_MOST_FEATURES} values in {', '.join(columns)}, got "
            f"{features.shape[1]}; choose other columns or merge rare values."
        )


class FeatureMeans:
    r"""The ridge regression of factors on features.

    .. math:: B = \arg\min_B \; \sum_i w_i \lVert y_i - B^\top f_i \rVert^2 + \rho \lVert B \rVert_F^2

    Parameters
    ----------
    features
        CSR (n_rows, n_features): *F*.
    known
        Positions of the rows to learn from; the others are only predicted.
    ridge
        :math:`\rho`, above 0.
    weights
        float (n_rows,): :math:`w`, above 0; None for ones.

    Notes
    -----
    The matrix is factorized once, O(n_features\ :sup:`3`).  Each :meth:`vectors` or :meth:`means` then costs O(nnz f)
    and O(n_features\ :sup:`2` f), where f is the length of a vector.
    """

    def __init__(
        self, features: CSR, known: IndexArray, ridge: float, weights: npt.NDArray[np.floating[Any]] | None = None
    ) -> None:
        self._features = features
        learned = features[known].astype(np.float64)
        self._learned = learned if weights is None else learned.multiply(weights[known][:, None]).tocsr()
        gram = (self._learned.T @ learned).toarray()
        gram.flat[:: len(gram) + 1] += ridge
        self._known = known
        self._factor: Any = cho_factor(gram, overwrite_a=True)

    def vectors(self, factors: FloatArray) -> npt.NDArray[np.float64]:
        """*B*, float64 (n_features, n_factors), learned from the known rows of ``factors``."""
        return np.asarray(cho_solve(self._factor, self._learned.T @ factors[self._known].astype(np.float64)))

    def means(self, factors: FloatArray) -> FloatArray:
        """``F B`` for all rows, float32 (n_rows, n_factors), B being learned from the known rows of ``factors``."""
        return np.asarray(self._features @ self.vectors(factors), np.float32)
