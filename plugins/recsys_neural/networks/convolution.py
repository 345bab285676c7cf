"""Convolutions over a sequence of vectors: Caser's filters, at every position at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvolutionNetwork"]


class ConvolutionNetwork(nn.Module):
    r"""What horizontal and vertical filters find among the last items of each position.

    A horizontal filter spans *h* items and all factors, and its largest answer within the window counts; a vertical one
    is a weighted sum of the window's items.

    Parameters
    ----------
    n_factors
        Length of the vectors that come in and go out.
    window
        Items that a position looks back at, itself included.
    n_horizontal
        Filters of each height from 1 to `window`.
    n_vertical
        Vertical filters.
    dropout
        Probability of dropping a filter's answer.

    References
    ----------
    J. Tang and K. Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM
    2018, equations 4 to 9.  There is no vector of the user, so that strangers can be asked for, and what comes out has
    the length of what comes in.  A position with fewer items behind it sees zeros before them.

    Examples
    --------
    >>> import torch
    >>> network = ConvolutionNetwork(8, window=5, n_horizontal=4, n_vertical=2, dropout=0.0)
    >>> network(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, n_factors: int, *, window: int, n_horizontal: int, n_vertical: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        heights = range(1, window + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(n_factors, n_horizontal, height) for height in heights)
        self.vertical = nn.Conv2d(1, n_vertical, (window, 1))
        self.dropout = nn.Dropout(dropout)
        self.project_out = nn.Linear(window * n_horizontal + n_vertical * n_factors, n_factors)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Map float (n_rows, T, n_factors) to the same shape; mask bool (n_rows, T), True where real."""
        # Every position gets its own window of zeros and items: window - 1 columns in front of the first.
        padded = functional.pad(vectors * mask[:, :, None], (0, 0, self.window - 1, 0))
        channels_first = padded.transpose(1, 2)
        found = []
        for height, convolution in enumerate(self.horizontal, start=1):
            answers = functional.relu(convolution(channels_first))
            # The largest within each window; max_pool1d would fix the length when exported.
            places = [answers.narrow(2, place, mask.shape[1]) for place in range(self.window - height + 1)]
            found.append(torch.stack(places).amax(0).transpose(1, 2))
        sums = self.vertical(padded[:, None])  # (n_rows, n_vertical, T, n_factors)
        found.append(sums.permute(0, 2, 1, 3).flatten(2))
        projected: Tensor = self.project_out(self.dropout(torch.cat(found, dim=2)))
        return projected
