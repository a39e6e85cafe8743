"""Kernels that only move what they read and write: norms, activations, rotary embedding, and choosing tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

LOGIT_BYTES = 4.0  # samplers work in FP32


def elementwise_seconds(size_bytes: Any, *, bytes_per_s: Any, c: Mapping[str, Any]) -> Array:
    """Seconds of one kernel that reads and writes `size_bytes` altogether, never under the memory's time.

    c: launch, seconds of a kernel of a few bytes; fill, seconds more until every multiprocessor has work, half of them
    at fill_bytes; bandwidth, the share of bytes_per_s that a long stream reaches. Fitted by
    benchmarks/fit_elementwise.py.

    >>> c = {"launch": 2e-6, "fill": 1e-6, "fill_bytes": 1e6, "bandwidth": 0.5}
    >>> round(float(elementwise_seconds(1e6, bytes_per_s=1e12, c=c)) * 1e6, 6)
    4.5
    """
    size = np.asarray(size_bytes, dtype=float)
    stream = size / (c["bandwidth"] * bytes_per_s)
    taken = c["launch"] + c["fill"] * size / (size + c["fill_bytes"]) + stream
    return np.asarray(np.maximum(taken, size / bytes_per_s))


def sampling_seconds(sequences: Any, vocabulary: Any, *, bytes_per_s: Any, c: Mapping[str, Any]) -> Array:
    """Seconds of choosing a token for each sequence out of its logits [sequences, vocabulary].

    c: those of elementwise_seconds; passes, readings and writings of the logits in FP32 that a sampler takes, evenly
    over so many `kernels`.
    """
    logits = LOGIT_BYTES * np.asarray(sequences, dtype=float) * vocabulary
    each = elementwise_seconds(c["passes"] * logits / c["kernels"], bytes_per_s=bytes_per_s, c=c)
    return np.asarray(c["kernels"] * each)
