"""Dense GEMMs: over m, of equal n and k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferwise.timing.kernels.gemm import gemm_seconds, gemm_work
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.rates import memory_rate, peak
from inferwise.timing.silicon.entry import Entry
from inferwise.timing.silicon.grid import Array, Ratios
from inferwise.timing.silicon.wheel import folder, known, read
from inferwise.timing.step import Quantity, Step

HIDDEN = 2.0  # times the host's own time below which a row says nothing of the kernel


def ratios(where: Path, at: Entry) -> Ratios | None:
    """Of the fastest kernel of each shape."""
    form, found = known()["gemm"].get(at.dtype), folder(where, at.device.slug, "gemm", at.engine, at.version)
    if form is None or found is None:
        return None
    rows = read(found / "gemm_perf.parquet", ("m", "n", "k"), [("gemm_dtype", "==", form["name"])])
    if rows is None:
        return None
    m, n, k, seconds = (rows[name].astype(float) for name in ("m", "n", "k", "seconds"))
    order = np.lexsort((seconds, m, k, n))
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.any([x[order][1:] != x[order][:-1] for x in (m, n, k)], axis=0)
    kept = order[first]
    kept = kept[seconds[kept] > HIDDEN * at.bench.get("host", 0.0)]
    m, n, k, seconds = m[kept], n[kept], k[kept], seconds[kept]
    return Ratios(
        fixed=np.log2(np.stack([n, k], axis=1)),
        varying=np.log2(m[:, None]),
        values=np.log(seconds / benched(at, m, n, k)),
    )


def benched(at: Entry, m: Array, n: Array, k: Array) -> Any:
    """What the curve gives for kernels on their bench: in L2, launched by a host, under a profiler."""
    form = known()["gemm"][at.dtype]
    weight, bench = form["weight"] * n * k, at.bench
    rate = memory_rate(at.device) * _faster(bench, weight, gemm_work(m, n, k, weight, form["inputs"])[1])
    flops = peak(at.device, form["compute"]).flops
    rates = {"peak_flops": flops, "bytes_per_s": rate, "c": at.coefficients}
    taken = gemm_seconds(m, n, k, weight, form["inputs"], **rates) + bench.get("timer", 0.0)
    if "host" not in bench:
        return taken
    sharp = bench["sharp"]
    return (taken**sharp + bench["host"] ** sharp) ** (1 / sharp)


def _faster(bench: Any, weight: Array, moved: Array) -> Any:
    """By how much memory is faster for what of the operands stays in L2 between repeats."""
    if "gain" not in bench:
        return 1.0
    parts = (weight, bench["weights"]), (moved - weight, bench["activations"])
    kept = sum(size / (1 + (size / held) ** 6) for size, held in parts)
    return moved / (moved - (1 - 1 / bench["gain"]) * kept)


def fixed(operator: Gemm) -> Array:
    """log2 of n and k."""
    return np.log2([operator.n, operator.k])


def varying(operator: Gemm, step: Step) -> tuple[Quantity, ...]:
    """m."""
    return (operator.load(step),)
