"""Interactions: reading, checking, indexing, splitting."""

from __future__ import annotations

from recsys_core.data.audit import AuditReport, audit
from recsys_core.data.feature_encoder import FeatureColumn, FeatureEncoder
from recsys_core.data.feature_preparation import FeaturePreparation
from recsys_core.data.histories import Histories
from recsys_core.data.id_map import IdMap
from recsys_core.data.interactions import Interactions
from recsys_core.data.matrix import Aggregate
from recsys_core.data.readers import read_interactions
from recsys_core.data.splits import Split, split_global_time, split_leave_last, split_random, split_users
from recsys_core.data.texts import SentenceModel, hashed_ngrams
from recsys_core.data.times import TimeUnit
from recsys_core.data.validation import Finding

__all__ = [
    "Aggregate",
    "AuditReport",
    "FeatureColumn",
    "FeatureEncoder",
    "FeaturePreparation",
    "Finding",
    "Histories",
    "IdMap",
    "Interactions",
    "SentenceModel",
    "Split",
    "TimeUnit",
    "audit",
    "hashed_ngrams",
    "read_interactions",
    "split_global_time",
    "split_leave_last",
    "split_random",
    "split_users",
]
