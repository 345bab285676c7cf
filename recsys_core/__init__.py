"""recsys_core: recommender models as plugins, on a compiled core, deployed as ONNX.

Everything named in ``__all__`` is loaded when first used, so that ``import recsys_core`` costs next to nothing and
never imports a plugin, ONNX or a data-frame library on its own.

Examples
--------
>>> import recsys_core
>>> interactions = recsys_core.Interactions.from_arrays(["ann", "ann", "bob"], ["tea", "rum", "tea"])
>>> model = recsys_core.create("popularity").fit(interactions)
>>> model.recommend(users=["bob"], k=2)["item_id"].to_list()
['rum']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_core import errors, ops, runtime, testing
    from recsys_core._version import __version__
    from recsys_core.bundle import save_bundle
    from recsys_core.data import IdMap, Interactions, audit
    from recsys_core.export import export_onnx
    from recsys_core.metrics import compare
    from recsys_core.models import Config, DotForm, FittedModel, ItemItemForm, Recommender, StaticForm
    from recsys_core.registry import create, create_reranker, list_models, load_dataset
    from recsys_core.registry.evaluation import evaluate

__all__ = [
    "Config",
    "DotForm",
    "FittedModel",
    "IdMap",
    "Interactions",
    "ItemItemForm",
    "Recommender",
    "StaticForm",
    "__version__",
    "audit",
    "compare",
    "create",
    "create_reranker",
    "errors",
    "evaluate",
    "export_onnx",
    "list_models",
    "load_dataset",
    "ops",
    "runtime",
    "save_bundle",
    "testing",
]

_HOME = {
    "Config": "models",
    "DotForm": "models",
    "FittedModel": "models",
    "IdMap": "data",
    "Interactions": "data",
    "ItemItemForm": "models",
    "Recommender": "models",
    "StaticForm": "models",
    "__version__": "_version",
    "audit": "data",
    "compare": "metrics",
    "create": "registry",
    "create_reranker": "registry",
    "evaluate": "registry.evaluation",
    "export_onnx": "export",
    "list_models": "registry",
    "load_dataset": "registry",
    "save_bundle": "bundle",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"recsys_core.{_HOME[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"recsys_core.{name}")
    else:
        raise AttributeError(f"module 'recsys_core' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
