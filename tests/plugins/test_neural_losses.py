"""Losses of the neural plugin against plain definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from recsys_core.errors import ConfigError, ShapeError
from recsys_core.models import build_config
from recsys_neural.training import ItemLoss, LossConfig, linear_cross_entropy

N_POSITIONS, N_ITEMS, N_FACTORS = 13, 29, 6


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(7)
    queries = torch.randn(N_POSITIONS, N_FACTORS, generator=generator, requires_grad=True)
    factors = torch.randn(N_ITEMS, N_FACTORS, generator=generator, requires_grad=True)
    bias = torch.randn(N_ITEMS, generator=generator, requires_grad=True)
    targets = torch.randint(N_ITEMS, (N_POSITIONS,), generator=generator)
    return queries, factors, bias, targets


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("position_chunk", [0, 1, 5, 12, 13, 100])
def test_linear_cross_entropy_is_torch_cross_entropy_in_value_and_gradient(problem, position_chunk, with_bias):
    queries, factors, bias, targets = problem
    leaves = [queries, factors, bias] if with_bias else [queries, factors]
    own_bias = bias if with_bias else None
    ours = 3 * linear_cross_entropy(queries, factors, targets, own_bias, position_chunk=position_chunk)
    found = torch.autograd.grad(ours, leaves)
    theirs = 3 * functional.cross_entropy(queries @ factors.T + (bias if with_bias else 0), targets)
    expected = torch.autograd.grad(theirs, leaves)
    torch.testing.assert_close(ours, theirs)
    for ours_part, theirs_part in zip(found, expected, strict=True):
        torch.testing.assert_close(ours_part, theirs_part, atol=1e-6, rtol=1e-4)


def test_linear_cross_entropy_can_be_differentiated_again_from_the_same_graph(problem):
    queries, factors, _, targets = problem
    loss = linear_cross_entropy(queries, factors, targets, position_chunk=10)
    first = torch.autograd.grad(loss, queries, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, queries)[0], first, rtol=0, atol=0)


def test_linear_cross_entropy_stays_finite_for_huge_logits(problem):
    queries, factors, _, targets = problem
    loss = linear_cross_entropy(queries * 1e4, factors, targets, position_chunk=5)
    assert math.isfinite(loss.item())
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(loss, [queries, factors]))


def test_linear_cross_entropy_never_holds_more_than_a_chunk_of_logits():
    n_positions, n_items, position_chunk = 200, 20_000, 30
    queries = torch.randn(n_positions, 4, requires_grad=True)
    factors = torch.randn(n_items, 4, requires_grad=True)
    targets = torch.zeros(n_positions, dtype=torch.int64)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            nonlocal largest
            result = function(*arguments, **(keywords or {}))
            for part in result if isinstance(result, tuple | list) else [result]:
                if isinstance(part, torch.Tensor):
                    largest = max(largest, part.numel())
            return result

    with Watch():
        linear_cross_entropy(queries, factors, targets, position_chunk=position_chunk).backward()
    assert largest == max(position_chunk, 4) * n_items
    assert factors.grad is not None


def test_linear_cross_entropy_under_bf16_autocast_is_close_to_float32(problem):
    queries, factors, _, targets = problem
    plain = linear_cross_entropy(queries, factors, targets, position_chunk=10)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = linear_cross_entropy(queries, factors, targets, position_chunk=10)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, plain, rtol=0.02, atol=0.02)
    for ours, theirs in zip(
        torch.autograd.grad(rounded, [queries, factors]), torch.autograd.grad(plain, [queries, factors]), strict=True
    ):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02)


def test_linear_cross_entropy_names_shapes_that_do_not_fit(problem):
    queries, factors, _, targets = problem
    with pytest.raises(ShapeError, match="queries, item_factors"):
        linear_cross_entropy(queries, factors[:, :3], targets)
    with pytest.raises(ShapeError, match="targets"):
        linear_cross_entropy(queries, factors, targets[:3])


def reference(loss, settings, queries, factors, bias, targets, negatives):
    """The definitions of the module's docstring, in float64, one position at a time."""
    queries, factors, bias = (array.detach().double().numpy() for array in (queries, factors, bias))
    log_sigmoid = lambda x: -np.log1p(np.exp(-x))  # noqa: E731
    total = 0.0
    for query, target, drawn in zip(queries, targets.tolist(), negatives.tolist(), strict=True):
        positive = query @ factors[target] + bias[target]
        kept = [item for item in drawn if item != target]
        negative = factors[kept] @ query + bias[kept]
        if loss == "sampled_softmax":
            total += np.log(np.exp(positive) + np.exp(negative).sum()) - positive
        elif loss == "bpr":
            total += -log_sigmoid(positive - negative).sum() / len(drawn)
        else:
            share = len(drawn) / (N_ITEMS - 1)
            beta = 1 if loss == "bce" else share * (settings.calibration * (1 - 1 / share) + 1 / share)
            total += (-beta * log_sigmoid(positive) - log_sigmoid(-negative).sum()) / (1 + len(drawn))
    return total / len(targets)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("loss", ["sampled_softmax", "bce", "gbce", "bpr"])
def test_sampled_losses_are_their_definitions(problem, loss, shared):
    queries, factors, bias, targets = problem
    settings = LossConfig(loss=loss, n_negatives=17, shared_negatives=shared, calibration=0.6)
    torch.manual_seed(3)
    found = ItemLoss(settings, N_ITEMS)(queries, targets, factors, bias)
    torch.manual_seed(3)
    negatives = torch.randint(N_ITEMS, (17,) if shared else (N_POSITIONS, 17)).expand(N_POSITIONS, 17)
    assert (negatives == targets[:, None]).any(), "the case of a drawn target must occur"
    expected = reference(loss, settings, queries, factors, bias, targets, negatives)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(found, [queries, factors, bias]))


def test_gbce_of_full_calibration_weighs_the_positive_by_the_share_that_is_drawn():
    for calibration, weight in ((0.0, 1.0), (1.0, 14 / (N_ITEMS - 1))):
        loss = ItemLoss(LossConfig(loss="gbce", n_negatives=14, calibration=calibration), N_ITEMS)
        assert loss._positive_weight(14) == pytest.approx(weight)


def test_item_loss_reaches_cross_entropy_with_its_chunk(problem):
    queries, factors, bias, targets = problem
    loss = ItemLoss(LossConfig(loss="cross_entropy", position_chunk=4), N_ITEMS)(queries, targets, factors, bias)
    torch.testing.assert_close(loss, functional.cross_entropy(queries @ factors.T + bias, targets))


def test_an_unknown_loss_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"LossConfig.loss: .*'hinge'"):
        build_config(LossConfig, {"loss": "hinge"})
