"""NeuMF: its score, its negatives, and what it must learn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import create
from recsys_core.testing import parametrize_with_checks
from recsys_core.testing.data import block_interactions, held_out_items
from recsys_neural.models.neumf import NeuMfConfig, _Objective

SMALL = {"n_factors": 8, "hidden": (16, 8), "n_epochs": 20, "batch_size": 256, "learning_rate": 0.01}
SMALL |= {"validation": 0.0, "n_threads": 1}


@pytest.mark.slow
@parametrize_with_checks(["neumf"], settings=SMALL)
def test_neumf_conformance(check) -> None:
    check()


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_neumf_finds_tastes(validation: float) -> None:
    held_out = held_out_items()
    model = create("neumf", **{**SMALL, "validation": validation}).fit(held_out.train)
    indices = model.recommend_indices(np.arange(240), k=10).indices
    assert np.take_along_axis(held_out.same_block, indices, axis=1).mean() > 0.5  # a quarter by chance
    assert (model.curve_[0].score is None) == (validation == 0)


def objective() -> _Objective:
    torch.manual_seed(0)
    return _Objective(NeuMfConfig(n_factors=3, hidden=(5, 4)), block_interactions(9, 7, 2).to_csr("binary"))


@torch.no_grad()
def test_the_score_is_the_published_one() -> None:
    made = objective().eval()
    score = made.scorer(made.user_inputs(torch.tensor([4])), made.item_inputs(torch.tensor([2])))
    p, p_mlp = made.users.weight[4].split(3)
    q, q_mlp = made.items.weight[2].split(3)
    first = torch.cat([made.user_layer.weight, made.item_layer.weight], dim=1)
    hidden = (first @ torch.cat([p_mlp, q_mlp]) + made.user_layer.bias).relu()
    second, last = (layer for layer in made.scorer.layers if isinstance(layer, torch.nn.Linear))
    expected = made.product_weight @ (p * q) + last(second(hidden).relu())
    torch.testing.assert_close(score, expected)


def test_what_a_user_had_is_no_negative_of_theirs() -> None:
    made = objective()
    dense = block_interactions(9, 7, 2).to_csr("binary").toarray() > 0
    users, items = torch.arange(9), torch.arange(7).expand(9, 7)
    assert made._has_had(users, items).tolist() == dense.tolist()


@pytest.mark.parametrize("loss", ["bce", "bpr", "sampled_softmax"])
def test_the_loss_is_of_the_event_and_what_the_user_has_not_had(loss: str) -> None:
    settings = NeuMfConfig(n_factors=3, hidden=(5, 4), loss=loss, n_negatives=6, dropout=0, regularization=0)
    made = _Objective(settings, block_interactions(9, 7, 2).to_csr("binary"))
    users, items = torch.tensor([0, 5, 8]), torch.tensor([0, 4, 6])
    torch.manual_seed(3)
    found = made(users, items)
    torch.manual_seed(3)
    drawn = torch.randint(7, (3, 6))
    score = lambda u, i: made.scorer(made.user_inputs(u), made.item_inputs(i))  # noqa: E731
    losses = []
    for user, item, others in zip(users, items, drawn, strict=True):
        positive = score(user, item)
        negative = torch.stack([score(user, j) for j in others if not made._has_had(user[None], j[None, None])])
        if loss == "bce":
            losses.append(-(positive.sigmoid().log() + (1 - negative.sigmoid()).log().sum()) / 7)
        elif loss == "bpr":
            losses.append(-(positive - negative).sigmoid().log().sum() / 6)
        else:
            losses.append(-torch.cat([positive[None], negative]).log_softmax(0)[0])
    torch.testing.assert_close(found, torch.stack(losses).mean())
