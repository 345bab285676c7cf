from __future__ import annotations

import numpy as np
import pytest

from recsys_classic.bpr import Bpr
from recsys_core.errors import ConfigError, DataError


def pairwise_accuracy(model, interactions) -> float:
    """Share of (had, not had) pairs of items that a user's scores order rightly."""
    had = interactions.to_csr("binary").toarray() > 0
    scores = model.user_factors_ @ model.item_factors_.T + model.item_bias_
    return float(np.mean([(row[mask][:, None] > row[~mask]).mean() for row, mask in zip(scores, had, strict=True)]))


@pytest.mark.parametrize("deterministic", [True, False])
def test_learns_to_order_pairs(ratings, deterministic) -> None:
    early = Bpr(n_factors=8, n_epochs=1, deterministic=deterministic).fit(ratings)
    late = Bpr(n_factors=8, n_epochs=200, deterministic=deterministic).fit(ratings)
    assert pairwise_accuracy(late, ratings) > 0.9
    assert pairwise_accuracy(late, ratings) > pairwise_accuracy(early, ratings) + 0.1


def test_weights_do_not_count(ratings) -> None:
    unweighted = type(ratings).from_arrays(
        ratings.users.labels(ratings.user_index), ratings.items.labels(ratings.item_index)
    )
    np.testing.assert_array_equal(
        Bpr(n_factors=4, n_epochs=3).fit(ratings).item_factors_,
        Bpr(n_factors=4, n_epochs=3).fit(unweighted).item_factors_,
    )


def test_same_seed_same_model_whatever_the_threads(ratings) -> None:
    one = Bpr(n_factors=6, n_epochs=5, n_threads=1).fit(ratings)
    two = Bpr(n_factors=6, n_epochs=5, n_threads=2).fit(ratings)
    np.testing.assert_array_equal(one.user_factors_, two.user_factors_)
    np.testing.assert_array_equal(one.item_bias_, two.item_bias_)


def test_strangers_are_refused(ratings) -> None:
    model = Bpr(n_factors=2, n_epochs=1).fit(ratings)
    with pytest.raises(DataError, match="answers only for users it was trained on"):
        model.recommend(histories=[0])


def test_progress_counts_epochs(ratings) -> None:
    seen = []
    Bpr(n_factors=2, n_epochs=3).fit(ratings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("settings", [{"learning_rate": 0}, {"n_epochs": 0}, {"regularization": -1}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=f"Bpr.{next(iter(settings))}"):
        Bpr(**settings)
