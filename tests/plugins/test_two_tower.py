"""The two towers: every pair of encoders, the corrected loss, features, and items that training never saw."""

from __future__ import annotations

import numpy as np
import onnx
import polars as pl
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import DotForm, Interactions, create, runtime, save_bundle
from recsys_core.data import FeaturePreparation, Histories, IdMap
from recsys_core.errors import ConfigError, DataError, NotFittedError
from recsys_core.export import encoder_from_torch, export_onnx
from recsys_core.models import FittedModel, HistoryEncoder, ItemEncoder
from recsys_core.testing import parametrize_with_checks
from recsys_core.testing.data import block_interactions
from recsys_neural.encoders import EntityInputs, build_encoder
from recsys_neural.models.known_users import KnownUsers
from recsys_neural.models.new_items import new_item_graph
from recsys_neural.models.towers import ItemTower, TwoTowerObjective, UserTower

ENCODERS = ["attention", "cnn", "gru", "mlp", "text", "transformer"]
SMALL = {"n_factors": 16, "n_epochs": 20, "max_length": 8, "batch_size": 128, "learning_rate": 0.01}
SMALL |= {"validation": 0.0, "n_threads": 1}


@pytest.mark.slow
@parametrize_with_checks(["two_tower"], settings=SMALL)
def test_two_tower_conformance(check) -> None:
    check()


def objective(user_encoder: str = "mlp", item_encoder: str = "mlp", n_items: int = 6, **changed) -> TwoTowerObjective:
    torch.manual_seed(0)
    arrays = {
        "id": torch.arange(n_items),
        "numeric": torch.randn(n_items, 2),
        "categorical": torch.randint(-1, 5, (n_items, 3)),
        "text": torch.randint(-1, 20, (n_items, 4)),
    }
    inputs = EntityInputs(n_ids=n_items, n_numeric=2, widths=(3,), n_values=5, n_buckets=20)
    items = ItemTower(build_encoder(item_encoder, inputs, 8), arrays, True, changed.get("id_dropout", 0.0))
    users = UserTower(
        build_encoder(user_encoder, EntityInputs(max_length=4, item_dims=8, n_numeric=1), 8),
        KnownUsers({"numeric": torch.tensor([[0.5], [torch.nan], [1.0]])}, changed.get("hidden", 0.0)),
        True,
        0.1,
    )
    shares = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1, 0.0])
    return TwoTowerObjective(items, users, shares)


BATCH = (
    torch.tensor([0, 1, 2, 0]),
    torch.tensor([[-1, -1], [-1, 3], [2, 1], [4, 0]]),
    torch.tensor([0, 2, 2, 3]),
)


def loss_without_dropout(towers: TwoTowerObjective) -> float:
    towers.eval()
    with torch.no_grad():
        loss = float(towers(*BATCH))
    towers.train()
    return loss


@pytest.mark.parametrize("item_encoder", ENCODERS)
@pytest.mark.parametrize("user_encoder", ENCODERS)
def test_every_pair_of_encoders_trains(user_encoder: str, item_encoder: str) -> None:
    towers = objective(user_encoder, item_encoder)
    optimizer = torch.optim.AdamW(towers.parameters(), lr=0.02)
    before = loss_without_dropout(towers)
    for _ in range(30):
        loss = towers(*BATCH)
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss_without_dropout(towers) < before
    towers.eval()
    with torch.no_grad():
        vectors = towers.items.all_vectors()
        queries = towers.users(BATCH[1], vectors)
    assert vectors.shape == (6, 8)
    assert queries.shape == (4, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(queries.norm(dim=1), torch.full((4,), 10.0))


TEAS = pl.DataFrame(
    {
        "item_id": np.arange(8),
        "kind": ["tea", "tea", "rum", "rum", "ale", None, "rum", "tea"],
        "title": ["black tea", "green tea", "old rum", None, "pale ale", "milk jug", "rum pot", "tea pot"],
        "size": [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0],
    }
)
GUESTS = pl.DataFrame(
    {
        "town": ["ulm", "ulm", "bonn", "bonn", None],
        "age": [20.0, 40.0, None, 60.0, None],
        "likes": ["a b", "c", "b", *"dd"],
    }
)
TOLD = [[0, 1, 2, 3, 4, 5], [], [6], [3, 7, 3], []]  # the items 6 and 7 are new
N_KNOWN, MATRIX = 6, {"name": "cnn", "over": "matrix"}


class Towers:
    """Untrained towers by every encoder, each exported once: neither depends on what the other side is."""

    def __init__(self) -> None:
        self.guests = FeaturePreparation.from_table(GUESTS, text_columns=["likes"], n_buckets=30, min_count=1)
        self.teas = FeaturePreparation.from_table(TEAS[:N_KNOWN], text_columns=["title"], n_buckets=30, min_count=1)
        self._made: dict[tuple[str, str], tuple] = {}

    def tensors(self, preparation: FeaturePreparation, table: pl.DataFrame) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in preparation.arrays(table).items()}

    def users(self, choice) -> tuple[UserTower, HistoryEncoder]:
        if ("users", str(choice)) not in self._made:
            torch.manual_seed(1)
            arrays = self.tensors(self.guests, GUESTS)
            inputs = EntityInputs(max_length=4, item_dims=8, **self.guests.sizes(arrays))
            tower = UserTower(build_encoder(choice, inputs, 8), KnownUsers(arrays), True, 0.1).eval()
            factors = np.random.default_rng(0).normal(size=(N_KNOWN, 8))
            graph = encoder_from_torch(tower, factors, max_length=4, preparation=self.guests)
            self._made["users", str(choice)] = tower, graph
        return self._made["users", str(choice)]

    def items(self, choice) -> tuple[ItemTower, ItemEncoder]:
        if ("items", str(choice)) not in self._made:
            torch.manual_seed(2)
            arrays = self.tensors(self.teas, TEAS[:N_KNOWN])
            inputs = EntityInputs(n_ids=N_KNOWN, **self.teas.sizes(arrays))
            known = {**arrays, "id": torch.arange(N_KNOWN)}
            tower = ItemTower(build_encoder(choice, inputs, 8), known, True, 0.0).eval()
            self._made["items", str(choice)] = tower, ItemEncoder(new_item_graph(tower), self.teas)
        return self._made["items", str(choice)]


@pytest.fixture(scope="module")
def towers_of() -> Towers:
    return Towers()


@pytest.mark.slow
@pytest.mark.parametrize("item_encoder", [*ENCODERS, MATRIX], ids=str)
@pytest.mark.parametrize("user_encoder", [*ENCODERS, MATRIX], ids=str)
@torch.no_grad()
def test_every_pair_of_encoders_answers_in_onnx_as_in_torch(towers_of, user_encoder, item_encoder, tmp_path) -> None:
    """Known and new items, told and empty histories, described and unknown people: the graphs say what torch says."""
    (users, encoder), (items, item_encoder) = towers_of.users(user_encoder), towers_of.items(item_encoder)
    form = DotForm(items.all_vectors().numpy(), encoder=encoder, item_encoder=item_encoder)
    catalogue = FittedModel(form, IdMap([]), IdMap(TEAS["item_id"][:N_KNOWN]), Histories.from_lists([]))
    model = catalogue.with_items(TEAS[N_KNOWN:])
    export_onnx(model, tmp_path / "model.onnx")  # which compares the exported graph with the model

    new = towers_of.tensors(towers_of.teas, TEAS[N_KNOWN:])
    vectors = torch.cat([items.all_vectors(), items.encode({**new, "id": torch.full((2,), -1)})])
    told = Histories.from_lists(TOLD)
    history = torch.from_numpy(told.newest(4))
    for features in (GUESTS, None):
        known = None if features is None else towers_of.tensors(towers_of.guests, features)
        expected = (users(history, vectors, known) @ vectors.T).numpy()
        ranking = model.recommend_indices(histories=told, user_features=features, k=8, filter_seen=False)
        scores = np.take_along_axis(ranking.scores, np.argsort(ranking.indices, axis=1), axis=1)
        np.testing.assert_allclose(scores, expected, atol=1e-4)


@torch.no_grad()
def test_the_loss_is_the_corrected_softmax() -> None:
    towers = objective().eval()
    vectors = towers.items.all_vectors()
    user, history, target = BATCH
    queries = towers.users.of_users(user, history, vectors)
    shares = towers.log_shares.exp()
    expected = []
    for row in range(4):
        weights = torch.stack([(queries[row] @ vectors[item]).exp() / shares[item] for item in target])
        expected.append(-(weights[row] / weights.sum()).log())
    torch.testing.assert_close(towers(*BATCH), torch.stack(expected).mean())


def test_without_the_correction_popular_items_would_be_pushed_down() -> None:
    """Of users without tastes, the scores of a corrected softmax are the logarithms of the shares."""
    rng = np.random.default_rng(0)
    item = rng.choice(4, 4000, p=[0.6, 0.2, 0.15, 0.05])
    events = Interactions.from_arrays(np.arange(4000), item)
    settings = {**SMALL, "temperature": 1.0, "normalize": False, "user_encoder": "mlp", "n_epochs": 8}
    model = create("two_tower", **settings).fit(events)
    ranking = model.recommend_indices(histories=Histories.from_lists([[]]), k=4)
    assert ranking.indices[0].tolist() == [0, 1, 2, 3]
    shares = np.exp(ranking.scores[0] - np.logaddexp.reduce(ranking.scores[0]))
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.15, 0.05], atol=0.07)


def test_hidden_ids_and_features_are_those_of_strangers() -> None:
    towers = objective(id_dropout=1.0, hidden=1.0)
    for module in towers.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    items = torch.arange(6)
    known = {name: getattr(towers.items, f"known_{name}") for name in ("numeric", "categorical", "text")}
    hidden = towers.items.encode({**known, "id": torch.full((6,), -1)})
    torch.testing.assert_close(towers.items(items), hidden)
    user, history, _ = BATCH
    torch.testing.assert_close(towers.users.of_users(user, history, hidden), towers.users(history, hidden))
    towers.eval()
    assert (towers.items(items) - hidden).abs().max() > 1e-3
    assert (towers.users.of_users(user, history, hidden) - towers.users(history, hidden)).abs().max() > 1e-3


N_BLOCKS = 4


def described_items(n_items: int) -> pl.DataFrame:
    """An item's block is in its kind, in its words and, roughly, in its number."""
    block = np.arange(n_items) % N_BLOCKS
    words = ["tea pot", "rum barrel", "ale mug", "milk jug"]
    return pl.DataFrame(
        {
            "item_id": np.arange(n_items),
            "kind": [f"kind {b}" for b in block],
            "title": [f"{words[b]} number {i}" for i, b in enumerate(block)],
            "size": block + np.random.default_rng(0).normal(0, 0.1, n_items),
        }
    )


def test_items_that_training_never_saw_are_recommended_to_those_who_like_their_kind() -> None:
    warm = block_interactions(200, 40, N_BLOCKS, events_a_user=10.0)
    interactions = warm.with_features(described_items(80), cold_items=True)
    assert interactions.n_items == 80
    model = create("two_tower", **{**SMALL, "item_encoder": "text"}).fit(interactions)
    item_ids = np.asarray(model.items.ids)
    cold = np.flatnonzero(item_ids >= 40)
    ranking = model.recommend_indices(np.arange(200), k=10, allow=cold)
    right = item_ids[ranking.indices] % N_BLOCKS == np.arange(200)[:, None] % N_BLOCKS
    assert right.mean() > 0.8  # chance is a quarter
    # What a cold item is, its features say: the same as of an item that is not in the catalogue at all.
    table = interactions.item_features[cold[:3].tolist()]
    np.testing.assert_allclose(model.encode_items(table), model.item_factors_[cold[:3]], atol=1e-5)


def test_user_features_answer_where_there_is_no_history() -> None:
    warm = block_interactions(200, 40, N_BLOCKS, events_a_user=10.0)
    people = pl.DataFrame({"user_id": np.arange(200), "town": [f"town {u % N_BLOCKS}" for u in range(200)]})
    rows = np.flatnonzero(warm.user_index >= 40)  # the first forty have bought nothing yet
    interactions = Interactions(
        warm.users, warm.items, warm.user_index[rows], warm.item_index[rows], warm.weight[rows], warm.datetime[rows]
    ).with_features(user_features=people)
    model = create("two_tower", **{**SMALL, "user_encoder": "mlp", "n_epochs": 15}).fit(interactions)
    ranking = model.recommend_indices(np.arange(40), k=5)
    right = np.asarray(model.items.ids)[ranking.indices] % N_BLOCKS == np.arange(40)[:, None] % N_BLOCKS
    assert right.mean() > 0.7
    assert model.form.user_factors is not None
    # Strangers, from the same towns and from nowhere.
    towns = [{"town": f"town {block}"} for block in range(N_BLOCKS)]
    asked = model.recommend_indices(user_features=towns, k=5)
    right = np.asarray(model.items.ids)[asked.indices] % N_BLOCKS == np.arange(N_BLOCKS)[:, None]
    assert right.mean() > 0.7
    np.testing.assert_allclose(asked.scores, ranking.scores[:N_BLOCKS], rtol=1e-4)
    assert len(model.recommend(histories=[[]], k=5)) == 5


@pytest.fixture(scope="module")
def club():
    """A model that knows the town, the age and a word or two of each of its 200 users."""
    interactions = block_interactions(200, 40, N_BLOCKS, events_a_user=10.0)
    words = ["tea and books", "rum and ships", "ale and darts", "milk and sleep"]
    block = np.arange(200) % N_BLOCKS
    people = pl.DataFrame(
        {
            "user_id": np.arange(200),
            "town": [f"town {b}" for b in block],
            "age": 20 + 10 * block + np.random.default_rng(0).normal(0, 2, 200),
            "likes": [f"{words[b]}, number {u}" for u, b in enumerate(block)],
        }
    )
    model = create("two_tower", **{**SMALL, "user_encoder": "attention", "n_epochs": 8})
    return model.fit(interactions.with_features(user_features=people)), people


def test_a_stranger_with_the_features_of_a_user_is_answered_like_them(club, tmp_path) -> None:
    model, people = club
    assert model.user_preparation_.columns == ("town", "age", "likes")
    known = np.arange(0, 200, 7)
    told = model.histories.rows(known)
    of_users = model.recommend_indices(known, k=5)
    path = save_bundle(model, tmp_path / "club")
    for asked in (model, runtime.load(path), runtime.load(path, backend="core")):
        ranking = asked.recommend_indices(histories=told, user_features=people[known.tolist()], k=5)
        np.testing.assert_allclose(ranking.scores, of_users.scores, rtol=1e-3)
        blind = asked.recommend_indices(histories=told, k=5)
        assert np.abs(blind.scores - of_users.scores).max() > 1e-2


def test_each_feature_alone_says_something(club) -> None:
    model, _ = club
    told = [{}, {"town": "town 1"}, {"age": 50.0}, {"likes": "ships"}]
    scores = model.score_indices(user_features=told, item_index=np.full(4, 1), row=np.arange(4))
    assert len(set(scores.tolist())) == 4


def test_without_user_features_nothing_is_stored_for_a_user() -> None:
    model = create("two_tower", **{**SMALL, "n_epochs": 1}).fit(block_interactions(20, 12, 2))
    assert model.form.user_factors is None
    with pytest.raises(DataError, match="trained with item features, got one without"):
        model.encode_items(described_items(3))


def test_impossible_settings_say_so() -> None:
    with pytest.raises(ConfigError, match="nothing else is known of an item"):
        create("two_tower", item_ids=False).fit(block_interactions(20, 12, 2))
    with pytest.raises(NotFittedError):
        create("two_tower").encode_items(described_items(3))


@pytest.fixture(scope="module")
def shop():
    """A model of 40 items that knows their features, and a table of 40 more."""
    items = described_items(80)
    interactions = block_interactions(200, 40, N_BLOCKS, events_a_user=10.0).with_features(items.head(40))
    return create("two_tower", **{**SMALL, "item_encoder": "text", "n_epochs": 12}).fit(interactions), items.tail(40)


def test_new_items_join_the_catalogue_of_a_served_bundle(shop, tmp_path) -> None:
    model, new_items = shop
    served = runtime.load(save_bundle(model, tmp_path / "shop"))
    vectors = served.encode_items(new_items)
    with torch.no_grad():
        batch = {name: torch.from_numpy(array) for name, array in model.item_preparation_.arrays(new_items).items()}
        expected = model.objective_.items.encode({**batch, "id": torch.full((40,), -1)}).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(vectors, model.encode_items(new_items))
    assert served.encode_items(new_items.head(0)).shape == (0, SMALL["n_factors"])

    grown = served.with_items(new_items)
    assert (len(served.items), len(grown.items)) == (40, 80)
    assert grown.items.ids.tail(40).to_list() == new_items["item_id"].to_list()
    assert grown.item_features["title"].to_list()[40:] == new_items["title"].to_list()
    cold = np.arange(40, 80)
    ranking = grown.recommend_indices(np.arange(200), k=10, allow=cold)
    right = ranking.indices % N_BLOCKS == np.arange(200)[:, None] % N_BLOCKS
    assert right.mean() > 0.7  # chance is a quarter
    # A history may name a new item, and the grown model is published as any.
    again = runtime.load(save_bundle(grown, tmp_path / "grown"))
    asked = {"histories": [[41], [3, 41, 42]], "k": 5}
    one, other = grown.recommend(**asked), again.recommend(**asked)
    assert one["item_id"].to_list() == other["item_id"].to_list()
    np.testing.assert_allclose(one["score"], other["score"], atol=1e-4)
    known = served.recommend(users=[0, 1], k=5)
    assert grown.recommend(users=[0, 1], k=5, allow=list(range(40))).equals(
        served.with_items(new_items.head(0)).recommend(users=[0, 1], k=5)
    )
    assert known.height == 10


def test_what_cannot_join_the_catalogue_says_why(shop) -> None:
    model, new_items = shop
    fitted = model.fitted
    with pytest.raises(DataError, match="expected a column 'item_id'"):
        fitted.with_items(new_items.drop("item_id"))
    with pytest.raises(DataError, match="each item once"):
        fitted.with_items(pl.concat([new_items, new_items]))
    with pytest.raises(DataError, match="expected new items, got 3, which is known"):
        fitted.with_items(described_items(4).tail(1))
    with pytest.raises(DataError, match="expected a column 'size'"):
        fitted.with_items(new_items.drop("size"))
    with pytest.raises(DataError, match="with_items: expected a model that was trained with item features"):
        create("popularity").fit(block_interactions()).fitted.with_items(new_items)


def test_the_graph_of_new_items_holds_no_vectors_of_known_ones(shop) -> None:
    model, _ = shop
    graph = onnx.load_from_string(model.form.item_encoder.graph).graph
    assert all(model.form.n_items not in tensor.dims for tensor in graph.initializer)
    assert {node.name for node in graph.input} == {"numeric", "categorical", "text"}
