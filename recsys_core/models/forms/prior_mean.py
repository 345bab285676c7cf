"""Where the vector of somebody is expected to lie, by what is known of them beside their history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys_core.data import FeaturePreparation, Histories
from recsys_core.errors import DataError
from recsys_core.models.arrays import finite_floats
from recsys_core.models.user_features import DescribedHistories, FeatureArrays
from recsys_core.types import CSR, FloatArray

__all__ = ["PriorMean", "feature_matrix"]


@dataclass(frozen=True, eq=False)
class PriorMean:
    r"""The mean of a user's vector before any event: :math:`m = B^\top f`, a sum of the vectors of their features.

    Parameters
    ----------
    preparation
        How features of those who ask are read; without texts.
    vectors
        *B*, float32 (n_features + 1, n_factors): a vector of each number, of each categorical value, and at last of
        what everybody shares, in the order of :func:`feature_matrix`.

    Raises
    ------
    DataError
        The preparation reads texts.
    ShapeError
        There is not a vector for each feature.

    References
    ----------
    D. Agarwal and B.-C. Chen, "Regression-based Latent Factor Models", KDD 2009, section 2.
    """

    preparation: FeaturePreparation
    vectors: FloatArray

    def __post_init__(self) -> None:
        if self.preparation.text_columns:
            raise DataError(
                f"prior_mean.preparation: expected no texts, got {', '.join(self.preparation.text_columns)}; leave "
                "them out, or use an encoder."
            )
        n_rows = self.preparation.n_numbers + self.preparation.n_values + 1
        object.__setattr__(self, "vectors", finite_floats(self.vectors, "prior_mean.vectors", n_rows, None))

    def of(self, histories: Histories) -> FloatArray:
        """The means of those whose histories these are, float32 (n_rows, n_factors); what is not known adds nothing."""
        known: FeatureArrays = histories.features if isinstance(histories, DescribedHistories) else {}
        features = {name.removeprefix("user_"): array for name, array in known.items()}
        return np.asarray(feature_matrix(self.preparation, features, len(histories)) @ self.vectors)


def feature_matrix(preparation: FeaturePreparation, features: FeatureArrays, n_rows: int) -> CSR:
    """Prepared features as a matrix, float32 (n_rows, n_features + 1).

    Parameters
    ----------
    preparation
        What prepared them.
    features
        ``numeric`` and ``categorical`` as :meth:`FeaturePreparation.arrays
        <recsys_core.data.FeaturePreparation.arrays>` gives them; one that is left out is missing in all rows.
    n_rows
        Number of rows.

    Returns
    -------
    scipy.sparse.csr_matrix
        A column of each number, 0 where it is missing; of each categorical value, 1 where a row has it; and of ones.
    """
    numbers = features.get("numeric", np.zeros((n_rows, preparation.n_numbers), np.float32))
    values = features.get("categorical", np.zeros((n_rows, 0), np.int64))
    row, place = np.nonzero(values >= 0)
    ones = (np.ones(len(row), np.float32), (row, values[row, place].astype(np.int64)))
    blocks = [
        sp.csr_matrix(np.nan_to_num(numbers)),
        sp.csr_matrix(ones, shape=(n_rows, preparation.n_values)),
        sp.csr_matrix(np.ones((n_rows, 1), np.float32)),
    ]
    joined: CSR = sp.hstack(blocks, format="csr", dtype=np.float32)
    return joined
