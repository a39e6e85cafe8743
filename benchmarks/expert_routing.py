"""Routing as the measured MoE operators had it: rows of each expert, rows and hit experts of the measured rank.

Synthetic, and known (ai-dynamo/aiconfigurator, collector/): `balanced` deals experts in turn (no chance in it: every
expert hit as soon as there are rows enough), `power_law_a` draws popularities from x^-a for each batch, five times.
"""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
from scipy.optimize import minimize_scalar

from inferwise.timing.kernels.experts import expert_load


def balanced(tokens: int, count: int, top_k: int, held: int) -> np.ndarray:
    """Rows of each expert of rank 0 when experts are dealt in turn."""
    stride = -(-count // top_k)
    first = np.arange(tokens)[:, None] * (1.0 if tokens >= stride else stride / tokens)
    chosen = (first + np.arange(top_k) * stride) % count
    return np.bincount(chosen.astype(int).ravel(), minlength=count)[:held]


def power_law(tokens: int, count: int, top_k: int, held: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of each expert of the busiest rank, popularity drawn from x^-alpha, no expert above the tokens."""
    low, high = (1.0, 0.8 * tokens) if tokens * top_k > count else (0.01, 2.0)
    power = 1 - alpha
    drawn = ((high**power - low**power) * rng.random(count) + low**power) ** (1 / power)
    rows = np.round(drawn / drawn.sum() * tokens * top_k).astype(np.int64)
    ranks = np.minimum(rows, tokens).reshape(-1, held)
    settle(ranks, tokens * top_k - int(ranks.sum()), tokens)
    return np.asarray(ranks[ranks.sum(axis=1).argmax()])


def settle(ranks: np.ndarray, missing: int, most: int) -> None:
    """Rounding made good: rank by rank in turn, to its least expert (or from its fullest), none above `most`."""
    left = abs(missing)
    while left > 0:
        before = left
        for rank in ranks:
            step = max(1, left // (4 * ranks.size))  # many at once where the collector goes one by one
            at = int(rank.argmin() if missing > 0 else rank.argmax())
            step = min(step, left, int(most - rank[at] if missing > 0 else rank[at]))
            rank[at] += step if missing > 0 else -step
            left -= step
        if left == before:
            return


@cache
def routed(tokens: int, count: int, top_k: int, held: int, distribution: str) -> tuple[float, float]:
    """(rows, hit experts) of the measured rank, mean of the draws."""
    if distribution == "balanced":
        draws = [balanced(tokens, count, top_k, held)]
    else:
        rng = np.random.default_rng(zlib.crc32(f"{tokens} {count} {top_k} {held} {distribution}".encode()))
        alpha = float(distribution.rsplit("_", 1)[1])
        draws = [power_law(tokens, count, top_k, held, alpha, rng) for _ in range(5)]
    return float(np.mean([d.sum() for d in draws])), float(np.mean([(d > 0).sum() for d in draws]))


@cache
def skew_of(distribution: str) -> float:
    """The skew whose hit experts and busiest rank come nearest to a distribution's."""
    if distribution == "balanced":
        return 0.0
    cases = [(t, e, k) for t in (16, 64, 256, 1024, 4096) for e, k in ((128, 8), (256, 8), (32, 4), (384, 8))]
    groups = [(t, e, k, e // ranks) for t, e, k in cases for ranks in (1, 8)]
    true = np.array([routed(*g, distribution) for g in groups])
    tokens, count, top_k, held = (np.array(x, dtype=float) for x in zip(*groups, strict=True))

    def miss(skew: float) -> float:
        guess = np.stack(expert_load(tokens, held=held, count=count, top_k=top_k, skew=skew), axis=1)
        return float(np.abs(np.log(guess / true)).mean())

    return round(float(minimize_scalar(miss, bounds=(0.05, 4.0), method="bounded").x), 2)
