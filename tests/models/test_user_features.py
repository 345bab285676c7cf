"""Features of those who ask: the same answers from every table and on every path, and one error for each fault."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pandas as pd
import polars as pl
import pytest
from form_examples import N_FACTORS, N_ITEMS, PEOPLE, decayed_sum, described, make_encoder, make_form, make_preparation

from recsys_core import runtime, save_bundle
from recsys_core.bundle import load_bundle
from recsys_core.data import FeaturePreparation, Histories, IdMap
from recsys_core.errors import DataError, DTypeError, FormatError, ShapeError
from recsys_core.models import DotForm, FittedModel, HistoryEncoder, PairForm, Reranker
from recsys_core.models.user_features import DescribedHistories
from recsys_core.types import Ranking

HISTORIES = [[3, 1, 3], [], [7], [], [9, 8]]
K = 6


def model_of(name: str, histories: Histories) -> FittedModel:
    users = IdMap([f"u{i:02}" for i in range(50)])
    return FittedModel(make_form(name), users, IdMap(list(range(1000, 1000 + N_ITEMS))), histories)


@pytest.fixture
def model(histories) -> FittedModel:
    return model_of("encoder_of_the_described", histories)


@pytest.fixture(params=["encoder_of_the_described", "fold_in_of_the_described", "two_stage_described"])
def either(request: pytest.FixtureRequest, histories) -> FittedModel:
    return model_of(request.param, histories)


def ids(rows: list[list[int]]) -> list[list[int]]:
    return [[1000 + item for item in row] for row in rows]


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert one.drop("score").equals(other.drop("score"))
    np.testing.assert_allclose(one["score"], other["score"], rtol=1e-4, atol=1e-4)


def test_the_query_is_of_the_history_and_the_features(model: FittedModel) -> None:
    factors = model.form.item_factors
    queries = np.stack([decayed_sum(row, factors) for row in HISTORIES]) + described(make_preparation().arrays(PEOPLE))
    expected = queries @ factors.T
    ranking = model.recommend_indices(
        histories=Histories.from_lists(HISTORIES), user_features=PEOPLE, k=K, filter_seen=False
    )
    np.testing.assert_allclose(ranking.scores, -np.sort(-expected)[:, :K], rtol=1e-4, atol=1e-4)
    assert ranking.indices.tolist() == np.argsort(-expected, kind="stable")[:, :K].tolist()


def test_every_kind_of_table_says_the_same(either: FittedModel) -> None:
    expected = either.recommend(histories=ids(HISTORIES), user_features=PEOPLE, k=K)
    dicts = [{name: value for name, value in row.items() if value is not None} for row in PEOPLE.to_dicts()]
    shuffled = PEOPLE.select("about", "age", "town").cast({"town": pl.Categorical})
    for table in (PEOPLE.to_pandas(), pd.DataFrame(PEOPLE.to_dicts()), dicts, tuple(PEOPLE.to_dicts()), shuffled):
        same(either.recommend(histories=ids(HISTORIES), user_features=table, k=K), expected)
    whole_years = [{**row, "age": int(row["age"])} if "age" in row else row for row in dicts]
    same(either.recommend(histories=ids(HISTORIES), user_features=whole_years, k=K), expected)


def test_one_dict_is_one_asker(either: FittedModel) -> None:
    one = either.recommend(histories=ids([[3, 1]]), user_features={"town": "ulm", "age": 33}, k=K)
    same(one, either.recommend(histories=ids([[3, 1]]), user_features=[{"town": "ulm", "age": 33}], k=K))
    assert one["user_id"].unique().to_list() == [0]


def test_features_alone_are_those_of_somebody_who_has_had_nothing(either: FittedModel) -> None:
    alone = either.recommend(user_features=PEOPLE, k=K)
    assert alone.height == len(PEOPLE) * K
    same(alone, either.recommend(histories=[[]] * len(PEOPLE), user_features=PEOPLE, k=K))
    by_position = either.recommend_indices(user_features=PEOPLE, k=K)
    np.testing.assert_allclose(by_position.scores.ravel(), alone["score"], rtol=1e-5)


def test_what_is_missing_or_new_is_not_known(either: FittedModel) -> None:
    plain = either.recommend(histories=ids([[3, 1], [7]]), k=K)
    for nothing in (
        [{}, {}],
        [{"town": None}, {"age": None}],
        [{"town": "rome"}, {"about": ""}],  # neither was in training
        pl.DataFrame({"town": [None, None]}, schema={"town": pl.String}),
        pl.DataFrame({"age": [None, None]}, schema={"age": pl.String}),  # as an empty field of a CSV file is read
    ):
        same(either.recommend(histories=ids([[3, 1], [7]]), user_features=nothing, k=K), plain)


def test_a_table_may_have_the_columns_that_training_left_out() -> None:
    table = PEOPLE.with_columns(planet=pl.lit("earth"), height=pl.lit(1.8), name=pl.Series(list("abcde")))
    preparation = FeaturePreparation.from_table(table.with_columns(planet=pl.lit(None)), text_columns=["about"])
    assert preparation.columns == ("town", "age", "about")
    assert preparation.unread == ("planet", "height", "name")
    assert FeaturePreparation.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation
    encoder = make_encoder(preparation=preparation)
    form = DotForm(make_form("encoder").item_factors, encoder=encoder)
    model = FittedModel(form, IdMap(["a"]), IdMap(list(range(N_ITEMS))), Histories.from_lists([[0]]))
    assert model.recommend(user_features=table.drop("about"), k=2).height == 10


def test_rows_go_with_labels_by_user_id_and_with_lists_by_place(model: FittedModel) -> None:
    table = PEOPLE.with_columns(user_id=pl.Series(["a", "b", "c", "d", "e"]))
    by_place = model.recommend(histories=ids(HISTORIES), user_features=table, k=K)
    assert by_place["user_id"].unique(maintain_order=True).to_list() == ["a", "b", "c", "d", "e"]
    assert model.recommend(user_features=table, k=1)["user_id"].to_list() == ["a", "b", "c", "d", "e"]
    labelled = dict(reversed(list(zip("abcde", ids(HISTORIES), strict=True))))
    by_label = model.recommend(histories=labelled, user_features=table, k=K)
    assert by_label["user_id"].unique(maintain_order=True).to_list() == ["e", "d", "c", "b", "a"]
    same(by_label.sort("user_id", "rank"), by_place)
    events = pl.DataFrame({"user_id": ["c", "a"], "item_id": [1007, 1003]})
    some = model.recommend(histories=events, user_features=table, k=K)
    same(
        some.filter(pl.col("user_id") == "c"),
        by_place.filter(pl.col("user_id") == "c"),
    )


def test_somebody_described_is_not_somebody_of_whom_nothing_is_known(model: FittedModel) -> None:
    asked = {"histories": [[], [], [9999]], "user_features": [{}, {"age": 20.0}, {"town": "ulm"}]}
    table = model.recommend(**asked, k=K, on_unknown="fallback")
    popular = model.recommend(users=["nobody"], k=K, on_unknown="fallback")
    first = table.filter(pl.col("user_id") == 0)
    assert first["item_id"].to_list() == popular["item_id"].to_list()
    described_ones = table.filter(pl.col("user_id") > 0).with_columns(user_id=pl.col("user_id") - 1)
    same(described_ones, model.recommend(user_features=asked["user_features"][1:], k=K))


def test_scores_of_given_items(either: FittedModel) -> None:
    ranked = either.recommend(user_features=PEOPLE[:1], k=3, filter_seen=False)
    scores = either.score(user_features=PEOPLE[:1], item_ids=ranked["item_id"])
    np.testing.assert_allclose(scores["score"], ranked["score"], rtol=1e-4)
    pairs = either.score_indices(user_features=PEOPLE, item_index=[5, 5, 6], row=[0, 4, 4])
    alone = either.score_indices(user_features=PEOPLE[4:], item_index=[6])
    np.testing.assert_allclose(pairs[2:], alone, rtol=1e-4)
    assert pairs[0] != pairs[1]


def test_an_explanation_takes_items_away_and_leaves_the_features(model: FittedModel) -> None:
    person = {"town": "bonn", "age": 50.0}
    reasons = model.explain(histories=ids([[3, 1, 8]]), user_features=person, item_ids=[1020], n_reasons=5)
    whole, without = (
        model.score(histories=ids([row]), user_features=person, item_ids=[1020])["score"][0]
        for row in ([3, 1, 8], [3, 8])
    )
    np.testing.assert_allclose(reasons["score"], whole, rtol=1e-5)
    (row,) = reasons.filter(pl.col("reason_item_id") == 1001).to_dicts()
    np.testing.assert_allclose(row["contribution"], whole - without, rtol=1e-3, atol=1e-5)
    assert model.explain(user_features=person, k=2).is_empty()


def test_a_bundle_answers_as_the_model_on_both_backends(either: FittedModel, tmp_path) -> None:
    path = save_bundle(either, tmp_path / "people")
    assert load_bundle(path).fitted.form.user_preparation == either.form.user_preparation
    for backend in ("core", "onnx"):
        served = runtime.load(path, backend=backend)
        for asked in (
            {"user_features": PEOPLE},
            {"user_features": PEOPLE, "histories": ids(HISTORIES), "deny": [1004]},
            {"user_features": PEOPLE[:2], "histories": {"x": [1001], "y": []}}
            | {"user_features": PEOPLE[:2].with_columns(user_id=pl.Series(["y", "x"]))},
            {"histories": ids(HISTORIES)},
        ):
            same(served.recommend(**asked, k=K), either.recommend(**asked, k=K))


def test_old_readers_refuse_what_they_could_not_ask_and_read_everything_else(histories, tmp_path) -> None:
    for name, version in (("encoder", 1), ("encoder_of_the_described", 2), ("two_stage_described", 2)):
        path = save_bundle(model_of(name, histories), tmp_path / name)
        assert json.loads((path / "manifest.json").read_text())["format_version"] == version
        session = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map["recsys_core.format_version"] == str(version)
        assert (path / "user_features.json").exists() == (version == 2)


def test_onnxruntime_and_the_json_file_are_enough(model: FittedModel, tmp_path) -> None:
    """What a deployer writes: the arrays follow from ``user_features.json`` by what the documentation says of it."""
    path = save_bundle(model, tmp_path / "people")
    columns = json.loads((path / "user_features.json").read_text())["encoder"]["columns"]
    by_name = {column["name"]: column for column in columns}
    age, town = by_name["age"], by_name["town"]["values"]
    people = [(25.0, "bonn"), (None, "ulm"), (44.0, "rome")]
    session = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        "user_index": np.full(3, -1),
        "history": np.array([[3, 1], [-1, -1], [7, -1]]),
        "user_numeric": np.float32([[np.nan if a is None else (a - age["mean"]) / age["scale"]] for a, _ in people]),
        "user_categorical": np.array([[town.index(t) if t in town else -1] for _, t in people]),
        "user_text": np.full((3, 1), -1),
        "exclude": np.full((3, 0), -1),
        "allow": np.zeros(0, np.int64),
        "k": np.array(K),
    }
    assert {node.name for node in session.get_inputs()} == set(feeds)
    item_index, score = session.run(["item_index", "score"], feeds)
    asked = [{"age": a, "town": t} for a, t in people]
    expected = model.recommend_indices(
        histories=Histories.from_lists([[3, 1], [], [7]]), user_features=asked, k=K, filter_seen=False
    )
    assert item_index.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(score, expected.scores, rtol=1e-4, atol=1e-4)


def test_a_batch_of_known_and_described_people_in_one_graph(model: FittedModel, tmp_path) -> None:
    path = save_bundle(model, tmp_path / "people")
    session = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    arrays = make_preparation().arrays(PEOPLE[:2])
    feeds = {f"user_{name}": array for name, array in arrays.items()} | {
        "user_index": np.array([5, -1]),
        "history": np.full((2, 0), -1),
        "exclude": np.full((2, 0), -1),
        "allow": np.zeros(0, np.int64),
        "k": np.array(K),
    }
    item_index, _ = session.run(["item_index", "score"], feeds)
    known = model.recommend_indices(np.array([5]), k=K, filter_seen=False)
    stranger = model.recommend_indices(user_features=PEOPLE[1:2], k=K)
    assert item_index.tolist() == [known.indices[0].tolist(), stranger.indices[0].tolist()]


def test_many_askers_are_answered_in_parts(model: FittedModel, tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    table = PEOPLE[rng.integers(0, 5, 60).tolist()]
    told = Histories.from_lists([rng.integers(0, N_ITEMS, n % 9).tolist() for n in range(60)])
    served = runtime.load(save_bundle(model, tmp_path / "people"))
    asked = {"histories": told, "user_features": table, "k": K}
    whole = model.recommend_indices(**asked)
    monkeypatch.setattr("recsys_core.models.history_encoder.BATCH_NUMBERS", 700)
    monkeypatch.setattr("recsys_core.export.session.BATCH_BYTES", 16 * N_ITEMS * 7)
    for parts in (model, served):
        ranking = parts.recommend_indices(**asked)
        np.testing.assert_allclose(ranking.scores, whole.scores, rtol=1e-4, atol=1e-4)


class Backwards(Reranker):
    """The pool from its end; it sees who asked."""

    def rerank(self, pool, k, model, histories):
        self.seen = histories
        return Ranking(pool.indices[:, ::-1][:, :k], pool.scores[:, ::-1][:, :k])


def test_a_reranked_model_is_asked_alike(model: FittedModel) -> None:
    reranker = Backwards()
    found = model.reranked(reranker, n_candidates=K).recommend(user_features=PEOPLE[:1], k=K)
    assert found["item_id"].to_list() == model.recommend(user_features=PEOPLE[:1], k=K)["item_id"].to_list()[::-1]
    assert len(reranker.seen) == 1


def test_rows_of_described_histories_keep_their_features() -> None:
    both = DescribedHistories(*vars(Histories.from_lists([[1], [], [2, 3]])).values(), {"user_numeric": np.eye(3)})
    for selection in ([2, 0], [], slice(1, 3), np.array([True, False, True])):
        part = both.rows(selection)
        plain = Histories.from_lists([[1], [], [2, 3]]).rows(selection)
        assert part.indices.tolist() == plain.indices.tolist()
        rows = np.arange(3)[np.asarray(selection, np.int64) if isinstance(selection, list) else selection]
        assert part.features["user_numeric"].tolist() == np.eye(3)[rows].tolist()


ULM = {"town": "ulm"}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"user_features": {"twon": "ulm"}}, DataError, r"got 'twon'; did you mean 'town'\?"),
        (
            {"user_features": {"shoes": 43}},
            DataError,
            "expected columns that training had, 'town', 'age', 'about', got",
        ),
        ({"user_features": {"age": "old"}}, DTypeError, r"user_features\['age'\]: expected numbers or times"),
        ({"user_features": {"town": 5}}, DTypeError, r"user_features\['town'\]: expected strings, categories"),
        ({"user_features": {"about": 5}}, DTypeError, r"user_features\['about'\]: expected texts"),
        ({"user_features": {"age": np.inf}}, DataError, r"user_features\['age'\]: expected finite numbers"),
        (
            {"user_features": [ULM, {"town": 5}]},
            DTypeError,
            r"\['town'\]: expected values of one type, got int and str",
        ),
        ({"user_features": ["ulm"]}, DTypeError, "expected a data frame or a list of dicts, got str in the list"),
        ({"user_features": 5}, DTypeError, "user_features: expected a data frame"),
        ({"user_features": [ULM], "histories": [[], []]}, ShapeError, "a row for each of 2 histories, got 1 rows"),
        (
            {"user_features": [ULM], "users": ["u01"]},
            DataError,
            "expected histories beside them, or nothing, got users",
        ),
        ({"user_features": [ULM], "histories": {"a": []}}, DataError, "expected a column 'user_id' beside histories"),
        (
            {"user_features": [{"user_id": "b", **ULM}], "histories": {"a": []}},
            DataError,
            "expected a row for each asker, got none for 'a'",
        ),
        (
            {"user_features": [{"user_id": "a"}, {"user_id": "a"}], "histories": {"a": []}},
            DataError,
            "expected each asker once",
        ),
    ],
)
def test_one_clear_error_for_each_fault(model: FittedModel, asked, error, message) -> None:
    with pytest.raises(error, match=message):
        model.recommend(**asked)
    with pytest.raises(error, match=message):
        model.score(**asked, item_ids=[1000])
    with pytest.raises(error, match=message):
        model.explain(**asked)


@pytest.mark.parametrize("name", ["encoder", "sparse", "static", "histories_only", "two_stage_fold_in", "users_only"])
def test_a_model_that_reads_none_says_so(name: str, histories) -> None:
    model = model_of(name, histories)
    assert model.form.user_preparation is None
    for ask in (model.recommend, model.recommend_indices):
        with pytest.raises(DataError, match="expected a model that reads features of users"):
            ask(user_features=[ULM])


def test_positions_and_features_of_known_users_are_refused(model: FittedModel) -> None:
    with pytest.raises(DataError, match="got users"):
        model.recommend_indices(np.array([1]), user_features=[ULM])
    with pytest.raises(ShapeError, match="a row for each of 3 histories, got 1 rows"):
        model.recommend_indices(histories=Histories.from_lists([[1], [2], [3]]), user_features=ULM)


def test_an_encoder_says_what_it_takes() -> None:
    encoder = make_encoder(preparation=make_preparation())
    assert encoder.user_inputs == {
        "user_numeric": ("float32", 1),
        "user_categorical": ("int64", 1),
        "user_text": ("int64", None),
    }
    undeclared = HistoryEncoder(encoder.graph, encoder.max_length)
    with pytest.raises(FormatError, match="with a preparation of user features"):
        undeclared.encode(Histories.from_lists([[1]]), np.zeros((N_ITEMS, N_FACTORS), np.float32))


def test_both_stages_read_by_one_preparation() -> None:
    form = make_form("two_stage_described")
    assert isinstance(form, PairForm)
    other = FeaturePreparation.from_table(PEOPLE, text_columns=["about"], n_buckets=30)
    encoder = make_encoder(preparation=other)
    with pytest.raises(DataError, match="by one preparation, got two"):
        PairForm(form.item_inputs, form.scorer, None, encoder, form.retriever)
    # The second stage need not read any.
    first = PairForm(form.item_inputs, form.scorer, None, make_encoder(), form.retriever)
    assert first.user_preparation == make_preparation()
