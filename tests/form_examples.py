"""A scoring form of every kind, with random arrays."""

from __future__ import annotations

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_core.data import FeaturePreparation
from recsys_core.export.graph import GraphBuilder
from recsys_core.models import (
    DotForm,
    FoldIn,
    HistoryEncoder,
    HistoryRidge,
    ItemItemForm,
    PairForm,
    PairScorer,
    PriorMean,
    StaticForm,
)

N_USERS, N_ITEMS, N_FACTORS = 50, 200, 16
FORMS = (
    "users_only",
    "implicit_fold_in",
    "explicit_fold_in",
    "ridged_fold_in",
    "fold_in_of_the_described",
    "histories_only",
    "dense",
    "dense_weighted",
    "sparse",
    "static",
    "encoder",
    "encoder_with_users",
    "encoder_of_the_described",
    "pair_users",
    "pair_histories",
    "two_stage_users",
    "two_stage_fold_in",
    "two_stage_item_item",
    "two_stage_standardized",
    "two_stage_described",
)
MAX_LENGTH, N_CANDIDATES = 20, 30
PEOPLE = pl.DataFrame(
    {
        "town": ["ulm", "ulm", "bonn", "bonn", None],
        "age": [20.0, 40.0, None, 60.0, 30.0],
        "about": ["tea and rum", "rum", "ale and tea", None, "tea"],
    }
)


def make_preparation() -> FeaturePreparation:
    """Of a table such as ``PEOPLE``."""
    return FeaturePreparation.from_table(PEOPLE, text_columns=["about"], n_buckets=20)


def make_encoder(max_length: int = MAX_LENGTH, preparation: FeaturePreparation | None = None) -> HistoryEncoder:
    """Item factors added up, each item counting 0.9 times the one after it: order and repeats matter.

    With a preparation, such as :func:`make_preparation`, the table's features are added.
    """
    graph = GraphBuilder()
    history = graph.input("history", "int64", ["batch", "length"])
    factors = graph.input("item_factors", "float32", [N_ITEMS, N_FACTORS])
    zero = graph.constant(0)
    valid = graph.op("GreaterOrEqual", history, zero)
    rows = graph.op("Gather", factors, graph.op("Where", valid, history, zero))
    columns = graph.op(
        "CumSum",
        graph.op("Cast", graph.op("GreaterOrEqual", history, graph.constant(-1)), to=1),
        graph.constant(1),
        reverse=1,
        exclusive=1,
    )
    decay = graph.op("Pow", graph.constant(0.9, "float32"), columns)
    weight = graph.op("Mul", decay, graph.op("Cast", valid, to=1))
    weighted = graph.op("Mul", rows, graph.op("Unsqueeze", weight, graph.constant([2])))
    query = graph.op("ReduceSum", weighted, graph.constant([1]), keepdims=0)
    if preparation is not None:
        query = graph.op("Add", query, _add_features(graph))
    graph.output("query", query, "float32", ["batch", N_FACTORS])
    return HistoryEncoder(graph.model("decayed_sum", {}).SerializeToString(), max_length, preparation)


def nothing_told(n_rows: int) -> dict[str, np.ndarray]:
    """What a graph that reads :func:`make_preparation` takes for people of whom no feature is known."""
    missing = {"user_categorical": np.full((n_rows, 1), -1), "user_text": np.full((n_rows, 1), -1)}
    return {"user_numeric": np.full((n_rows, 1), np.nan, np.float32), **missing}


def feature_tables() -> dict[str, np.ndarray]:
    """What the numbers, the values of categories and the n-grams of :func:`make_preparation` add to a query."""
    rng = np.random.default_rng(6)
    rows = {"numeric": 1, "categorical": 2, "text": 20}
    return {name: rng.normal(size=(n, N_FACTORS)).astype(np.float32) for name, n in rows.items()}


def described(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """What the features of :func:`make_encoder` add to the queries, for rows of a preparation's arrays."""
    tables = feature_tables()
    added = np.nan_to_num(arrays["numeric"]) @ tables["numeric"]
    for name in ("categorical", "text"):
        added = added + np.where(arrays[name][..., None] < 0, 0, tables[name][arrays[name]]).sum(axis=1)
    return added


def _add_features(graph: GraphBuilder) -> str:
    tables = feature_tables()
    number = graph.input("user_numeric", "float32", ["batch", 1])
    number = graph.op("Where", graph.op("IsNaN", number), graph.constant(0.0, "float32"), number)
    added = graph.op("MatMul", number, graph.table("numeric", tables["numeric"]))
    for name, width in (("categorical", 1), ("text", "ngrams")):
        index = graph.input(f"user_{name}", "int64", ["batch", width])
        rows = graph.table(name, np.vstack([np.zeros((1, N_FACTORS), np.float32), tables[name]]))
        gathered = graph.op("Gather", rows, graph.op("Add", index, graph.constant(1)))
        added = graph.op("Add", added, graph.op("ReduceSum", gathered, graph.constant([1]), keepdims=0))
    return added


def decayed_sum(history: list[int], item_factors: np.ndarray, max_length: int = MAX_LENGTH) -> np.ndarray:
    """What :func:`make_encoder` computes, for one history."""
    query = np.zeros(item_factors.shape[1])
    for item in history[-max_length:]:
        query = 0.9 * query + item_factors[item]
    return query


def make_scorer(*, takes_retrieved: bool = False) -> PairScorer:
    """The inner product less a penalty for items far from the query; on request, with 1/16 of the retriever's score."""
    graph = GraphBuilder()
    query = graph.input("query", "float32", ["pairs", N_FACTORS])
    item = graph.input("item", "float32", ["pairs", N_FACTORS])
    product = graph.op("ReduceSum", graph.op("Mul", query, item), graph.constant([1]), keepdims=0)
    distance = graph.op("ReduceSum", graph.op("Abs", graph.op("Sub", query, item)), graph.constant([1]), keepdims=0)
    score = graph.op("Sub", product, distance)
    if takes_retrieved:
        share = graph.op("Mul", graph.input("retrieved", "float32", ["pairs"]), graph.constant(1 / 16, "float32"))
        score = graph.op("Add", score, share)
    graph.output("score", score, "float32", ["pairs"])
    return PairScorer(graph.model("product_less_distance", {}).SerializeToString())


def pair_scores(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What :func:`make_scorer` computes, for every pair."""
    return queries @ items.T - np.abs(queries[:, None, :] - items).sum(axis=2)


def standardized(scores: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Rows of scores less the mean and divided by the deviation of those ``listed``, bool; 0 for -inf."""
    known = np.ma.masked_where(~listed | np.isneginf(scores), scores)
    scale = known.std(axis=1, keepdims=True) + 1e-4 * np.abs(known).mean(axis=1, keepdims=True)
    return ((np.ma.masked_invalid(scores) - known.mean(axis=1, keepdims=True)) / scale).filled(0)


def make_form(name: str) -> DotForm | ItemItemForm | PairForm | StaticForm:
    rng = np.random.default_rng(1)
    items = rng.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    users = rng.normal(size=(N_USERS, N_FACTORS)).astype(np.float32)
    bias = rng.normal(size=N_ITEMS).astype(np.float32)
    eye = np.eye(N_FACTORS)
    implicit = FoldIn((items.T @ items + 0.1 * eye).astype(np.float32), (0.0, 40.0), (1.0, 40.0))
    # Of rank 4, and a ridge that varies by far more than the matrix would bear without it.
    ridged = FoldIn(
        (items[:4].T @ items[:4]).astype(np.float32), (0.5, 1.0), (1.0, 1.0), ridge=HistoryRidge(0.3, 2.0, 1.5)
    )
    described = FeaturePreparation.from_table(PEOPLE, columns=("town", "age"), text_columns=())
    pulled = FoldIn(
        (items.T @ items).astype(np.float32),
        (0.25, 2.0),
        (1.0, 1.5),
        ridge=HistoryRidge(3.0, 0.0, 0.0),
        mean=PriorMean(described, rng.normal(size=(4, N_FACTORS)).astype(np.float32)),
    )
    explicit = FoldIn((0.05 * eye).astype(np.float32), (1.0, 0.0), (0.0, 1.0), bias)
    dense = rng.normal(size=(N_ITEMS, N_ITEMS)).astype(np.float32)
    sparse = sp.csr_matrix(dense * (rng.random(dense.shape) < 0.05))
    forms = {
        "users_only": DotForm(items, bias, users),
        "implicit_fold_in": DotForm(items, None, users, implicit),
        "explicit_fold_in": DotForm(items, bias, users, explicit),
        "ridged_fold_in": DotForm(items, None, users, ridged),
        "fold_in_of_the_described": DotForm(items, None, users, pulled),
        "histories_only": DotForm(items, None, None, implicit),
        "dense": ItemItemForm(dense),
        "dense_weighted": ItemItemForm(dense, binary=False),
        "sparse": ItemItemForm(sparse, binary=False),
        # Rounded, so that there are ties.
        "static": StaticForm(np.round(bias, 1)),
        "encoder": DotForm(items, bias, encoder=make_encoder()),
        "encoder_with_users": DotForm(items, None, users, encoder=make_encoder()),
        "encoder_of_the_described": DotForm(items, None, users, encoder=make_encoder(preparation=make_preparation())),
        "pair_users": PairForm(items, make_scorer(), users),
        "pair_histories": PairForm(items, make_scorer(), None, make_encoder()),
        "two_stage_users": PairForm(items, make_scorer(), users, None, DotForm(items, bias, users), N_CANDIDATES),
        "two_stage_fold_in": PairForm(
            items, make_scorer(), users, make_encoder(), DotForm(items, None, users, implicit), N_CANDIDATES
        ),
        "two_stage_item_item": PairForm(
            items,
            make_scorer(takes_retrieved=True),
            encoder=make_encoder(),
            retriever=ItemItemForm(sparse, binary=False),
            n_candidates=N_CANDIDATES,
        ),
        "two_stage_standardized": PairForm(
            items,
            make_scorer(takes_retrieved=True),
            users,
            make_encoder(),
            DotForm(items, None, users, implicit),
            N_CANDIDATES,
            standardized=True,
        ),
        "two_stage_described": PairForm(
            items,
            make_scorer(),
            None,
            make_encoder(preparation=make_preparation()),
            DotForm(items, None, None, encoder=make_encoder(preparation=make_preparation())),
            N_CANDIDATES,
        ),
    }
    return forms[name]
