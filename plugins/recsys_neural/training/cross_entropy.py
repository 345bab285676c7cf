"""Softmax cross-entropy over all items, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys_core.errors import ShapeError

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    queries: Tensor, item_factors: Tensor, targets: Tensor, item_bias: Tensor | None = None, *, item_chunk: int = 16_384
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
    item_chunk
        Items whose logits exist at a time.

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
    Memory: n_positions times `item_chunk` floats, beside arguments and gradients.  Time: three products of
    n_positions x n_items x n_factors, and a fourth for the chunks but one whose logits are computed again on the way
    back.  The sums run in float32 whatever the type of the arguments.

    Examples
    --------
    >>> import torch
    >>> loss = linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 2]), item_chunk=3)
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
    if torch.is_autocast_enabled(kind):
        # Cast here, so that the way back, which autocast does not reach, computes in the same type as the way forth.
        queries, item_factors = (array.to(torch.get_autocast_dtype(kind)) for array in (queries, item_factors))
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            queries, item_factors, targets, item_bias, item_chunk
        )
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Log-sum-exp chunk by chunk on the way forth; softmax chunk by chunk on the way back."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, item_factors: Tensor, targets: Tensor, item_bias: Tensor | None, item_chunk: int
    ) -> Tensor:
        log_sum = queries.new_full((len(queries),), -torch.inf, dtype=torch.float32)
        target_logits = torch.empty_like(log_sum)
        starts = range(0, len(item_factors), item_chunk)
        logits = queries.new_empty(0)
        for start in starts:
            logits = _logits(queries, item_factors, item_bias, start, item_chunk)
            log_sum = torch.logaddexp(log_sum, logits.logsumexp(1))
            rows, columns = _targets_within(targets, start, logits.shape[1])
            target_logits[rows] = logits[rows, columns]
        # The last chunk's logits are kept: with one chunk, none is computed twice.
        ctx.save_for_backward(queries, item_factors, targets, item_bias, log_sum, logits)
        ctx.starts, ctx.item_chunk = starts, item_chunk
        return (log_sum - target_logits).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None, None]:
        queries, item_factors, targets, item_bias, log_sum, logits = ctx.saved_tensors
        grad_queries = torch.zeros_like(queries, dtype=torch.float32)
        grad_factors = torch.empty_like(item_factors)
        grad_bias = None if item_bias is None else torch.empty_like(item_bias)
        scale = grad / len(queries)
        for start in reversed(ctx.starts):
            if start != ctx.starts[-1]:
                logits = _logits(queries, item_factors, item_bias, start, ctx.item_chunk)
            softmax = (logits - log_sum[:, None]).exp_()  # a copy: the kept logits may be asked for once more
            rows, columns = _targets_within(targets, start, softmax.shape[1])
            softmax[rows, columns] -= 1
            if grad_bias is not None:
                grad_bias[start : start + ctx.item_chunk] = softmax.sum(0) * scale
            chunk = item_factors[start : start + ctx.item_chunk]
            slope = softmax.mul_(scale).to(queries.dtype)
            grad_queries += slope @ chunk
            torch.mm(slope.T, queries, out=grad_factors[start : start + ctx.item_chunk])
        return grad_queries.to(queries.dtype), grad_factors, None, grad_bias, None


def _logits(queries: Tensor, item_factors: Tensor, item_bias: Tensor | None, start: int, item_chunk: int) -> Tensor:
    chunk = slice(start, start + item_chunk)
    logits = (queries @ item_factors[chunk].T).float()
    return logits if item_bias is None else logits.add_(item_bias[chunk])


def _targets_within(targets: Tensor, start: int, length: int) -> tuple[Tensor, Tensor]:
    """Rows whose target lies in the chunk, and its columns there."""
    rows = ((targets >= start) & (targets < start + length)).nonzero().squeeze(1)
    return rows, targets[rows] - start
