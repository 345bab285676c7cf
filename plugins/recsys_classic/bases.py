"""What the models of one scoring form have in common: their learned attributes, read from the form."""

from __future__ import annotations

from typing import cast

from recsys_core import DotForm, ItemItemForm, Recommender
from recsys_core.types import CSR, FloatArray

__all__ = ["FactorRecommender", "ItemItemRecommender"]


class FactorRecommender(Recommender):
    """Base of the models whose scores are inner products of user and item factors.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors).
    item_factors_
        float32 (n_items, n_factors).
    """

    @property
    def user_factors_(self) -> FloatArray:
        """The users' factors, float32 (n_users, n_factors)."""
        return cast("FloatArray", self._dot_form.user_factors)

    @property
    def item_factors_(self) -> FloatArray:
        """The items' factors, float32 (n_items, n_factors)."""
        return self._dot_form.item_factors

    @property
    def _dot_form(self) -> DotForm:
        return cast("DotForm", self.form)


class ItemItemRecommender(Recommender):
    """Base of the models whose scores are a history times an item-item matrix.

    Attributes
    ----------
    item_weights_
        float32 (n_items, n_items), dense or CSR; row *j* is what item *j* in a history adds to every item's score.
    """

    @property
    def item_weights_(self) -> FloatArray | CSR:
        """The item-item matrix, float32 (n_items, n_items)."""
        return cast("ItemItemForm", self.form).weights
