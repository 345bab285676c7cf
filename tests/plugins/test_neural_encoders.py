"""Encoders: the contract, for users and for items, and what each is for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from recsys_core.errors import ConfigError, PluginError, UnknownModelError
from recsys_core.registry import default_registry
from recsys_neural.encoders import EntityEmbedding, EntityInputs, TargetAttention, build_encoder

N_DIMS = 8
ENCODERS = ["attention", "cnn", "gru", "mlp", "text", "transformer", {"name": "cnn", "over": "matrix"}]
EVERYTHING = EntityInputs(
    max_length=6, item_dims=5, n_ids=10, n_numeric=2, widths=(3, 1), n_values=7, n_buckets=50, vector_dims=4
)


def everything(n_rows: int = 5) -> dict[str, torch.Tensor]:
    """Rows that know more and more: nothing is known of the first."""
    draw = torch.Generator().manual_seed(0)
    history = torch.full((n_rows, 6), -1)
    for row in range(n_rows):
        history[row, 6 - row :] = torch.randint(12, (row,), generator=draw)
    batch = {
        "history": history,
        "items": torch.randn(12, 5, generator=draw),
        "id": torch.arange(n_rows) - 1,
        "numeric": torch.randn(n_rows, 2, generator=draw),
        "categorical": torch.randint(-1, 7, (n_rows, 4), generator=draw),
        "text": torch.randint(50, (n_rows, 9), generator=draw),
        "vector": torch.randn(n_rows, 4, generator=draw),
    }
    batch["text"][:, 5:] = -1
    for name in ("numeric", "vector"):
        batch[name][0] = torch.nan
    for name in ("categorical", "text"):
        batch[name][0] = -1
    return batch


def made(choice, inputs: EntityInputs = EVERYTHING):
    torch.manual_seed(1)
    encoder = build_encoder(choice, inputs, N_DIMS).eval()
    with torch.no_grad():  # weights large enough for an influence not to be lost in rounding
        for weight in encoder.parameters():
            weight.mul_(2)
    return encoder


def test_every_encoder_is_here() -> None:
    registered = {entry.spec.name for entry in default_registry().entries("encoder")}
    assert {choice for choice in ENCODERS if isinstance(choice, str)} <= registered


@pytest.mark.parametrize("choice", ENCODERS, ids=str)
@torch.no_grad()
def test_a_row_does_not_depend_on_padding_or_on_the_other_rows(choice) -> None:
    encoder, batch = made(choice), everything()
    together = encoder(batch)
    assert together.shape == (5, N_DIMS)
    assert together.dtype == torch.float32
    assert torch.isfinite(together).all()
    for row in range(5):
        alone = {name: tensor if name == "items" else tensor[row : row + 1] for name, tensor in batch.items()}
        alone["history"] = alone["history"][:, 6 - max(row, 1) :]
        alone["text"] = alone["text"][:, :5]
        torch.testing.assert_close(encoder(alone)[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", ENCODERS, ids=str)
@pytest.mark.parametrize("name", ["history", "id", "numeric", "categorical", "text", "vector"])
@torch.no_grad()
def test_everything_that_is_known_counts(choice, name: str) -> None:
    encoder, batch = made(choice), everything()
    changed = dict(batch)
    missing = torch.nan if batch[name].is_floating_point() else -1
    changed[name] = torch.full_like(batch[name], missing)
    difference = (encoder(changed) - encoder(batch)).abs().amax(dim=1)
    assert (difference[2:] > 1e-4).all()
    assert difference[0] < 1e-6  # of whom nothing was known


@pytest.mark.parametrize("choice", ENCODERS, ids=str)
@pytest.mark.parametrize(
    "inputs",
    [
        EntityInputs(max_length=6, item_dims=N_DIMS),
        EntityInputs(n_ids=10),
        EntityInputs(n_numeric=2),
        EntityInputs(widths=(3, 1), n_values=7),
        EntityInputs(n_buckets=50),
        EntityInputs(vector_dims=4),
    ],
    ids=lambda inputs: inputs.names[0],
)
def test_each_kind_of_input_is_enough_and_trains(choice, inputs: EntityInputs) -> None:
    encoder = build_encoder(choice, inputs, N_DIMS)
    batch = {name: tensor for name, tensor in everything().items() if name in inputs.names}
    if "items" in batch:
        batch["items"] = torch.randn(12, N_DIMS)
    encoder(batch).square().sum().backward()
    without = [name for name, weight in encoder.named_parameters() if weight.grad is None]
    # Those that take fields leave the token for the summary aside.
    assert without in ([], ["embedding.summary"])


@pytest.mark.parametrize(("choice", "matters"), [("gru", True), ("transformer", True), ("cnn", True), ("mlp", False)])
@torch.no_grad()
def test_the_order_of_a_history(choice: str, matters: bool) -> None:
    encoder = made(choice, EntityInputs(max_length=6, item_dims=5))
    items = everything()["items"]
    one, other = (encoder({"history": torch.tensor([row]), "items": items}) for row in ([1, 2, 3], [3, 2, 1]))
    assert (float((one - other).abs().max()) > 1e-3) == matters


@torch.no_grad()
def test_tokens_are_right_aligned_features_first() -> None:
    embedding = EntityEmbedding(EntityInputs(max_length=3, item_dims=2, widths=(2,), n_values=4), 2)
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    batch = {"history": torch.tensor([[-1, 0, 1]]), "items": items, "categorical": torch.tensor([[3, -1]])}
    tokens, mask = embedding(batch)
    assert mask.tolist() == [[False, False, True, True, True, True]]
    expected = torch.stack([embedding.values.weight[3], items[0], items[1], embedding.summary])
    torch.testing.assert_close(tokens[0, 2:], expected)
    assert tokens[0, :2].abs().max() == 0
    assert embedding.max_tokens == 6
    fields = embedding.fields(batch)
    torch.testing.assert_close(fields[0], torch.stack([embedding.values.weight[3], items.mean(0)]))


@torch.no_grad()
def test_a_missing_number_is_not_a_mean_one() -> None:
    embedding = EntityEmbedding(EntityInputs(n_numeric=1), 4)
    tokens, mask = embedding({"numeric": torch.tensor([[0.0], [torch.nan], [2.0]])})
    slope, offset, absent = embedding.numeric[:, 0]
    torch.testing.assert_close(tokens[:, 0], torch.stack([offset, absent, 2 * slope + offset]))
    assert mask.all()


@torch.no_grad()
def test_target_attention_prefers_what_goes_with_the_target() -> None:
    attention = TargetAttention(2)
    attention.query.weight.copy_(20 * torch.eye(2))
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]]])
    mask = torch.tensor([[False, True, True]])
    pooled = attention(tokens, mask, torch.eye(2)[None])
    torch.testing.assert_close(pooled[0], torch.eye(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("weigh_ngrams", [False, True])
@pytest.mark.parametrize("exporting", [False, True])
def test_a_text_is_the_weighted_mean_of_its_ngrams_and_learns_as_one(
    weigh_ngrams: bool, exporting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: exporting)
    embedding = EntityEmbedding(EntityInputs(n_buckets=50), N_DIMS, weigh_ngrams=weigh_ngrams)
    learned = [embedding.ngrams.weight]
    if weigh_ngrams:
        torch.nn.init.normal_(embedding.ngram_weight.weight)
        learned.append(embedding.ngram_weight.weight)
    texts = torch.tensor([[3, 7, 7, -1], [-1, -1, -1, -1], [0, -1, -1, -1], [49, 0, 3, 8]])
    expected = []
    for text in texts:
        ngrams = text[text >= 0]
        weights = embedding.ngram_weight(ngrams).exp() if weigh_ngrams else torch.ones(len(ngrams), 1)
        expected.append((embedding.ngrams(ngrams) * weights).sum(0) / weights.sum().clamp(min=1e-9))
    means, reference = embedding.fields({"text": texts})[:, 0], torch.stack(expected)
    torch.testing.assert_close(means, reference)

    pull = torch.randn(4, N_DIMS)
    found, wanted = (torch.autograd.grad((each * pull).sum(), learned) for each in (means, reference))
    torch.testing.assert_close(found, wanted)


def test_what_cannot_be_built_says_why() -> None:
    inputs = EntityInputs(n_ids=3)
    with pytest.raises(ConfigError, match="expected at least one of history"):
        EntityInputs()
    with pytest.raises(UnknownModelError, match="did you mean 'transformer'"):
        build_encoder("transfomer", inputs, 8)
    with pytest.raises(ConfigError, match=r"no setting 'n_unit'.*did you mean 'n_units'"):
        build_encoder({"name": "gru", "n_unit": 3}, inputs, 8)
    with pytest.raises(ConfigError, match="a dict with a name"):
        build_encoder({"n_units": 3}, inputs, 8)
    with pytest.raises(ConfigError, match="divisor of n_dims, 8, got 3"):
        build_encoder({"name": "transformer", "n_heads": 3}, inputs, 8)
    with pytest.raises(ConfigError, match="heights of at least 1"):
        build_encoder({"name": "cnn", "heights": []}, inputs, 8)
    with pytest.raises(ConfigError, match="n_dims: expected at least 1"):
        build_encoder("mlp", inputs, 0)


def test_a_plugin_that_registers_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(default_registry()), "create", lambda *arguments, **settings: object())
    with pytest.raises(PluginError, match=r"expected a recsys_neural\.encoders\.Encoder, got object"):
        build_encoder("mlp", EntityInputs(n_ids=3), 8)
