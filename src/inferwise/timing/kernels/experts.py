"""Mixture-of-experts kernels: the grouped GEMMs over the experts that a batch hits.

One device, one layer: permute, gate/up GEMM, activation, down GEMM, unpermute; the router's own GEMM apart. Each expert
that gets a row has its weights read once, and its rows padded to a tile: at small batches the distinct experts decide
(memory), at large ones the rows (compute). Functions take scalars or arrays that broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

FULL_BYTES = 2.0  # activations outside the GEMMs are 16 bits in every engine measured


def distinct_experts(tokens: Any, count: Any, top_k: Any, skew: Any) -> Any:
    """Expected number of distinct experts that a batch of tokens hits, each taking top_k of count, no expert twice.

    skew: coefficient of variation (deviation over mean) of the experts' popularity. 0: all alike,
    count * (1 - (1 - top_k/count)^tokens). Above, popularity is taken as gamma-distributed, which makes hits negative
    binomial: count * (1 - (1 + tokens * ((1 - top_k/count)^-skew^2 - 1))^(-1/skew^2)). Exact at one token (top_k).

    >>> [round(float(distinct_experts(64, 256, 8, skew)), 1) for skew in (0.0, 0.7)]
    [222.4, 194.0]
    """
    missed = -np.log1p(-np.minimum(np.asarray(top_k, dtype=float) / count, 1 - 1e-12))  # of one token, in logarithms
    v = np.maximum(np.square(np.asarray(skew, dtype=float)), 1e-9)
    hit = -np.expm1(-np.log1p(tokens * np.expm1(v * missed)) / v)
    return np.minimum(count * hit, np.minimum(tokens * np.asarray(top_k, dtype=float), count))


def expert_load(tokens: Any, *, held: Any, count: Any, top_k: Any, skew: Any) -> tuple[Any, Any]:
    """(rows, hit): rows that the busiest device of the EP group gets, and distinct experts that it reads.

    tokens: over the whole group of count/held devices. Without skew each gets its share, tokens * top_k * held / count;
    with it, the busiest lies above the mean as the largest of so many normal draws, whose deviation falls with the
    root of the experts held (a sum of their popularities). At most min(top_k, held) rows a token.
    """
    share = np.asarray(held, dtype=float) / count
    devices = np.log(1 / share)
    largest = devices / (1.1 + 0.175 * devices)  # mean of the largest of n normal draws, within 4 % for n of 2 to 128
    above = np.asarray(skew, dtype=float) * largest * np.sqrt((1 - share) / held)
    rows = np.minimum(tokens * top_k * share * (1 + above), tokens * np.minimum(top_k, held))
    return rows, np.minimum(distinct_experts(tokens, count, top_k, skew) * share, rows)


def grouped_work(
    rows: Any, hit: Any, *, hidden: Any, width: Any, gated: Any, expert_bytes: Any, input_bytes: Any
) -> tuple[Any, Any]:
    """(flops, bytes) of the grouped GEMMs: hit experts read once; rows in and out, and the activation between."""
    matrices = 2.0 + np.asarray(gated, dtype=float)
    flops = 2.0 * matrices * hidden * width * rows
    return flops, hit * expert_bytes + rows * (hidden * (input_bytes + FULL_BYTES) + 2.0 * width * input_bytes)


def grouped_seconds(
    rows: Any,
    hit: Any,
    *,
    tokens: Any,
    top_k: Any,
    hidden: Any,
    width: Any,
    gated: Any,
    expert_bytes: Any,
    input_bytes: Any,
    peak_flops: Any,
    bytes_per_s: Any,
    c: Mapping[str, float],
    floor: bool = True,
) -> Any:
    """Seconds for given rows and hit experts on one device. tokens: of the whole group, all of which it sees.

    c: compute and memory, shares of the peaks; p, of the norm between them; pad, rows by which a hit expert is filled
    to its tile; adapt, the same where the tile grows with the rows (at most doubling them); narrow, width lost in each
    matrix; ramp, bytes; act, share of bandwidth outside the GEMMs; foreign, what a row of another device's experts
    costs there; computed, share of those rows that the GEMMs run as well; launch and sort, seconds, the second growing
    to its whole over sort_rows; plain, time of experts without a gate over gated ones. floor=False: not held above the
    roofline (fits use it: measured weights may sit in L2).
    """
    matrices = 2.0 + np.asarray(gated, dtype=float)
    plain = np.where(gated, 1.0, c["plain"])
    others = tokens * top_k - rows
    run = rows + c["computed"] * others
    filled = run + c["pad"] * hit + run * c["adapt"] * hit / (run + c["adapt"] * hit)
    flops = 2.0 * matrices * hidden * (width + c["narrow"]) * filled
    compute = plain * flops / (c["compute"] * peak_flops)
    memory = plain * (hit * expert_bytes + c["ramp"]) / (c["memory"] * bytes_per_s)
    handled = rows + c["foreign"] * others
    moved = FULL_BYTES * (tokens * hidden + handled * (2.0 * hidden + matrices * width))
    seconds = (compute ** c["p"] + memory ** c["p"]) ** (1.0 / c["p"]) + moved / (c["act"] * bytes_per_s)
    seconds = seconds + c["launch"] + c["sort"] * rows / (rows + c["sort_rows"])
    if not floor:
        return seconds
    work = grouped_work(
        rows, hit, hidden=hidden, width=width, gated=gated, expert_bytes=expert_bytes, input_bytes=input_bytes
    )
    return np.maximum(seconds, np.maximum(work[0] / peak_flops, work[1] / bytes_per_s))


def experts_work(
    tokens: Any,
    *,
    hidden: Any,
    width: Any,
    held: Any,
    count: Any,
    top_k: Any,
    gated: Any,
    expert_bytes: Any,
    input_bytes: Any,
    skew: Any,
) -> tuple[Any, Any]:
    """(flops, bytes) of the experts of one layer on one device; arguments as experts_seconds takes them."""
    rows, hit = expert_load(tokens, held=held, count=count, top_k=top_k, skew=skew)
    return grouped_work(
        rows, hit, hidden=hidden, width=width, gated=gated, expert_bytes=expert_bytes, input_bytes=input_bytes
    )


def experts_seconds(
    tokens: Any,
    *,
    hidden: Any,
    width: Any,
    held: Any,
    count: Any,
    top_k: Any,
    gated: Any,
    expert_bytes: Any,
    input_bytes: Any,
    skew: Any,
    peak_flops: Any,
    bytes_per_s: Any,
    c: Mapping[str, float],
) -> Any:
    """Seconds of one layer's experts on the device that decides.

    tokens: routed over the whole EP group. held: whole experts that the device holds of count (count under TP, where
    width is already its share). gated: three matrices an expert, not two. expert_bytes: one held expert as stored,
    scales included. input_bytes: an element of the GEMMs' inputs. peak_flops: dense, of the dtype multiplied in.
    """
    rows, hit = expert_load(tokens, held=held, count=count, top_k=top_k, skew=skew)
    return grouped_seconds(
        rows,
        hit,
        tokens=tokens,
        top_k=top_k,
        hidden=hidden,
        width=width,
        gated=gated,
        expert_bytes=expert_bytes,
        input_bytes=input_bytes,
        peak_flops=peak_flops,
        bytes_per_s=bytes_per_s,
        c=c,
    )
