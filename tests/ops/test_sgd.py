"""BPR, WARP and logistic factorization: one core, so that most tests hold for the three."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from factorization_data import DIMENSIONS, long_tailed

from recsys_core import ops
from recsys_core.errors import ConfigError, DataError, DTypeError, ShapeError
from recsys_core.ops import SgdFactors
from recsys_core.ops import _reference_factorization as reference

FITS = {"bpr": ops.bpr, "warp": ops.warp, "logistic": ops.logistic_mf}
OPTIONS = {"bpr": {}, "warp": {"max_trials": 3}, "logistic": {"n_negatives": 1, "alpha": 1.5}}
PARTS = ("user_factors", "item_factors", "item_bias")
FEATURE_PARTS = ("user_feature_factors", "item_feature_factors", "item_feature_bias")

every_objective = pytest.mark.parametrize("objective", FITS)


def two_camps(n_users: int = 120, n_items: int = 40) -> sp.csr_matrix:
    """Even users like some of the first half of the items, odd users some of the second half."""
    rng = np.random.default_rng(0)
    liked = rng.random((n_users, n_items)) < 0.4
    liked[0::2, n_items // 2 :] = False
    liked[1::2, : n_items // 2] = False
    return sp.csr_matrix(liked.astype(np.float32))


def same_camp(scores: np.ndarray) -> float:
    """Share of users whose best item is of their camp."""
    best = np.argmax(scores, axis=1)
    return float(np.mean(np.arange(len(scores)) % 2 == best // (scores.shape[1] // 2)))


def scores_of(factors: SgdFactors) -> np.ndarray:
    X, Y, b = factors
    return X @ Y.T + b


def some_start(shape: tuple[int, int], n_factors: int, n_features: tuple[int, int] | None = None) -> SgdFactors:
    rng = np.random.default_rng(1)
    sizes = [(shape[0], n_factors), (shape[1], n_factors), (shape[1],)]
    if n_features is not None:
        sizes += [(n_features[0], n_factors), (n_features[1], n_factors), (n_features[1],)]
    return SgdFactors(*(rng.normal(scale=0.7 / n_factors**0.25, size=size).astype(np.float32) for size in sizes))


def rank_losses(n_items: int, n_trials: int) -> np.ndarray:
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, max(n_items, 2)))])
    return np.array(
        [harmonic[(n_items - 1) // trial] / harmonic[max(n_items, 2) - 1] for trial in range(1, n_trials + 1)]
    )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("n_factors", DIMENSIONS)
@every_objective
def test_steps_follow_the_float64_specification(objective, n_factors, optimizer):
    # One user, who has item 0 of two: every draw is item 1, so that each epoch is one known step.
    interactions = sp.csr_matrix(np.array([[2.0, 0.0]], dtype=np.float32))
    start = some_start(interactions.shape, n_factors)
    losses: list[float] = []
    result = FITS[objective](
        interactions, n_factors, initial=start, n_epochs=4, learning_rate=0.2, regularization=0.1, optimizer=optimizer,
        callback=lambda _, loss: losses.append(loss), **OPTIONS[objective],
    )  # fmt: skip
    values = {name: getattr(start, name).astype(np.float64) for name in PARTS}
    squares = {name: np.zeros(len(value)) for name, value in values.items()} if optimizer == "adagrad" else None
    for epoch, loss in enumerate(losses):
        x, Y, b = (values[name] for name in PARTS)
        pulls, expected = reference.sgd_pulls_reference(
            objective, x[0], Y, b, weight=3.0, rank_losses=rank_losses(2, 3)
        )
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
        gradients = {"user_factors": (pulls @ Y)[None, :], "item_factors": np.outer(pulls, x[0]), "item_bias": pulls}
        rate = 0.2 * (1 - epoch / 4)
        reference.sgd_step_reference(values, squares, gradients, rate=rate, regularization=0.1)
    assert len(losses) == 4
    for name in PARTS:
        np.testing.assert_allclose(getattr(result, name), values[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n_factors", [1, 9, 64])
@every_objective
def test_features_move_along_their_gradients(objective, n_factors):
    # The derivative of the specification's loss by each embedding, by central differences.
    interactions = sp.csr_matrix(np.array([[1.0, 0.0]], dtype=np.float32))
    user_features = sp.csr_matrix(np.array([[1.0, 0.5]], dtype=np.float32))
    item_features = sp.csr_matrix(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], dtype=np.float32))
    rate = 1e-3
    # Item 1, without an entry, is never drawn: draws come from an interaction of a second user.
    interactions = sp.vstack([interactions, sp.csr_matrix(np.array([[1.0, 1.0]], dtype=np.float32))]).tocsr()
    user_features = sp.vstack([user_features, sp.csr_matrix((1, 2), dtype=np.float32)]).tocsr()
    start = some_start(interactions.shape, n_factors, (2, 3))
    options = {"warp": {"max_trials": 1}, "logistic": {"n_negatives": 3}, "bpr": {}}[objective]
    result = FITS[objective](
        interactions, n_factors, initial=start, n_epochs=1, learning_rate=rate, regularization=0.0, optimizer="sgd",
        user_features=user_features, item_features=item_features, **options,
    )  # fmt: skip
    drawn = [0, *([1] * options.get("n_negatives", 1))]
    weights = {name: getattr(start, name).astype(np.float64) for name in FEATURE_PARTS}

    def loss(changed: dict[str, np.ndarray]) -> float:
        delta = {name: changed[name] - weights[name] for name in FEATURE_PARTS}
        x = start.user_factors[0] + user_features.toarray()[0] @ delta["user_feature_factors"]
        Y = start.item_factors + item_features.toarray() @ delta["item_feature_factors"]
        b = start.item_bias + item_features.toarray() @ delta["item_feature_bias"]
        return reference.sgd_pulls_reference(objective, x, Y[drawn], b[drawn], rank_losses=rank_losses(2, 1))[1]

    for name in FEATURE_PARTS:
        gradient = np.zeros_like(weights[name])
        for place in np.ndindex(*gradient.shape):
            sides = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in weights.items()}
                moved[name][place] += sign * 1e-4
                sides.append(loss(moved))
            gradient[place] = (sides[0] - sides[1]) / 2e-4
        step = (getattr(result, name).astype(np.float64) - weights[name]) / rate
        np.testing.assert_allclose(step, -gradient, rtol=0.02, atol=0.02, err_msg=name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("n_factors", [1, 9, 32])
@every_objective
def test_planted_camps_are_found(objective, n_factors, optimizer):
    losses = []
    factors = FITS[objective](
        two_camps(),
        n_factors,
        optimizer=optimizer,
        learning_rate=0.1,
        callback=lambda epoch, loss: losses.append((epoch, loss)),
    )
    assert [epoch for epoch, _ in losses] == list(range(50))
    assert losses[-1][1] < 0.8 * losses[0][1]
    assert same_camp(scores_of(factors)) > 0.99


@pytest.mark.parametrize("shape", [(60, 45, 400), (2500, 1500, 40_000)], ids=["one block", "many blocks"])
@every_objective
def test_the_same_bits_for_any_number_of_threads(objective, shape):
    interactions = long_tailed(*shape)
    results = []
    for n_threads in (1, 2, 4, 0):
        losses = []
        parts = FITS[objective](
            interactions,
            17,
            n_epochs=2,
            n_threads=n_threads,
            callback=lambda _, loss, losses=losses: losses.append(loss),
        )
        results.append((*(part.tobytes() for part in parts), *losses))
    assert len(set(results)) == 1


@every_objective
def test_a_start_may_be_a_result_or_its_arrays(objective):
    start = FITS[objective](two_camps(), 4, n_epochs=1)
    more = [FITS[objective](two_camps(), 4, n_epochs=1, initial=given) for given in (start, tuple(start))]
    for ours, theirs in zip(*more, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def camps_with_features() -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """Items 0 and 20 are new: all that is known of them is their camp."""
    liked = two_camps(400).tolil()
    liked[:, [0, 20]] = 0
    users, items = np.arange(400) % 2, np.arange(40) // 20
    return (
        liked.tocsr(),
        sp.csr_matrix(np.eye(2, dtype=np.float32)[users]),
        sp.csr_matrix(np.eye(2, dtype=np.float32)[items]),
    )


@pytest.mark.parametrize("deterministic", [True, False])
@every_objective
def test_new_items_and_users_are_ranked_by_their_features(objective, deterministic):
    interactions, user_features, item_features = camps_with_features()
    interactions.eliminate_zeros()
    factors = FITS[objective](
        interactions, 8, user_features=user_features, item_features=item_features, deterministic=deterministic
    )
    scores = scores_of(factors)
    right = np.where(np.arange(400) % 2 == 0, scores[:, 0] - scores[:, 20], scores[:, 20] - scores[:, 0])
    assert np.mean(right > 0) > 0.99
    new_items, new_bias = factors.embed_items(item_features[[0, 20]])
    np.testing.assert_allclose(new_items, factors.item_factors[[0, 20]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new_bias, factors.item_bias[[0, 20]], rtol=1e-5, atol=1e-6)
    stranger = factors.embed_users(user_features[:1]) @ factors.item_factors.T + factors.item_bias
    assert stranger[0, 1:20].mean() > stranger[0, 21:].mean()


def test_deterministic_features_repeat_whatever_the_threads():
    interactions, user_features, item_features = camps_with_features()
    results = [
        ops.bpr(
            interactions, 8, n_epochs=3, user_features=user_features, item_features=item_features, deterministic=True,
            n_threads=n_threads,
        )
        for n_threads in (1, 4)
    ]  # fmt: skip
    for name in (*PARTS, *FEATURE_PARTS):
        np.testing.assert_array_equal(getattr(results[0], name), getattr(results[1], name))


@every_objective
def test_training_goes_on_from_what_there_is(objective):
    interactions, user_features, item_features = camps_with_features()
    for features in ({}, {"user_features": user_features, "item_features": item_features}):
        first = FITS[objective](interactions, 8, n_epochs=20, **features)
        before = {name: getattr(first, name) for name in (*PARTS, *FEATURE_PARTS)}
        copies = {name: None if part is None else part.copy() for name, part in before.items()}
        still = FITS[objective](
            interactions,
            8,
            n_epochs=1,
            initial=first,
            learning_rate=1e-30,
            optimizer="sgd",
            regularization=0.0,
            **features,
        )
        losses = []
        FITS[objective](
            interactions, 8, n_epochs=2, initial=first, learning_rate=0.01,
            callback=lambda _, loss, to=losses: to.append(loss), **features,
        )  # fmt: skip
        fresh = []
        FITS[objective](interactions, 8, n_epochs=1, callback=lambda _, loss, to=fresh: to.append(loss), **features)
        assert losses[0] < fresh[0]
        for name, part in copies.items():
            if part is None:
                assert getattr(still, name) is None
            else:
                np.testing.assert_allclose(getattr(still, name), part, rtol=1e-4, atol=1e-5, err_msg=name)
                np.testing.assert_array_equal(before[name], part)  # the start itself is left as it was


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_negatives_are_drawn_by_popularity_and_never_from_what_the_user_has(power):
    # With no pull from the vectors (f = 1, tiny steps), an item's bias falls in proportion to how often it was drawn.
    n_items, n_epochs, rate = 1100, 12, 1e-6
    rng = np.random.default_rng(0)
    liked = np.zeros((160, n_items), dtype=np.float32)
    liked[:80, :500] = 1.0
    popular = rng.random(600) < 0.3
    liked[80:, 500:][:, popular] = 1.0
    liked[80, 500:] = 1.0
    _, _, bias = ops.bpr(
        sp.csr_matrix(liked[:81]) if power == 0 else sp.csr_matrix(liked), 1, n_epochs=n_epochs, learning_rate=rate,
        regularization=0.0, optimizer="sgd", schedule="constant", popularity_power=power, random_state=3,
    )  # fmt: skip
    unit = rate * 0.5
    counts = liked[:81].sum(axis=0) if power == 0 else liked.sum(axis=0)
    drawn = counts * n_epochs - bias / unit  # times an item was drawn
    from_first = drawn[500:]  # by the first 80 users, who have the first 500: they alone lack these
    weights = counts[500:] ** power
    expected = 80 * 500 * n_epochs * weights / weights.sum()
    if power == 0:
        assert np.abs(from_first - expected).max() < 12 * np.sqrt(expected.max())
    else:
        few, many = counts[500:] == 1, counts[500:] > 1
        assert from_first[many].mean() / from_first[few].mean() == pytest.approx(80**0.5, rel=0.15)
    assert from_first.sum() == pytest.approx(80 * 500 * n_epochs, rel=0.03)


def test_positives_are_drawn_only_if_they_may_be():
    everything = sp.csr_matrix(np.ones((2, 3), dtype=np.float32))
    losses = []
    for may in (True, False):
        ops.bpr(everything, 4, n_epochs=1, reject_positives=may, callback=lambda _, loss: losses.append(loss))
    assert np.isnan(losses[0])
    assert losses[1] == pytest.approx(np.log(2), abs=0.05)


@every_objective
def test_a_user_with_every_item_is_skipped(objective):
    interactions = sp.csr_matrix(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float32))
    start = some_start(interactions.shape, 4)
    X, _, _ = FITS[objective](interactions, 4, initial=start, n_epochs=50)
    assert np.array_equal(X[0], start.user_factors[0])
    assert not np.allclose(X[1], start.user_factors[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
@every_objective
def test_one_user_or_one_item(objective, shape):
    X, Y, bias = FITS[objective](sp.csr_matrix(np.ones(shape, dtype=np.float32)), 3, n_epochs=2)
    assert (X.shape, Y.shape, bias.shape) == ((shape[0], 3), (shape[1], 3), (shape[1],))
    assert np.isfinite(X).all()


@pytest.mark.parametrize("fit", [ops.bpr, ops.warp])
def test_values_and_repeats_do_not_count_in_pairs(fit):
    messy = sp.csr_matrix(
        (np.array([5, 2, 0, 3], dtype=np.float32), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 4)
    )
    tidy = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 1, 0, 0]], dtype=np.float32))
    for ours, theirs in zip(fit(messy, 4, n_epochs=3), fit(tidy, 4, n_epochs=3), strict=True):
        assert np.array_equal(ours, theirs)


def test_seeds_epochs_and_threads():
    interactions = long_tailed(300, 200, 20_000)
    first, again, other = (ops.bpr(interactions, 8, n_epochs=2, random_state=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.user_factors, again.user_factors)
    assert not np.allclose(first.user_factors, other.user_factors)


def test_the_best_epoch_is_kept_and_patience_ends():
    interactions = two_camps()
    values = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    seen: list[np.ndarray] = []
    epochs: list[int] = []

    def validate(factors: SgdFactors) -> float:
        seen.append(factors.item_factors.copy())
        return next(values)

    best = ops.bpr(
        interactions, 4, n_epochs=30, validate=validate, patience=3, callback=lambda epoch, _: epochs.append(epoch)
    )
    assert epochs == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(best.item_factors, seen[1])
    assert not np.array_equal(seen[0], seen[1])


@every_objective
def test_the_callback_stops_or_fails_the_fit(objective):
    interactions = two_camps()
    seen = []
    FITS[objective](interactions, 4, n_epochs=10, callback=lambda epoch, _: seen.append(epoch) or epoch == 2)
    assert seen == [0, 1, 2]

    def fail(epoch, loss):
        raise LookupError(f"at {epoch}")

    with pytest.raises(LookupError, match="at 0"):
        FITS[objective](interactions, 4, callback=fail)


@pytest.mark.parametrize("stop", [False, True])
def test_factors_that_diverge_in_the_last_step_are_an_error_too(stop):
    # The loss of the only pair is taken before its only step, which takes the factors beyond float32.
    losses = []
    with pytest.raises(
        ConfigError, match=r"learning_rate must keep the factors finite.* diverged in epoch 0; lower it"
    ):
        ops.bpr(
            sp.csr_matrix(np.array([[1, 0]], dtype=np.float32)),
            4,
            learning_rate=1e30,
            regularization=1e30,
            optimizer="sgd",
            n_epochs=2 if stop else 1,
            callback=lambda _, loss: losses.append(loss) or stop,
        )
    assert np.isfinite(losses).all()
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "interactions must hold finite numbers only, got NaN at row 2, column "),
        (np.inf, "interactions must hold finite numbers only, got inf at row 2, column "),
        (-1.0, "interactions must hold weights of 0 or more, got -1.000000 at row 2, column "),
    ],
)
@pytest.mark.parametrize("fit", [*FITS.values(), ops.als])
def test_feedback_that_is_not_finite_or_negative_is_refused(fit, value, message):
    interactions = two_camps()
    interactions.data[interactions.indptr[2]] = value
    with pytest.raises(DataError, match=message):
        fit(interactions, 4)


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
@every_objective
def test_a_regularization_that_outweighs_the_data_is_said(objective, optimizer):
    said = r"\w+: all item factors are next to zero .* regularization=10 outweighs the data; lower it"
    with pytest.warns(UserWarning, match=said) as warned:
        FITS[objective](two_camps(), 4, regularization=10.0, optimizer=optimizer)
    assert warned[0].filename == __file__


def test_a_regularization_that_adagrad_cannot_sum_is_an_error():
    # Its squares would be infinite and every step nothing: the start would come back.
    with pytest.raises(ConfigError, match=r"regularization must be at most 1e\+15 with adagrad"):
        ops.bpr(two_camps(), 4, regularization=1e30)


def test_errors_name_argument_and_remedy():
    interactions = two_camps()
    with pytest.raises(DataError, match="at least one stored entry"):
        ops.bpr(sp.csr_matrix((3, 4), dtype=np.float32))
    with pytest.raises(DTypeError, match="CSR"):
        ops.warp(interactions.toarray())
    with pytest.raises(DataError, match="negative"):
        ops.logistic_mf(-interactions, 4)
    with pytest.raises(ConfigError, match=r"learning_rate must keep the factors finite.* lower it"):
        ops.bpr(interactions, 4, learning_rate=1e20, optimizer="sgd")
    for fit, setting, message in (
        (ops.bpr, {"n_factors": 0}, "n_factors must be at least 1"),
        (ops.bpr, {"learning_rate": 0.0}, "learning_rate must be above 0"),
        (ops.bpr, {"regularization": -1.0}, "regularization must be at least 0"),
        (ops.bpr, {"n_epochs": 0}, "n_epochs must be at least 1"),
        (ops.bpr, {"random_state": -1}, "random_state must be at least 0"),
        (ops.bpr, {"popularity_power": -1}, "popularity_power must be at least 0"),
        (ops.bpr, {"optimizer": "adam"}, "optimizer must be one of adagrad, sgd, got 'adam'"),
        (ops.bpr, {"schedule": "cosine"}, "schedule must be one of linear, constant, got 'cosine'"),
        (ops.bpr, {"patience": 0}, "patience must be at least 1"),
        (ops.warp, {"max_trials": 0}, "max_trials must be at least 1"),
        (ops.logistic_mf, {"n_negatives": 65}, "n_negatives must be at most 64"),
        (ops.logistic_mf, {"alpha": 0}, "alpha must be above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(interactions, **setting)
    with pytest.raises(TypeError, match="learning_rat"):
        ops.bpr(interactions, learning_rat=1.0)


def test_features_and_starts_that_do_not_fit_are_errors():
    interactions = two_camps()
    features = sp.csr_matrix(np.ones((40, 2), dtype=np.float32))
    with pytest.raises(ShapeError, match="item_features must have a row for each of the 40 items, got 39"):
        ops.bpr(interactions, 4, item_features=features[:39])
    broken = features.copy()
    broken.data[3] = np.nan
    with pytest.raises(DataError, match="item_features"):
        ops.bpr(interactions, 4, item_features=broken)
    start = some_start(interactions.shape, 4)
    with pytest.raises(ShapeError, match=r"initial.item_factors must have the shape \(40, 5\), got \(40, 4\)"):
        ops.bpr(interactions, 5, initial=SgdFactors(np.zeros((120, 5)), start.item_factors, start.item_bias))
    with pytest.raises(ShapeError, match=r"initial.item_feature_factors must be given with features"):
        ops.bpr(interactions, 4, initial=start, item_features=features)
    with pytest.raises(ShapeError, match=r"initial must be the result of a fit, or \(.*item_bias\), got 2 parts"):
        ops.bpr(interactions, 4, initial=tuple(start)[:2])
    with pytest.raises(ShapeError, match=r"initial must be the result of a fit, .* got int"):
        ops.bpr(interactions, 4, initial=3)
    with pytest.raises(DTypeError, match=r"initial.item_bias must hold real numbers"):
        ops.bpr(interactions, 4, initial=(start.user_factors, start.item_factors, start.item_bias.astype(complex)))
    start.item_bias[3] = np.inf
    with pytest.raises(DataError, match=r"initial\.item_bias"):
        ops.bpr(interactions, 4, initial=start)
    plain = ops.bpr(interactions, 4, n_epochs=1)
    with pytest.raises(ConfigError, match="training had no item features; pass item_features"):
        plain.embed_items(features)
    with pytest.raises(ShapeError, match="expected 2 columns as in training, got 3"):
        ops.bpr(interactions, 4, n_epochs=1, item_features=features).embed_items(sp.csr_matrix((1, 3)))
