"""Interactions: reading, checking, indexing, splitting."""

from __future__ import annotations

from recsys_core.data.histories import Histories
from recsys_core.data.id_map import IdMap
from recsys_core.data.interactions import Interactions
from recsys_core.data.matrix import Aggregate
from recsys_core.data.readers import read_interactions
from recsys_core.data.times import TimeUnit
from recsys_core.data.validation import Finding

__all__ = ["Aggregate", "Finding", "Histories", "IdMap", "Interactions", "TimeUnit", "read_interactions"]
