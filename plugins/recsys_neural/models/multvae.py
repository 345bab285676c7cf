"""A variational autoencoder of histories with a multinomial likelihood."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from recsys_core import DotForm, Interactions
from recsys_core.data import Histories
from recsys_core.export import encoder_from_torch
from recsys_core.models import Progress, SearchRange
from recsys_core.types import FloatArray
from recsys_neural.models.bag import HistoryBag
from recsys_neural.models.trained import TrainedRecommender
from recsys_neural.networks.sequence import encode_histories
from recsys_neural.training import HeldOut, HistoryBatches, Task, TrainingConfig

__all__ = ["MultVae", "MultVaeConfig"]


class MultVaeConfig(TrainingConfig):
    """Settings of :class:`MultVae`."""

    n_hidden: int = Field(600, ge=1, description="Width of the hidden layers; the items' vectors have this length.")
    n_latent: Annotated[int, SearchRange(50, 400, log=True)] = Field(
        200, ge=1, description="Length of the latent vector."
    )
    dropout: Annotated[float, SearchRange(0.2, 0.7)] = Field(
        0.5, ge=0, lt=1, description="Share of a history's items that training leaves out."
    )
    beta: Annotated[float, SearchRange(0.05, 1.0)] = Field(
        0.2, ge=0, description="Weight of the KL divergence after annealing."
    )
    anneal_steps: int = Field(2000, ge=0, description="Steps in which that weight rises from 0.")
    max_length: int = Field(1000, ge=1, description="Events of a history that are read, the newest.")


class MultVae(TrainedRecommender):
    r"""Multinomial variational autoencoder (Mult-VAE).

    .. math:: \max \; \sum_u \Big( E_{q(z|x_u)} \sum_i x_{ui} \ln \pi_i(z)
        - \beta \, KL\big(q(z|x_u) \,\|\, N(0, I)\big) \Big), \qquad
        \pi(z) = \mathrm{softmax}\big(V \tanh(D z + c) + b\big)

    where :math:`x_u` are the distinct items of a history and *q* is a Gaussian whose mean and variance come from one
    hidden layer over :math:`x_u / \lVert x_u \rVert`.  The weights of interactions do not count.

    Parameters
    ----------
    **settings
        Fields of :class:`MultVaeConfig`.

    Attributes
    ----------
    item_factors_
        float32 (n_items, n_hidden): *V*, the last layer.
    item_bias_
        float32 (n_items,): *b*.
    curve_, best_epoch_
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`.

    Notes
    -----
    A recommendation takes the mean of *q*, so that the score of an item is an inner product of the decoder's hidden
    layer with *V*, and every user is answered from their history.  O(B n_items n_hidden) a step.

    References
    ----------
    D. Liang, R. G. Krishnan, M. D. Hoffman and T. Jebara, "Variational Autoencoders for Collaborative Filtering",
    WWW 2018, equations 2 (likelihood), 4 (objective with beta) and 6 (beta's annealing).

    Examples
    --------
    >>> from recsys_core import Interactions
    >>> sales = Interactions.from_arrays(["ann", "ann", "bob", "eve"], ["tea", "rum", "tea", "rum"])
    >>> model = MultVae(n_hidden=8, n_latent=4, n_epochs=2).fit(sales)
    >>> model.recommend(histories=[["tea"]], k=1)["item_id"].to_list()
    ['rum']
    """

    config_class = MultVaeConfig
    config: MultVaeConfig

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Train the autoencoder, and export all but its last layer."""
        config = self.config
        n_items = interactions.n_items

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[_Autoencoder]:
            autoencoder = _Autoencoder(config, n_items)
            batches = HistoryBatches(histories, max_length=config.max_length, batch_size=config.batch_size)
            validate = None if held_out is None else lambda: autoencoder.ndcg(held_out)
            return Task(autoencoder, batches, validate)

        trained = self.train(interactions, make_task, progress)
        item_factors, item_bias = (weight.detach().numpy() for weight in (trained.items.weight, trained.items.bias))
        encoder = encoder_from_torch(trained.queries, item_factors, max_length=config.max_length)
        return DotForm(item_factors, item_bias, encoder=encoder)

    @property
    def item_factors_(self) -> FloatArray:
        """The last layer's weights, float32 (n_items, n_hidden)."""
        return cast("DotForm", self.form).item_factors

    @property
    def item_bias_(self) -> FloatArray:
        """The last layer's biases, float32 (n_items,)."""
        return cast("FloatArray", cast("DotForm", self.form).item_bias)


class _Queries(nn.Module):
    """From a history to the decoder's hidden layer, by way of the latent vector."""

    def __init__(self, config: MultVaeConfig, n_items: int) -> None:
        super().__init__()
        table = nn.Parameter(torch.empty(n_items, config.n_hidden))
        # As a dense layer from n_items to n_hidden would begin (Glorot and Bengio 2010).
        nn.init.xavier_uniform_(table)
        self.bag = HistoryBag(table, config.dropout)
        self.bias = nn.Parameter(torch.zeros(config.n_hidden))
        self.latent = nn.Linear(config.n_hidden, 2 * config.n_latent)
        self.decoder = nn.Linear(config.n_latent, config.n_hidden)

    def gaussian(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent vector."""
        mean, log_variance = self.latent(torch.tanh(self.bag(history) + self.bias)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        return torch.tanh(self.decoder(latent))

    def forward(self, history: Tensor) -> Tensor:
        return self.decode(self.gaussian(history)[0])


class _Autoencoder(nn.Module):
    """The objective."""

    n_steps: Tensor

    def __init__(self, config: MultVaeConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.queries = _Queries(config, n_items)
        self.items = nn.Linear(config.n_hidden, n_items)
        # Part of the state, so that a training that goes on from a checkpoint goes on annealing.
        self.register_buffer("n_steps", torch.zeros(()))

    def forward(self, history: Tensor) -> Tensor:
        mean, log_variance = self.queries.gaussian(history)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        log_shares = self.items(self.queries.decode(latent)).float().log_softmax(dim=1)
        likelihood = (log_shares * _distinct(history, log_shares.shape[1])).sum(1).mean()
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        beta = self.config.beta * ((self.n_steps + 1) / max(self.config.anneal_steps, 1)).clamp(max=1.0)
        self.n_steps += 1
        loss: Tensor = beta * divergence - likelihood
        return loss

    def ndcg(self, held_out: HeldOut) -> float:
        """NDCG@10 of the held-out items."""
        weight, bias = self.items.weight.detach(), self.items.bias.detach()
        queries = encode_histories(self.queries, held_out.histories, self.config.max_length, bias.device)
        return held_out.ndcg(queries, weight.cpu().numpy(), bias.cpu().numpy(), n_threads=self.config.n_threads)


def _distinct(history: Tensor, n_items: int) -> Tensor:
    """1 for each item of a history, float (n_rows, n_items)."""
    had = torch.zeros(len(history), n_items + 1, device=history.device)
    return had.scatter_(1, torch.where(history < 0, n_items, history), 1.0)[:, :n_items]
