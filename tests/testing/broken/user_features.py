"""Recommenders that read features of those who ask, one healthy and the others not."""

from __future__ import annotations

from typing import Any

import numpy as np

from broken.healthy import Averages
from recsys_core import DotForm, Interactions
from recsys_core.data import FeaturePreparation
from recsys_core.export.graph import GraphBuilder
from recsys_core.models import HistoryEncoder


class ReadsTowns(Averages):
    """Adds a vector for the town and one for the age to the items of a history: keeps every promise."""

    towns_matter, mixes_askers, stops_at_items = 1.0, False, False

    def fit_form(self, interactions: Interactions, progress: Any):
        form = super().fit_form(interactions, progress)
        if interactions.user_features is None:
            return form
        preparation = FeaturePreparation.from_table(interactions.user_features)
        return DotForm(form.item_factors, encoder=HistoryEncoder(self.graph(form, preparation), 20, preparation))

    def graph(self, form, preparation) -> bytes:
        rng = np.random.default_rng(3)
        n_dims = form.item_factors.shape[1]
        build = GraphBuilder()

        def looked_up(name: str, index: str, table: np.ndarray) -> str:
            """Sums of the rows that each row of ``index`` names, -1 naming none."""
            rows = build.table(name, np.vstack([np.zeros(n_dims), table]).astype(np.float32))
            gathered = build.op("Gather", rows, build.op("Add", index, build.constant(1)))
            return build.op("ReduceSum", gathered, build.constant([1]), keepdims=0)

        items = build.input("history", "int64", ["batch", "length"])
        history = looked_up("items", items, form.item_factors)
        towns = self.towns_matter * rng.normal(size=(preparation.n_values, n_dims))
        town = looked_up("towns", build.input("user_categorical", "int64", ["batch", 1]), towns)
        age = build.input("user_numeric", "float32", ["batch", 1])
        age = build.op("Where", build.op("IsNaN", age), build.constant(0.0, "float32"), age)
        if self.mixes_askers:
            age = build.op("Add", age, build.op("ReduceSum", age, build.constant([0]), keepdims=1))
        slope = build.table("slope", (self.towns_matter * rng.normal(size=(1, n_dims))).astype(np.float32))
        features = build.op("Add", town, build.op("MatMul", age, slope))
        if self.stops_at_items:
            newest = build.op("ReduceMax", items, build.constant([1]), keepdims=1)
            has_items = build.op("GreaterOrEqual", newest, build.constant(0))
            features = build.op("Where", has_items, build.constant(0.0, "float32"), features)
        query = build.op("Add", history, features)
        build.output("query", query, "float32", ["batch", n_dims])
        return build.model("reads_towns", {}).SerializeToString()


class ReadsTownsForNothing(ReadsTowns):
    """Takes features that change nothing."""

    towns_matter = 0.0


class ReadsTownsOfNewcomersOnly(ReadsTowns):
    """Goes by the history alone where there is one."""

    stops_at_items = True


class MixesAskers(ReadsTowns):
    """Adds up the ages of whoever is asked for together."""

    mixes_askers = True


class PraisesTheDescribed(ReadsTowns):
    """Scores higher where features are given, outside of its form."""

    def recommend(self, users: Any = None, **options: Any):
        table = super().recommend(users, **options)
        return table.with_columns(table["score"] * 2) if "user_features" in options else table


class TakesStrangersForThirty(ReadsTowns):
    """Assumes an age where none is told."""

    def recommend_indices(self, user_index=None, *, histories=None, user_features=None, **options):
        if histories is not None and user_features is None and self.form.user_preparation is not None:
            user_features = [{"age": 30.0}] * len(histories)
        return super().recommend_indices(user_index, histories=histories, user_features=user_features, **options)
