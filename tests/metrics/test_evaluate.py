from __future__ import annotations

import json

import metrics_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_fakes import ListModel

from recsys_core.data import Histories, Interactions, Split
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.metrics import Diversity, ListMetric, PopulationMetric, evaluate, metric
from recsys_core.types import Ranking

ITEMS = ["a", "b", "c", "d", "e"]


def interactions(rows):
    """From {user: items} or {user: {item: weight}}."""
    flat = [(user, item, 1.0 if not isinstance(row, dict) else row[item]) for user, row in rows.items() for item in row]
    return Interactions.from_arrays([u for u, _, _ in flat], [i for _, i, _ in flat], [w for _, _, w in flat])


TRAIN = interactions({"u": "ab", "v": "ac", "w": "ade"})
MODEL_LISTS = {"u": "cde", "v": "bde", "w": "bc"}


def model(lists=MODEL_LISTS, items=ITEMS, **options):
    return ListModel(lists, items, **options)


def test_worked_example():
    split = Split(TRAIN, interactions({"u": "cd", "v": "e", "w": "zb"}), None)
    result = evaluate(model(), split, k=(1, 3), metrics=("recall", "mrr@3", "coverage", "ndcg@2"))
    assert dict(result.values) == pytest.approx(
        {
            "recall@1": (1 / 2 + 0 + 1 / 2) / 3,
            "recall@3": (1 + 1 + 1 / 2) / 3,
            "mrr@3": (1 + 1 / 3 + 1) / 3,
            "coverage@1": 2 / 5,
            "coverage@3": 4 / 5,
            "ndcg@2": (1 + 0 + 1 / (1 + 1 / np.log2(3))) / 3,
        }
    )
    assert result.per_user["user_id"].to_list() == ["u", "v", "w"]
    assert result.per_user["mrr@3"].to_list() == pytest.approx([1, 1 / 3, 1])
    assert result.per_user.columns == ["user_id", "recall@1", "recall@3", "mrr@3", "ndcg@2"]
    assert (result.n_users, result.n_users_skipped, result.n_relevant, result.n_relevant_unknown) == (3, 0, 5, 1)
    assert result.model == "ListModel"


def test_default_metrics_and_their_direction():
    result = evaluate(model(), Split(TRAIN, interactions({"u": "c"}), None))
    names = ["ndcg", "recall", "precision", "map", "mrr", "hit_rate", "novelty", "coverage"]
    assert list(result.values) == [f"{name}@10" for name in names]
    assert all(result.higher_is_better.values())


@settings(max_examples=40)
@given(
    st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 9), unique=True, max_size=8), min_size=1, max_size=8),
    st.dictionaries(
        st.integers(0, 12), st.dictionaries(st.integers(0, 11), st.integers(1, 5), min_size=1, max_size=6), min_size=1
    ),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_same_as_one_user_at_a_time(lists, test, k, batch_size):
    known = [user for user in sorted(test) if user in lists]
    train = Interactions.from_arrays(list(lists), [0] * len(lists))
    split = Split(train, interactions(test), None)
    names = [*reference.ACCURACY, "coverage", "gini"]
    if not known:
        with pytest.raises(DataError, match="expected at least one user that the model knows"):
            evaluate(model(lists, range(10)), split, metrics=names)
        return
    result = evaluate(model(lists, range(10)), split, k=k, metrics=names, batch_size=batch_size)
    assert sorted(result.per_user["user_id"]) == known
    assert result.n_users_skipped == len(test) - len(known)
    assert result.n_relevant_unknown == sum(item >= 10 for user in known for item in test[user])
    for name, by_definition in reference.ACCURACY.items():
        expected = {user: by_definition(lists[user], test[user], k) for user in known}
        column = dict(result.per_user.select("user_id", f"{name}@{k}").rows())
        assert column == pytest.approx(expected, abs=1e-12)
        assert result.values[f"{name}@{k}"] == pytest.approx(np.mean(list(expected.values())))
    shown = [lists[user] for user in known]
    assert result.values[f"coverage@{k}"] == pytest.approx(reference.coverage(shown, k, 10))
    assert result.values[f"gini@{k}"] == pytest.approx(reference.gini(shown, k, 10), nan_ok=True)


def test_k_beyond_the_catalogue():
    result = evaluate(model(), Split(TRAIN, interactions({"u": "ce"}), None), k=50, metrics=("recall", "precision"))
    assert dict(result.values) == {"recall@50": 1.0, "precision@50": 2 / 50}


def test_repeated_test_items_count_once_with_their_largest_weight():
    test = Interactions.from_arrays(["u"] * 4, ["c", "d", "c", "c"], [1.0, 2.0, 5.0, 3.0])
    result = evaluate(model(), Split(TRAIN, test, None), metrics=("precision@2", "ndcg_linear@2"))
    assert result.n_relevant == 2
    assert result.values["precision@2"] == 1.0
    assert result.values["ndcg_linear@2"] == pytest.approx(1.0)


def test_test_items_that_the_filter_can_only_miss_are_counted():
    test = interactions({"u": "abz", "v": "be", "w": "a", "x": "ad", "stranger": "a"})
    split = Split(TRAIN, test, interactions({"x": "dzc", "v": "ab"}))
    # u had a and b in training; v is asked about by a history with b; w had a; x has d in the history.
    result = evaluate(model(), split, metrics="mrr")
    assert result.n_relevant_filtered == 5
    assert "5 relevant items the users had had before count as misses: filter_seen leaves them out" in str(result)
    assert evaluate(model(), split, metrics="mrr", filter_seen=False).n_relevant_filtered == 0


def test_users_whose_list_says_nothing_are_counted():
    class Collapsed(ListModel):
        def recommend_indices(self, *args, **options):
            indices, scores = super().recommend_indices(*args, **options)
            scores[indices >= 0] = 0.5
            return Ranking(indices, scores)

    lists = {"u": "cde", "v": "c", "w": ""}
    split = Split(TRAIN, interactions(dict.fromkeys("uvw", "e")), None)
    for kind, expected in ((ListModel, 1), (Collapsed, 2)):  # one item of any score is a choice
        result = evaluate(kind(lists, ITEMS), split, k=(2, 5), metrics="recall", batch_size=2)
        assert result.n_users_undecided == result.to_dict()["n_users_undecided"] == expected
        assert f"  {expected} users got an empty list, or one whose items all have one score" in str(result)
    assert evaluate(Collapsed(lists, ITEMS), split, k=1, metrics="recall").n_users_undecided == 1


def test_popularity_follows_the_items_of_the_model_not_of_the_training_table():
    # The model orders items its own way, lacks "a" and knows "x", which nobody had.
    reordered = model({"u": ["e", "x", "b"]}, ["x", "e", "d", "c", "b"])
    split = Split(TRAIN, interactions({"u": "c"}), None)
    result = evaluate(reordered, split, k=3, metrics=("mean_popularity", "novelty"))
    assert result.values["mean_popularity@3"] == pytest.approx(2 / 3)
    assert result.values["novelty@3"] == pytest.approx(np.log2(3))


def test_an_undefined_value_is_null_and_leaves_the_user_out_of_the_mean():
    split = Split(TRAIN, interactions({"u": "c", "v": "e"}), None)
    result = evaluate(model({"u": "c", "v": ""}), split, k=1, metrics=("mean_popularity", "diversity"))
    assert result.per_user["mean_popularity@1"].to_list() == [1.0, None]
    assert result.values["mean_popularity@1"] == 1.0
    assert np.isnan(result.values["diversity@1"])
    assert json.loads(json.dumps(result.to_dict()))["values"]["diversity@1"] is None
    assert np.isnan(result.interval("diversity@1")).all()


class Remembers(ListModel):
    """Has histories of its own, as a fitted model has."""

    def __init__(self, lists, items, had, **options):
        super().__init__(lists, items, **options)
        self.histories = Histories.from_lists([self.items.index_of(list(had.get(user, ""))) for user in lists])


def test_a_model_fitted_on_some_of_the_test_part_is_warned_of():
    split = Split(TRAIN, interactions({"u": "cd", "v": "e", "w": "zb"}), None)
    had = {"u": "abc", "v": "ac", "w": "ade"}
    with pytest.warns(
        UserWarning, match=r"it was fitted on 1 of 4 test interactions that split\.train does not hold; fit"
    ):
        result = evaluate(Remembers(MODEL_LISTS, ITEMS, had), split, metrics="mrr")
    assert (result.n_relevant_trained_on, result.n_relevant_filtered) == (1, 1)
    assert "the model was fitted on 1 of them: fit it on split.train" in str(result)
    assert result.to_dict()["n_relevant_trained_on"] == 1


def test_a_model_fitted_on_the_whole_test_part_is_refused():
    split = Split(TRAIN, interactions({"u": "cd", "w": "zb"}), None)
    with pytest.raises(
        DataError, match=r"^model: expected one fitted on split\.train, got one .* all 3 test interactions"
    ):
        evaluate(Remembers(MODEL_LISTS, ITEMS, {"u": "abcd", "v": "ac", "w": "adeb"}), split, metrics="mrr")


def test_what_is_in_train_too_is_no_mistake():
    # People come back: the model was fitted on train, which holds some of the test part.
    split = Split(TRAIN, interactions({"u": "ac"}), None)
    result = evaluate(Remembers(MODEL_LISTS, ITEMS, {"u": "ab", "v": "ac", "w": "ade"}), split, metrics="mrr")
    assert (result.n_relevant_trained_on, result.n_relevant_filtered) == (0, 1)


def test_what_a_history_tells_is_no_mistake_and_what_it_does_not_is():
    test, history = interactions({"u": "cd"}), interactions({"u": "c"})
    with pytest.warns(UserWarning, match=r"fitted on 1 of 2 test interactions"):
        result = evaluate(Remembers(MODEL_LISTS, ITEMS, {"u": "abcd"}), Split(TRAIN, test, history), metrics="mrr")
    assert result.n_relevant_trained_on == 1


def test_interactions_are_no_split():
    with pytest.raises(
        DTypeError, match=r"^split: expected a Split, got Interactions; make one, such as by split_random"
    ):
        evaluate(model(), TRAIN)


class Rates(ListModel):
    """Predicts each item's place in the catalogue for users, and one more for histories; nothing of "e"."""

    def score_indices(self, user_index=None, *, item_index, histories=None, row=None, n_threads=0):
        assert len(item_index) == len(user_index if histories is None else row)
        scores = (item_index + (histories is not None)).astype(np.float32)
        return np.where(item_index == 4, np.float32(np.nan), scores)


def test_predicted_ratings():
    test = interactions({"u": {"a": 1, "d": 5}, "v": {"e": 5, "z": 2}, "x": {"b": 4}})
    split = Split(TRAIN, test, interactions({"x": "ab"}))
    rates = Rates(MODEL_LISTS, ITEMS)
    result = evaluate(rates, split, k=(1, 2), metrics=["rmse", "mae"], filter_seen=False, batch_size=1)
    # a: 0 for 1; d: 3 for 5; b: 1 + 1 for 4; nothing is said of e, and z is unknown.
    assert dict(result.values) == pytest.approx({"rmse": np.sqrt((1 + 4 + 4) / 3), "mae": 5 / 3})
    assert result.n_predicted == 3
    assert result.predicted_deviation == pytest.approx(np.std([1, 5, 4]))
    assert "ratings predicted for 3 of them; to predict their mean has an rmse of 1.6997" in str(result)
    assert result.higher_is_better == {"rmse": False, "mae": False}
    assert result.per_user.columns == ["user_id"]
    assert not rates.calls, "nothing is ranked"
    assert evaluate(rates, split, metrics="recall").to_dict()["predicted_deviation"] is None
    both = evaluate(rates, split, k=2, metrics=["rmse", "recall"])
    assert both.values["rmse"] == result.values["rmse"]
    assert both.per_user.columns == ["user_id", "recall@2"]


def test_predicted_ratings_need_scores():
    split = Split(TRAIN, interactions({"u": "c"}), None)
    with pytest.raises(
        DataError, match=r"^model: expected one with score_indices for metrics of ratings, got ListModel"
    ):
        evaluate(model(), split, metrics="mae")
    with pytest.raises(ConfigError, match=r"^k of the metric 'rmse': expected none"):
        metric("rmse@10")


class TestHistories:
    TEST = interactions({"x": "c", "y": "d", "u": "c", "z": "d", "q": "c", "v": "b"})
    # x has two known items and an unknown one, y only an unknown one, q nothing; u and v are users of the model.
    HISTORY = interactions({"x": ["b", "zzz", "a"], "y": ["zzz"], "u": ["d"], "z": ["e"], "other": ["a", "zzz"]})

    def test_a_history_is_asked_about_in_the_items_of_the_model(self):
        asked = model(for_histories="dc")
        result = evaluate(asked, Split(TRAIN, self.TEST, self.HISTORY), k=2, metrics=("mrr",), batch_size=2)
        by_index = [call["user_index"].tolist() for call in asked.calls if call["histories"] is None]
        assert by_index == [[1]]  # v: no history, but known
        told = [call["histories"] for call in asked.calls if call["histories"] is not None]
        rows = [row for part in told for row in np.split(part.indices, part.indptr[1:-1])]
        by_user = dict(zip(["u", "x", "z"], [row.tolist() for row in rows], strict=True))
        assert by_user == {"u": [3], "x": [1, 0], "z": [4]}
        assert dict(result.per_user.rows()) == {"u": 0.5, "v": 1.0, "x": 0.5, "z": 1.0}
        assert result.n_users_skipped == 2  # y and q
        assert result.n_history_unknown == 3

    def test_a_known_user_whose_history_is_lost_is_asked_about_by_index(self):
        asked = model()
        split = Split(TRAIN, interactions({"u": "c"}), interactions({"u": ["zzz"]}))
        assert evaluate(asked, split, metrics="mrr@1").values["mrr@1"] == 1.0
        assert asked.calls[0]["user_index"].tolist() == [0]

    def test_the_order_of_the_users_is_that_of_the_test_set(self):
        result = evaluate(model(for_histories="dc"), Split(TRAIN, self.TEST, self.HISTORY), metrics="mrr@2")
        assert result.per_user["user_id"].to_list() == [u for u in self.TEST.users.ids if u not in "yq"]


def test_batches_threads_and_progress():
    asked, seen = model(), []
    split = Split(TRAIN, interactions({"u": "c", "v": "c", "w": "c"}), None)
    evaluate(
        asked, split, k=(2, 4), metrics=("mrr",), batch_size=2, n_threads=3, filter_seen=False,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [len(call["user_index"]) for call in asked.calls] == [2, 1]
    assert all(call["k"] == 4 and call["threads"] == 3 and call["filter_seen"] is False for call in asked.calls)
    assert seen == [(2, 3), (3, 3)]


class FirstIsRelevant(ListMetric):
    name = "first_is_relevant"

    def per_user(self, batch):
        assert batch.k <= 2
        return batch.hits[:, 0].astype(float)


class DistinctItems(PopulationMetric):
    name = "distinct_items"
    higher_is_better = False

    def value(self, population):
        return int((population.exposure > 0).sum())


class TestMetricsOfOthers:
    SPLIT = Split(TRAIN, interactions({"u": "c", "v": "e", "w": "b"}), None)

    def test_objects_and_names_side_by_side(self):
        result = evaluate(
            model(), self.SPLIT, k=(1, 2), metrics=(FirstIsRelevant(), DistinctItems(k=2), "recall@3"), name="mine"
        )
        assert dict(result.values) == pytest.approx(
            {"first_is_relevant@1": 2 / 3, "first_is_relevant@2": 2 / 3, "distinct_items@2": 3, "recall@3": 1.0}
        )
        assert result.higher_is_better["distinct_items@2"] is False
        assert result.model == "mine"

    def test_a_resolver_adds_names(self):
        def resolve(name):
            return FirstIsRelevant(k=1) if name == "mine" else metric(name)

        result = evaluate(model(), self.SPLIT, metrics=("mine", "mrr@1"), resolve=resolve)
        assert list(result.values) == ["first_is_relevant@1", "mrr@1"]

    def test_a_repeated_metric_is_reported_once_and_two_of_one_name_are_refused(self):
        result = evaluate(model(), self.SPLIT, metrics=("mrr", "mrr@10", metric("mrr")))
        assert list(result.values) == ["mrr@10"]
        vectors = np.eye(5)
        named = [Diversity(vectors=vectors, name="spread"), Diversity(), "diversity@10"]
        assert list(evaluate(model(), self.SPLIT, metrics=named).values) == ["spread@10", "diversity@10"]
        with pytest.raises(ConfigError, match="two different metrics are called 'diversity@10'"):
            evaluate(model(), self.SPLIT, metrics=[Diversity(), Diversity(vectors=vectors)])

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (np.zeros(2), ShapeError, r"broken@10: expected per_user\(\) to return shape \(3,\), got \(2,\)"),
            (np.array([0.0, np.inf, 0.0]), DataError, "broken@10: expected finite values"),
        ],
    )
    def test_a_broken_metric_is_named(self, returned, error, message):
        class Broken(ListMetric):
            name = "broken"

            def per_user(self, batch):
                return returned

        with pytest.raises(error, match=message):
            evaluate(model(), self.SPLIT, metrics=Broken())


class TestRefusals:
    SPLIT = Split(TRAIN, interactions({"u": "c"}), None)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"k": 0}, "k: expected cut-offs of at least 1"),
            ({"k": ()}, "k: expected cut-offs of at least 1"),
            ({"k": (5, 2.5)}, "k: expected cut-offs of at least 1"),
            ({"k": True}, "k: expected cut-offs of at least 1"),
            ({"metrics": ()}, "metrics: expected at least one"),
            ({"metrics": "ndgc"}, "did you mean 'ndcg'"),
            ({"metrics": [FirstIsRelevant]}, "pass an instance of the class"),
            ({"batch_size": 0}, "batch_size: expected at least 1"),
        ],
    )
    def test_settings(self, arguments, message):
        with pytest.raises(ConfigError, match=message):
            evaluate(model(), self.SPLIT, **arguments)

    @pytest.mark.parametrize(
        ("indices", "error", "message"),
        [
            ([[0, 1, 2]], ShapeError, r"expected indices of shape \(1, 2\).*got \(1, 3\)"),
            ([[0, 5]], DataError, "expected item indices from -1 to 4, got 0 to 5"),
            ([[-2, 0]], DataError, "expected item indices from -1 to 4, got -2 to 0"),
            ([[3, 3]], DataError, "expected each item once in a list, got item index 3 twice"),
        ],
    )
    def test_a_ranking_that_would_falsify_the_metrics(self, indices, error, message):
        class Faulty(ListModel):
            def recommend_indices(self, user_index=None, **options):
                return Ranking(np.array(indices), np.zeros(np.shape(indices), np.float32))

        with pytest.raises(error, match=message):
            evaluate(Faulty(MODEL_LISTS, ITEMS), self.SPLIT, k=2)

    def test_no_user_to_evaluate(self):
        with pytest.raises(DataError, match="got 1 users and none such"):
            evaluate(model(), Split(TRAIN, interactions({"stranger": "c"}), None))


class TestResult:
    SPLIT = Split(TRAIN, interactions({"u": "cd", "v": "e", "w": "zb", "stranger": "a"}), None)

    def result(self):
        return evaluate(model(), self.SPLIT, k=3, metrics=("recall", "coverage"))

    def test_table(self):
        table = self.result().to_frame()
        assert table["metric"].to_list() == ["recall@3", "coverage@3"]
        assert table["std_error"].to_list() == [pytest.approx(np.std([1, 1, 0.5], ddof=1) / np.sqrt(3)), None]
        with_interval = self.result().to_frame(confidence=0.9)
        assert with_interval.columns == ["metric", "value", "std_error", "low", "high"]
        assert with_interval.row(0)[3:] == self.result().interval("recall@3", 0.9)
        assert with_interval.row(1)[3:] == (None, None)

    def test_text_tells_what_was_left_out(self):
        text = str(self.result())
        assert text.startswith("ListModel: 3 users, 5 relevant items, ")
        assert "1 test users left out" in text
        assert "1 relevant items unknown to the model count as misses" in text
        assert "recall@3        0.8333  ± 0.1667" in text
        assert text.endswith("coverage@3      0.8000")

    def test_dict_is_json_safe(self):
        content = json.loads(json.dumps(self.result().to_dict()))
        assert content["values"]["coverage@3"] == 0.8
        assert (content["n_users"], content["n_users_skipped"]) == (3, 1)

    def test_interval_needs_a_value_for_each_user(self):
        result = self.result()
        low, high = result.interval("recall@3", n_samples=200, random_state=3)
        assert low <= result.values["recall@3"] <= high
        with pytest.raises(ConfigError, match="'coverage@3' is one value for all lists together"):
            result.interval("coverage@3")
        with pytest.raises(ConfigError, match="expected one of recall@3, coverage@3; got 'recall@5'"):
            result.interval("recall@5")
