"""Curves of converting activations from 16 bits to 8 or 4 with dynamic scales, from measured kernels.

    python benchmarks/fit_quantize.py WHEEL_DIR     # aiconfigurator-core 0.12.0, unpacked (pip download; unzip)

What it costs altogether is the sum of two tables: scale_matrix_perf (the conversion with scales known beforehand) and
computescale_perf (what dynamic scales cost beside it; rows that noise made negative are absent, and count as nothing).
SGLang's static conversion was timed in a kernel that its dynamic path does not run (its GEMMs with the conversion in
them take a fraction of it), and its dynamic one is not there: it has no curve of its own. Pools over engines are of
the fused kernel (vLLM's); TensorRT-LLM's two (scales, conversion) are in pools of their own. The formats with scales
in blocks (fp8_block, nvfp4) were timed within their GEMMs only: they share fp8's form and curve.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.quantize import quantize_seconds, quantize_work
from inferwise.timing.rates import memory_rate
from kernel_fit import errors, fit, left_out_mask, scores, tables, write

SOURCE = (
    "operator timings of aiconfigurator-core 0.12.0 (PyPI, Apache-2.0), "
    "systems/data/*/quantize/*/*/{scale_matrix_perf,computescale_perf}.parquet, summed"
)
# name: start, low, high
BOUNDS = {
    "launch": (3e-6, 1e-6, 1e-4),
    "passes": (2.0, 0.5, 20.0),
    "row": (500.0, 1.0, 1e4),
    "depth": (1e-10, 1e-13, 1e-8),
}
# The engine whose kernel does the scales and the conversion at once: pools over all engines are of it.
FUSED = "vllm"
# Activations of a few megabytes stay in L2 between repeats (and after the kernel that wrote them): memory is `gain`
# times faster up to about `fits` bytes. Fitted beside the kernel, scored with it, not shipped.
CACHE = {"fits": (2e7, 2e6, 1.5e8), "gain": (2.0, 1.0, 20.0)}


@dataclass
class Measured:
    """The conversion on one device by one engine."""

    device: Accelerator
    engine: str
    version: str
    source: str
    rows: pl.DataFrame
    left: np.ndarray
    coefficients: dict[str, float] = field(default_factory=dict)
    bench: dict[str, float] = field(default_factory=dict)

    def arrays(self, left: bool) -> tuple[np.ndarray, ...]:
        """m, k, seconds and bandwidth, of the rows left out or of the others."""
        rows = self.rows.filter(self.left if left else ~self.left)
        m, k, seconds = (rows[c].to_numpy().astype(float) for c in ("m", "k", "seconds"))
        return m, k, seconds, np.full(len(m), memory_rate(self.device))


def measured(wheel: Path) -> list[Measured]:
    """Every device and engine whose two tables can be summed."""
    scales = {(t.device.slug, t.engine): t for t in tables(wheel, "quantize", "computescale_perf")}
    found = []
    for table in tables(wheel, "quantize", "scale_matrix_perf"):
        if table.engine == "sglang":
            continue
        static = table.rows.group_by("m", "k").agg(pl.col("seconds").min(), pl.col("kernel_source").first())
        beside = scales[table.device.slug, table.engine].rows.group_by("m", "k").agg(pl.col("seconds").min())
        both = static.join(beside, on=["m", "k"], how="left", suffix="_scales").sort("m", "k")
        rows = both.with_columns(seconds=pl.col("seconds") + pl.col("seconds_scales").fill_null(0.0))
        source = f"{rows['kernel_source'][0]}+dynamic scales"
        left = left_out_mask(rows, ["m", "k"])
        found.append(Measured(table.device, table.engine, table.version, source, rows, left))
    return found


def predicted(rows: Sequence[np.ndarray], c: dict[str, float], bench: dict[str, float]) -> np.ndarray:
    """The conversion as the bench sees it."""
    m, k, _, rate = rows
    return np.asarray(quantize_seconds(m, k, bytes_per_s=rate * faster(m, k, bench), c=c))


def faster(m: np.ndarray, k: np.ndarray, bench: dict[str, float]) -> Any:
    """By how much memory is faster for what stays in L2."""
    moved = quantize_work(m, k)[1]
    return 1 + (bench["gain"] - 1) / (1 + (moved / bench["fits"]) ** 6) if bench else 1.0


def solve(rows: Sequence[np.ndarray], cached: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Coefficients, and the bench's."""
    search = BOUNDS | (CACHE if cached else {})
    start, low, high = ({name: each[i] for name, each in search.items()} for i in range(3))
    found = fit(lambda c: predicted(rows, c, c if cached else {}), rows[2], start, low, high)
    return {n: found[n] for n in BOUNDS}, {n: v for n, v in found.items() if n not in BOUNDS}


def entry(each: Measured) -> dict[str, Any]:
    """A device's curve as it ships, scored on shapes left out."""
    left = each.arrays(True)
    about = scores(predicted(left, each.coefficients, each.bench), left[2])
    return {
        "device": each.device.slug,
        "architecture": each.device.architecture,
        "vendor": each.device.vendor,
        "engine": each.engine,
        "version": each.version,
        "dtype": "fp8",
        "kernel_source": each.source,
        "coefficients": each.coefficients,
        "bench": each.bench,
        "rows": int((~each.left).sum()),
        **about,
        "left_out": about["median"],
    }


def joined(group: Sequence[Measured], left: bool) -> list[np.ndarray]:
    """The rows of several, each as it would be without the bench's cache."""
    parts = []
    for each in group:
        m, k, seconds, rate = each.arrays(left)
        parts.append((m, k, seconds, rate * faster(m, k, each.bench)))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def pool_entry(found: Sequence[Measured], architecture: str, vendor: str, engine: str) -> dict[str, Any]:
    """The curve of an architecture, a maker or any device, scored on each of its devices by a fit of the others."""
    made = [e for e in found if e.engine == (engine or FUSED)]
    group = [e for e in made if architecture in ("", e.device.architecture) and vendor in ("", e.device.vendor)]
    c = solve(joined(group, False), False)[0]
    apart: dict[str, float] = {}
    for slug in sorted({e.device.slug for e in group}):
        others = [e for e in group if e.device.slug != slug] or [e for e in made if e.device.slug != slug]
        left = joined([e for e in group if e.device.slug == slug], True)
        apart[slug] = float(np.median(errors(predicted(left, solve(joined(others, False), False)[0], {}), left[2])))
    left = joined(group, True)
    return {
        "device": "",
        "architecture": architecture,
        "vendor": vendor,
        "engine": engine,
        "version": "",
        "dtype": "fp8",
        "coefficients": c,
        "rows": sum(int((~e.left).sum()) for e in group),
        **scores(predicted(left, c, {}), left[2]),
        "left_out": float(np.median(list(apart.values()))),
        "left_out_devices": apart,
    }


def main(wheel: Path) -> None:
    found = measured(wheel)
    for each in found:
        each.coefficients, each.bench = solve(each.arrays(False), True)
    entries = [entry(each) for each in found]
    groups = [*sorted({(e.device.architecture, e.device.vendor) for e in found}), ("", "NVIDIA"), ("", "")]
    for group in groups:
        entries += [pool_entry(found, *group, engine) for engine in ("", "tensorrt-llm", "vllm")]
    for e in entries:
        name = e["device"] or e["architecture"] or e["vendor"] or "any"
        print(
            f"{name:32} {e['engine']:13} {e['left_out']:6.1%} p90 {e['p90']:6.1%} {e['coefficients']} {e.get('bench')}"
        )
    about = (
        "seconds = launch + depth k + passes over m (k + row) elements of 16 bits; errors as shares; left_out: median"
        " on (m, k) left out (pooled: on devices left out); bench: activations in L2 between repeats, scored with, not"
        " shipped"
    )
    write("quantize", about, SOURCE, entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
