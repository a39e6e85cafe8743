"""Curves of elementwise kernels, from a measured one: static scaling of [m, k] from 16 bits to FP8.

    python benchmarks/fit_elementwise.py WHEEL_DIR     # aiconfigurator-core 0.12.0, unpacked (pip download; unzip)

No norm or activation was timed on its own; this is the one kernel in the tables that only streams (2 bytes in, 1 out).
SGLang's reaches 8 % of the bandwidth, which none of its norms does: it is left out, and SGLang gets the others'.
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
from inferwise.timing.kernels.elementwise import elementwise_seconds
from inferwise.timing.rates import memory_rate
from kernel_fit import SOURCE, errors, fit, left_out_mask, scores, tables, write

MOVED_BYTES = 3.0  # an element: 16 bits read, 8 written
# name: start, low, high
BOUNDS = {
    "launch": (2e-6, 5e-7, 5e-5),
    "fill": (5e-7, 1e-9, 5e-5),
    "fill_bytes": (1e6, 1e4, 1e8),
    "bandwidth": (0.85, 0.05, 1.0),
}
# A few megabytes stay in L2 between repeats: memory is `gain` times faster up to about `fits` bytes. Fitted beside the
# kernel, scored with it, not shipped.
CACHE = {"fits": (2e7, 2e6, 1.5e8), "gain": (1.5, 1.0, 20.0)}
# Assumed, not measured: a greedy sampler with log-probabilities casts logits to FP32 (half a reading, a writing), takes
# the largest (a reading) and the log-softmax (a reading, a writing), as vLLM 0.24.0's v1/sample/sampler.py does.
SAMPLER = {"passes": 4.5, "kernels": 3.0}


@dataclass
class Measured:
    """The kernel on one device, by one engine or (engine "") by all."""

    device: Accelerator
    engine: str
    version: str
    source: str
    rows: pl.DataFrame
    left: np.ndarray
    coefficients: dict[str, float] = field(default_factory=dict)
    bench: dict[str, float] = field(default_factory=dict)

    def arrays(self, left: bool) -> tuple[np.ndarray, ...]:
        """Bytes, seconds and bandwidth, of the rows left out or of the others."""
        rows = self.rows.filter(self.left if left else ~self.left)
        size, seconds = (rows[c].to_numpy().astype(float) for c in ("bytes", "seconds"))
        return size, seconds, np.full(len(size), memory_rate(self.device))


def measured(wheel: Path) -> list[Measured]:
    """Every device by engine, then every device by all engines."""
    found = []
    for table in tables(wheel, "quantize", "scale_matrix_perf"):
        if table.engine == "sglang":
            continue
        rows = table.rows.group_by("m", "k").agg(pl.col("seconds").min(), pl.col("kernel_source").first())
        rows = rows.with_columns(bytes=MOVED_BYTES * pl.col("m") * pl.col("k")).sort("m", "k")
        found.append(each(table.device, table.engine, table.version, rows))
    for device in {m.device.slug: m.device for m in found}.values():
        own = [m for m in found if m.device.slug == device.slug]
        found.append(each(device, "", "", pl.concat([m.rows for m in own])))
    return found


def each(device: Accelerator, engine: str, version: str, rows: pl.DataFrame) -> Measured:
    """With the shapes (m, k) left out."""
    source = "+".join(sorted(rows["kernel_source"].unique()))
    return Measured(device, engine, version, source, rows, left_out_mask(rows, ["m", "k"]))


def predicted(rows: Sequence[np.ndarray], c: dict[str, float], bench: dict[str, float]) -> np.ndarray:
    """The kernel as the bench sees it."""
    size, _, rate = rows
    return np.asarray(elementwise_seconds(size, bytes_per_s=rate * faster(size, bench), c=c))


def faster(size: np.ndarray, bench: dict[str, float]) -> Any:
    """By how much memory is faster for what stays in L2."""
    return 1 + (bench["gain"] - 1) / (1 + (size / bench["fits"]) ** 6) if bench else 1.0


def solve(rows: Sequence[np.ndarray], cached: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Coefficients, and the bench's."""
    search = BOUNDS | (CACHE if cached else {})
    start, low, high = ({name: bound[i] for name, bound in search.items()} for i in range(3))
    found = fit(lambda c: predicted(rows, c, c if cached else {}), rows[1], start, low, high)
    return {n: found[n] for n in BOUNDS}, {n: v for n, v in found.items() if n not in BOUNDS}


def entry(one: Measured) -> dict[str, Any]:
    """A device's curve as it ships, scored on shapes left out."""
    left = one.arrays(True)
    about = scores(predicted(left, one.coefficients, one.bench), left[1])
    return {
        "device": one.device.slug,
        "architecture": one.device.architecture,
        "vendor": one.device.vendor,
        "engine": one.engine,
        "version": one.version,
        "dtype": "bf16",
        "kernel_source": one.source,
        "coefficients": one.coefficients | SAMPLER,
        "bench": one.bench,
        "rows": int((~one.left).sum()),
        **about,
        "left_out": about["median"],
    }


def joined(group: Sequence[Measured], left: bool) -> list[np.ndarray]:
    """The rows of several, each as it would be without the bench's cache."""
    parts = []
    for one in group:
        size, seconds, rate = one.arrays(left)
        parts.append((size, seconds, rate * faster(size, one.bench)))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def pool_entry(made: Sequence[Measured], architecture: str, vendor: str) -> dict[str, Any]:
    """The curve of an architecture, a maker or any device, scored on each of its devices by a fit of the others."""
    group = [e for e in made if architecture in ("", e.device.architecture) and vendor in ("", e.device.vendor)]
    c = solve(joined(group, False), False)[0]
    apart: dict[str, float] = {}
    for slug in sorted({e.device.slug for e in group}):
        others = [e for e in group if e.device.slug != slug] or [e for e in made if e.device.slug != slug]
        left = joined([e for e in group if e.device.slug == slug], True)
        apart[slug] = float(np.median(errors(predicted(left, solve(joined(others, False), False)[0], {}), left[1])))
    left = joined(group, True)
    return {
        "device": "",
        "architecture": architecture,
        "vendor": vendor,
        "engine": "",
        "version": "",
        "dtype": "bf16",
        "coefficients": c | SAMPLER,
        "rows": sum(int((~e.left).sum()) for e in group),
        **scores(predicted(left, c, {}), left[1]),
        "left_out": float(np.median(list(apart.values()))),
        "left_out_devices": apart,
    }


def main(wheel: Path) -> None:
    found = measured(wheel)
    for one in found:
        one.coefficients, one.bench = solve(one.arrays(False), True)
    entries = [entry(one) for one in found]
    made = [one for one in found if not one.engine]
    groups = [*sorted({(e.device.architecture, e.device.vendor) for e in made}), ("", "NVIDIA"), ("", "")]
    entries += [pool_entry(made, *group) for group in groups]
    for e in entries:
        name = e["device"] or e["architecture"] or e["vendor"] or "any"
        print(
            f"{name:32} {e['engine']:13} {e['left_out']:6.1%} p90 {e['p90']:6.1%} {e['coefficients']} {e.get('bench')}"
        )
    about = (
        'elementwise_seconds: launch, then the stream over a share of the bandwidth; engine "": of all engines timed;'
        " errors as shares; left_out: median on (m, k) left out (pooled: on devices left out); passes and kernels:"
        " assumed of a greedy sampler (benchmarks/fit_elementwise.py), not measured; bench: what stayed in L2 between"
        " repeats, scored with, not shipped"
    )
    write("elementwise", about, SOURCE.format(folder="quantize", table="scale_matrix_perf"), entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
