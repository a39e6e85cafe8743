"""Conversion of activations x[m, k] from 16 bits to 8 or 4 on the fly (dynamic scales), where no GEMM does it itself.

Curves of GEMMs say whether their measured kernels held it ("includes_quantize"); it is then part of gemm_seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MOVED_BYTES = 3.0  # an element at least: 16 bits read, 8 written (4-bit formats write less, with more scales)


def quantize_work(m: Any, k: Any) -> tuple[Any, Any]:
    """(flops, bytes): no FLOPs that a roofline counts; each element read and written once.

    >>> quantize_work(2, 100)
    (0.0, 600.0)
    """
    return 0.0 * m * k, MOVED_BYTES * m * k


def quantize_seconds(m: Any, k: Any, *, bytes_per_s: Any, c: Mapping[str, Any]) -> Any:
    """Seconds of the scales and the conversion together, never under the memory's time; non-decreasing in m and k.

    c: launch, seconds (of every kernel that it takes); passes, over 16 bits an element; row, elements that each row
    costs beside its own; depth, seconds of a k element of the row that one block reduces. Fitted by
    benchmarks/fit_quantize.py.
    """
    m, k = np.asarray(m, dtype=float), np.asarray(k, dtype=float)
    stream = 2.0 * c["passes"] * m * (k + c["row"]) / bytes_per_s
    return np.maximum(c["launch"] + c["depth"] * k + stream, quantize_work(m, k)[1] / bytes_per_s)
