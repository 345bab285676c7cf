"""A factorization and a multi-layer perceptron over embeddings of users and items, in one score."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsys_core import Interactions
from recsys_core.data import Histories
from recsys_core.export import scorer_from_torch
from recsys_core.models import PairForm, Progress, SearchRange
from recsys_core.types import CSR
from recsys_neural.models.trained import TrainedRecommender
from recsys_neural.training import HeldOut, RowBatches, Task, TrainingConfig, sampled_loss

__all__ = ["NeuMf", "NeuMfConfig"]


class NeuMfConfig(TrainingConfig):
    """Settings of :class:`NeuMf`."""

    n_factors: Annotated[int, SearchRange(8, 128, log=True)] = Field(
        32, ge=1, description="Length of the vectors of the factorization, and of the perceptron's."
    )
    hidden: tuple[int, ...] = Field((64, 32), min_length=1, description="Widths of the perceptron's layers.")
    dropout: Annotated[float, SearchRange(0.0, 0.5)] = Field(
        0.1, ge=0, lt=1, description="Share of the numbers that training leaves out of a layer."
    )
    loss: Literal["bce", "bpr", "sampled_softmax"] = Field("bce", description="What is minimized.")
    n_negatives: Annotated[int, SearchRange(1, 64, log=True)] = Field(
        4, ge=1, description="Items drawn for each event."
    )
    regularization: Annotated[float, SearchRange(1e-3, 1.0, log=True)] = Field(
        0.1,
        ge=0,
        description="Lambda, of the vectors that a step is about; with little of it events are learned by heart.",
    )
    learning_rate: Annotated[float, SearchRange(1e-4, 1e-2, log=True)] = Field(
        3e-3, gt=0, description="Largest step of AdamW."
    )
    batch_size: int = Field(1024, ge=1, description="Events in a step, over all processes.")


class NeuMf(TrainedRecommender):
    r"""Neural matrix factorization (NeuMF).

    .. math:: s_{ui} = w^\top (p_u \odot q_i) + v^\top \phi_L(\dots \phi_1([p'_u, q'_i])), \qquad
        \min \; -\sum_{(u, i)} \Big( \ln \sigma(s_{ui}) + \sum_{j \in N} \ln \sigma(-s_{uj}) \Big)

    with ReLU layers :math:`\phi` and negatives *N* drawn anew for each event from what the user has not had.  The
    weights of interactions do not count.  ``loss`` puts another sampled loss in place of the paper's; see
    :mod:`recsys_neural.training.losses`.

    Parameters
    ----------
    **settings
        Fields of :class:`NeuMfConfig`.

    Attributes
    ----------
    curve_, best_epoch_
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`.

    Notes
    -----
    The score is no inner product, so that all items are scored one by one.  The first layer is linear before its ReLU:
    a user's share of it and an item's are computed beforehand, which leaves the layers behind it for each pair.
    Only users known from training can be asked for: a stranger has no embedding.

    References
    ----------
    X. He et al., "Neural Collaborative Filtering", WWW 2017, equations 10 (perceptron) and 12 (fusion).  The two parts
    are trained together from the start, without the paper's pre-training.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> model = NeuMf(n_factors=4, hidden=(8, 4), n_epochs=2).fit(sales)
    >>> model.recommend(users=["bob"], k=1)["item_id"].to_list()
    ['rum']
    """

    config_class = NeuMfConfig
    config: NeuMfConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> PairForm:
        """Train, and export the layers behind the first."""
        config = self.config
        n_items = interactions.n_items

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[_Objective]:
            user_items = histories.to_csr(n_items, "binary")
            objective = _Objective(config, user_items)
            users = np.repeat(np.arange(len(histories)), np.diff(user_items.indptr))
            pairs = (torch.from_numpy(users), torch.from_numpy(user_items.indices.astype(np.int64)))
            batches = RowBatches(*pairs, batch_size=config.batch_size)
            return Task(objective, batches, None if held_out is None else lambda: objective.ndcg(held_out))

        objective = self.train(interactions, make_task, progress)
        with torch.no_grad():
            users = objective.user_inputs(torch.arange(interactions.n_users)).numpy()
            items = objective.item_inputs(torch.arange(n_items)).numpy()
        return PairForm(items, scorer_from_torch(objective.scorer, items, users), users)


class _Scorer(nn.Module):
    """The score of a pair, from what was computed of either side beforehand."""

    def __init__(self, config: NeuMfConfig) -> None:
        super().__init__()
        self.n_factors = config.n_factors
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(config.dropout)]
        for width, narrower in zip(config.hidden, config.hidden[1:], strict=False):
            layers += [nn.Linear(width, narrower), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(config.hidden[-1], 1))

    def forward(self, query: Tensor, item: Tensor) -> Tensor:
        product = (query[..., : self.n_factors] * item[..., : self.n_factors]).sum(-1)
        perceptron = self.layers(query[..., self.n_factors :] + item[..., self.n_factors :]).squeeze(-1)
        score: Tensor = product + perceptron
        return score


class _Objective(nn.Module):
    """Binary cross-entropy of events and drawn items."""

    had: Tensor

    def __init__(self, config: NeuMfConfig, user_items: CSR) -> None:
        super().__init__()
        self.config = config
        n_users, self.n_items = user_items.shape
        width = config.hidden[0]
        # Columns: the factorization's vector, then the perceptron's.
        self.users = nn.Embedding(n_users, 2 * config.n_factors)
        self.items = nn.Embedding(self.n_items, 2 * config.n_factors)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
        self.product_weight = nn.Parameter(torch.ones(config.n_factors))
        self.user_layer = nn.Linear(config.n_factors, width)
        self.item_layer = nn.Linear(config.n_factors, width, bias=False)
        self.scorer = _Scorer(config)
        rows = np.repeat(np.arange(n_users), np.diff(user_items.indptr))
        # Rising, since rows and the columns of a row are: a pair is looked up by bisection.
        had = rows * np.int64(self.n_items) + user_items.indices
        self.register_buffer("had", torch.from_numpy(had), persistent=False)

    def user_inputs(self, users: Tensor) -> Tensor:
        product, perceptron = self.users(users).chunk(2, dim=-1)
        return torch.cat([product * self.product_weight, self.user_layer(perceptron)], dim=-1)

    def item_inputs(self, items: Tensor) -> Tensor:
        product, perceptron = self.items(items).chunk(2, dim=-1)
        return torch.cat([product, self.item_layer(perceptron)], dim=-1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        drawn = torch.randint(self.n_items, (len(users), self.config.n_negatives), device=users.device)
        # (B, 1 + n): the event's item first.
        candidates = torch.cat([items[:, None], drawn], dim=1)
        scores = self.scorer(self.user_inputs(users)[:, None], self.item_inputs(candidates)).float()
        negative = scores[:, 1:].masked_fill(self._has_had(users, drawn), -torch.inf)
        touched: Tensor = self.users(users).square().sum() + self.items(items).square().sum()
        loss = sampled_loss(self.config.loss, scores[:, :1], negative)
        return loss + 0.5 * self.config.regularization * touched / len(users)

    def _has_had(self, users: Tensor, items: Tensor) -> Tensor:
        pairs = users[:, None] * self.n_items + items
        places = torch.searchsorted(self.had, pairs).clamp(max=len(self.had) - 1)
        had: Tensor = self.had[places] == pairs
        return had

    def ndcg(self, held_out: HeldOut) -> float:
        """NDCG@10 of the held-out items among all items."""
        device = self.had.device
        items = self.item_inputs(torch.arange(self.n_items, device=device))
        users = self.user_inputs(torch.from_numpy(held_out.users).to(device))
        seen, ranked = held_out.seen, []
        for row, user in enumerate(users):
            scores = self.scorer(user.expand(self.n_items, -1), items)
            scores[
                torch.from_numpy(seen.indices[seen.indptr[row] : seen.indptr[row + 1]].astype(np.int64))
            ] = -torch.inf
            ranked.append(scores.topk(min(_K, self.n_items)).indices.cpu())
        return held_out.ndcg_of(torch.stack(ranked).numpy())


_K = 10
