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
from recsys_core.types import FloatArray, IndexArray
from recsys_neural.encoders import EncoderChoice, EntityInputs, build_encoder
from recsys_neural.models.candidates import CandidateBatches, CandidateLists, without_newest
from recsys_neural.models.described import DescribedConfig, DescribedRecommender
from recsys_neural.models.known_users import KnownUsers
from recsys_neural.models.ranking import CandidateScorer, QueryLayout, RankingObjective
from recsys_neural.models.towers import ItemTower
from recsys_neural.training import Trainer

__all__ = ["Ranker", "RankerConfig"]


class RankerConfig(DescribedConfig):
    """Settings of :class:`Ranker`.

    The defaults hold back more than those of other models: lists are few, and the retriever's order is good already.
    """

    learning_rate: Annotated[float, SearchRange(1e-4, 1e-2, log=True)] = Field(
        5e-4, gt=0, description="Largest step of AdamW."
    )
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay of matrices; biases and norms have none.")
    batch_size: int = Field(64, ge=1, description="Lists in a step, over all processes.")
    patience: int = Field(5, ge=1, description="Epochs without a gain on validation before training stops.")
    validation: float = Field(
        0.2, ge=0, le=1, description="Share of the users whose lists are held out to find the best epoch, if any."
    )
    id_dropout: Annotated[float, SearchRange(0.0, 0.5)] = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the items whose learned vector a step leaves out, where there are features.",
    )
    retriever: EncoderChoice = Field("als", description="Model that finds candidates: a name, or {name, settings}.")
    n_candidates: Annotated[int, SearchRange(50, 500, log=True)] = Field(
        100, ge=1, description="Items that it finds; no answer is longer."
    )
    target_share: float = Field(
        0.1, gt=0, lt=1, description="Share of each user's events, the newest, that the order is learned from."
    )
    n_folds: int = Field(
        4, ge=1, description="Groups of users whose newest events a retriever is fitted without, one group at a time."
    )
    lists_per_user: int = Field(
        4, ge=1, description="Lists to learn from, at most, so that nobody's long history outweighs the others'."
    )
    item_encoder: EncoderChoice = Field("mlp", description="Encoder of items: a name, or {name, settings}.")
    user_encoder: EncoderChoice = Field("mlp", description="Encoder of user features: a name, or {name, settings}.")
    n_factors: Annotated[int, SearchRange(8, 128, log=True)] = Field(
        16, ge=1, description="Length of an item's vector."
    )
    n_hidden: int = Field(32, ge=1, description="Width of the layer that scores.")
    dropout: Annotated[float, SearchRange(0.0, 0.5)] = Field(
        0.3, ge=0, lt=1, description="Share of that layer's inputs that training leaves out."
    )
    max_length: int = Field(20, ge=1, description="Events of a history that a candidate is compared with, the newest.")


class Ranker(DescribedRecommender):
    r"""Re-scores what a retriever finds, by features of items and users and by attention to the history (ranker).

    For each candidate, target attention asks which of the user's newest items go with it; a small network adds what it
    makes of both to the retriever's score, in relation to those of the other candidates.  The order is learned from
    lists of candidates as they will be met: for one group of users after another the retriever is fitted without their
    newest events and asked by what came before some of these, and what the user took from then on, *T*, is to come
    first of what it found, *C*.

    .. math:: \min \; -\sum_h \frac{1}{|T(h)|} \sum_{i \in T(h)} \ln \frac{e^{s(h, i)}}{\sum_{j \in C(h)} e^{s(h, j)}}

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
        As in :class:`~recsys_neural.models.trained.TrainedRecommender`; validation holds out all lists of some users,
        and is the NDCG@10 of what these took among the candidates.  The retriever's order is kept, and the best epoch
        is 0, unless the gain over it is larger than its standard error over these users: of several epochs one always
        seems to be better.

    Notes
    -----
    Strangers are asked about by what they had and, where the interactions have features of users, by their features:
    ``recommend(histories=..., user_features=...)``.  Training hides the features of one user in ten, for those of whom
    nothing but a history is known.  A retriever that reads features of users is told them too, in training as well, and
    then both stages read the columns that it reads.  Where the retriever's order is kept, features of strangers would
    count for nothing, and are refused unless the retriever reads them.

    The retriever has to answer histories.  A model named by the setting is fitted ``n_folds + 1`` times, in the end on
    everything.
    Users with features are kept as query vectors of ``max_length * (n_factors + 1) + n_factors`` numbers each; without
    features nothing is kept for them.  The cost of an answer is the retriever's and ``n_candidates`` scores.

    References
    ----------
    G. Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018 (attention by the candidate).
    Z. Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (the loss).
    L. Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3 (the rule of one standard error).
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
        given = None if self.retriever is None else _checked(self.retriever, interactions)
        lists = self._lists(interactions, given)
        self.retriever_ = self._created().fit(interactions) if given is None else given
        objective = self._train(interactions, lists, progress)
        return self._form(interactions, objective, min(config.n_candidates, interactions.n_items))

    def _lists(self, interactions: Interactions, given: Recommender | FittedModel | None) -> CandidateLists:
        """What a retriever finds that has not seen what is to be found."""
        config = self.config
        histories = interactions.histories()
        n_candidates = min(config.n_candidates, interactions.n_items)

        def find(retriever: Recommender | FittedModel, users: IndexArray | None) -> CandidateLists:
            _require_histories(retriever)
            share, per_user = config.target_share, config.lists_per_user
            told = None if retriever.form.user_preparation is None else interactions.user_features
            return CandidateLists.find(retriever, histories, share, n_candidates, per_user, users, told)

        if given is not None:
            return find(given, None)
        # Fitted on what the others did last too, as the retriever of the end will be: one without would be weaker, and
        # the second stage would learn to make up for what it no longer lacks then.
        order = np.random.default_rng(config.random_state).permutation(interactions.n_users)
        parts = [np.sort(part) for part in np.array_split(order, config.n_folds) if len(part)]
        return CandidateLists.joined(
            [find(self._created().fit(without_newest(interactions, config.target_share, part)), part) for part in parts]
        )

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
        training, held_out = lists.hold_out(config.validation, config.random_state)
        sizes = {"max_length": config.max_length, "batch_size": config.batch_size}
        batches = CandidateBatches(training, **sizes)
        if not len(held_out):
            result = trainer.fit(objective, batches, progress=progress)
            self.curve_, self.best_epoch_ = result.curve, result.best_epoch
            return objective.cpu()
        untrained = {name: weight.clone() for name, weight in objective.state_dict().items()}
        ndcg = partial(_ndcg, objective, CandidateBatches(held_out, **sizes))
        retrieved = ndcg()
        total = config.n_epochs * (2 if config.refit else 1)
        result = trainer.fit(
            objective, batches, lambda: float(ndcg().mean()), progress=lambda done, _: progress(done, total)
        )
        self.curve_ = result.curve
        self.best_epoch_ = result.best_epoch if _is_gain(ndcg() - retrieved, held_out.users) else 0
        if config.refit or not self.best_epoch_:
            objective.load_state_dict(untrained)
        if config.refit and self.best_epoch_:
            trainer.fit(
                objective,
                CandidateBatches(lists, **sizes),
                n_epochs=self.best_epoch_,
                stage="refit",
                progress=lambda done, _: progress(config.n_epochs + done, total),
            )
        return objective.cpu()

    def _objective(self, interactions: Interactions, lists: CandidateLists) -> RankingObjective:
        config = self.config
        item_arrays, item_inputs = self.item_arrays(interactions)
        # Features of strangers come in one way, so that both stages read them by one preparation.
        user_arrays, user_sizes = self.user_arrays(interactions, self.retriever_.form.user_preparation)
        n_user_dims = config.n_factors if user_sizes else 0
        encoder = build_encoder(config.item_encoder, item_inputs, config.n_factors)
        return RankingObjective(
            ItemTower(encoder, item_arrays, normalize=False, id_dropout=self.hidden_ids),
            QueryLayout(
                config.max_length,
                build_encoder(config.user_encoder, EntityInputs(**user_sizes), n_user_dims) if user_sizes else None,
                KnownUsers(user_arrays),
            ),
            CandidateScorer(
                config.n_factors, config.max_length, n_user_dims, config.n_hidden, config.dropout, lists.gain()
            ),
        )

    def _form(self, interactions: Interactions, objective: RankingObjective, n_candidates: int) -> PairForm:
        histories = interactions.histories()
        retriever = self.retriever_.form
        with torch.no_grad():
            vectors = objective.items.all_vectors()
            examples = _queries(objective, vectors, histories.rows(slice(_EXAMPLES)).newest(self.config.max_length), 0)
            user_inputs: FloatArray | None = None
            if objective.layout.users is not None and retriever.accepts_users:
                newest = histories.newest(self.config.max_length)
                parts = range(0, len(newest), _USERS_AT_ONCE)
                user_inputs = np.concatenate(
                    [_queries(objective, vectors, newest[start : start + _USERS_AT_ONCE], start) for start in parts]
                )
        item_inputs = vectors.numpy()
        reads_features = self.best_epoch_ > 0  # in the retriever's own order they would count for nothing
        encoder = encoder_from_torch(
            objective.layout,
            item_inputs,
            max_length=self.config.max_length,
            n_dims=examples.shape[1],
            preparation=self.user_preparation_ if reads_features else None,
        )
        scorer = scorer_from_torch(objective.scorer, item_inputs, examples)
        return PairForm(
            item_inputs,
            scorer,
            user_inputs,
            encoder,
            cast("DotForm | ItemItemForm | StaticForm", retriever),
            n_candidates,
            standardized=True,
        )


_EXAMPLES = 64
_USERS_AT_ONCE = 1024
_K = 10


def _queries(objective: RankingObjective, vectors: torch.Tensor, newest: Any, first_user: int) -> FloatArray:
    """Query vectors of users in a row, from their histories as a matrix."""
    users = torch.arange(first_user, first_user + len(newest))
    queries: FloatArray = objective.layout.of_users(users, torch.from_numpy(newest), vectors).numpy()
    return queries


def _ndcg(objective: RankingObjective, held: CandidateBatches) -> FloatArray:
    """NDCG@10 of each list, where what was taken should come first."""
    found, device = [], objective.scorer.gain.device
    with torch.no_grad():
        for batch in held.in_order():
            *inputs, taken = (tensor.to(device) for tensor in batch)
            scores = objective.scores(*inputs)
            k = min(_K, scores.shape[1])
            gains = 1 / torch.log2(torch.arange(k, device=device) + 2.0)
            first = taken.gather(1, scores.topk(k, dim=1).indices)
            best = gains.cumsum(0)[taken.sum(dim=1).clamp(max=k) - 1]
            found.append(((first * gains).sum(dim=1) / best).cpu())
    return torch.cat(found).numpy()


def _is_gain(differences: FloatArray, users: IndexArray) -> bool:
    """Whether lists gain more than a standard error, on average over their users; of one user nothing is known."""
    _, user = np.unique(users, return_inverse=True)
    n_lists = np.bincount(user)
    if len(n_lists) < 2:
        return False
    gains = np.bincount(user, differences) / n_lists
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


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
