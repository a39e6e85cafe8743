"""Recurrent mixers: the scan over prompts in chunks, the step of one token, and the short convolution before them.

A state is a matrix [key_dim, value_dim] a value head. Gated DeltaNet, Kimi Delta Attention and Mamba-2 share the forms,
each with coefficients of its own where it was timed (benchmarks/fit_recurrent.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferwise.timing.kernels.elementwise import Array, elementwise_seconds

FULL_BYTES = 2.0  # queries, keys, values, outputs and the convolution's channels are 16 bits
CHUNK = 64.0  # tokens that a scan's matrix products take at once (flash-linear-attention, FlashInfer)
UNIT = 128.0 * 128.0  # elements of the state that one block carries through the chunks


def scan_work(
    sequences: Any, tokens: Any, *, key_heads: Any, value_heads: Any, key_dim: Any, value_dim: Any, state_bytes: Any
) -> tuple[Any, Any]:
    """(flops, bytes) of `tokens` new ones in each sequence: the state is read, corrected and asked by each token.

    Chunked algorithms do more FLOPs than that, in fewer steps. Queries, keys, values and outputs move once, the states
    in and out once.

    >>> sizes = dict(key_heads=1, value_heads=2, key_dim=4, value_dim=8, state_bytes=4)
    >>> scan_work(1, 10, **sizes)
    (3840.0, 1312.0)
    """
    state = value_heads * key_dim * value_dim
    row = FULL_BYTES * 2.0 * (key_heads * key_dim + value_heads * value_dim)
    return 6.0 * sequences * tokens * state, sequences * (tokens * row + 2.0 * state_bytes * state)


def scan_seconds(
    sequences: Any,
    tokens: Any,
    *,
    key_heads: Any,
    value_heads: Any,
    key_dim: Any,
    value_dim: Any,
    state_bytes: Any,
    peak_flops: Any,
    bytes_per_s: Any,
    c: Mapping[str, Any],
) -> Array:
    """Seconds of one layer's scan over `tokens` new ones of each sequence; non-decreasing, never under the roofline.

    c: launch, seconds of all its kernels; chunk, seconds from one chunk's state to the next's, one after the other;
    width, units of state that the device carries at once (more take turns); compute and bandwidth, the shares of the
    peaks for what goes in parallel; cache_gain, by how much memory is faster while what it moves stays in L2, up to
    about cache_bytes (its kernels hand intermediates on, so that is no artefact of a benchmark); p, how all overlap.
    """
    sequences, tokens = np.asarray(sequences, dtype=float), np.asarray(tokens, dtype=float)
    sizes = {"key_heads": key_heads, "value_heads": value_heads, "key_dim": key_dim, "value_dim": value_dim}
    flops, moved = scan_work(sequences, tokens, **sizes, state_bytes=state_bytes)
    compute, memory = flops / peak_flops, moved / bytes_per_s
    turns = (1.0 + (sequences * value_heads * key_dim * value_dim / (UNIT * c["width"])) ** 4) ** 0.25
    chain = c["chunk"] * np.maximum(1.0, tokens / CHUNK) * turns
    near = 1.0 + (c["cache_gain"] - 1.0) / (1.0 + (moved / c["cache_bytes"]) ** 4)
    p = c["p"]
    bound = (chain**p + (compute / c["compute"]) ** p + (memory / (c["bandwidth"] * near)) ** p) ** (1.0 / p)
    return np.asarray(np.maximum(c["launch"] + bound, np.maximum(compute, memory)))


def recurrent_step_work(
    sequences: Any, *, key_heads: Any, value_heads: Any, key_dim: Any, value_dim: Any, state_bytes: Any
) -> tuple[Any, Any]:
    """(flops, bytes) of one token in each sequence: its states are read and written."""
    sizes = {"key_heads": key_heads, "value_heads": value_heads, "key_dim": key_dim, "value_dim": value_dim}
    return scan_work(sequences, 1.0, **sizes, state_bytes=state_bytes)


def recurrent_step_seconds(
    sequences: Any,
    *,
    key_heads: Any,
    value_heads: Any,
    key_dim: Any,
    value_dim: Any,
    state_bytes: Any,
    bytes_per_s: Any,
    c: Mapping[str, Any],
) -> Array:
    """Seconds of one layer's step; c as of elementwise_seconds, for all it does is move the states."""
    sizes = {"key_heads": key_heads, "value_heads": value_heads, "key_dim": key_dim, "value_dim": value_dim}
    moved = recurrent_step_work(np.asarray(sequences, dtype=float), **sizes, state_bytes=state_bytes)[1]
    return elementwise_seconds(moved, bytes_per_s=bytes_per_s, c=c)


def convolution_work(tokens: Any, channels: Any, kernel: Any, *, window: Any = 0.0) -> tuple[Any, Any]:
    """(flops, bytes) of a causal convolution of `kernel` taps over tokens[tokens, channels]: in and out once.

    window: 1 where every token is of another sequence (decode), and moves that one's `kernel` - 1 last inputs in and
    out beside its own; 0 over prompts.

    >>> convolution_work(10, 100, 4)
    (8000.0, 4000.0)
    >>> convolution_work(10, 100, 4, window=1.0)
    (8000.0, 16000.0)
    """
    moved = 2.0 * FULL_BYTES * tokens * channels
    return 2.0 * tokens * channels * kernel, moved * (1.0 + window * (kernel - 1.0))


def convolution_seconds(
    tokens: Any, channels: Any, kernel: Any, *, bytes_per_s: Any, c: Mapping[str, Any], sequences: Any = 0.0
) -> Array:
    """Seconds of the convolution over all `tokens` of so many sequences (0: not known, or each token of another).

    c: as of elementwise_seconds; tile, tokens that a block works on at least, whatever its sequence has; window, as of
    convolution_work.
    """
    worked = np.maximum(np.asarray(tokens, dtype=float), np.asarray(sequences, dtype=float) * c["tile"])
    moved = convolution_work(worked, channels, kernel, window=c["window"])[1]
    return elementwise_seconds(moved, bytes_per_s=bytes_per_s, c=c)
