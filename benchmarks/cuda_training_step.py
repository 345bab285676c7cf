"""A training step of the model sasrec with its loss over all items: ours in chunks, and torch's plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cuda_timing import report, timed, torch_with_cuda, wait_for_nothing


def bench_step(shapes: list[tuple[int, int, int, int]], repeats: int) -> None:
    """Time a step at each shape: histories a batch, items of each, items in all, and factors."""
    torch = torch_with_cuda()
    device = "cpu" if torch is None else "cuda"
    synchronize = wait_for_nothing if torch is None else torch.cuda.synchronize
    for n_rows, length, n_items, d in shapes:
        shape = f"sasrec {n_rows} x {length}, {n_items} items, {d}"
        for half in (False, True):
            contenders = training_steps(n_rows, length, n_items, d, device, half)
            where = "" if torch is not None else ", on the CPU"
            report(f"{shape}{', bf16' if half else ''}{where}", timed(contenders, repeats, synchronize))
            for name, step in contenders.items() if torch is not None else ():
                torch.cuda.reset_peak_memory_stats()
                step()
                print(f"{'':40} {name:32} {torch.cuda.max_memory_allocated() / 2**30:10.2f} GiB at most")


def training_steps(
    n_rows: int, length: int, n_items: int, d: int, device: str, half: bool
) -> dict[str, Callable[[], object]]:
    """Return a step of each contender, checked for the same loss and gradients; none without torch.

    The network and the objective are those that `fit` trains, with the model's defaults but for dropout, so that both
    contenders compute the same; they differ in the loss alone.  `half` computes in bf16 as far as autocast does.
    """
    try:
        import torch

        from recsys_neural.models.sasrec import Sasrec
        from recsys_neural.models.sequence import NextItemObjective
        from recsys_neural.networks.sequence import SequenceEncoder
        from recsys_neural.training.losses import ItemLoss
    except ImportError as error:
        print(f"the step is left out: {error}")
        return {}
    torch.manual_seed(0)
    model = Sasrec(n_factors=d, max_length=length, dropout=0.0)
    encoder = SequenceEncoder(n_items, d, model.build_network()).to(device)
    history = torch.randint(n_items, (n_rows, length), device=device)
    targets = torch.randint(n_items, (n_rows, length), device=device)

    class PlainLoss(torch.nn.Module):
        def forward(self, queries: Any, wanted: Any, item_factors: Any) -> Any:
            return torch.nn.functional.cross_entropy((queries @ item_factors.T).float(), wanted)

    losses = {"recsys_core in chunks": ItemLoss(model.config, n_items), "torch plain": PlainLoss()}
    objectives = {name: NextItemObjective(encoder, loss, n_rows * length) for name, loss in losses.items()}

    def gradients(objective: Any) -> Any:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            value = objective(history, targets)
        value.backward()
        return value

    found = {}
    for name, objective in objectives.items():
        try:
            value = gradients(objective).item()
        except torch.cuda.OutOfMemoryError:
            print(f"{name} runs out of memory at {n_rows} x {length}, {n_items} items")
            continue
        found[name] = (value, encoder.item_factors.grad.detach().float().cpu().numpy())
    check_alike(list(found.values()), 2e-2 if half else 1e-3)
    optimizer = torch.optim.Adam(encoder.parameters())

    def step(objective: Any) -> None:
        gradients(objective)
        optimizer.step()

    return {name: (lambda objective=objectives[name]: step(objective)) for name in found}


def check_alike(found: list[tuple[float, np.ndarray]], tolerance: float) -> None:
    """Losses, and gradients of the items, must agree."""
    (loss, gradient), *others = found
    for other_loss, other in others:
        if not np.isclose(loss, other_loss, rtol=tolerance) or not np.allclose(
            gradient, other, atol=tolerance * np.abs(gradient).max()
        ):
            raise SystemExit("the losses in chunks and plain disagree")
