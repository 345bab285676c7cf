"""How sure a value is: bootstrap intervals over users, randomisation and t-tests, vectorised in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recsys_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Interval", "bootstrap_interval", "randomization_p_value", "t_test_p_value", "welch_p_value"]

# Numbers drawn at once: about 50 MB with their gathered values.
_CHUNK = 4_000_000


class Interval(NamedTuple):
    """A confidence interval.

    Attributes
    ----------
    low, high
        Its two ends.
    """

    low: float
    high: float


def bootstrap_interval(
    values: npt.NDArray[np.float64], *, confidence: float = 0.95, n_samples: int = 1000, random_state: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron and Tibshirani, "An Introduction to the Bootstrap", ch. 13).

    Parameters
    ----------
    values
        float64, shape (n,): one value a user.
    confidence
        Share of intervals, over many test sets, that should hold the true mean; in (0, 1).
    n_samples
        How many times n users are drawn with replacement.
    random_state
        Seed; the same seed gives the same interval.

    Returns
    -------
    Interval
        NaN at both ends if there is no value.

    Notes
    -----
    O(n n_samples) time, memory independent of both.
    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence: expected a share in (0, 1), such as 0.95, got {confidence}")
    if n_samples < 1:
        raise ConfigError(f"n_samples: expected at least 1, got {n_samples}")
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"))
    rng = np.random.default_rng(random_state)
    means = np.zeros(n_samples)
    step = max(1, _CHUNK // n)
    for start in range(0, n_samples, step):
        stop = min(start + step, n_samples)
        # A single sample can be larger than a chunk; then it is drawn in parts.
        for first in range(0, n, _CHUNK):
            size = min(_CHUNK, n - first)
            drawn = rng.integers(0, n, size=(stop - start, size), dtype=np.int32 if n < 2**31 else np.int64)
            means[start:stop] += values[drawn].sum(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means / n, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def randomization_p_value(
    differences: npt.NDArray[np.float64], *, n_permutations: int = 10_000, random_state: int = 0
) -> float:
    """Two-sided p-value of the paired randomisation test.

    Under the null hypothesis the two systems are exchangeable for each user, so the sign of each difference is a
    coin flip; p is the share of sign patterns whose mean is at least as far from 0 as the observed one (Smucker,
    Allan and Carterette, "A comparison of statistical significance tests for information retrieval evaluation",
    CIKM 2007).  All patterns are tried where there are no more than ``n_permutations``; otherwise that many are
    drawn and the observed one is counted among them, so p is never 0.

    Parameters
    ----------
    differences
        float64, shape (n,): one difference a user.
    n_permutations
        How many sign patterns to try at most.
    random_state
        Seed.

    Notes
    -----
    O(n n_permutations) time over the users with a difference, memory independent of both.
    """
    if n_permutations < 1:
        raise ConfigError(f"n_permutations: expected at least 1, got {n_permutations}")
    moved = differences[differences != 0.0]
    n = len(moved)
    if n == 0:
        return 1.0
    total = moved.sum()
    # Patterns that tie with the observed one must not be lost to rounding.
    threshold = abs(total) - 1e-10 * np.abs(moved).sum()
    if n < 63 and 2**n <= n_permutations:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs(2.0 * (patterns @ moved) - total) >= threshold))
    rng = np.random.default_rng(random_state)
    extreme, step = 0, max(1, _CHUNK // n)
    for start in range(0, n_permutations, step):
        rows = min(step, n_permutations - start)
        sums = np.zeros(rows)
        for first in range(0, n, _CHUNK):
            part = moved[first : first + _CHUNK]
            bits = np.unpackbits(rng.integers(0, 256, size=(rows, -(-len(part) // 8)), dtype=np.uint8), axis=1)
            sums += bits[:, : len(part)] @ part
        extreme += int(np.count_nonzero(np.abs(2.0 * sums - total) >= threshold))
    return (1 + extreme) / (1 + n_permutations)


def t_test_p_value(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of the paired t-test that the mean difference is 0.

    Parameters
    ----------
    differences
        float64, shape (n,): one difference a user.  With fewer than two, or all 0, nothing speaks against the
        hypothesis, and p is 1.
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2:
        return 1.0
    error = differences.std(ddof=1) / np.sqrt(n)
    if error == 0.0:
        return 1.0 if differences[0] == 0.0 else 0.0
    return float(2.0 * stdtr(n - 1, -abs(differences.mean() / error)))


def welch_p_value(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of Welch's t-test that two groups of users have one mean.

    Parameters
    ----------
    a, b
        float64, shape (n,) and (m,): one value a user.  With fewer than two in either nothing speaks against the
        hypothesis, and p is 1.
    """
    from scipy.special import stdtr

    if min(len(a), len(b)) < 2:
        return 1.0
    error_a, error_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = error_a + error_b
    if error == 0.0:
        return 1.0 if a[0] == b[0] else 0.0
    freedom = error**2 / (error_a**2 / (len(a) - 1) + error_b**2 / (len(b) - 1))
    return float(2.0 * stdtr(freedom, -abs(a.mean() - b.mean()) / np.sqrt(error)))
