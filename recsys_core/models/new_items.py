"""A catalogue with new items, which are known by their features alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.errors import DataError
from recsys_core.models.forms import DotForm, Form
from recsys_core.models.item_encoder import ItemEncoder

if TYPE_CHECKING:
    from recsys_core.models.fitted import FittedModel

__all__ = ["add_items", "require_item_encoder"]


def require_item_encoder(form: Form, what: str) -> ItemEncoder:
    """The form's encoder of items, or an error that says who has one."""
    encoder = form.item_encoder if isinstance(form, DotForm) else None
    if encoder is None:
        raise DataError(
            f"{what}: expected a model that was trained with item features, got one without; two_tower learns to "
            "encode items from Interactions.with_features(item_features)."
        )
    return encoder


def add_items(model: FittedModel, table: pl.DataFrame) -> dict[str, Any]:
    """What changes in a model when the items of a table join its catalogue, as fields of ``FittedModel``."""
    encoder = require_item_encoder(model.form, "with_items")
    assert isinstance(model.form, DotForm)
    if "item_id" not in table.columns:
        raise DataError(f"item_features: expected a column 'item_id', got {', '.join(map(repr, table.columns))}.")
    ids = table["item_id"]
    if ids.null_count() or ids.n_unique() != len(ids):
        raise DataError("item_features: expected each item once in 'item_id', got null or a repeated id.")
    known = model.items.index_of(ids) >= 0
    if known.any():
        first = ids.filter(pl.Series(known))[0]
        raise DataError(f"item_features: expected new items, got {first!r}, which is known; leave it out.")
    factors = np.concatenate([model.form.item_factors, encoder.encode(table)])
    features = model.item_features
    if features is not None:
        shared = table.select([name for name in features.columns if name in table.columns])
        features = pl.concat([features, shared], how="diagonal_relaxed")
    return {
        "form": replace(model.form, item_factors=factors),
        "items": model.items.extended(ids),
        "item_features": features,
    }
