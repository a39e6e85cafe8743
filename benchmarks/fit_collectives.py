"""Fit the curves of collectives: `python benchmarks/fit_collectives.py WHEEL_DIR` (see kernel_fit.py).

All-reduce by the engines' own kernels (custom_allreduce_perf: under CUDA graphs, and eager) and by the libraries
(nccl_perf, oneccl_perf), which also give the other collectives. The tables' `message_size` counts elements, of the
result for a gathering, of the input for a scattering.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import kernel_fit as kf
from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.collectives import collective_seconds

BYTES = {"bfloat16": 2, "half": 2, "int8": 1}
LIBRARY_KINDS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
# start, low and high of each coefficient; the limit and its growth with the ranks are tried one by one
BOUNDS = {
    "latency_2_s": (5e-6, 5e-7, 2e-4),
    "latency_4_s": (6e-6, 5e-7, 4e-4),
    "latency_8_s": (8e-6, 5e-7, 8e-4),
    "latency_16_s": (1e-5, 5e-7, 1e-3),
    "direct_efficiency": (0.6, 0.005, 1.0),
    "crowding": (0.8, 0.01, 2.5),
    "scatter_s": (3e-6, 1e-8, 1e-3),
    "scatter_ratio": (0.9, 0.1, 5.0),
    "library_latency_ratio": (3.0, 0.3, 50.0),
    "p": (1.0, 0.4, 8.0),
    "efficiency_2": (0.6, 0.005, 1.0),
    "efficiency_4": (0.6, 0.005, 1.0),
    "efficiency_8": (0.6, 0.005, 1.5),
}
LIMITS = tuple(2**k for k in range(15, 27))
NO_LIMIT = 2**60
SERVING = (4096, 2**29)  # bytes of what serving sends


@dataclass(frozen=True)
class Set:
    """Rows of one device, engine and kind: bytes, ranks, seconds."""

    device: Accelerator
    engine: str
    version: str
    dtype: str
    source: str
    rows: pl.DataFrame

    @property
    def link(self) -> str:
        return "PCIe" if self.device.link == "none" else "NVLink"

    @property
    def rate(self) -> float:
        return float((self.device.pcie_bytes_per_s if self.link == "PCIe" else self.device.link_bytes_per_s) or 0)

    @property
    def kind(self) -> str:
        return self.dtype.removesuffix("_eager")


def main(wheel: Path) -> None:
    sets = [*engine_sets(wheel), *library_sets(wheel)]
    about = (
        "collective_seconds: latency and bytes over the link, an engine's own kernels under limit_bytes, the library "
        "from there on; dtype: the kind (_eager: without CUDA graphs); link: which links an entry speaks for"
    )
    entries = [measured(each) for each in sets]
    entries += pooled_entries(sets)
    source = kf.SOURCE.format(folder="comm", table="{custom_allreduce,nccl,oneccl}_perf")
    kf.write("collectives", about, source, entries)


def engine_sets(wheel: Path) -> Iterator[Set]:
    """All-reduce as the engines run it. XPU (Arc) has no graphs: its eager rows speak for both."""
    for table in kf.tables(wheel, "comm", "custom_allreduce_perf"):
        is_eager = pl.col("kernel_source").str.ends_with("_eager")
        eager, rest = table.rows.filter(is_eager), table.rows.filter(~is_eager)
        for dtype, rows in (("all_reduce", rest if len(rest) else eager), ("all_reduce_eager", eager)):
            if len(rows):
                source = "|".join(sorted(rows["kernel_source"].unique()))
                yield Set(table.device, table.engine, table.version, dtype, source, shaped(rows, "allreduce_dtype"))


def library_sets(wheel: Path) -> Iterator[Set]:
    """NCCL and oneCCL. A message to one peer is an all-to-all between two, of which half stays at home."""
    both = [*kf.tables(wheel, "comm", "nccl_perf"), *kf.tables(wheel, "comm", "oneccl_perf")]
    for table in (t for t in both if t.engine in ("nccl", "oneccl")):
        rows = shaped(table.rows, "nccl_dtype")
        for name, kind in LIBRARY_KINDS.items():
            some = rows.filter(pl.col("op_name") == name)
            if not len(some):
                continue
            yield Set(table.device, table.engine, table.version, kind, table.engine, some)
            if kind == "all_to_all":
                half = some.filter(pl.col("num_gpus") == 2).with_columns(pl.col("bytes") / 2)
                yield Set(table.device, table.engine, table.version, "point_to_point", "all_to_all of 2", half)


def shaped(rows: pl.DataFrame, dtype: str) -> pl.DataFrame:
    """With `bytes`; one row a shape: the median of its timings, of the faster kernel where two were timed."""
    rows = rows.with_columns((pl.col("message_size") * pl.col(dtype).replace_strict(BYTES)).cast(float).alias("bytes"))
    if "op_name" not in rows.columns:
        rows = rows.with_columns(pl.lit("all_reduce").alias("op_name"))
    return (
        rows.group_by("op_name", "num_gpus", "bytes", "kernel_source")
        .agg(pl.col("seconds").median())
        .sort("seconds")
        .group_by("op_name", "num_gpus", "bytes", maintain_order=True)
        .agg(pl.col("seconds").first(), pl.col("kernel_source").first())
        .sort("op_name", "num_gpus", "bytes")
    )


def seconds(sets: Sequence[Set], masks: Sequence[np.ndarray]) -> tuple[Callable[[dict[str, float]], Any], np.ndarray]:
    """The model over the rows of several sets that the masks keep, and what was measured."""
    size, ranks, took = (
        np.concatenate([s.rows[name].to_numpy().astype(float)[m] for s, m in zip(sets, masks, strict=True)])
        for name in ("bytes", "num_gpus", "seconds")
    )
    rate = np.concatenate([np.full(m.sum(), s.rate) for s, m in zip(sets, masks, strict=True)])
    model = partial(collective_seconds, size, ranks, kind=sets[0].kind, link_bytes_per_s=rate)
    return (lambda c: model(c=c)), took


def weigh(sets: Sequence[Set], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Each set alike; half for messages that serving does not send."""
    parts = []
    for s, m in zip(sets, masks, strict=True):
        size = s.rows["bytes"].to_numpy()[m]
        inside = np.where((size >= SERVING[0]) & (size <= SERVING[1]), 1.0, 0.5)
        parts.append(inside / np.sqrt(max(len(size), 1)))
    weights = np.concatenate(parts)
    return weights / weights.mean()


def fitted(sets: Sequence[Set], masks: Sequence[np.ndarray]) -> dict[str, float]:
    """The best over limits: a jump cannot be searched by its slope."""
    model, took = seconds(sets, masks)
    weights = weigh(sets, masks)
    most = max(int(s.rows["num_gpus"].max()) for s in sets)  # type: ignore[arg-type]
    free = [name for name in BOUNDS if int("".join(c for c in name if c.isdigit()) or 0) <= most]
    start, low, high = ({name: BOUNDS[name][i] for name in free} for i in range(3))
    best: tuple[float, dict[str, float]] | None = None
    growths = (0.0, 1.0) if sets[0].kind == "all_reduce" else (0.0,)
    for limit in (*LIMITS, NO_LIMIT):
        for growth in growths if limit != NO_LIMIT else (0.0,):
            fixed = {"limit_bytes": int(limit), "limit_growth": growth}
            found = kf.fit(lambda c, f=fixed: model(complete(c) | f), took, start, low, high, weights)
            c = complete(found) | fixed
            residual = np.log(model(c) / took) / 0.1
            cost = float(np.sum(weights**2 * (np.sqrt(1 + residual**2) - 1)))
            if best is None or cost < best[0]:
                best = cost, c
    assert best is not None
    return best[1]


def complete(c: dict[str, float]) -> dict[str, float]:
    """With what was not timed: latency grows by another doubling as by the last, the share of the link stays."""
    c = dict(c)
    for one, two, four in ((0, 2, 4), (2, 4, 8), (4, 8, 16)):
        last = c[f"latency_{two}_s"]
        c.setdefault(f"latency_{four}_s", last * max(1.0, last / c[f"latency_{one}_s"]) if one else last)
        if four <= 8:
            c.setdefault(f"efficiency_{four}", c[f"efficiency_{two}"])
    return c


def score(sets: Sequence[Set], masks: Sequence[np.ndarray], c: dict[str, float]) -> np.ndarray:
    model, took = seconds(sets, masks)
    return np.asarray(model(c) / took - 1)


def whole(sets: Sequence[Set]) -> list[np.ndarray]:
    return [np.ones(len(s.rows), dtype=bool) for s in sets]


def measured(one: Set) -> dict[str, Any]:
    """A device's own curve, fitted without the shapes that it is scored on."""
    out = kf.left_out_mask(one.rows, ["num_gpus", "bytes"])
    c = fitted([one], [~out])
    entry = {
        "device": one.device.slug,
        "architecture": one.device.architecture,
        "vendor": one.device.vendor,
        "engine": one.engine,
        "version": one.version,
        "dtype": one.dtype,
        "link": one.link,
        "kernel_source": one.source,
        "coefficients": c,
        "rows": len(one.rows),
        **errors(score([one], whole([one]), c)),
        "left_out": float(np.median(np.abs(score([one], [out], c)))),
    }
    print(
        f"{one.device.slug:30s} {one.engine:13s} {one.dtype:17s} median {entry['median']:.3f} p90 {entry['p90']:.3f}"
        f" bias {entry['bias']:+.3f} left out {entry['left_out']:.3f} limit {c['limit_bytes']:.3g}",
        flush=True,
    )
    return entry


def errors(relative: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(np.abs(relative))),
        "p90": float(np.quantile(np.abs(relative), 0.9)),
        "bias": float(np.median(relative)),
    }


def pooled_entries(sets: Sequence[Set]) -> Iterator[dict[str, Any]]:
    """By architecture and link; by link and engine; by link; by maker; for any device.

    The libraries' all-reduce stays out of the engines' pools, and so does XPU's, timed without graphs.
    """
    for dtype in sorted({s.dtype for s in sets}):
        some = [s for s in sets if s.dtype == dtype]
        own = [s for s in some if not (dtype == "all_reduce" and s.engine in ("nccl", "oneccl"))]
        wide = [s for s in own if not (dtype == "all_reduce" and s.source.endswith("_eager"))]
        for architecture, link in sorted({(s.device.architecture, s.link) for s in own}):
            members = [s for s in own if s.device.architecture == architecture and s.link == link]
            yield pooled(members, own, {"architecture": architecture, "vendor": members[0].device.vendor, "link": link})
        for link in sorted({s.link for s in wide}):
            members = [s for s in wide if s.link == link]
            yield pooled(members, wide, {"link": link})
            engines = sorted({s.engine for s in some if s.link == link})
            for engine in engines if len(engines) > 1 else []:
                same = [s for s in members if s.engine == engine] or [
                    s for s in some if s.link == link and s.engine == engine
                ]
                yield pooled(same, some, {"engine": engine, "link": link})
        yield pooled([s for s in wide if s.device.vendor == "NVIDIA"], wide, {"vendor": "NVIDIA"})
        yield pooled(wide, wide, {})


def others_of(slug: str, members: Sequence[Set], sets: Sequence[Set]) -> list[Set]:
    """What speaks for a device that was left out: the pool's others; else its maker's on that link; else any."""
    one = next(s for s in members if s.device.slug == slug)
    rest = [s for s in sets if s.device.slug != slug]
    near = [s for s in rest if s.link == one.link]
    maker = [s for s in near if s.device.vendor == one.device.vendor]
    return [s for s in members if s.device.slug != slug] or maker or near or rest


def pooled(members: Sequence[Set], others: Sequence[Set], keys: dict[str, str]) -> dict[str, Any]:
    """A curve of several devices; left_out: the error on a device that the fit did not see."""
    c = fitted(members, whole(members))
    left = {}
    slugs = sorted({s.device.slug for s in members})
    for slug in slugs:
        rest = others_of(slug, members, others)
        held = [s for s in members if s.device.slug == slug]
        left[slug] = float(np.median(np.abs(score(held, whole(held), fitted(rest, whole(rest))))))
    relative = score(members, whole(members), c)
    entry = {
        "device": "",
        "architecture": "",
        "vendor": "",
        "engine": "",
        "version": "",
        "dtype": members[0].dtype,
        "link": "",
        **keys,
        "coefficients": c,
        "rows": len(relative),
        **errors(relative),
        "left_out": float(np.median(list(left.values()))) if left else errors(relative)["median"],
        "left_out_devices": left,
    }
    print(
        f"pool {keys} {members[0].dtype}: median {entry['median']:.3f} left out {entry['left_out']:.3f} {left}",
        flush=True,
    )
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]))
