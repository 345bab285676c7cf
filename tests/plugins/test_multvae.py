"""Mult-VAE: its bag of a history, its objective, and what it must learn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import create
from recsys_core.testing import parametrize_with_checks
from recsys_core.testing.data import held_out_items
from recsys_neural.models.bag import HistoryBag
from recsys_neural.models.multvae import MultVaeConfig, _Autoencoder

SMALL = {"n_hidden": 32, "n_latent": 8, "n_epochs": 40, "batch_size": 64, "learning_rate": 0.01, "validation": 0.0}
SMALL |= {"anneal_steps": 50, "n_threads": 1}


@pytest.mark.slow
@parametrize_with_checks(["multvae"], settings=SMALL)
def test_multvae_conformance(check) -> None:
    check()


def test_tastes_are_found() -> None:
    held_out = held_out_items()
    model = create("multvae", **SMALL).fit(held_out.train)
    indices = model.recommend_indices(np.arange(240), k=10).indices
    own = np.take_along_axis(held_out.same_block, indices, axis=1)
    assert own.mean() > 0.6  # a quarter by chance
    assert model.item_factors_.shape == (80, 32)
    assert model.item_bias_.shape == (80,)
    assert model.form.user_factors is None


def test_a_bag_is_a_normalised_set() -> None:
    table = torch.randn(5, 3)
    bag = HistoryBag(torch.nn.Parameter(table), dropout=0.9).eval()
    history = torch.tensor([[-1, 4, 1, 4], [-1, -1, -1, -1], [0, 1, 2, 3]])
    dense = torch.tensor([[0.0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
    expected = torch.nn.functional.normalize(dense, dim=1) @ table
    torch.testing.assert_close(bag(history), expected)
    torch.testing.assert_close(bag(torch.nn.functional.pad(history, (3, 0), value=-1)), expected)


def test_the_dropout_of_a_bag_keeps_its_mean() -> None:
    bag = HistoryBag(torch.nn.Parameter(torch.ones(4, 1)), dropout=0.5)
    torch.manual_seed(0)
    found = bag(torch.tensor([[0, 1, 2, 3]]).expand(4000, 4)).detach()
    assert abs(float(found.mean()) - 2.0) < 0.05  # 4 / sqrt(4)
    assert sorted(set(found.flatten().tolist())) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_objective_is_the_negative_elbo_with_an_annealed_divergence() -> None:
    config = MultVaeConfig(n_hidden=4, n_latent=2, dropout=0.0, beta=0.5, anneal_steps=2)
    torch.manual_seed(0)
    model = _Autoencoder(config, n_items=3)
    history = torch.tensor([[-1, 0, 2], [1, 1, 1]])
    with torch.no_grad():
        for expected_beta in (0.25, 0.5, 0.5):
            torch.manual_seed(1)
            loss = model(history)
            torch.manual_seed(1)
            mean, log_variance = model.queries.gaussian(history)
            latent = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
            drawn = mean + latent.stddev * torch.randn_like(mean)
            log_shares = torch.log_softmax(model.items(model.queries.decode(drawn)), dim=1)
            likelihood = torch.stack([log_shares[0, 0] + log_shares[0, 2], log_shares[1, 1]])
            prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
            divergence = torch.distributions.kl_divergence(latent, prior).sum(1)
            torch.testing.assert_close(loss, (expected_beta * divergence - likelihood).mean())
