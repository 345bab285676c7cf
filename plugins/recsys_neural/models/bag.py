"""A history as the sum of what its items stand for, whatever their order."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["HistoryBag"]


class HistoryBag(nn.Module):
    r"""Sum of the vectors of a history's distinct items, divided by the root of their number.

    .. math:: q(h) = \frac{1}{\sqrt{|h|}} \sum_{i \in h} E_i

    Parameters
    ----------
    table
        float (n_items, n_dims): the items' vectors *E*.
    dropout
        Probability with which training leaves out an item of a history; what is left is scaled up.

    Examples
    --------
    >>> import torch
    >>> bag = HistoryBag(torch.nn.Parameter(torch.eye(3)))
    >>> bag(torch.tensor([[-1, 2, 0, 2, 2, 2], [-1, -1, -1, -1, -1, -1]])).tolist()
    [[0.7071067690849304, 0.0, 0.7071067690849304], [0.0, 0.0, 0.0]]
    """

    def __init__(self, table: nn.Parameter, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = table
        self.dropout = nn.Dropout(dropout)

    def forward(self, history: Tensor) -> Tensor:
        """Sum up.

        Parameters
        ----------
        history
            int64 (n_rows, T): positions of items, -1 where there is none; a repeated item counts once.

        Returns
        -------
        Tensor
            float (n_rows, n_dims), 0 for an empty history.
        """
        there = (history >= 0).to(self.table.dtype)
        items = history.clamp(min=0)
        # An item's occurrences share its weight of 1.
        counts = there.new_zeros(history.shape[0], self.table.shape[0]).scatter_add(1, items, there)
        weights = there / counts.gather(1, items).clamp(min=1.0)
        n_distinct = weights.sum(1, keepdim=True)
        # One matrix product a row, so that the embedded history is summed without a second copy of it.
        embedded = nn.functional.embedding(items, self.table)
        total: Tensor = (self.dropout(weights).unsqueeze(1) @ embedded).squeeze(1)
        return total / n_distinct.clamp(min=1.0).sqrt()
