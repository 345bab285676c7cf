"""What every encoder promises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_core.export import graph_from_torch
from recsys_core.testing import NotApplicable, check_inert_plugin, expect, expect_settings, expect_strict
from recsys_neural.encoders import Encoder, example_batch
from recsys_neural.testing.subject import N_DIMS, N_ROWS, EncoderSubject

__all__ = ["ENCODER_CHECKS"]

# Sums of float32 in another order, relative to the largest number of the batch.
ROUNDING = 1e-4
VARYING = {
    "history": (0, 1),
    "items": (0,),
    "id": (0,),
    "numeric": (0,),
    "categorical": (0,),
    "text": (0, 1),
    "vector": (0,),
}


def check_encoder_contract(subject: EncoderSubject) -> None:
    """It can be made without settings, its settings are described, and an unknown one is refused."""
    inputs = next(iter(subject.whole.values()))
    encoder = subject.create(inputs=inputs, n_dims=N_DIMS)
    expect(isinstance(encoder, Encoder), f"factory: expected an Encoder, got {type(encoder).__name__}")
    expect(encoder.inputs == inputs and encoder.n_dims == N_DIMS, "inputs, n_dims: expected those it was made with")
    expect_settings(encoder.config, subject.entry)
    expect_strict(lambda **changed: subject.make(inputs, **changed))


def check_output(subject: EncoderSubject) -> None:
    """It answers with float32 [B, n_dims], whatever is known, for one entity as for many, and for any n_dims."""
    for what, inputs in subject.usable.items():
        for n_dims, n_rows in ((N_DIMS, 1), (N_DIMS, N_ROWS), (2 * N_DIMS, 3)):
            if inputs.item_dims == N_DIMS and n_dims != N_DIMS:
                continue  # vectors of items have one width
            with torch.no_grad():
                encoded = subject.make(inputs, n_dims)(example_batch(inputs, n_rows))
            expect(isinstance(encoded, Tensor), f"{what}: expected a Tensor, got {type(encoded).__name__}")
            got = f"{str(encoded.dtype).removeprefix('torch.')} {tuple(encoded.shape)}"
            expected = f"float32 {(n_rows, n_dims)}"
            expect(got == expected, f"{what}: expected {expected}, got {got}")


def check_finite(subject: EncoderSubject) -> None:
    """Every number is finite, also where nothing is known of an entity, and where all is at its largest."""
    for what, encoder, _, encoded in subject.answers():
        bad = (~torch.isfinite(encoded)).any(dim=1).nonzero().flatten().tolist()
        known = "nothing" if 0 in bad else "something"
        expect(not bad, f"{what}: expected finite numbers, got NaN or infinity for one of whom {known} is known")
        with torch.no_grad():
            nobody = encoder(example_batch(encoder.inputs, 1))
        expect(torch.isfinite(nobody).all(), f"{what}: expected finite numbers in a batch of whom nothing is known")


def check_rows_are_independent(subject: EncoderSubject) -> None:
    """What it says of an entity does not depend on the others of the batch."""
    for what, encoder, batch, together in subject.answers():
        for row in range(N_ROWS):
            alone = {name: tensor if name == "items" else tensor[row : row + 1] for name, tensor in batch.items()}
            with torch.no_grad():
                _expect_close(encoder(alone), together[row : row + 1], together, f"{what}, row {row} encoded alone")


def check_padding(subject: EncoderSubject) -> None:
    """Places without an item before a history, and without an n-gram behind a text, change nothing."""
    padded = False
    for what, encoder, batch, encoded in subject.answers():
        length = encoder.inputs.max_length
        if length:
            batch = example_batch(encoder.inputs, N_ROWS, length=length - 3)
            with torch.no_grad():
                encoded = encoder(dict(batch))
        for name, before, behind in (("history", 3, 0), ("text", 0, 4)):
            if name in batch:
                longer = {**batch, name: nn.functional.pad(batch[name], (before, behind), value=-1)}
                with torch.no_grad():
                    _expect_close(encoder(longer), encoded, encoded, f"{what}, {name} with more padding")
                padded = True
    if not padded:
        raise NotApplicable("it reads neither histories nor texts")


def check_repeatable(subject: EncoderSubject) -> None:
    """One seed gives the same weights, the same batch the same answer again, and the batch stays as it was."""
    for what, encoder, batch, encoded in subject.answers():
        kept = {name: tensor.clone() for name, tensor in batch.items()}
        with torch.no_grad():
            again, other = encoder(dict(batch)), subject.make(encoder.inputs)(dict(batch))
        changed = [name for name, tensor in batch.items() if not _same(tensor, kept[name])]
        expect(not changed, f"{what}: it changed {', '.join(changed)} of the batch; copy before writing")
        expect(torch.equal(again, encoded), f"{what}: expected the same answer when asked twice, got another")
        expect(torch.equal(other, encoded), f"{what}: expected the same weights from the same seed, got others")


def check_gradients(subject: EncoderSubject) -> None:
    """Where it learns, a finite gradient reaches each of its layers, and the vectors of a history's items."""
    learns = False
    for what, inputs in subject.whole.items():
        encoder, batch = subject.make(inputs).train(), example_batch(inputs, N_ROWS)
        if "items" in batch:
            batch["items"].requires_grad_()
        weights = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        encoded = encoder(batch)
        if not encoded.requires_grad:
            expect(
                not weights, f"{what}: expected an answer that its weights can learn from, got one cut off from them"
            )
            continue
        learns = True
        encoded.square().sum().backward()
        if "items" in batch:
            reached = batch["items"].grad is not None
            expect(reached, f"{what}: expected a gradient of the items of a history, got none; do not detach them")
        wild = [
            name for name, weight in weights.items() if weight.grad is not None and not weight.grad.isfinite().all()
        ]
        expect(not wild, f"{what}: expected finite gradients, got NaN or infinity in {', '.join(wild)}")
        idle = _idle_layers(encoder)
        expect(not idle, f"{what}: expected a gradient in each layer, got none in {', '.join(idle)}")
    if not learns:
        raise NotApplicable("it has no weights to learn")


def check_onnx(subject: EncoderSubject) -> None:
    """Exported to ONNX, it gives the same answers in onnxruntime, for several numbers of entities and lengths."""
    for inputs in subject.whole.values():
        sizes = ((4, 5), (1, 1), (2, 3), (7, 6), (33, 2))  # entities, and places of a history
        length = inputs.max_length or None
        batches = [
            example_batch(inputs, n_rows, length=length and n_places, random_state=n_rows) for n_rows, n_places in sizes
        ]
        encoder = subject.make(inputs)
        graph_from_torch(encoder, batches, varying=VARYING, output="encoded", tolerance=ROUNDING)


def _idle_layers(encoder: nn.Module) -> list[str]:
    """Modules with weights of their own of which none has a gradient.

    Not all of them need one: a bag of fields leaves the token that closes a sequence aside.
    """
    idle = []
    for name, module in encoder.named_modules():
        own = [weight for weight in module.parameters(recurse=False) if weight.requires_grad]
        if own and all(weight.grad is None for weight in own):
            idle.append(name or "the encoder itself")
    return idle


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


def _expect_close(got: Tensor, expected: Tensor, scale: Tensor, what: str) -> None:
    expect(got.shape == expected.shape, f"{what}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    allowed = ROUNDING * max(1e-3, float(scale.abs().max()))
    gap = float((got - expected).abs().max())
    # NaN compares as false with everything, so that the good case is asked for.
    expect(gap <= allowed, f"{what}: expected the same answer within {allowed:.0e}, got one that is {gap:.1e} off")


ENCODER_CHECKS = (
    check_inert_plugin,
    check_encoder_contract,
    check_output,
    check_finite,
    check_rows_are_independent,
    check_padding,
    check_repeatable,
    check_gradients,
    check_onnx,
)
"""All checks of an encoder, in the order in which they run."""
