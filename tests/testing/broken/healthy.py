"""Recommenders that keep every promise, from which the broken ones are made."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from recsys_core import Config, DotForm, ItemItemForm, Recommender
from recsys_core.models import FoldIn, SearchRange


class NeighborsConfig(Config):
    """Settings of the models here."""

    shrinkage: Annotated[float, SearchRange(0.0, 10.0)] = Field(
        1.0, ge=0, description="Added to the denominator of a similarity."
    )


class Neighbors(Recommender):
    """Cosine neighbours in plain NumPy: keeps every promise."""

    config_class = NeighborsConfig
    config: NeighborsConfig

    def fit_form(self, interactions, progress):
        return ItemItemForm(self.similarities(interactions, progress))

    def similarities(self, interactions, progress):
        matrix = interactions.to_csr("binary").toarray()
        progress(0, 2)
        together = matrix.T @ matrix
        norms = np.sqrt(np.diag(together))
        progress(1, 2)
        weights = together / (np.outer(norms, norms) + self.config.shrinkage)
        np.fill_diagonal(weights, 0.0)
        progress(2, 2)
        return weights.astype(np.float32)


class Averages(Recommender):
    """Least squares on fixed random item vectors: a healthy model with users, fold-in and biases."""

    def fit_form(self, interactions, progress):
        matrix = interactions.to_csr("binary").toarray()
        _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
        item_factors = np.ascontiguousarray((vectors[:4].T * np.sqrt(values[:4])).astype(np.float32))
        prior = (item_factors.T @ item_factors + np.eye(item_factors.shape[1])).astype(np.float32)
        users = np.linalg.solve(prior, (matrix @ item_factors).T).T.astype(np.float32)
        return DotForm(item_factors, None, np.ascontiguousarray(users), FoldIn(prior, (0.0, 0.0), (1.0, 0.0)))
