"""Softmax cross-entropy over all items, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys_core.errors import ShapeError

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    queries: Tensor,
    item_factors: Tensor,
    targets: Tensor,
    item_bias: Tensor | None = None,
    *,
    position_chunk: int = 0,
) -> Tensor:
    r"""Mean cross-entropy of the softmax over all items.

    .. math:: -\frac{1}{P} \sum_p \Big( q_p^\top v_{t_p} + b_{t_p}
        - \ln \sum_i \exp(q_p^\top v_i + b_i) \Big)

    Parameters
    ----------
    queries
        float (n_positions, n_factors).
    item_factors
        float (n_items, n_factors).
    targets
        int64 (n_positions,): the item that each position should find.
    item_bias
        float (n_items,), or None.
    position_chunk
        Positions whose logits exist at a time.  0 takes 256 on a CPU, and on another device as many as have 2^26
        logits, but 256 at least.

    Returns
    -------
    Tensor
        float32 scalar; differentiable once in all floating arguments.

    Raises
    ------
    ShapeError
        The shapes do not fit each other.

    Notes
    -----
    Memory: `position_chunk` times n_items floats, beside arguments and gradients.  Time: three products of
    n_positions x n_items x n_factors, all on the way forth: the gradients are had from a chunk's logits while they are
    there, and the way back only scales them.  One product where nothing is differentiated.  The sums run in float32
    whatever the type of the arguments.

    Examples
    --------
    >>> import torch
    >>> loss = linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 2]), position_chunk=2)
    >>> round(loss.item(), 4)
    1.3863
    """
    if queries.ndim != 2 or item_factors.ndim != 2 or queries.shape[1] != item_factors.shape[1]:
        raise ShapeError(
            "queries, item_factors: expected (n_positions, n_factors) and (n_items, n_factors), "
            f"got {tuple(queries.shape)} and {tuple(item_factors.shape)}"
        )
    if targets.shape != queries.shape[:1]:
        raise ShapeError(f"targets: expected shape ({len(queries)},), got {tuple(targets.shape)}")
    kind = queries.device.type
    if position_chunk == 0:
        position_chunk = 256 if kind == "cpu" else max(256, 2**26 // len(item_factors))
    if torch.is_autocast_enabled(kind):
        queries, item_factors = (array.to(torch.get_autocast_dtype(kind)) for array in (queries, item_factors))
    arrays = (queries, item_factors) if item_bias is None else (queries, item_factors, item_bias)
    differentiated = torch.is_grad_enabled() and any(array.requires_grad for array in arrays)
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            queries, item_factors, targets, item_bias, position_chunk, differentiated
        )
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss, and its gradients with it, chunk by chunk of the positions."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        item_factors: Tensor,
        targets: Tensor,
        item_bias: Tensor | None,
        position_chunk: int,
        differentiated: bool,
    ) -> Tensor:
        n_positions, n_items = len(queries), len(item_factors)
        losses = queries.new_empty(n_positions, dtype=torch.float32)
        grad_queries = torch.empty_like(queries)
        grad_factors = torch.zeros_like(item_factors, dtype=torch.float32)
        grad_bias = None if item_bias is None else torch.zeros_like(item_bias, dtype=torch.float32)
        # One buffer for all chunks: to map new memory for each takes longer than to compute in it.
        products = queries.new_empty(min(position_chunk, n_positions), n_items)
        for start in range(0, n_positions, position_chunk):
            chunk = slice(start, start + position_chunk)
            own, target = queries[chunk], targets[chunk, None]
            logits = torch.mm(own, item_factors.T, out=products[: len(own)]).float()
            if item_bias is not None:
                logits += item_bias
            target_logit = logits.gather(1, target)
            largest = logits.amax(1, keepdim=True)
            exponential = logits.sub_(largest).exp_()
            total = exponential.sum(1, keepdim=True)
            losses[chunk] = (total.log() + largest - target_logit).squeeze(1)
            if not differentiated:
                continue
            slope = exponential.div_(total)
            slope.scatter_(1, target, slope.gather(1, target) - 1)
            if grad_bias is not None:
                grad_bias += slope.sum(0)
            slope = slope.to(queries.dtype)
            torch.mm(slope, item_factors, out=grad_queries[chunk])
            grad_factors += slope.T @ own
        ctx.save_for_backward(grad_queries, grad_factors, grad_bias)
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None, None, None]:
        grad_queries, grad_factors, grad_bias = ctx.saved_tensors
        scale = grad / len(grad_queries)  # in float32; autograd casts to the types of the arguments
        bias = None if grad_bias is None else grad_bias * scale
        return grad_queries * scale, grad_factors * scale, None, bias, None, None
