"""LightGCN: propagation as its equations say, strangers, and what it must learn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import create
from recsys_core.testing import parametrize_with_checks
from recsys_core.testing.data import block_interactions, held_out_items
from recsys_neural.models.bag import HistoryBag
from recsys_neural.models.lightgcn import LightGcnConfig, _Graph, _Propagation

SMALL = {"n_factors": 16, "n_layers": 2, "n_epochs": 15, "batch_size": 128, "learning_rate": 0.02, "validation": 0.0}
SMALL |= {"n_negatives": 16, "n_threads": 1}


@pytest.mark.slow
@parametrize_with_checks(["lightgcn"], settings=SMALL)
def test_lightgcn_conformance(check) -> None:
    check()


def graph(n_layers: int = 2) -> tuple[_Graph, np.ndarray]:
    matrix = block_interactions(9, 7, 2).to_csr("binary")
    torch.manual_seed(0)
    return _Graph(LightGcnConfig(n_factors=3, n_layers=n_layers), matrix), matrix.toarray()


@pytest.mark.parametrize("n_layers", [0, 1, 3])
@torch.no_grad()
def test_factors_are_the_mean_over_the_layers(n_layers: int) -> None:
    made, dense = graph(n_layers)
    degrees = np.sqrt(np.outer(dense.sum(axis=1), dense.sum(axis=0)))
    links = dense / np.where(degrees > 0, degrees, 1)
    users, items = np.split(made.embeddings.numpy().astype(np.float64), [9])
    all_users, all_items = [users], [items]
    for _ in range(n_layers):
        users, items = links @ items, links.T @ users
        all_users.append(users)
        all_items.append(items)
    for got, layers in zip(made.factors(), (all_users, all_items), strict=True):
        np.testing.assert_allclose(got.numpy(), np.mean(layers, axis=0), rtol=1e-5, atol=1e-6)


def test_the_gradient_of_propagation() -> None:
    made, _ = graph()
    matrix = (made.neighbors, made.starts, made.weights.double())
    embeddings = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda table: _Propagation.apply(*matrix, table), embeddings)


@torch.no_grad()
def test_a_stranger_is_a_user_without_an_embedding_of_their_own() -> None:
    made, dense = graph()
    for user in range(9):
        before = made.embeddings.clone()
        made.embeddings[user] = 0
        history = torch.from_numpy(np.flatnonzero(dense[user]))[None]
        bag = HistoryBag(torch.nn.Parameter(made.stranger_table()))
        torch.testing.assert_close(bag(history)[0], made.factors()[0][user])
        made.embeddings.copy_(before)
    assert bag(torch.full((1, 2), -1)).abs().max() == 0


def test_tastes_are_found_by_known_users_and_by_strangers() -> None:
    held_out = held_out_items()
    model = create("lightgcn", **SMALL).fit(held_out.train)
    rows = np.arange(240)
    for asked in ({"user_index": rows}, {"histories": model.histories.rows(rows)}):
        indices = model.recommend_indices(**asked, k=10).indices
        assert np.take_along_axis(held_out.same_block, indices, axis=1).mean() > 0.5  # a quarter by chance
    assert model.user_factors_.shape == (240, 16)
    assert model.item_factors_.shape == (80, 16)
