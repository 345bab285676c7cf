"""The network of a second stage: a candidate, what of the history goes with it, and what the first stage said."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.encoders import Encoder, EntityBatch, TargetAttention
from recsys_neural.models.known_users import KnownUsers
from recsys_neural.models.towers import ItemTower

__all__ = ["CandidateScorer", "QueryLayout", "RankingObjective", "listwise_loss"]


class QueryLayout(nn.Module):
    """A user as one flat vector: the vectors of the newest items, so that a candidate can attend to each, and features.

    Parameters
    ----------
    max_length
        Items of a history that are kept, the newest.
    users
        Encodes what is known of a user beside the history, or None if nothing is.
    known
        What is known of each training user.
    """

    def __init__(self, max_length: int, users: Encoder | None, known: KnownUsers) -> None:
        super().__init__()
        self.max_length, self.users, self.known = max_length, users, known

    def forward(self, history: Tensor, item_factors: Tensor, user_features: EntityBatch | None = None) -> Tensor:
        """Lay out strangers.

        Parameters
        ----------
        history
            int64 (n, T): rows of ``item_factors``, right-aligned, -1 in front, T at most ``max_length``.
        item_factors
            float (n_items, n_dims).
        user_features
            What else is known of them, by the names that ``known`` has; if None, nothing is.

        Returns
        -------
        Tensor
            float (n, max_length * (n_dims + 1) + n_user_dims): the vectors, oldest first and 0 where there is none,
            then for each whether it is there, then what the features are encoded as.
        """
        column = torch.arange(self.max_length, device=history.device) - self.max_length + history.shape[1]
        items = torch.where(column >= 0, history[:, column.clamp(min=0)], -1)
        there = (items >= 0).to(item_factors.dtype)
        vectors = functional.embedding(items.clamp(min=0), item_factors) * there.unsqueeze(-1)
        parts = [vectors.flatten(1), there]
        if self.users is not None:
            parts.append(self.users(self.known.nothing(history) if user_features is None else user_features))
        return torch.cat(parts, dim=1)

    def of_users(self, users: Tensor, history: Tensor, item_factors: Tensor) -> Tensor:
        """The same of training users, given by their position, int64 (n,)."""
        queries: Tensor = self(history, item_factors, self.known(users))
        return queries


class CandidateScorer(nn.Module):
    r"""The score of a candidate.

    .. math:: s = g z + w^\top \mathrm{gelu}(W [x, e(x), x \odot e(x), c, z] + b)

    with the item's vector *x*, what target attention makes of the history for it, *e(x)*, what is known of the user
    beside it, *c*, and the retriever's score, standardized over the list, *z*.  *w* starts at 0, so that training
    starts from the retriever's order.

    Parameters
    ----------
    n_dims
        Length of an item's vector.
    max_length
        Items of a history.
    n_user_dims
        Length of *c*.
    n_hidden
        Width of the hidden layer.
    dropout
        Share of the layer's inputs that training leaves out.
    gain
        *g* at the start.
    """

    def __init__(
        self, n_dims: int, max_length: int, n_user_dims: int, n_hidden: int, dropout: float, gain: float
    ) -> None:
        super().__init__()
        self.n_dims, self.max_length = n_dims, max_length
        self.nothing = nn.Parameter(torch.zeros(n_dims))  # what is attended to where no item of the history fits
        self.attention = TargetAttention(n_dims)
        self.gain = nn.Parameter(torch.tensor(gain))
        last = nn.Linear(n_hidden, 1, bias=False)
        nn.init.zeros_(last.weight)
        wide = nn.Linear(3 * n_dims + n_user_dims + 1, n_hidden)
        self.layers = nn.Sequential(nn.Dropout(dropout), wide, nn.GELU(), last)

    def forward(self, query: Tensor, item: Tensor, retrieved: Tensor) -> Tensor:
        """Scores of pairs, float (P,): queries as :class:`QueryLayout` lays them out, items (P, n_dims)."""
        return self.of_lists(query, item.unsqueeze(1), retrieved.unsqueeze(1)).squeeze(1)

    def of_lists(self, query: Tensor, items: Tensor, retrieved: Tensor) -> Tensor:
        """Scores float (B, M) of lists: items (B, M, n_dims), the retriever's scores, standardized, (B, M)."""
        n_rows, n_items = query.shape[0], items.shape[1]
        n_tokens = self.max_length * self.n_dims
        tokens = query[:, :n_tokens].reshape(n_rows, self.max_length, self.n_dims)
        tokens = torch.cat([tokens, self.nothing.expand(n_rows, 1, -1)], dim=1)
        there = query[:, n_tokens : n_tokens + self.max_length] > 0
        there = torch.cat([there, torch.ones_like(there[:, :1])], dim=1)
        attended = self.attention(tokens, there, items)
        user = query[:, n_tokens + self.max_length :].unsqueeze(1).expand(-1, n_items, -1)
        inputs = torch.cat([items, attended, items * attended, user, retrieved.unsqueeze(-1)], dim=-1)
        scores: Tensor = self.gain * retrieved + self.layers(inputs).squeeze(-1)
        return scores


class RankingObjective(nn.Module):
    """Cross-entropy of the candidates that were taken among all of their list: :func:`listwise_loss`.

    Parameters
    ----------
    items
        Gives the items' vectors.
    layout, scorer
        Give the query and the scores.
    """

    def __init__(self, items: ItemTower, layout: QueryLayout, scorer: CandidateScorer) -> None:
        super().__init__()
        self.items, self.layout, self.scorer = items, layout, scorer

    def forward(self, user: Tensor, history: Tensor, items: Tensor, retrieved: Tensor, taken: Tensor) -> Tensor:
        """Loss of a batch of :class:`~recsys_neural.models.candidates.CandidateBatches`."""
        return listwise_loss(self.scores(user, history, items, retrieved).float(), taken)

    def scores(self, user: Tensor, history: Tensor, items: Tensor, retrieved: Tensor) -> Tensor:
        """Scores of all candidates, float (B, C), -inf where there is none."""
        both = torch.cat([items, history], dim=1)
        # Each item of the batch goes through its encoder once, however many lists it is in.
        distinct, rows = torch.unique(both.clamp(min=0), return_inverse=True)
        vectors = self.items(distinct)
        candidate_rows, history_rows = rows.split([items.shape[1], history.shape[1]], dim=1)
        query = self.layout.of_users(user, torch.where(history < 0, -1, history_rows), vectors)
        found = self.scorer.of_lists(query, functional.embedding(candidate_rows, vectors), retrieved)
        return found.masked_fill(items < 0, -torch.inf)


def listwise_loss(scores: Tensor, taken: Tensor) -> Tensor:
    r"""Cross-entropy of what was taken among all of its list, on average over lists.

    .. math:: -\frac{1}{|T|} \sum_{i \in T} \ln \frac{e^{s_i}}{\sum_{j \in C} e^{s_j}}

    for a list *C* and what was taken of it, *T*.

    Parameters
    ----------
    scores
        float (B, C), -inf where there is no candidate.
    taken
        bool (B, C), at least one True in each row.

    References
    ----------
    Z. Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (ListNet, top one).
    """
    logs = scores.log_softmax(dim=1)
    return -(logs.masked_fill(~taken, 0).sum(dim=1) / taken.sum(dim=1)).mean()
