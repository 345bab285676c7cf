"""EASE: a linear item-item autoencoder with a closed-form solution."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import get_lapack_funcs

from recsys_classic.bases import ItemItemRecommender
from recsys_core import Config, Interactions, ItemItemForm
from recsys_core.errors import DataError
from recsys_core.models import Progress, SearchRange
from recsys_core.types import CSR, FloatArray

__all__ = ["Ease", "EaseConfig"]

_GRAM_ROWS = 1024  # rows of the Gram matrix made at a time, which bounds the sparse product held beside it


class EaseConfig(Config):
    """Settings of :class:`Ease`."""

    regularization: Annotated[float, SearchRange(5.0, 5000.0, log=True)] = Field(
        200.0, gt=0, description="Lambda: larger means smaller weights; 100 to 1000 suits most data."
    )
    binary: bool = Field(True, description="Train on whether a user had an item, not on the weights.")
    precision: Literal["float64", "float32"] = Field(
        "float64", description="Type to invert in; float32 halves the memory and may fail where lambda is small."
    )


class Ease(ItemItemRecommender):
    r"""EASE\ :sup:`R`, the embarrassingly shallow autoencoder.

    .. math:: \min_B \; \lVert X - XB \rVert_F^2 + \lambda \lVert B \rVert_F^2 \quad\text{with}\quad B_{ii} = 0

    whose solution is, with :math:`P = (X^\top X + \lambda I)^{-1}`,

    .. math:: B_{ij} = -P_{ij} / P_{jj}, \qquad B_{ii} = 0.

    Parameters
    ----------
    **settings
        Fields of :class:`EaseConfig`.

    Attributes
    ----------
    item_weights_
        float32 (n_items, n_items), dense: *B*.

    Raises
    ------
    DataError
        By ``fit``: the items are too many for the memory, or the matrix cannot be inverted in this precision.

    Notes
    -----
    O(n_items\ :sup:`3`) time, whatever the number of users.  Memory peaks at 12 bytes times n_items\ :sup:`2` (8 in
    float32), 4.8 GB for 20,000 items, and 4 of them stay with the model.

    The inverse comes from a Cholesky factorization, in place.  With ``binary=False`` a history's weights count too.

    References
    ----------
    H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equations 2 and 3
    (objective) and 8 (solution).

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob"], ["tea", "rum", "tea"])
    >>> Ease(regularization=1.0).fit(sales).item_weights_
    array([[0.        , 0.5       ],
           [0.33333334, 0.        ]], dtype=float32)
    """

    config_class = EaseConfig
    config: EaseConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> ItemItemForm:
        """Invert the regularized Gram matrix."""
        user_items = interactions.to_csr("binary" if self.config.binary else "sum")
        try:
            gram = _gram(user_items, np.dtype(self.config.precision))
            progress(1, 3)
            inverse = _invert(gram, self.config.regularization)
            progress(2, 3)
            weights = _weights(inverse)
        except MemoryError:
            n_items = user_items.shape[1]
            raise DataError(
                f"interactions: expected few enough items for a dense item-item matrix, got {n_items}, which need "
                f"{12e-9 * n_items**2:.0f} GB; drop rare items with interactions.filter_min(), or use slim or item_knn."
            ) from None
        progress(3, 3)
        return ItemItemForm(weights, binary=self.config.binary)


def _gram(user_items: CSR, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """``X^T X``, dense (n_items, n_items)."""
    user_items = user_items.astype(dtype)
    item_users = user_items.T.tocsr()
    n_items = user_items.shape[1]
    gram = np.empty((n_items, n_items), dtype)
    for start in range(0, n_items, _GRAM_ROWS):
        gram[start : start + _GRAM_ROWS] = (item_users[start : start + _GRAM_ROWS] @ user_items).toarray()
    return gram


def _invert(gram: npt.NDArray[Any], regularization: float) -> npt.NDArray[Any]:
    """Overwrite ``gram`` by the inverse of ``gram + regularization I``; only the upper triangle is meaningful."""
    gram.flat[:: len(gram) + 1] += regularization
    potrf, potri = cast("tuple[Any, Any]", get_lapack_funcs(("potrf", "potri"), (gram,)))
    # LAPACK is column-major: the transpose of our row-major array is what it can overwrite without a copy, and its
    # lower triangle is our upper one.
    factor, failed = potrf(gram.T, lower=True, overwrite_a=True, clean=False)
    if not failed:
        inverse, failed = potri(factor, lower=True, overwrite_c=True)
    if failed:
        raise DataError(
            f"regularization: expected enough to make X^T X + lambda I positive definite in {gram.dtype}, got "
            f"{regularization}; raise it, or set precision='float64'."
        )
    return np.asarray(inverse.T)


def _weights(inverse: npt.NDArray[Any]) -> FloatArray:
    """``B`` from the upper triangle of the symmetric ``P``."""
    weights = np.empty(inverse.shape, np.float32)
    for i, row in enumerate(inverse):
        weights[i, i:] = row[i:]
        weights[i:, i] = row[i:]
    weights *= (-1.0 / inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights
