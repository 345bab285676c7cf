"""Every metric once more, in plain Python, one user at a time, straight from its definition."""

from __future__ import annotations

import math
from itertools import combinations


def hits_in(ranked, relevant, k):
    return [item in relevant for item in ranked[:k]]


def recall(ranked, relevant, k):
    return sum(hits_in(ranked, relevant, k)) / len(relevant) if relevant else 0.0


def recall_capped(ranked, relevant, k):
    return sum(hits_in(ranked, relevant, k)) / min(k, len(relevant)) if relevant else 0.0


def precision(ranked, relevant, k):
    return sum(hits_in(ranked, relevant, k)) / k


def hit_rate(ranked, relevant, k):
    return 1.0 if any(hits_in(ranked, relevant, k)) else 0.0


def mrr(ranked, relevant, k):
    for place, hit in enumerate(hits_in(ranked, relevant, k), start=1):
        if hit:
            return 1 / place
    return 0.0


def average_precision(ranked, relevant, k):
    if not relevant:
        return 0.0
    total, found = 0.0, 0
    for place, hit in enumerate(hits_in(ranked, relevant, k), start=1):
        if hit:
            found += 1
            total += found / place
    return total / len(relevant)


def ndcg(ranked, relevant, k, gain=lambda weight: 1.0):
    def discounted(gains):
        return sum(value / math.log2(place + 1) for place, value in enumerate(gains, start=1))

    best = discounted(sorted((gain(weight) for weight in relevant.values()), reverse=True)[:k])
    if best == 0.0:
        return 0.0
    return discounted([gain(relevant[item]) if item in relevant else 0.0 for item in ranked[:k]]) / best


def ndcg_linear(ranked, relevant, k):
    return ndcg(ranked, relevant, k, gain=lambda weight: weight)


def ndcg_exponential(ranked, relevant, k):
    return ndcg(ranked, relevant, k, gain=lambda weight: 2**weight - 1)


ACCURACY = {
    "hit_rate": hit_rate,
    "map": average_precision,
    "mrr": mrr,
    "ndcg": ndcg,
    "ndcg_exponential": ndcg_exponential,
    "ndcg_linear": ndcg_linear,
    "precision": precision,
    "recall": recall,
    "recall_capped": recall_capped,
}


def novelty(ranked, k, users_of, n_users):
    bits = [-math.log2(max(1, len(users_of[item])) / n_users) for item in ranked[:k]]
    return sum(bits) / len(bits) if bits else math.nan


def mean_popularity(ranked, k, users_of):
    counts = [len(users_of[item]) for item in ranked[:k]]
    return sum(counts) / len(counts) if counts else math.nan


def diversity(ranked, k, users_of):
    def cosine(a, b):
        together = len(users_of[a] & users_of[b])
        return together / math.sqrt(len(users_of[a]) * len(users_of[b])) if together else 0.0

    distances = [1 - cosine(a, b) for a, b in combinations(ranked[:k], 2)]
    return sum(distances) / len(distances) if distances else math.nan


def popularity_lift(ranked, k, users_of, had):
    shown = [len(users_of[item]) for item in ranked[:k]]
    chosen = [len(users_of[item]) for item in had]
    return (sum(shown) / len(shown)) / (sum(chosen) / len(chosen)) - 1 if shown and sum(chosen) else math.nan


def stratified_recall(ranked, relevant, k, users_of, power=0.5):
    def worth(item):
        return max(1, len(users_of[item])) ** -power if item < len(users_of) else 1.0

    total = sum(worth(item) for item in relevant)
    return sum(worth(item) for item in ranked[:k] if item in relevant) / total if total else 0.0


def strata(users_of):
    """0 for the head, 1 for the middle, 2 for the tail: by what comes before in the order of popularity."""
    order = sorted(range(len(users_of)), key=lambda item: (-len(users_of[item]), item))
    total, before, found = sum(map(len, users_of)), 0, {}
    for item in order:
        found[item] = 0 if 5 * before < total else 2 if 5 * before >= 4 * total else 1
        before += len(users_of[item])
    return [found[item] for item in range(len(users_of))]


def miscalibration(ranked, k, had, categories, smoothing=0.01):
    """``categories``: the set of each item."""

    def mix(items):
        described = [item for item in items if categories[item]]
        every = {category for item in described for category in categories[item]}
        return {
            c: sum((c in categories[item]) / len(categories[item]) for item in described) / len(described)
            for c in every
        }

    target, got = mix(had), mix(ranked[:k])
    if not target or not got:
        return math.nan
    return sum(p * math.log(p / ((1 - smoothing) * got.get(c, 0.0) + smoothing * p)) for c, p in target.items())


def coverage(lists, k, n_items):
    return len({item for ranked in lists for item in ranked[:k]}) / n_items


def gini(lists, k, n_items):
    """Half the relative mean absolute difference, over all pairs."""
    exposure = [sum(item in ranked[:k] for ranked in lists) for item in range(n_items)]
    if sum(exposure) == 0:
        return math.nan
    spread = sum(abs(a - b) for a in exposure for b in exposure)
    return spread / (2 * n_items * sum(exposure))
