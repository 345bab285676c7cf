"""The closed set of scoring forms, and how one is read from its saved state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from recsys_core.errors import FormatError
from recsys_core.models.forms.base import IndexedForm
from recsys_core.models.forms.dot import DotForm
from recsys_core.models.forms.item_item import ItemItemForm
from recsys_core.models.forms.pair import PairForm
from recsys_core.models.forms.static import StaticForm

__all__ = ["Form", "form_from_state", "indexed_part"]

Form: TypeAlias = DotForm | ItemItemForm | StaticForm | PairForm
"""How a fitted model scores."""

_FORMS: dict[str, Any] = {form.kind: form for form in (DotForm, ItemItemForm, StaticForm, PairForm)}


def form_from_state(kind: str, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> Form:
    """Build a form from what its ``state()`` returned.

    Raises
    ------
    FormatError
        ``kind`` is not a form that this version knows, or an array is missing.
    """
    if kind not in _FORMS:
        raise FormatError(
            f"form: expected one of {', '.join(_FORMS)}, got {kind!r}; it was written by a newer recsys-core."
        )
    try:
        form: Form = _FORMS[kind].from_state(arrays, meta)
    except KeyError as missing:
        raise FormatError(f"form {kind!r}: {missing} is missing from the saved state; write it again.") from None
    return form


def indexed_part(form: Form) -> IndexedForm | None:
    """What of a form answers from an item index: itself, the retriever of pairs, or nothing."""
    part = form.retriever if isinstance(form, PairForm) else form
    return part if isinstance(part, IndexedForm) else None
