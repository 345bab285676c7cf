"""The sequence models: conformance, what they must learn, and what they promise beyond."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import Interactions, create, save_bundle
from recsys_core.data import Histories
from recsys_core.errors import ConfigError
from recsys_core.testing import Subject, parametrize_with_checks
from recsys_core.testing.checks import check_quality
from recsys_neural.networks.sequence import SequenceEncoder, encode_histories

MODELS = ["sasrec", "hstu", "gru4rec", "caser"]
SMALL = {"n_factors": 16, "n_epochs": 15, "batch_size": 32, "learning_rate": 0.01, "max_length": 8, "dropout": 0.1}
SMALL |= {"validation": 0, "n_threads": 1}


@parametrize_with_checks(["sasrec"], settings=SMALL)
def test_sequence_conformance(check) -> None:
    check()


@pytest.mark.slow
@parametrize_with_checks(MODELS[1:], settings=SMALL)
def test_conformance_of_the_other_networks(check) -> None:
    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caser", "gru4rec"])
def test_defaults_learn_tastes_from_little_data(name: str) -> None:
    """An epoch of two steps shows no gain: patience must not end while popularity is all that was learned."""
    check_quality(Subject.of(name, {"n_threads": 1}))


def markov_chain(
    n_users: int = 300, n_items: int = 30, length: int = 9, seed: int = 0
) -> tuple[Interactions, np.ndarray]:
    """From each item one other follows in nine of ten cases, and any in the tenth: popularity knows nothing."""
    rng = np.random.default_rng(0)
    follower = rng.permutation(n_items)
    chains = np.empty((n_users, length), np.int64)
    chains[:, 0] = rng.integers(0, n_items, n_users)
    for step in range(1, length):
        stray = rng.random(n_users) < 0.1
        chains[:, step] = np.where(stray, rng.integers(0, n_items, n_users), follower[chains[:, step - 1]])
    times = np.tile(np.arange(length), n_users).astype("datetime64[D]")
    return Interactions.from_arrays(np.repeat(np.arange(n_users), length), chains.ravel(), datetimes=times), follower


def share_found(model, interactions: Interactions, follower: np.ndarray) -> float:
    """How often the first recommendation after a walk of four steps is the step that follows."""
    walks = [np.arange(len(follower))]
    for _ in range(4):
        walks.append(follower[walks[-1]])
    histories = Histories.from_lists(interactions.items.index_of(np.stack(walks[:4], 1).ravel()).reshape(-1, 4))
    found = model.recommend_indices(histories=histories, k=1, filter_seen=False).indices[:, 0]
    return float((np.asarray(interactions.items.ids)[found] == walks[4]).mean())


@pytest.mark.parametrize("name", MODELS)
def test_what_follows_is_learned(name):
    interactions, follower = markov_chain()
    model = create(name, **{**SMALL, "n_epochs": 25, "validation": 0.1}).fit(interactions)
    assert share_found(model, interactions, follower) > 0.8  # by chance 0.03
    scores = [report.score for report in model.curve_]
    assert max(scores) > 0.85
    assert model.best_epoch_ == 1 + int(np.argmax(scores))


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "gbce", "bce", "bpr"])
def test_every_loss_learns_what_follows(loss):
    interactions, follower = markov_chain()
    settings = {"n_epochs": 40, "loss": loss, "n_negatives": 16, "shared_negatives": loss == "sampled_softmax"}
    model = create("sasrec", **{**SMALL, **settings}).fit(interactions)
    assert share_found(model, interactions, follower) > 0.8  # by chance 0.03


def untrained(name: str, **settings) -> SequenceEncoder:
    model = create(name, **{**SMALL, **settings})
    torch.manual_seed(0)
    encoder = SequenceEncoder(20, SMALL["n_factors"], model.build_network()).eval()
    with torch.no_grad():
        encoder.item_factors.mul_(50)  # so that an item's influence is not lost in rounding
    return encoder


@pytest.mark.parametrize("name", MODELS)
def test_states_depend_on_the_past_and_not_on_padding_or_the_future(name):
    encoder = untrained(name)
    history = torch.tensor([[4, 9, 2, 7, 1]])
    with torch.no_grad():
        states = encoder.states(history)
        padded = encoder.states(torch.tensor([[-1, -1, -1, 4, 9, 2, 7, 1]]))
        torch.testing.assert_close(padded[:, 3:], states, rtol=1e-4, atol=1e-5)
        changed = encoder.states(torch.tensor([[4, 9, 2, 7, 5]]))
        torch.testing.assert_close(changed[:, :4], states[:, :4])
        assert (changed[:, 4] - states[:, 4]).abs().max() > 1e-3
        earlier = encoder.states(torch.tensor([[4, 9, 3, 7, 1]]))
        assert (earlier[:, 4] - states[:, 4]).abs().max() > 1e-3
        assert torch.isfinite(encoder(torch.full((2, 3), -1))).all()


@pytest.mark.parametrize("name", MODELS)
def test_encode_histories_takes_the_newest_and_keeps_the_order(name):
    encoder = untrained(name)
    rows = [[1, 2, 3], [], list(range(12)), [5], list(range(4, 12))]
    queries = encode_histories(encoder, Histories.from_lists(rows), 8, torch.device("cpu"))
    assert queries.shape == (5, SMALL["n_factors"])
    np.testing.assert_allclose(queries[2], queries[4], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(queries[0], encoder(torch.tensor([[1, 2, 3]]))[0], rtol=1e-4, atol=1e-5)


def test_the_networks_have_the_formulas_of_their_docstrings():
    """One head, one row, no padding: attention and the pointwise kind, written out."""
    from recsys_neural.networks import SelfAttention, causal_mask
    from recsys_neural.networks.hstu import HstuBlock

    torch.manual_seed(0)
    x = torch.randn(1, 4, 6)
    allowed = causal_mask(torch.ones(1, 4, dtype=torch.bool))
    attention = SelfAttention(6, 1, 0.0)
    query, key, value = attention.project_in(x)[0].chunk(3, dim=1)
    weights = (query @ key.T / 6**0.5 + torch.full((4, 4), -torch.inf).triu(1)).softmax(1)
    torch.testing.assert_close(attention(x, allowed)[0], attention.project_out(weights @ value))

    unit = HstuBlock(6, 1, 0.0, max_length=9)
    torch.nn.init.normal_(unit.distance_bias)
    silu = torch.nn.functional.silu
    u, v, q, k = silu(unit.project_in(unit.norm(x)))[0].chunk(4, dim=1)
    bias = torch.stack([torch.stack([unit.distance_bias[0, abs(s - t)] for t in range(4)]) for s in range(4)])
    weights = silu(q @ k.T + bias).tril() / 9
    expected = x[0] + unit.project_out(unit.attended_norm(weights @ v) * u)
    torch.testing.assert_close(unit(x, allowed)[0], expected)


@pytest.mark.parametrize(("input_norm", "alike"), [(True, True), (False, False)])
def test_a_norm_before_the_blocks_takes_the_scale_of_the_items_away(input_norm, alike):
    encoder = untrained("sasrec", input_norm=input_norm)
    torch.nn.init.zeros_(encoder.network.positions.weight)
    history = torch.tensor([[4, 9, 2]])
    with torch.no_grad():
        states = encoder(history, 50 * encoder.item_factors)
        larger = encoder(history, 500 * encoder.item_factors)
    assert torch.allclose(states, larger, rtol=1e-3, atol=1e-3) == alike


def test_caser_sees_its_window_and_no_more():
    encoder = untrained("caser", window=3)
    with torch.no_grad():
        states = encoder(torch.tensor([[4, 9, 2, 7, 1]]))
        torch.testing.assert_close(encoder(torch.tensor([[8, 3, 2, 7, 1]])), states)
        assert (encoder(torch.tensor([[4, 9, 8, 7, 1]])) - states).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["sasrec", "hstu"])
def test_heads_that_do_not_divide_are_refused(name):
    with pytest.raises(ConfigError, match="expected a divisor of n_factors, 16"):
        create(name, n_factors=16, n_heads=3)


def test_a_killed_fit_resumes_to_the_same_answers(tmp_path):
    interactions, _ = markov_chain(60)
    settings = {**SMALL, "n_epochs": 4, "validation": 0.2, "loss": "sampled_softmax", "n_negatives": 8}
    whole = create("sasrec", **settings).fit(interactions)

    def kill(report):
        if report.epoch == 3:
            raise KeyboardInterrupt

    settings["checkpoint"] = str(tmp_path / "state.pt")
    killed = create("sasrec", **settings)
    killed.callbacks = [kill]
    with pytest.raises(KeyboardInterrupt):
        killed.fit(interactions)
    resumed = create("sasrec", **settings).fit(interactions)
    np.testing.assert_array_equal(resumed.item_factors_, whole.item_factors_)
    assert [report.score for report in resumed.curve_] == [report.score for report in whole.curve_]


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_answers_without_torch(name, tmp_path):
    interactions, _ = markov_chain(40)
    model = create(name, **{**SMALL, "n_epochs": 1}).fit(interactions)
    save_bundle(model, tmp_path / "bundle")
    expected = model.recommend([0, 1, 2], k=3)["item_id"].to_list()
    script = textwrap.dedent(f"""
        import sys
        from recsys_core import runtime
        loaded = runtime.load({str(tmp_path / "bundle")!r})
        print(loaded.recommend([0, 1, 2], k=3)["item_id"].to_list())
        assert "torch" not in sys.modules
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
