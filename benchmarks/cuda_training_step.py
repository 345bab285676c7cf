"""A training step of a model of sasrec's shape, whose loss runs over all items: ours in chunks, and torch's plain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def training_steps(n_rows: int, length: int, n_items: int, d: int, device: str) -> dict[str, Callable[[], object]]:
    """Return a step of each contender, checked for the same loss and gradients; none without torch."""
    try:
        import torch

        from recsys_neural.training.cross_entropy import linear_cross_entropy
    except ImportError:
        return {}
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(d, 2, 4 * d, dropout=0.0, batch_first=True, norm_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).to(device)
    table = torch.nn.Parameter(0.02 * torch.randn(n_items, d, device=device))
    inputs = torch.randint(n_items, (n_rows, length), device=device)
    targets = torch.randint(n_items, (n_rows * length,), device=device)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(length, device=device)
    parameters = [table, *encoder.parameters()]

    def plain(queries):
        return torch.nn.functional.cross_entropy(queries @ table.T, targets)

    def chunked(queries):
        return linear_cross_entropy(queries, table, targets)

    losses = {"recsys_core in chunks": chunked, "torch plain": plain}

    def gradients(loss):
        for parameter in parameters:
            parameter.grad = None
        value = loss(encoder(table[inputs], mask=mask, is_causal=True).reshape(-1, d))
        value.backward()
        return value

    found = {}
    for name, loss in losses.items():
        try:
            value = gradients(loss).item()
        except torch.cuda.OutOfMemoryError:
            print(f"{name} runs out of memory at {n_rows} x {length}, {n_items} items")
            continue
        found[name] = (value, table.grad.detach().cpu().numpy())
    first, *others = found.values()
    for other in others:
        if not np.allclose(first[0], other[0], rtol=1e-4) or not np.allclose(
            first[1], other[1], atol=1e-3 * np.abs(first[1]).max()
        ):
            raise SystemExit("the losses in chunks and plain disagree")
    optimizer = torch.optim.Adam(parameters)

    def step(loss) -> None:
        gradients(loss)
        optimizer.step()

    return {name: (lambda loss=losses[name]: step(loss)) for name in found}
