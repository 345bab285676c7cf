"""The contracts: what a recommender, a re-ranker and a fitted model are."""

from __future__ import annotations

from recsys_core.models.config import Config, build_config
from recsys_core.models.filters import NO_FILTERS, Filters
from recsys_core.models.fitted import FittedModel, Provenance, parts
from recsys_core.models.forms import (
    DotForm,
    FoldIn,
    Form,
    HistoryRidge,
    ItemItemForm,
    PairForm,
    PairScorer,
    PriorMean,
    StaticForm,
    feature_matrix,
    form_from_state,
    indexed_part,
    standardized_scores,
)
from recsys_core.models.history_encoder import HistoryEncoder
from recsys_core.models.item_encoder import ItemEncoder
from recsys_core.models.query import OnUnknown
from recsys_core.models.recommender import Monitor, Progress, Recommender
from recsys_core.models.reranked import RerankedModel
from recsys_core.models.reranker import Reranker
from recsys_core.models.search import SearchChoices, SearchRange, SearchSpace, search_space
from recsys_core.models.update import Update

__all__ = [
    "NO_FILTERS",
    "Config",
    "DotForm",
    "Filters",
    "FittedModel",
    "FoldIn",
    "Form",
    "HistoryEncoder",
    "HistoryRidge",
    "ItemEncoder",
    "ItemItemForm",
    "Monitor",
    "OnUnknown",
    "PairForm",
    "PairScorer",
    "PriorMean",
    "Progress",
    "Provenance",
    "Recommender",
    "RerankedModel",
    "Reranker",
    "SearchChoices",
    "SearchRange",
    "SearchSpace",
    "StaticForm",
    "Update",
    "build_config",
    "feature_matrix",
    "form_from_state",
    "indexed_part",
    "parts",
    "search_space",
    "standardized_scores",
]
