"""Two encoders, one of users and one of items, into one space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsys_core import DotForm, Interactions
from recsys_core.data import Histories
from recsys_core.export import encoder_from_torch
from recsys_core.models import ItemEncoder, Progress, SearchRange
from recsys_core.types import FloatArray
from recsys_neural.encoders import EncoderChoice, EntityInputs, build_encoder
from recsys_neural.models.described import DescribedConfig, DescribedRecommender
from recsys_neural.models.known_users import KnownUsers
from recsys_neural.models.new_items import new_item_graph
from recsys_neural.models.towers import ItemTower, TwoTowerObjective, UserTower
from recsys_neural.training import EventBatches, HeldOut, Task

if TYPE_CHECKING:
    import polars as pl

__all__ = ["TwoTower", "TwoTowerConfig"]


class TwoTowerConfig(DescribedConfig):
    """Settings of :class:`TwoTower`."""

    batch_size: int = Field(
        512, ge=1, description="Events in a step, over all processes; those of the same process are the negatives."
    )
    user_encoder: EncoderChoice = Field("attention", description="Encoder of users: a name, or {name, settings}.")
    item_encoder: EncoderChoice = Field("mlp", description="Encoder of items: a name, or {name, settings}.")
    n_factors: Annotated[int, SearchRange(32, 256, log=True)] = Field(
        64, ge=1, description="Length of a user's or an item's vector."
    )
    max_length: int = Field(50, ge=1, description="Events of a history that are read, the newest.")
    temperature: Annotated[float, SearchRange(0.03, 0.5, log=True)] = Field(
        0.1, gt=0, description="What scores are divided by."
    )
    normalize: bool = Field(True, description="Whether vectors have length 1, so that scores are cosines.")


class TwoTower(DescribedRecommender):
    r"""Retrieval by two encoders of any kind: what is known of a user, and what is known of an item.

    .. math:: s_{ui} = f(h_u, x_u)^\top g(x_i) / \tau

    A user is their history and, if there are, their features; an item is a learned vector of its own and its features:
    numbers, categories, lists of them, texts.  An item of a history is what the item tower makes of it, so that an
    item that training never saw means something on both sides: give its features and ``cold_items=True`` to
    :meth:`Interactions.with_features <recsys_core.data.Interactions.with_features>`.

    Trained on each event with the history before it, by a softmax over the items of the batch that is corrected for
    their popularity; see :class:`~recsys_neural.models.towers.TwoTowerObjective`.

    Parameters
    ----------
    **settings
        Fields of :class:`TwoTowerConfig`.

    Attributes
    ----------
    item_factors_
        float32 (n_items, n_factors): what the item tower says of the catalogue, cold items included.
    objective_
        The trained towers, after ``fit``; not there in a loaded model, which needs no torch.
    item_preparation_
        How item features became numbers, or None without features.
    user_preparation_
        The same of user features.
    curve_, best_epoch_
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`.

    Notes
    -----
    The towers are independent of each other until the inner product, so that the catalogue is encoded once.  A stranger
    is answered from a history, from features (``recommend(user_features=...)``), or from both; for those of whom a
    history alone is known, training hides the features of one user in ten.

    References
    ----------
    P. Covington, J. Adams and E. Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
    X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    M. Volkovs, G. Yu and T. Poutanen, "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017
    (``id_dropout``).

    Examples
    --------
    >>> import recsys_core
    >>> sales = recsys_core.Interactions.from_arrays(["ann", "ann", "bob", "bob"], ["tea", "cup", "tea", "pot"])
    >>> model = TwoTower(user_encoder="gru", n_factors=8, n_epochs=2).fit(sales)
    >>> model.recommend(histories=[["cup"]], k=1)["item_id"].len()
    1
    """

    config_class = TwoTowerConfig
    config: TwoTowerConfig
    objective_: TwoTowerObjective

    def fit_form(self, interactions: Interactions, progress: Progress) -> DotForm:
        """Train the towers, encode the catalogue, export the user tower."""
        config = self.config
        item_arrays, item_inputs = self.item_arrays(interactions)
        user_arrays, user_sizes = self.user_arrays(interactions)
        user_inputs = EntityInputs(max_length=config.max_length, item_dims=config.n_factors, **user_sizes)

        def make_task(histories: Histories, held_out: HeldOut | None) -> Task[TwoTowerObjective]:
            counts = np.bincount(histories.indices, minlength=interactions.n_items)
            objective = TwoTowerObjective(
                ItemTower(
                    build_encoder(config.item_encoder, item_inputs, config.n_factors),
                    item_arrays,
                    config.normalize,
                    self.hidden_ids,
                ),
                UserTower(
                    build_encoder(config.user_encoder, user_inputs, config.n_factors),
                    KnownUsers(user_arrays),
                    config.normalize,
                    config.temperature,
                ),
                torch.from_numpy(counts / counts.sum()).float(),
            )
            batches = EventBatches(histories, max_length=config.max_length, batch_size=config.batch_size)
            validate = None if held_out is None else lambda: self._ndcg(objective, held_out)
            return Task(objective, batches, validate)

        self.objective_ = self.train(interactions, make_task, progress)
        return self._form(interactions.histories(), has_features=bool(user_sizes))

    @property
    def item_factors_(self) -> FloatArray:
        """What the item tower says of each item, float32 (n_items, n_factors)."""
        return cast("DotForm", self.form).item_factors

    def encode_items(self, item_features: pl.DataFrame) -> FloatArray:
        """What the item tower says of items that are not in the catalogue, from their features alone.

        Parameters
        ----------
        item_features
            A table with the columns of the training's item features.

        Returns
        -------
        numpy.ndarray
            float32 (n_rows, n_factors), to compare with queries or with ``item_factors_``.

        Raises
        ------
        DataError
            The model was trained without item features.

        Notes
        -----
        onnxruntime computes it, here as in a loaded bundle, whose :meth:`FittedModel.with_items
        <recsys_core.FittedModel.with_items>` puts such items into the catalogue.
        """
        return self.fitted.encode_items(item_features)

    def _ndcg(self, objective: TwoTowerObjective, held_out: HeldOut) -> float:
        vectors = objective.items.all_vectors()
        queries = self._queries(objective, vectors, held_out.histories, held_out.users)
        return held_out.ndcg(queries, vectors.cpu().numpy(), n_threads=self.config.n_threads)

    def _queries(self, objective: TwoTowerObjective, vectors: Tensor, histories: Histories, users: Any) -> FloatArray:
        queries = [np.zeros((0, self.config.n_factors), np.float32)]
        for start in range(0, len(users), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            history = torch.from_numpy(histories.rows(part).newest(self.config.max_length)).to(vectors.device)
            rows = torch.from_numpy(np.asarray(users[part])).to(vectors.device)
            queries.append(objective.users.of_users(rows, history, vectors).float().cpu().numpy())
        return np.concatenate(queries)

    def _form(self, histories: Histories, *, has_features: bool) -> DotForm:
        objective = self.objective_
        with torch.no_grad():
            vectors = objective.items.all_vectors()
            item_factors = vectors.numpy()
            # Without features, a known user is what their history says: nothing is stored for them.
            users = np.arange(len(histories))
            user_factors = self._queries(objective, vectors, histories, users) if has_features else None
        encoder = encoder_from_torch(
            objective.users, item_factors, max_length=self.config.max_length, preparation=self.user_preparation_
        )
        item_encoder = None
        if self.item_preparation_ is not None:
            item_encoder = ItemEncoder(new_item_graph(objective.items), self.item_preparation_)
        return DotForm(item_factors, user_factors=user_factors, encoder=encoder, item_encoder=item_encoder)


_USERS_AT_ONCE = 512
