"""Curves of a kernel by device and engine, and pooled by architecture, by maker and over all, from measured rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

import kernel_fit
from inferwise.spec.hardware import Accelerator

Columns = Any  # arrays by name; or an array
MOST_ROWS = 4000  # of a fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What is fitted: the columns that make a shape, seconds of rows at coefficients, and these with their bounds."""

    shape: tuple[str, ...]
    seconds: Callable[[Columns, dict[str, float]], Columns]
    start: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one device, engine and dtype: the shape's columns, kv_bytes, peak_flops, bytes_per_s, seconds."""

    device: Accelerator
    engine: str
    version: str
    dtype: str
    kernel_source: str
    rows: pl.DataFrame

    def named(self, dtype: str) -> Sample:
        """The same under another dtype."""
        return replace(self, dtype=dtype)


def fitted_peak(device: Accelerator, dtype: str) -> float:
    """The peak that a curve's efficiency is a share of: FP8's for "fp8" where the device has it, else of 16 bits."""
    peaks = device.dense_flops
    return peaks["fp8"] if dtype.startswith("fp8") and "fp8" in peaks else peaks.get("bf16") or peaks["fp16"]


def curves(kernel: Kernel, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Entries: each device and engine; then pooled, with the error on each device when it is left out."""
    entries = [of_device(kernel, sample) for sample in samples]
    by_sister(kernel, samples, entries)
    by_dtype = sorted(samples, key=lambda s: s.dtype)
    for dtype, group in groupby(by_dtype, key=lambda s: s.dtype):
        entries += pooled(kernel, dtype, list(group))
    return entries


def of_device(kernel: Kernel, sample: Sample) -> dict[str, Any]:
    """A curve fitted without the shapes left out, and what ships."""
    out = kernel_fit.left_out_mask(sample.rows, kernel.shape)
    rows = kernel_fit.thin(sample.rows.filter(~out), MOST_ROWS)
    coefficients = solve(kernel, rows)
    error = errors(kernel, sample.rows, coefficients)
    return {
        "device": sample.device.slug,
        "architecture": sample.device.architecture,
        "vendor": sample.device.vendor,
        "engine": sample.engine,
        "version": sample.version,
        "dtype": sample.dtype,
        "kernel_source": sample.kernel_source,
        "coefficients": coefficients,
        "rows": len(sample.rows),
        **spread(error),
        "left_out": float(np.median(np.abs(error[out]))),
    }


def pooled(kernel: Kernel, dtype: str, samples: list[Sample]) -> list[dict[str, Any]]:
    """A curve an architecture, one a maker, and one for any device, of the fastest engine on each."""
    samples = [fastest(kernel, list(own)) for _, own in groupby(sorted(samples, key=slug), key=slug)]
    without = {s.device.slug: other_devices_error(kernel, s.device, samples) for s in samples}
    entries = []
    for architecture in sorted({s.device.architecture for s in samples}):
        part = [s for s in samples if s.device.architecture == architecture]
        entries.append(pool(kernel, dtype, part, architecture, part[0].device.vendor, without))
    for vendor in (*sorted({s.device.vendor for s in samples}), ""):
        part = [s for s in samples if vendor in ("", s.device.vendor)]
        entries.append(pool(kernel, dtype, part, "", vendor, without))
    return entries


def by_sister(kernel: Kernel, samples: Sequence[Sample], entries: list[dict[str, Any]]) -> None:
    """Adds to each device's curve the error of the one that the device would get, had it not been measured.

    That is the same engine's on the device of its architecture (or of the generation's other one) nearest in bandwidth.
    """
    for sample, entry in zip(samples, entries, strict=False):
        sisters = [
            (abs(math.log(other.device.memory_bytes_per_s / sample.device.memory_bytes_per_s)), curve)
            for other, curve in zip(samples, entries, strict=False)
            if (other.engine, other.dtype) == (sample.engine, sample.dtype)
            and other.device.slug != sample.device.slug
            and other.device.architecture.split()[0] == sample.device.architecture.split()[0]
        ]
        if sisters:
            _, nearest = min(sisters, key=lambda s: s[0])
            error = float(np.median(np.abs(errors(kernel, sample.rows, nearest["coefficients"]))))
            entry["sister"] = {"device": nearest["device"], "median": error}


def slug(sample: Sample) -> str:
    """Its device."""
    return sample.device.slug


def fastest(kernel: Kernel, samples: list[Sample]) -> Sample:
    """The best engine's time of each shape on a device: what a curve for engines without data goes by."""
    rows = pl.concat([s.rows for s in samples], how="diagonal_relaxed")
    keys = [name for name in rows.columns if name != "seconds"]
    best = rows.group_by(keys).agg(pl.col("seconds").min()).sort(keys)
    return replace(samples[0], engine="", version="", kernel_source="fastest", rows=best)


def pool(
    kernel: Kernel,
    dtype: str,
    samples: list[Sample],
    architecture: str,
    vendor: str,
    without: Mapping[str, float | None],
) -> dict[str, Any]:
    """One curve of several devices, each with the same weight."""
    coefficients = solve(kernel, even(samples))
    error = np.concatenate([errors(kernel, s.rows, coefficients) for s in samples])
    found = {s.device.slug: without[s.device.slug] for s in samples}
    left_out = {slug: e for slug, e in found.items() if e is not None}
    return {
        "device": "",
        "architecture": architecture,
        "vendor": vendor,
        "engine": "",
        "version": "",
        "dtype": dtype,
        "coefficients": coefficients,
        "rows": sum(len(s.rows) for s in samples),
        **spread(error),
        "left_out": float(np.median(list(left_out.values()))) if left_out else float(np.median(np.abs(error))),
        "left_out_devices": left_out,
    }


def other_devices_error(kernel: Kernel, device: Accelerator, samples: list[Sample]) -> float | None:
    """Median error on a device, fitted on its architecture's others; else its maker's, else any. None: alone."""
    others = [s for s in samples if s.device.slug != device.slug]
    near = [s for s in others if s.device.architecture == device.architecture]
    near = near or [s for s in others if s.device.vendor == device.vendor] or others
    if not near:
        return None
    coefficients = solve(kernel, even(near))
    own = [errors(kernel, s.rows, coefficients) for s in samples if s.device.slug == device.slug]
    return float(np.median(np.abs(np.concatenate(own))))


def even(samples: list[Sample]) -> pl.DataFrame:
    """Rows of all samples, as many of each."""
    most = min(MOST_ROWS // len(samples), min(len(s.rows) for s in samples))
    return pl.concat([kernel_fit.thin(s.rows, most) for s in samples])


def solve(kernel: Kernel, rows: pl.DataFrame) -> dict[str, float]:
    """Coefficients fitted to rows."""
    x = arrays(rows)
    return kernel_fit.fit(
        lambda c: kernel.seconds(x, c), x["seconds"], dict(kernel.start), dict(kernel.low), dict(kernel.high)
    )


def errors(kernel: Kernel, rows: pl.DataFrame, coefficients: dict[str, float]) -> np.ndarray:
    """Signed, as shares of what was measured."""
    x = arrays(rows)
    return np.asarray(kernel.seconds(x, coefficients) / x["seconds"] - 1)


def arrays(rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """Columns as arrays of floats."""
    return {name: rows[name].cast(pl.Float64).to_numpy() for name in rows.columns}


def spread(error: np.ndarray) -> dict[str, float]:
    """Median and 90th percentile of the absolute error, and the median error."""
    size = np.abs(error)
    return {
        "median": float(np.median(size)),
        "p90": float(np.quantile(size, 0.9)),
        "bias": float(np.median(error)),
    }
