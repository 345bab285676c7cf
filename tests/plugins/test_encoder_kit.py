"""The kit of encoders: ours keep their promises, and each check catches the fault it is there for."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from recsys_core import create
from recsys_core.errors import ConfigError, DTypeError, PluginError
from recsys_core.registry import EncoderSpec, Entry, default_registry
from recsys_core.testing import block_interactions, check_conformance, find_kit, parametrize_with_checks
from recsys_neural.encoders import Encoder, EntityEmbedding, EntityInputs, build_encoder, example_batch
from recsys_neural.testing import ENCODER_CHECKS

REGISTERED = sorted(entry.spec.name for entry in default_registry().entries("encoder"))


class Mean(Encoder):
    """A mean of the tokens: keeps every promise."""

    def __init__(self, inputs, n_dims, **settings):
        super().__init__(inputs, n_dims, **settings)
        self.embedding = EntityEmbedding(inputs, n_dims)
        self.head = torch.nn.Linear(n_dims, n_dims)

    def forward(self, batch):
        tokens, mask = self.embedding(batch)
        return self.head(tokens.sum(1) / mask.sum(1, keepdim=True))


class Lenient(Mean):
    """Takes any setting."""

    def __init__(self, inputs, n_dims, **settings):
        super().__init__(inputs, n_dims)


class TooWide(Mean):
    def forward(self, batch):
        return torch.nn.functional.pad(super().forward(batch), (0, 1))


class Double(Mean):
    def forward(self, batch):
        return super().forward(batch).double()


class NoneForNobody(Mean):
    """Divides by the number of features that are known."""

    def forward(self, batch):
        tokens, mask = self.embedding(batch)
        return self.head((tokens * mask.unsqueeze(-1))[:, :-1].sum(1) / (mask.sum(1, keepdim=True) - 1))


class CentresTheBatch(Mean):
    def forward(self, batch):
        encoded = super().forward(batch)
        return encoded - encoded.mean(0)


class CountsPadding(Mean):
    def forward(self, batch):
        tokens, _ = self.embedding(batch)
        return self.head(tokens.mean(1))


class Unseeded(Mean):
    def __init__(self, inputs, n_dims, **settings):
        super().__init__(inputs, n_dims, **settings)
        draw = np.random.default_rng().normal(size=(n_dims, n_dims))
        self.head.weight.data.copy_(torch.from_numpy(draw))


class WritesIntoTheBatch(Mean):
    def forward(self, batch):
        for name in ("history", "categorical"):
            if name in batch:
                batch[name].clamp_(min=0)
        return super().forward(batch)


class CutOff(Mean):
    def forward(self, batch):
        tokens, mask = self.embedding(batch)
        return self.head(tokens.detach().sum(1) / mask.sum(1, keepdim=True))


class Asks(Mean):
    """Python that depends on data, which cannot be exported."""

    def forward(self, batch):
        encoded = super().forward(batch)
        return encoded if float(encoded[0, 0]) > -1e9 else -encoded


BROKEN = {
    "encoder_contract": [Lenient],
    "output": [TooWide, Double],
    "finite": [NoneForNobody],
    "rows_are_independent": [CentresTheBatch],
    "padding": [CountsPadding],
    "repeatable": [Unseeded, WritesIntoTheBatch],
    "gradients": [CutOff],
    "onnx": [Asks],
}
CASES = [(name, factory) for name, factories in BROKEN.items() for factory in factories]


def run(name: str, factory: type[Encoder]) -> None:
    kit = find_kit("encoder")
    (check,) = [check for check in kit.checks if check.__name__ == f"check_{name}"]
    check(kit.subject.of(factory))


@pytest.mark.parametrize(("name", "factory"), CASES, ids=[f"{name}-{made.__name__}" for name, made in CASES])
def test_a_broken_encoder_fails_its_check(name: str, factory: type[Encoder]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the kit reports whatever a check raises
        run(name, factory)
    assert str(caught.value)
    if name != "onnx":
        run(name, Mean)


def test_every_check_has_a_broken_encoder() -> None:
    names = [check.__name__.removeprefix("check_") for check in ENCODER_CHECKS]
    assert names == ["inert_plugin", *BROKEN]


@parametrize_with_checks(["gru"], kind="encoder")
def test_conformance(check) -> None:
    check()


@pytest.mark.slow
@parametrize_with_checks([name for name in REGISTERED if name != "gru"], kind="encoder")
def test_conformance_of_the_others(check) -> None:
    check()


@pytest.mark.slow
@parametrize_with_checks(["cnn"], kind="encoder", settings={"over": "matrix"})
def test_conformance_over_a_matrix(check) -> None:
    check()


@pytest.mark.slow
def test_a_healthy_class_passes() -> None:
    report = check_conformance(Mean, kind="encoder")
    assert report.passed, str(report)
    assert [result.name for result in report.not_applicable] == ["inert_plugin"]


def test_an_encoder_may_refuse_what_it_cannot_read() -> None:
    class HistoriesOnly(Mean):
        def __init__(self, inputs, n_dims, **settings):
            if not inputs.max_length:
                raise ConfigError("HistoriesOnly: expected a history, got none.")
            super().__init__(inputs, n_dims, **settings)

    run("output", HistoriesOnly)
    run("gradients", HistoriesOnly)


def test_what_is_no_encoder_fails() -> None:
    with pytest.raises(DTypeError, match="encoder: expected a registered name, an Entry or a subclass of Encoder"):
        check_conformance(dict, kind="encoder")
    entry = Entry(EncoderSpec("shelf", "argparse:Namespace"), "shop", "1.0", "shop.plugin")
    failed = {result.name: result.message for result in check_conformance(entry).failed}
    assert failed["encoder_contract"] == "factory: expected an Encoder, got Namespace"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch):
    """Registers an encoder of this file as "mine"."""

    def register(factory: type[Encoder]) -> None:
        find = type(default_registry()).find

        def found(self, name: str, kind: str = "recommender") -> Entry:
            if name != "mine":
                return find(self, name, kind)
            return Entry(EncoderSpec("mine", "here:Mine"), "shop", "1.0", "shop.plugin")

        monkeypatch.setattr(type(default_registry()), "find", found)
        resolve = __import__("recsys_core.registry.registry", fromlist=["resolve"]).resolve
        monkeypatch.setattr(
            "recsys_core.registry.registry.resolve",
            lambda target: factory if target == "here:Mine" else resolve(target),
        )

    return register


class Fails(Mean):
    def forward(self, batch):
        raise IndexError("no such shelf")


class Listed(Mean):
    def forward(self, batch):
        return super().forward(batch).tolist()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (TooWide, r"encoder 'mine': expected float32 \(4, 8\), got torch.float32 \(4, 9\)"),
        (Double, r"encoder 'mine': expected float32 \(4, 8\), got torch.float64 \(4, 8\)"),
        (
            NoneForNobody,
            "encoder 'mine': expected finite numbers, got NaN or infinity for one of whom nothing is known",
        ),
        (Fails, "encoder 'mine': fails with IndexError: no such shelf; .*`recsys plugins check mine`"),
        (Listed, "encoder 'mine': expected a Tensor, got list"),
    ],
)
@pytest.mark.parametrize("side", ["user_encoder", "item_encoder"])
def test_a_recommender_names_the_encoder_at_fault(registered, factory, message: str, side: str) -> None:
    registered(factory)
    model = create("two_tower", **{side: "mine"}, n_factors=8, n_epochs=1)
    with pytest.raises(PluginError, match=message):
        model.fit(block_interactions(20, 12, 2))


def test_trying_an_encoder_changes_neither_its_mode_nor_the_seed(registered) -> None:
    registered(Mean)
    torch.manual_seed(5)
    encoder = build_encoder("mine", EntityInputs(n_ids=3), 8)
    after = torch.rand(1)
    torch.manual_seed(5)
    Mean(EntityInputs(n_ids=3), 8)
    assert encoder.training
    assert torch.equal(after, torch.rand(1))


def test_examples_know_more_and_more() -> None:
    inputs = EntityInputs(
        max_length=6, item_dims=5, n_ids=10, n_numeric=2, widths=(3, 1), n_values=7, n_buckets=50, vector_dims=4
    )
    batch = example_batch(inputs, 9)
    assert tuple(batch) == inputs.names
    assert (batch["history"][0] == -1).all()
    assert (batch["history"][8] >= 0).all()
    assert (batch["history"][2] == -1).all()
    for name in ("numeric", "vector"):
        assert torch.isnan(batch[name][:2]).all()
        assert torch.isfinite(batch[name][8]).all()
    for name in ("id", "categorical", "text"):
        assert (batch[name][:2] == -1).all()
        assert (batch[name][8] >= 0).all()
    there = batch["history"] >= 0
    assert (there[:, 1:] >= there[:, :-1]).all()  # right-aligned
    torch.testing.assert_close(example_batch(inputs, 9)["history"], batch["history"])
