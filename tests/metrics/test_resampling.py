from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys_core.errors import ConfigError
from recsys_core.metrics import resampling
from recsys_core.metrics.resampling import bootstrap_interval, randomization_p_value, t_test_p_value


def test_interval_holds_the_true_mean_as_often_as_it_says():
    # 300 test sets of 80 users from a skewed distribution of mean 1; an exact 90 % interval would hold it 270 times.
    draws = np.random.default_rng(0).gamma(2.0, 0.5, size=(300, 80))
    held = sum(
        low <= 1.0 <= high for low, high in (bootstrap_interval(row, confidence=0.9, n_samples=400) for row in draws)
    )
    assert 250 <= held <= 285


def test_interval_agrees_with_the_normal_one_for_many_users():
    values = np.random.default_rng(1).random(20_000)
    low, high = bootstrap_interval(values, confidence=0.95, n_samples=2000)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_interval_narrows_with_less_confidence_and_repeats_with_the_seed():
    values = np.random.default_rng(2).random(50)
    wide, narrow = (bootstrap_interval(values, confidence=c) for c in (0.99, 0.5))
    assert wide.low < narrow.low < values.mean() < narrow.high < wide.high
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, random_state=1)


def test_interval_of_few_values():
    assert bootstrap_interval(np.array([0.25])) == (0.25, 0.25)
    assert np.isnan(bootstrap_interval(np.array([]))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"confidence": 95}, r"confidence: expected a share in \(0, 1\)"), ({"n_samples": 0}, "n_samples: expected")],
)
def test_interval_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval(np.ones(3), **arguments)


@given(st.lists(st.sampled_from([-0.5, -0.25, 0.0, 0.1, 0.3, 1.0]), min_size=1, max_size=8))
def test_randomization_is_exact_for_few_users(differences):
    observed = abs(sum(differences))
    patterns = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product([-1, 1], repeat=len(differences))
    ]
    expected = np.mean([abs(total) >= observed - 1e-9 for total in patterns])
    assert randomization_p_value(np.array(differences)) == pytest.approx(expected)


def test_drawn_patterns_agree_with_all_patterns():
    differences = np.random.default_rng(4).normal(0.25, 1.0, size=13)
    exact = randomization_p_value(differences, n_permutations=2**13)
    drawn = randomization_p_value(differences, n_permutations=2**13 - 1)
    assert 0.05 < exact < 0.95
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2**13))


def test_randomization_agrees_with_the_t_test_for_many_users():
    differences = np.random.default_rng(5).normal(0.1, 1.0, size=400)
    assert randomization_p_value(differences) == pytest.approx(t_test_p_value(differences), abs=0.01)


def test_a_small_chunk_changes_no_count_of_samples(monkeypatch):
    differences = np.random.default_rng(6).normal(0.1, 1.0, size=333)
    values = differences + 5.0
    whole = randomization_p_value(differences, n_permutations=4000), bootstrap_interval(values)
    monkeypatch.setattr(resampling, "_CHUNK", 100)  # a sample of 333 no longer fits into one chunk
    parts = randomization_p_value(differences, n_permutations=4000), bootstrap_interval(values)
    assert parts[0] == pytest.approx(whole[0], abs=0.03)
    assert parts[1] == pytest.approx(whole[1], abs=0.03)


def test_p_value_is_never_zero_and_one_without_differences():
    assert randomization_p_value(np.full(500, 0.5), n_permutations=99) == 1 / 100
    assert randomization_p_value(np.zeros(10)) == 1.0
    with pytest.raises(ConfigError, match="n_permutations"):
        randomization_p_value(np.ones(3), n_permutations=0)


def test_p_values_are_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(7)
    p_values = [randomization_p_value(rng.normal(size=40), n_permutations=500) for _ in range(400)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=30).filter(lambda v: len(set(v)) > 1))
def test_t_test_agrees_with_scipy(differences):
    assert t_test_p_value(np.array(differences)) == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=1e-12)


def test_t_test_at_its_edges():
    assert t_test_p_value(np.array([0.5])) == 1.0
    assert t_test_p_value(np.zeros(4)) == 1.0
    assert t_test_p_value(np.full(4, 0.5)) == 0.0
