"""Efficiency curves of dense GEMMs, from measured kernels.

    python benchmarks/fit_gemm.py WHEEL_DIR     # WHEEL_DIR: aiconfigurator-core 0.12.0, unpacked (pip download; unzip)

What a bench adds to a kernel is fitted beside it, scored with it, and not in the coefficients that ship ("bench"):
- cache: where kernels run faster than their memory, the operands of the small ones stayed in L2 between repeats.
  Memory is `gain` times faster for weights and for activations up to about so many bytes each.
- host: launched outside a graph, a kernel takes at least what the host needs to launch the next.
- timer: TensorRT's profiler of layers, whose events weigh on each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.gemm import gemm_seconds, gemm_work
from inferwise.timing.rates import memory_rate, peak
from kernel_fit import SOURCE, errors, fit, left_out_mask, tables, thin, write

# Bytes of a weight (with scales: int4 in groups of 128, fp8_block in blocks of 128 by 128) and of an activation.
FORMATS = {  # the wheel's name: ours, weight, activation, peak of
    "bfloat16": ("bf16", 2.0, 2.0, "bf16"),
    "fp8": ("fp8", 1.0, 1.0, "fp8"),
    "fp8_block": ("fp8_block", 1.0 + 4 / 128**2, 1.0 + 4 / 128, "fp8"),
    "nvfp4": ("nvfp4", 0.5625, 0.5625, "fp4"),
    "int8_wo": ("int8_wo", 1.0, 2.0, "fp16"),
    "int4_wo": ("int4", 0.5 + 2 / 128, 2.0, "fp16"),
    "sq": ("int8", 1.0, 1.0, "int8"),
}
QUANTISED = ("fp8", "fp8_block", "nvfp4")  # their timings hold the conversion of x: they grow with m k at any n
LIMITS = {"bf16": 0.08, "fp8": 0.12, "fp8_block": 0.12, "nvfp4": 0.15}
# name: start, low, high
BOUNDS = {
    "launch": (3e-6, 1e-6, 1e-4),
    "compute": (0.75, 0.1, 1.0),
    "bandwidth": (0.8, 0.1, 1.0),
    "p": (2.0, 1.0, 10.0),
    "depth": (3e-10, 1e-12, 5e-8),
    "split": (1e4, 100.0, 1e6),
    "tile": (1.0, 0.01, 100.0),
}
CONVERSION = {"quantise": (1.0, 0.01, 20.0), "row": (500.0, 1.0, 1e4)}
CACHE = {"weights": (2e7, 4e6, 1.3e8), "activations": (5e7, 4e6, 1.3e8), "gain": (2.5, 1.0, 20.0)}
HOST = {"host": (1e-4, 1e-6, 1e-3), "sharp": (4.0, 2.0, 20.0)}
FIXED = {"rows": 256.0, "quantise": 0.0, "row": 0.0}
HIDDEN = ("launch", "depth", "split", "tile", "row")  # what a host's time hides of a kernel
MOST, SHARE = 4000, 1500  # rows of a fit; of each device in a pooled one


@dataclass(frozen=True)
class Shapes:
    """Measured kernels, an array each: shapes, the device's peaks, and what the bench adds."""

    m: np.ndarray
    n: np.ndarray
    k: np.ndarray
    seconds: np.ndarray
    weight: np.ndarray
    inputs: np.ndarray
    flops: np.ndarray
    rate: np.ndarray
    timer: np.ndarray

    def take(self, which: np.ndarray) -> Shapes:
        return Shapes(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def sample(self, most: int) -> Shapes:
        few = min(most, len(self.m))
        return self.take(np.sort(np.random.default_rng(0).choice(len(self.m), few, replace=False)))


@dataclass
class Measured:
    """The kernels of one device, engine and format."""

    device: Accelerator
    engine: str
    version: str
    dtype: str
    source: str
    fitted: Shapes
    left: Shapes
    coefficients: dict[str, float] = field(default_factory=dict)
    bench: dict[str, float] = field(default_factory=dict)

    def cached(self) -> bool:
        """Whether its kernels run faster than its memory: more than 1 % under the roofline's bytes."""
        moved = gemm_work(self.fitted.m, self.fitted.n, self.fitted.k, self.fitted.weight, self.fitted.inputs)[1]
        return self.dtype == "bf16" and float(np.mean(self.fitted.seconds < moved / self.fitted.rate)) > 0.01


def shapes(rows: pl.DataFrame, device: Accelerator, name: str) -> Shapes:
    """The columns of a table, for a device."""
    _, weight, inputs, counted = FORMATS[name]
    m, n, k = (rows[c].to_numpy().astype(float) for c in ("m", "n", "k"))
    one = np.ones(len(m))
    rates = (peak(device, counted).flops * one, memory_rate(device) * one)
    return Shapes(m, n, k, rows["seconds"].to_numpy(), weight * n * k, inputs * one, *rates, 0 * one)


def measured(wheel: Path) -> Iterable[Measured]:
    """Every device, engine and format; of several kernels of a shape the fastest."""
    for table in tables(wheel, "gemm", "gemm_perf"):
        best = table.rows.group_by("m", "n", "k", "gemm_dtype").agg(
            pl.col("seconds").min(), pl.col("kernel_source").sort_by("seconds").first()
        )
        for name, (dtype, *_) in FORMATS.items():
            rows = best.filter(pl.col("gemm_dtype") == name).sort("m", "n", "k")
            if len(rows) < 1000:  # RTX PRO 6000's 518 block-scaled shapes in vLLM: all of them the host's time
                continue
            left = left_out_mask(rows, ["m", "n", "k"])
            sources = rows["kernel_source"].value_counts(sort=True)["kernel_source"].to_list()
            train, test = thin(rows.filter(~left), MOST), rows.filter(left)
            parts = (shapes(train, table.device, name), shapes(test, table.device, name))
            yield Measured(table.device, table.engine, table.version, dtype, "+".join(sources), *parts)


def predicted(s: Shapes, c: dict[str, float], bench: dict[str, float]) -> np.ndarray:
    """The kernel, and what the bench adds to it."""
    rate = s.rate * faster(s, bench)
    taken = gemm_seconds(s.m, s.n, s.k, s.weight, s.inputs, peak_flops=s.flops, bytes_per_s=rate, c=c) + s.timer
    taken = taken + bench.get("timer", 0.0)
    if "host" in bench:
        taken = (taken ** bench["sharp"] + bench["host"] ** bench["sharp"]) ** (1 / bench["sharp"])
    return np.asarray(taken)


def faster(s: Shapes, bench: dict[str, float]) -> Any:
    """By how much memory is faster for what of the operands stays in L2: weights and activations each to a size."""
    if "gain" not in bench:
        return 1.0
    moved = gemm_work(s.m, s.n, s.k, s.weight, s.inputs)[1]
    kept = sum(
        x / (1 + (x / bench[name]) ** 6) for x, name in ((s.weight, "weights"), (moved - s.weight, "activations"))
    )
    return moved / (moved - (1 - 1 / bench["gain"]) * kept)


def free(quantised: bool, *extra: dict[str, tuple[float, float, float]]) -> dict[str, tuple[float, float, float]]:
    """What a fit searches: start, low and high by name."""
    found = {**BOUNDS, **(CONVERSION if quantised else {})}
    for each in extra:
        found |= each
    return found


def solve(s: Shapes, search: dict[str, tuple[float, float, float]], held: dict[str, float]) -> dict[str, float]:
    """Coefficients and the bench's, together."""
    search = {name: each for name, each in search.items() if name not in held}
    start, low, high = ({name: each[i] for name, each in search.items()} for i in range(3))
    found = fit(lambda c: predicted(s, {**FIXED, **held, **c}, {**held, **c}), s.seconds, start, low, high)
    return {**FIXED, **held, **found}


def split(found: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The kernel's coefficients, and the bench's."""
    own = (*BOUNDS, *FIXED)
    return {n: found[n] for n in own}, {n: v for n, v in found.items() if n not in own}


def fit_one(each: Measured, done: dict[tuple[str, str, str], Measured], cached: bool) -> None:
    """Fits one device, engine and format; those already fitted help where the bench hides the kernel."""
    key = each.device.slug
    host = (each.engine == "vllm" and each.dtype == "fp8_block") or each.device.vendor == "Intel"
    held: dict[str, float] = {}
    search = free(
        each.dtype in QUANTISED and each.device.vendor == "NVIDIA", CACHE if cached else {}, HOST if host else {}
    )
    if each.source.startswith("trt_flow"):  # the profiler's time apart: the launch of a kernel is PyTorch's
        held = {"launch": done[key, each.engine, "bf16"].coefficients["launch"]}
        search["timer"] = (5e-6, 1e-7, 2e-5)
    elif host and each.dtype == "fp8_block":
        other = next(found for engine in ("sglang", "tensorrt-llm") if (found := done.get((key, engine, each.dtype))))
        held = {name: other.coefficients[name] for name in HIDDEN}
    each.coefficients, each.bench = split(solve(each.fitted, search, held))


def scores(p: np.ndarray, s: Shapes) -> dict[str, float]:
    """Over rows: median and 90th percentile of the errors, and the bias (median of predicted over measured, less 1)."""
    wrong = errors(p, s.seconds)
    return {
        "median": float(np.median(wrong)),
        "p90": float(np.quantile(wrong, 0.9)),
        "bias": float(np.median(p / s.seconds) - 1),
    }


def served(s: Shapes) -> np.ndarray:
    """Shapes of layers of models that are served: n and k of 1,024 or more."""
    return (s.n >= 1024) & (s.k >= 1024)


def entry(each: Measured) -> dict[str, Any]:
    """A device's curve as it ships, scored on groups left out."""
    p, left = predicted(each.left, each.coefficients, each.bench), each.left
    shown = left.seconds > 2 * each.bench.get("host", 0.0)
    wrong, of = errors(p, left.seconds), {"device": each.device.slug, "architecture": each.device.architecture}
    return {
        **of,
        "vendor": each.device.vendor,
        "engine": each.engine,
        "version": each.version,
        "dtype": each.dtype,
        "kernel_source": each.source,
        "includes_quantize": each.coefficients["quantise"] > 0,
        "coefficients": each.coefficients,
        "bench": each.bench,
        "rows": len(each.fitted.m),
        **scores(p, left),
        "left_out": float(np.median(wrong)),
        "left_out_served": float(np.median(wrong[served(left)])),
        **({"left_out_seen": float(np.median(wrong[shown]))} if "host" in each.bench else {}),
    }


def seen(each: Measured, rows: Shapes) -> Shapes:
    """Rows in which the kernel shows, as they would be without the bench's cache, profiler and host."""
    bench = each.bench
    parts = {name: getattr(rows, name) for name in rows.__dataclass_fields__}
    parts |= {"rate": rows.rate * faster(rows, bench), "timer": rows.timer + bench.get("timer", 0.0)}
    return Shapes(**parts).take(rows.seconds > 2 * bench.get("host", 0.0))


def joined(parts: Sequence[Shapes]) -> Shapes:
    """One after another."""
    return Shapes(*(np.concatenate([getattr(s, name) for s in parts]) for name in Shapes.__dataclass_fields__))


@dataclass(frozen=True)
class Pool:
    """Which devices and engines a curve is of; an empty name: all."""

    dtype: str
    architecture: str = ""
    vendor: str = ""
    engine: str = ""

    def holds(self, each: Measured) -> bool:
        """Neither kernels that the host's time covers, nor, beyond its architecture, a device without such units."""
        counted = next(count for ours, *_, count in FORMATS.values() if ours == each.dtype)
        if not self.architecture and peak(each.device, counted).format != counted:
            return False
        device = (each.device.architecture, each.device.vendor, each.engine)
        wanted = (self.architecture, self.vendor, self.engine)
        hidden = each.dtype == "fp8_block" and "host" in each.bench
        return (
            each.dtype == self.dtype and not hidden and all(w in ("", d) for w, d in zip(wanted, device, strict=True))
        )

    def rows(self, found: Sequence[Measured]) -> dict[str, tuple[Shapes, Shapes]]:
        """Rows to fit and to score of each device, over its engines."""
        devices: dict[str, list[Measured]] = {}
        for each in found:
            if self.holds(each):
                devices.setdefault(each.device.slug, []).append(each)
        return {
            slug: (
                joined([seen(each, each.fitted).sample(SHARE // len(group)) for each in group]),
                joined([seen(each, each.left) for each in group]),
            )
            for slug, group in devices.items()
        }


def without(found: Sequence[Measured], pool: Pool, slug: str) -> dict[str, tuple[Shapes, Shapes]]:
    """A pool's rows without a device; of one alone in it, its maker's others, and alone of its maker, all others."""
    for wider in (pool, replace(pool, architecture=""), replace(pool, architecture="", vendor="")):
        rows = {name: each for name, each in wider.rows(found).items() if name != slug}
        if rows:
            return rows
    return {}


def solve_pool(rows: dict[str, tuple[Shapes, Shapes]], dtype: str) -> dict[str, float]:
    """Coefficients of several devices, each of the same weight."""
    train = joined([fitted for fitted, _ in rows.values()]).sample(2 * MOST)
    return split(solve(train, free(dtype in QUANTISED), {}))[0]


def pool_entry(found: Sequence[Measured], pool: Pool) -> dict[str, Any] | None:
    """The curve of a pool, scored on each of its devices by a fit of the others; none where nothing was timed."""
    rows = pool.rows(found)
    if not rows:
        return None
    c, apart = solve_pool(rows, pool.dtype), {}
    for slug in rows:
        if others := without(found, pool, slug):
            left = rows[slug][1]
            wrong = errors(predicted(left, solve_pool(others, pool.dtype), {}), left.seconds)
            apart[slug] = float(np.median(wrong))
    left = joined([each for _, each in rows.values()])
    about = scores(predicted(left, c, {}), left)
    return {
        "device": "",
        "architecture": pool.architecture,
        "vendor": pool.vendor,
        "engine": pool.engine,
        "version": "",
        "dtype": pool.dtype,
        "includes_quantize": c["quantise"] > 0,
        "coefficients": c,
        "rows": sum(len(fitted.m) for fitted, _ in rows.values()),
        **about,
        "left_out": float(np.median(list(apart.values()))) if apart else about["median"],
        "left_out_devices": apart,
    }


def pools(found: Sequence[Measured]) -> Iterable[Pool]:
    """Of each format: the architectures, NVIDIA and any device, each over all engines and by engine."""
    for dtype, *_ in FORMATS.values():
        timed = [each for each in found if each.dtype == dtype]
        groups = [*sorted({(each.device.architecture, each.device.vendor) for each in timed}), ("", "NVIDIA"), ("", "")]
        for group in groups:
            yield from (Pool(dtype, *group, engine) for engine in ("", *sorted({each.engine for each in timed})))


def main(wheel: Path) -> None:
    found = list(measured(wheel))
    order = sorted(found, key=lambda each: (each.dtype != "bf16", each.dtype == "fp8_block" and each.engine == "vllm"))
    warm = {each.device.slug for each in found if each.cached()}
    done: dict[tuple[str, str, str], Measured] = {}
    for each in order:
        fit_one(each, done, each.device.slug in warm)
        done[each.device.slug, each.engine, each.dtype] = each
    entries = [entry(each) for each in found]
    entries += [made for pool in pools(found) if (made := pool_entry(found, pool))]
    for e in entries:
        miss = "  MISS" if e["left_out"] > (LIMITS.get(e["dtype"], 1.0) if e["device"] else 0.2) else ""
        name = e["device"] or e["architecture"] or e["vendor"] or "any"
        print(f"{name:32} {e['engine']:13} {e['dtype']:10} {e['left_out']:6.1%} p90 {e['p90']:6.1%}{miss}")
    about = (
        "seconds = launch + p-norm(flops, bytes, depth of a tile) + conversion of x; errors as shares; left_out: median"
        " on (m, n, k) groups left out (pooled: on devices left out); left_out_served: of those with n and k of 1,024"
        " or more; left_out_seen: of those that take twice the host's time or more; bench: what the bench adds to the"
        " kernel (operands in L2 between repeats, host, profiler), scored with, not shipped"
    )
    write("gemm", about, SOURCE.format(folder="gemm", table="gemm_perf"), entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
