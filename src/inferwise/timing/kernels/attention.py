"""Softmax attention (MHA, GQA, MQA, windows): the seconds of prefill, decode and encoder kernels, from their shapes.

Shapes are those of one device: `heads` and `kv_heads` after tensor parallelism. Every shape is a number or an array;
arrays broadcast. `peak_flops` [FLOP/s] is the device's dense peak in 16 bits; for the curves "fp8" (FP8 cache) and
"fp8_fp8" (products in FP8 too) its FP8 peak where it has one. `c` are the coefficients of a curve
(`curves/attention_*.json`, fitted by benchmarks/fit_attention.py); its `cache`, how much faster than memory L2 gives
what it holds, is 1 in a step, and above 1 only in the fit, for kernels timed again and again on the same operands.
Tiles as in FlashAttention-2 (arXiv:2307.08691) and 3 (arXiv:2407.08608), split K/V as in Flash-Decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Shape = Any  # a number or an array of numbers
Coefficients = Mapping[str, Any]
ACTIVATION_BYTES = 2  # of queries and outputs, which engines keep in 16 bits


def prefill_work(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    v_dim: Shape,
    window: Shape,
    kv_bytes: Shape,
) -> tuple[Any, Any]:
    """FLOPs and bytes of causal attention of `tokens` new tokens over `past` cached ones and themselves.

    Two products over each pair that the mask and the window let through; queries read and outputs written in 16 bits,
    the cache read once as far as the window reaches, the new keys and values written to it.

    >>> prefill_work(1, 4, 0, heads=1, kv_heads=1, head_dim=8, v_dim=8, window=0, kv_bytes=2)
    (np.float64(320.0), np.float64(256.0))
    """
    reach = np.where(np.equal(window, 0), np.inf, window)
    row, queries, cache = _streams(sequences, heads, kv_heads, np.add(head_dim, v_dim), kv_bytes)
    flops = 2 * row * _pairs(tokens, past, reach)
    return flops, queries * tokens + cache * (tokens + np.minimum(past, reach - 1))


def prefill_seconds(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    v_dim: Shape,
    window: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Coefficients,
) -> Any:
    """Seconds of one layer's prefill attention, with the writing of keys and values to the cache. window: 0 for none.

    floor + cache and query traffic + the tiles: rows of queries padded to a tile (of one head, or with `pack` 1 of the
    heads that share a key), a tile's keys padded by `keys`, masked keys skipped but for the share `waste`, a softmax
    that costs `softmax` FLOPs a pair, heads wider than 128 dearer by a power `wide`; the last tile alone (`tail` rows
    of queries) bounds from below what the batch spreads over the device.
    """
    dims = np.add(head_dim, v_dim)
    reach = np.where(np.equal(window, 0), np.inf, window)
    row, queries, cache = _streams(sequences, heads, kv_heads, dims, kv_bytes)
    traffic = cache * (tokens + np.minimum(past, reach - 1)) / c["write"] + queries * tokens / c["mem"]
    traffic = traffic / (bytes_per_s * c["cache"])
    tile = c["tile"] / np.power(np.divide(heads, kv_heads), c["pack"])
    padded = np.ceil(tokens / tile) * tile
    skipped = _beyond(padded, past, reach + c["keys"]) * (1 - c["waste"])
    pairs = padded * (past + (padded + 1) / 2) - skipped + padded * c["keys"] / 2
    span = np.minimum(past + padded, reach) * (1 - c["waste"]) + (past + padded) * c["waste"] + c["keys"]
    per_pair = (2 * dims * np.maximum(1, dims / 256) ** c["wide"] + c["softmax"]) / (peak_flops * c["eff"])
    spread = row / dims * pairs
    tiles = (spread ** c["p"] + (c["tail"] * span) ** c["p"]) ** (1 / c["p"]) * per_pair
    return c["floor"] + traffic + tiles


def decode_work(
    sequences: Shape,
    context: Shape,
    *,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    v_dim: Shape,
    window: Shape,
    kv_bytes: Shape,
) -> tuple[Any, Any]:
    """FLOPs and bytes of one query token a sequence over `context` keys, its own among them.

    >>> decode_work(1, 100, heads=8, kv_heads=2, head_dim=64, v_dim=64, window=0, kv_bytes=2)
    (np.float64(204800.0), np.float64(53248.0))
    """
    span = np.minimum(context, np.where(np.equal(window, 0), np.inf, window))
    row, queries, cache = _streams(sequences, heads, kv_heads, np.add(head_dim, v_dim), kv_bytes)
    return 2 * row * span, queries + cache * span


def decode_seconds(
    sequences: Shape,
    context: Shape,
    *,
    heads: Shape,
    kv_heads: Shape,
    head_dim: Shape,
    v_dim: Shape,
    window: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Coefficients,
) -> Any:
    """Seconds of one layer's decode attention: one query token a sequence over `context` keys (the batch's mean).

    Together (a p-norm): the cache read at `mem` of the bandwidth; what one sequence and KV head may draw alone
    (`serial` of it, over `serial1` where heads share no keys: kernels that do not split those); the tensor cores, on
    groups of queries padded to `rows`; `item` bytes' time for each sequence and KV head (`item1` of it where heads
    share no keys). Some kernels read the cache anew for heads that share it: a power `regroup` of the group with a
    window, `crowd` in groups above `group`. Beside these a start: `floor`, and up to `split` more for merging the parts
    of keys that long contexts are split into, half of it at `knee` keys.
    """
    dims = np.add(head_dim, v_dim)
    windowed = np.not_equal(window, 0)
    span = np.minimum(context, np.where(windowed, window, np.inf)) + c["pad"]
    group = np.divide(heads, kv_heads)
    alone = np.equal(group, 1)
    again = np.maximum(windowed * c["regroup"], (group > c["group"]) * c["crowd"])
    read = kv_heads * np.power(group, again)
    row, queries, cache = _streams(sequences, heads, read, dims, kv_bytes)
    memory = (cache * span / c["cache"] + queries) / c["mem"]
    single = dims * kv_bytes * span / c["serial"] * np.where(alone, c["serial1"], 1)
    items = sequences * read * c["item"] * np.where(alone, c["item1"], 1) / c["mem"]
    flops = 2 * row * span * np.maximum(1, c["rows"] * read / heads) * np.maximum(1, dims / 256) ** c["wide"]
    p = c["p"]
    streams = (memory**p + single**p + items**p) / bytes_per_s**p + (flops / (peak_flops * c["eff"])) ** p
    start = c["floor"] + c["split"] * span / (span + c["knee"])
    return (start ** c["q"] + streams ** (c["q"] / p)) ** (1 / c["q"])


def encoder_work(sequences: Shape, tokens: Shape, *, heads: Shape, head_dim: Shape) -> tuple[Any, Any]:
    """FLOPs and bytes of attention of every token to every token, without a cache.

    >>> encoder_work(1, 4, heads=1, head_dim=8)
    (np.int64(512), np.int64(256))
    """
    row = np.multiply(sequences, heads) * np.multiply(head_dim, tokens)
    return 4 * row * tokens, 4 * ACTIVATION_BYTES * row


def encoder_seconds(
    sequences: Shape,
    tokens: Shape,
    *,
    heads: Shape,
    head_dim: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Coefficients,
) -> Any:
    """Seconds of one layer's bidirectional attention (vision towers, embedding models), in 16 bits.

    As prefill, without a mask; `head_dim` is padded to a multiple of `step`, and one that 16 does not divide (72 of
    SigLIP) costs `odd` times as much: some engines fall back to another kernel there.
    """
    _, moved = encoder_work(sequences, tokens, heads=heads, head_dim=head_dim)
    padded = np.ceil(np.divide(tokens, c["tile"])) * c["tile"]
    span = tokens + c["keys"]
    odd = np.where(np.equal(np.mod(head_dim, 16), 0), 1, c["odd"])
    per_pair = odd * 4 * np.ceil(np.divide(head_dim, c["step"])) * c["step"] / (peak_flops * c["eff"])
    spread = np.multiply(sequences, heads) * padded
    tiles = (spread ** c["p"] + c["tail"] ** c["p"]) ** (1 / c["p"]) * span * per_pair
    return c["floor"] + moved / (bytes_per_s * c["mem"] * c["cache"]) + tiles


def _streams(sequences: Shape, heads: Shape, kv_heads: Shape, dims: Any, kv_bytes: Shape) -> tuple[Any, Any, Any]:
    """Of all sequences: products a pair, heads times dimensions; bytes a token of queries and outputs; bytes a key."""
    row = np.multiply(sequences, heads) * dims
    return row, ACTIVATION_BYTES * row, np.multiply(sequences, kv_heads) * dims * kv_bytes


def _beyond(tokens: Any, past: Any, reach: Any) -> Any:
    """Pairs of one head that the causal mask lets through and a window of `reach` keys does not."""
    last = np.maximum(past + tokens - reach, 0)
    first = np.maximum(past - reach, 0)
    return (last * (last + 1) - first * (first + 1)) / 2


def _pairs(tokens: Any, past: Any, reach: Any) -> Any:
    """Pairs of one head: token i (1, 2...) sees min(past + i, reach) keys."""
    return tokens * (past + (np.add(tokens, 1)) / 2) - _beyond(tokens, past, reach)
