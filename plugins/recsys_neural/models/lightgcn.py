"""Embeddings propagated over the graph of users and items."""

from __future__ import annotations

from typing import Annotated, Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsys_core import DotForm, Interactions
from recsys_core.data import Histories
from recsys_core.export import encoder_from_torch
from recsys_core.models import Progress, SearchRange
from recsys_core.types import CSR, FloatArray
from recsys_neural.models.bag import HistoryBag
from recsys_neural.models.trained import TrainedRecommender
from recsys_neural.training import (
    HeldOut,
    ItemLoss,
    Loss,
    LossConfig,
    RowBatches,
    Task,
)

__all__ = ["LightGcn", "LightGcnConfig"]


class LightGcnConfig(LossConfig):
    """Settings of :class:`LightGcn`."""

    n_factors: Annotated[int, SearchRange(32, 256, log=True)] = Field(
        64, ge=1, description="Length of a user's or an item's vector."
    )
    n_layers: Annotated[int, SearchRange(1, 4)] = Field(
        3, ge=0, description="Steps of propagation; 0 is a matrix factorization."
    )
    regularization: Annotated[float, SearchRange(1e-6, 1e-2, log=True)] = Field(
        1e-4, ge=0, description="Lambda, of the vectors that a step is about."
    )
    max_length: int = Field(1000, ge=1, description="Events of a stranger's history that are read, the newest.")
    batch_size: int = Field(2048, ge=1, description="Events in a step, over all processes.")
    learning_rate: Annotated[float, SearchRange(1e-4, 5e-2, log=True)] = Field(
        5e-3, gt=0, description="Largest step of AdamW."
    )
    loss: Loss = Field("sampled_softmax", description="What is minimized; the paper's is bpr with one negative.")


class LightGcn(TrainedRecommender):
    r"""Light graph convolution (LightGCN).

    .. math:: e_u^{(k)} = \sum_{i \in N_u} \frac{e_i^{(k-1)}}{\sqrt{|N_u| |N_i|}}, \qquad
        e_i^{(k)} = \sum_{u \in N_i} \frac{e_u^{(k-1)}}{\sqrt{|N_u| |N_i|}}, \qquad
        s_{ui} = \bar e_u^\top \bar e_i

    with the learned :math:`e^{(0)}` and :math:`\bar e` the mean over k = 0, ..., K.  The weights of interactions do
    not count.

    Parameters
    ----------
    **settings
        Fields of :class:`LightGcnConfig`.

    Attributes
    ----------
    user_factors_
        float32 (n_users, n_factors): :math:`\bar e_u`.
    item_factors_
        float32 (n_items, n_factors): :math:`\bar e_i`.
    curve_, best_epoch_
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`.

    Notes
    -----
    A stranger is a user who joins the trained graph: they have no :math:`e^{(0)}`, and every further one is one step of
    propagation from the items of their history, the sum of which is stored for each item:

    .. math:: \bar e_h = \frac{1}{\sqrt{|h|}} \sum_{i \in h} p_i, \qquad
        p_i = \frac{1}{(K + 1) \sqrt{|N_i|}} \sum_{k=0}^{K-1} e_i^{(k)}

    Each step propagates over the whole graph: O(K nnz n_factors) beside the loss.

    References
    ----------
    X. He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020,
    equations 3, 4 and 15 (bpr).
    J. Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation", TOIS 2024, which is why the
    default is not bpr.

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> model = LightGcn(n_factors=8, n_epochs=20, n_negatives=2, validation=0.0).fit(sales)
    >>> model.recommend(histories=[["tea"]], k=1)["item_id"].to_list()
    ['rum']
    """

    config_class = LightGcnConfig
    config: LightGcnConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Train, propagate once more, and export the step that answers strangers."""
        config = self.config
        n_items = interactions.n_items

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[_Graph]:
            graph = _Graph(config, histories.to_csr(n_items, "binary"))
            users, items = _pairs(graph.user_items)
            batches = RowBatches(users, items, batch_size=config.batch_size)
            validate = None if held_out is None else lambda: graph.ndcg(held_out)
            return Task(graph, batches, validate)

        graph = self.train(interactions, make_task, progress)
        with torch.no_grad():
            users, items = (factors.numpy() for factors in graph.factors())
            stranger = HistoryBag(nn.Parameter(graph.stranger_table()))
        encoder = encoder_from_torch(stranger, items, max_length=config.max_length)
        return DotForm(items, user_factors=users, encoder=encoder)

    @property
    def user_factors_(self) -> FloatArray:
        """The users' mean embeddings, float32 (n_users, n_factors)."""
        return cast("FloatArray", cast("DotForm", self.form).user_factors)

    @property
    def item_factors_(self) -> FloatArray:
        """The items' mean embeddings, float32 (n_items, n_factors)."""
        return cast("DotForm", self.form).item_factors


class _Graph(nn.Module):
    """The objective: a table of embeddings and the graph that they spread over."""

    starts: Tensor
    neighbors: Tensor
    weights: Tensor
    item_degrees: Tensor

    def __init__(self, config: LightGcnConfig, user_items: CSR) -> None:
        super().__init__()
        self.config = config
        self.user_items = user_items
        self.n_users, self.n_items = user_items.shape
        self.embeddings = nn.Parameter(torch.empty(self.n_users + self.n_items, config.n_factors))
        nn.init.normal_(self.embeddings, std=0.1)
        self.loss = ItemLoss(config, self.n_items)
        corner = sp.coo_matrix(user_items)
        rows, columns = corner.row, corner.col + self.n_users
        places = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
        links = sp.csr_matrix((np.ones(2 * corner.nnz, np.float32), places), shape=(len(self.embeddings),) * 2)
        degrees = np.maximum(np.diff(links.indptr), 1).astype(np.float32)
        links.data = 1.0 / np.sqrt(np.repeat(degrees, np.diff(links.indptr)) * degrees[links.indices])
        fixed = {
            "starts": links.indptr.astype(np.int64),
            "neighbors": links.indices.astype(np.int64),
            "weights": links.data,
            "item_degrees": degrees[self.n_users :],
        }
        for name, array in fixed.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def layers(self) -> list[Tensor]:
        """The embeddings after 0, 1, ..., K steps, each (n_users + n_items, n_factors)."""
        found: list[Tensor] = [self.embeddings]
        for _ in range(self.config.n_layers):
            matrix = (self.neighbors, self.starts, self.weights)
            found.append(_Propagation.apply(*matrix, found[-1]))  # type: ignore[no-untyped-call]
        return found

    def factors(self) -> tuple[Tensor, Tensor]:
        """Mean embeddings of users and of items."""
        mean = torch.stack(self.layers()).mean(0)
        return mean[: self.n_users], mean[self.n_users :]

    def stranger_table(self) -> Tensor:
        """What an item of a stranger's history adds to them, before the root of its length."""
        *before_last, _ = self.layers()
        if not before_last:
            return self.embeddings[self.n_users :]
        total = torch.stack(before_last).sum(0)[self.n_users :]
        return total / ((self.config.n_layers + 1) * self.item_degrees.sqrt()[:, None])

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        user_factors, item_factors = self.factors()
        loss: Tensor = self.loss(user_factors[users], items, item_factors)
        touched = self.embeddings[users].square().sum() + self.embeddings[self.n_users + items].square().sum()
        return loss + 0.5 * self.config.regularization * touched / len(users)

    def ndcg(self, held_out: HeldOut) -> float:
        """NDCG@10 of the held-out items."""
        users, items = (factors.detach().float().cpu().numpy() for factors in self.factors())
        return held_out.ndcg(users[held_out.users], items, n_threads=self.config.n_threads)


class _Propagation(torch.autograd.Function):
    """Product with a symmetric sparse matrix, which is its own gradient."""

    @staticmethod
    def forward(ctx: Any, neighbors: Tensor, starts: Tensor, weights: Tensor, embeddings: Tensor) -> Tensor:
        ctx.matrix = (neighbors, starts, weights)
        return _product(neighbors, starts, weights, embeddings)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, Tensor]:
        neighbors, starts, weights = ctx.matrix
        return None, None, None, _product(neighbors, starts, weights, grad.contiguous())


def _product(neighbors: Tensor, starts: Tensor, weights: Tensor, embeddings: Tensor) -> Tensor:
    """A CSR matrix times a dense one, as sums of bags of embeddings: unlike torch's sparse product, on all threads."""
    return functional.embedding_bag(
        neighbors,
        embeddings,
        starts,
        mode="sum",
        per_sample_weights=weights.to(embeddings.dtype),
        include_last_offset=True,
    )


def _pairs(matrix: CSR) -> tuple[Tensor, Tensor]:
    """Row and column of each entry."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return torch.from_numpy(rows), torch.from_numpy(matrix.indices.astype(np.int64))
