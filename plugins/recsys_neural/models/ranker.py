"""A second stage: the candidates of any retriever, ordered by features and by the history that goes with each."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Annotated, Any, cast

import numpy as np
import torch
from pydantic import Field

from recsys_core import DotForm, Interactions, ItemItemForm, Recommender, StaticForm, create
from recsys_core.errors import ConfigError, DataError
from recsys_core.export import encoder_from_torch, scorer_from_torch
from recsys_core.models import FittedModel, PairForm, Progress, SearchRange
from recsys_core.types import FloatArray
from recsys_neural.encoders import EncoderChoice, EntityInputs, build_encoder
from recsys_neural.models.candidates import CandidateBatches, CandidateLists, without_newest
from recsys_neural.models.described import DescribedConfig, DescribedRecommender
from recsys_neural.models.ranking import CandidateScorer, HistoryTokens, RankingObjective
from recsys_neural.models.towers import ItemTower
from recsys_neural.training import Trainer

__all__ = ["Ranker", "RankerConfig"]


class RankerConfig(DescribedConfig):
    """Settings of :class:`Ranker`."""

    retriever: EncoderChoice = Field("als", description="Model that finds candidates: a name, or {name, settings}.")
    n_candidates: Annotated[int, SearchRange(50, 500, log=True)] = Field(
        100, ge=1, description="Items that it finds; no answer is longer."
    )
    target_share: float = Field(
        0.2, gt=0, lt=1, description="Share of each user's events, the newest, that the order is learned from."
    )
    item_encoder: EncoderChoice = Field("mlp", description="Encoder of items: a name, or {name, settings}.")
    user_encoder: EncoderChoice = Field("mlp", description="Encoder of user features: a name, or {name, settings}.")
    n_factors: Annotated[int, SearchRange(16, 128, log=True)] = Field(
        32, ge=1, description="Length of an item's vector."
    )
    n_hidden: int = Field(64, ge=1, description="Width of the layer that scores.")
    dropout: Annotated[float, SearchRange(0.0, 0.5)] = Field(
        0.1, ge=0, lt=1, description="Share of that layer's inputs that training leaves out."
    )
    max_length: int = Field(20, ge=1, description="Events of a history that a candidate is compared with, the newest.")


class Ranker(DescribedRecommender):
    r"""Re-scores what a retriever finds, by features of items and users and by attention to the history (ranker).

    For each candidate, target attention asks which of the user's newest items go with it; a small network adds what it
    makes of both to the retriever's score.  The order is learned from lists of candidates as they will be met:
    the retriever is fitted without each user's newest events, asked by the history before each of them, and the item
    that was taken is to come first of what it found.

    .. math:: \min \; -\sum_{(h, i)} \ln \frac{e^{s(h, i)}}{\sum_{j \in C(h)} e^{s(h, j)}}

    Parameters
    ----------
    **settings
        Fields of :class:`RankerConfig`.

    Attributes
    ----------
    retriever
        A fitted model to use instead of the setting; set it before ``fit``.  It must know the same users and items,
        and should not have seen the events that the order is learned from: what it has seen it finds too well.
    retriever_
        What finds the candidates, after ``fit``.
    curve_, best_epoch_
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`; validation holds out lists, not users, and
        counts how high the taken item is among the candidates.

    Notes
    -----
    The retriever has to answer histories.  A model named by the setting is fitted twice, in the end on everything.
    Users with features are kept as query vectors of ``max_length * (n_factors + 1) + n_factors`` numbers each; without
    features nothing is kept for them.  The cost of an answer is the retriever's and ``n_candidates`` scores.

    References
    ----------
    G. Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018 (attention by the candidate).
    P. Covington, J. Adams and E. Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016 (two stages).

    Examples
    --------
    >>> import numpy as np
    >>> from recsys_core import Interactions
    >>> users, items = np.repeat(np.arange(30), 4), np.arange(120) % 7
    >>> model = Ranker(retriever="item_knn", n_epochs=2).fit(Interactions.from_arrays(users, items))
    >>> len(model.recommend(histories=[[0, 1]], k=3))
    3
    """

    config_class = RankerConfig
    config: RankerConfig
    retriever: Recommender | FittedModel | None = None
    retriever_: Recommender | FittedModel

    def fit_form(self, interactions: Interactions, progress: Progress) -> PairForm:
        """Fit the retriever, learn the order of its candidates, and export the scorer."""
        config = self.config
        first: Recommender | FittedModel
        if self.retriever is None:
            first = self._created().fit(without_newest(interactions, config.target_share))
        else:
            first = _checked(self.retriever, interactions)
        _require_histories(first)
        n_candidates = min(config.n_candidates, interactions.n_items)
        lists = CandidateLists.find(first, interactions.histories(), config.target_share, n_candidates)
        objective = self._train(interactions, lists, progress)
        self.retriever_ = first if self.retriever is not None else self._created().fit(interactions)
        return self._form(interactions, objective, n_candidates)

    def _created(self) -> Recommender:
        choice = self.config.retriever
        settings: dict[str, Any] = {"name": choice} if isinstance(choice, str) else dict(choice)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"retriever: expected a name or a dict with a name, got {choice!r}.")
        return create(name, **settings)

    def _train(self, interactions: Interactions, lists: CandidateLists, progress: Progress) -> RankingObjective:
        config = self.config
        trainer = Trainer(config, self.callbacks)
        with trainer.seeded():
            objective = self._objective(interactions, lists)
        self.curve_, self.best_epoch_ = (), 0
        if not len(lists):
            warnings.warn(
                "interactions: the retriever finds none of the users' newest items, so that there is no order to "
                "learn; candidates keep the retriever's.",
                UserWarning,
                stacklevel=4,
            )
            return objective.eval()
        order = np.random.default_rng(config.random_state).permutation(len(lists))
        n_held_out = min(round(config.validation * len(lists)), len(lists) - 1)
        held_out, training = order[:n_held_out], order[n_held_out:]
        total = config.n_epochs * (2 if config.refit and n_held_out else 1)
        sizes = {"max_length": config.max_length, "batch_size": config.batch_size}
        validate = None
        if n_held_out:
            held = CandidateBatches(lists.rows(held_out), **sizes)
            validate = partial(_ndcg, objective, held, trainer.device)
        result = trainer.fit(
            objective,
            CandidateBatches(lists.rows(training), **sizes),
            validate,
            progress=lambda done, _: progress(done, total),
        )
        self.curve_, self.best_epoch_ = result.curve, result.best_epoch
        if config.refit and n_held_out:
            with trainer.seeded():
                objective = self._objective(interactions, lists)
            trainer.fit(
                objective,
                CandidateBatches(lists, **sizes),
                n_epochs=result.best_epoch,
                stage="refit",
                progress=lambda done, _: progress(config.n_epochs + done, total),
            )
        return objective.cpu()

    def _objective(self, interactions: Interactions, lists: CandidateLists) -> RankingObjective:
        config = self.config
        item_arrays, item_inputs = self.item_arrays(interactions)
        user_arrays, user_sizes = self.user_arrays(interactions)
        n_user_dims = config.n_factors if user_sizes else 0
        encoder = build_encoder(config.item_encoder, item_inputs, config.n_factors)
        scores = lists.scores[lists.items >= 0]
        return RankingObjective(
            ItemTower(encoder, item_arrays, normalize=False, id_dropout=self.hidden_ids),
            build_encoder(config.user_encoder, EntityInputs(**user_sizes), n_user_dims) if user_sizes else None,
            user_arrays,
            HistoryTokens(config.max_length, n_user_dims),
            CandidateScorer(
                config.n_factors,
                config.max_length,
                n_user_dims,
                config.n_hidden,
                config.dropout,
                mean=float(scores.mean()) if len(scores) else 0.0,
                deviation=max(float(scores.std()), 1e-6) if len(scores) else 1.0,
            ),
        )

    def _form(self, interactions: Interactions, objective: RankingObjective, n_candidates: int) -> PairForm:
        histories = interactions.histories()
        retriever = self.retriever_.form
        with torch.no_grad():
            vectors = objective.items.all_vectors()
            examples = _queries(objective, vectors, histories.rows(slice(_EXAMPLES)).newest(self.config.max_length), 0)
            user_inputs: FloatArray | None = None
            if objective.users is not None and retriever.accepts_users:
                newest = histories.newest(self.config.max_length)
                parts = range(0, len(newest), _USERS_AT_ONCE)
                user_inputs = np.concatenate(
                    [_queries(objective, vectors, newest[start : start + _USERS_AT_ONCE], start) for start in parts]
                )
        item_inputs = vectors.numpy()
        encoder = encoder_from_torch(
            objective.tokens, item_inputs, max_length=self.config.max_length, n_dims=examples.shape[1]
        )
        scorer = scorer_from_torch(objective.scorer, item_inputs, examples)
        return PairForm(
            item_inputs,
            scorer,
            user_inputs,
            encoder,
            cast("DotForm | ItemItemForm | StaticForm", retriever),
            n_candidates,
        )


_EXAMPLES = 64
_USERS_AT_ONCE = 1024


def _queries(objective: RankingObjective, vectors: torch.Tensor, newest: Any, first_user: int) -> FloatArray:
    """Query vectors of users in a row, from their histories as a matrix."""
    users = torch.arange(first_user, first_user + len(newest))
    return objective.queries(users, torch.from_numpy(newest), vectors).numpy()


def _ndcg(objective: RankingObjective, held: CandidateBatches, device: torch.device) -> float:
    """NDCG@10 of what was taken among the candidates, where equal scores count against it."""
    gains = []
    for batch in held.epoch(np.random.default_rng(0), 0, 1):
        *inputs, taken = (tensor.to(device) for tensor in batch)
        scores = objective.scores(*inputs)
        place = (scores >= scores.gather(1, taken[:, None])).sum(1) - 1
        gains.append(torch.where(place < 10, 1 / torch.log2(place + 2.0), 0.0).cpu())
    return float(torch.cat(gains).mean())


def _checked(retriever: Recommender | FittedModel, interactions: Interactions) -> Recommender | FittedModel:
    for name in ("users", "items"):
        known, wanted = getattr(retriever, name), getattr(interactions, name)
        if not known.ids.equals(wanted.ids):
            raise DataError(
                f"retriever: expected the {len(wanted)} {name} of the interactions in their order, got {len(known)} "
                f"others; fit it on interactions that have all of them."
            )
    return retriever


def _require_histories(retriever: Recommender | FittedModel) -> None:
    form = retriever.form
    if not form.accepts_histories or isinstance(form, PairForm):
        raise ConfigError(
            f"retriever: expected a model that answers histories and has an index, got {type(form).__name__} without; "
            "als, item_knn, ease, sasrec and two_tower do."
        )
