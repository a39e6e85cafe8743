"""Dense GEMM kernels, y[m, n] = x[m, k] W[k, n], with the conversion of x where the engine converts it just before.

Three things bound a kernel: the units' peak, the memory's, and the depth of a tile's own loop over k, which no other
tile can shorten (engines split long loops, and take larger tiles for more rows). They join in a p-norm; the launch and
the conversion of the activations come on top. Waves are not rounded up: the libraries choose tiles to fill them, and
rounding fits the measured kernels no better. Functions take scalars or arrays that broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

FULL_BYTES = 2.0  # outputs, and activations before their conversion, are 16 bits in every engine measured


def gemm_work(m: Any, n: Any, k: Any, weight_bytes: Any, input_bytes: Any) -> tuple[Any, Any]:
    """(flops, bytes) of a GEMM: 2 m n k; inputs, weights and outputs once.

    weight_bytes: of the whole matrix as stored, with its scales. input_bytes: of an element of x.

    >>> gemm_work(1, 4096, 4096, 2 * 4096**2, 2)
    (33554432, 33570816.0)
    """
    return 2 * m * n * k, m * k * input_bytes + weight_bytes + FULL_BYTES * m * n


def gemm_seconds(
    m: Any,
    n: Any,
    k: Any,
    weight_bytes: Any,
    input_bytes: Any,
    *,
    peak_flops: Any,
    bytes_per_s: Any,
    c: Mapping[str, Any],
) -> Any:
    """Seconds of a GEMM whose weights come from memory, never under its roofline; non-decreasing in m, n and k.

    c: launch, seconds; compute and bandwidth, shares of the peaks; p, of the norm; depth, seconds of a k element of
    one tile, which halves beyond k = split (split-K) and grows by up to tile times as m passes rows (larger tiles);
    quantise, 16-bit passes over x of its conversion, and row, elements that a row of x costs there beside its own.
    Fitted by benchmarks/fit_gemm.py.
    """
    m, k = 1.0 * m, 1.0 * k  # plain floats stay such: half the time of arrays of none dimensions
    flops, moved = gemm_work(m, n, k, weight_bytes, input_bytes)
    compute, memory = flops / peak_flops, moved / bytes_per_s
    deep = c["depth"] * k / (1 + k / c["split"]) * (1 + c["tile"] * m / (m + c["rows"]))
    p = c["p"]
    bound = ((compute / c["compute"]) ** p + (memory / c["bandwidth"]) ** p + deep**p) ** (1 / p)
    converted = conversion_seconds(m, k, bytes_per_s=bytes_per_s, c=c)
    return np.maximum(c["launch"] + bound + converted, np.maximum(compute, memory))


def conversion_seconds(m: Any, k: Any, *, bytes_per_s: Any, c: Mapping[str, Any]) -> Any:
    """Seconds of converting x[m, k] that a GEMM's curve holds; none where `quantise` is 0."""
    return FULL_BYTES * c["quantise"] * m * (k + c["row"]) / bytes_per_s
