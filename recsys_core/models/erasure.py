"""Taking people out of a fitted model: their ids, what they had, and the vectors that are theirs alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_core.data import IdMap
from recsys_core.errors import DataError, UnknownIdError
from recsys_core.models.forms import DotForm, Form, PairForm
from recsys_core.models.forms.base import IndexedForm
from recsys_core.models.query import as_ids
from recsys_core.types import IndexArray

if TYPE_CHECKING:
    from recsys_core.models.fitted import FittedModel

__all__ = ["without_users"]


def without_users(model: FittedModel, users: Any) -> dict[str, Any]:
    """The parts of a model that change when users leave it; :meth:`FittedModel.without_users` documents it."""
    labels = as_ids(users)
    leaving = model.users.index_of(labels)
    if (leaving < 0).any():
        missing = labels.filter(pl.Series(leaving < 0))
        raise UnknownIdError(f"users: unknown user {missing[0]!r} ({len(missing)} unknown in all); nobody was removed.")
    staying = np.setdiff1d(np.arange(len(model.users)), leaving)
    if not len(staying) and not model.form.accepts_histories:
        raise DataError(
            "users: expected somebody to stay, got all users of a model that answers only for users it was trained "
            "on; use a model that answers histories."
        )
    return {
        "form": _keep_users(model.form, staying),
        "users": IdMap(model.users.ids.gather(staying)),
        "histories": model.histories.rows(staying),
    }


def _keep_users(form: Form, staying: IndexArray) -> Form:
    """The form with the rows of its user table that stay, and the index of its items if one was made already."""
    kept: Form = form
    if isinstance(form, DotForm) and form.user_factors is not None:
        kept = replace(form, user_factors=form.user_factors[staying] if len(staying) else None)
    elif isinstance(form, PairForm):
        rows = form.user_inputs[staying] if form.user_inputs is not None and len(staying) else None
        retriever = None if form.retriever is None else _keep_users(form.retriever, staying)
        kept = replace(form, user_inputs=rows, retriever=retriever)
    if kept is not form and isinstance(kept, IndexedForm) and "index" in vars(form):
        kept.use_index(vars(form)["index"])
    return kept
