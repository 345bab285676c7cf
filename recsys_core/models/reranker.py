"""The contract of a re-ranker: it reorders a pool of candidates for some other aim than their score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from recsys_core.data import Histories
from recsys_core.models.config import Config, build_config
from recsys_core.models.fitted import FittedModel
from recsys_core.types import Ranking

__all__ = ["Reranker"]


class Reranker(ABC):
    """Base of every re-ranker; :meth:`FittedModel.reranked` puts one behind a model.

    Parameters
    ----------
    **settings
        Fields of ``config_class``.
    """

    config_class: ClassVar[type[Config]] = Config

    def __init__(self, **settings: Any) -> None:
        self.config = build_config(self.config_class, settings, model=type(self).__name__)

    @abstractmethod
    def rerank(self, pool: Ranking, k: int, model: FittedModel, histories: Histories) -> Ranking:
        """Choose and order k of each row's candidates.

        Parameters
        ----------
        pool
            The model's ranking, longer than k; rows padded with -1.
        k
            Items to keep, at most the pool's width.
        model
            The model that made the pool, for its form, its items' features and the histories it was trained on.
        histories
            What each asker has had, a row for each of the pool's.

        Returns
        -------
        Ranking
            (n_queries, k): a subset of each row's candidates in the new order, with the scores the model gave them,
            padded as the pool is.
        """
