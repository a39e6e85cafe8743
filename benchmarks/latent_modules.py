"""Whole MLA modules as they were measured, as the sum of their parts: projections, absorption, attention.

A module is q_a and kv_a as one GEMM, norms, q_b, (prefill) kv_b, attention, (decode) the absorption before and after
it, and o. What the bench adds is not shipped: rigs that ran modules without CUDA graphs take `host` seconds more, and
elementwise kernels (norms, rope, joining of keys) are operators of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import kernel_fit
from inferwise.spec.hardware import Accelerator
from inferwise.timing.curves import choose
from inferwise.timing.kernels import gemm, latent
from pooled_fit import Kernel, Sample, arrays, fitted_peak, of_device, spread

HIDDEN, Q_RANK, KV_RANK, NOPE, ROPE, V_DIM = 7168, 1536, 512, 128, 64, 128  # DeepSeek-V3's config
FORMATS = {"bfloat16": ("bf16", 2.0), "fp8_block": ("fp8_block", 1 + 4 / 128**2), "nvfp4": ("nvfp4", 0.5 + 1 / 16)}
PEAKS = {"bf16": "bf16", "fp8_block": "fp8", "nvfp4": "fp4"}
BENCH_START = {"host": 2e-5, "unfused": 0.5}
EXTRA = {"context": ("host", "unfused"), "generation": ("host",)}
BENCH_LOW = {"host": 1e-7, "unfused": 1e-3}
BENCH_HIGH = {"host": 3e-4, "unfused": 20.0}
ELEMENTWISE = 0.8  # of the bandwidth, which copies in place of an elementwise kernel reach


def gemm_part(device: Accelerator, engine: str, gemm_type: str, m: Any, n: Any, k: Any) -> Any:
    """Seconds of one projection by the GEMM's curve."""
    dtype, weight_bytes = FORMATS[gemm_type]
    peaks = device.dense_flops
    return gemm.gemm_seconds(
        m,
        n,
        k,
        n * k * weight_bytes,
        min(2.0, weight_bytes),
        peak_flops=peaks.get(PEAKS[dtype]) or peaks["bf16"],
        bytes_per_s=device.memory_bytes_per_s,
        c=choose("gemm", device, engine, dtype).coefficients,
    )


def projections(device: Accelerator, engine: str, gemm_type: str, m: Any, heads: Any, *, decode: bool) -> Any:
    """Seconds of a module's GEMMs over m tokens; decode: with the absorption in place of kv_b."""
    parts = [(Q_RANK + KV_RANK + ROPE, HIDDEN), (heads * (NOPE + ROPE), Q_RANK), (HIDDEN, heads * V_DIM)]
    parts += [] if decode else [(heads * (NOPE + V_DIM), KV_RANK)]
    total = sum(gemm_part(device, engine, gemm_type, m, n, k) for n, k in parts)
    if decode:
        rates = {"peak_flops": fitted_peak(device, "bf16"), "bytes_per_s": device.memory_bytes_per_s}
        c = choose("latent_bmm", device, engine, "bf16").coefficients
        for rows, columns in ((NOPE, KV_RANK), (KV_RANK, V_DIM)):
            total = total + latent.latent_bmm_seconds(m, heads=heads, rows=rows, columns=columns, c=c, **rates)
    return total


def elementwise(device: Accelerator, m: Any, heads: Any, *, decode: bool) -> Any:
    """Seconds of norms, rope and (prefill) the joining of keys, as passes over memory without launches."""
    elements = Q_RANK + KV_RANK + ROPE + heads * ROPE + (0 if decode else heads * (NOPE + ROPE))
    return 2 * m * elements * 2 / (ELEMENTWISE * device.memory_bytes_per_s)  # each read and written, 16 bits


def modules(wheel: Path, phase: str) -> Iterator[Sample]:
    """Modules of a phase ("context", "generation"), a sample each cache format, all GEMM types together.

    Column fixed: seconds of the parts other than attention. Prefill of one token runs the decode kernel: left out.
    """
    for found in kernel_fit.tables(wheel, "mla", f"mla_{phase}_module_perf"):
        rows = found.rows.filter((pl.col("mla_dtype") == "bfloat16") & ((pl.col("isl") > 1) | (phase == "generation")))
        for (cache,), part in rows.group_by(["kv_cache_dtype"], maintain_order=True):
            dtype = "fp8" if cache == "fp8" else "bf16"
            keys = ("gemm_type", "num_heads", "batch_size", "isl", "step")
            best = part.group_by(keys).agg(pl.col("seconds").min()).sort(keys)
            if phase == "generation":
                best = best.with_columns(pl.col("step") - 1)  # here it counts the new token too
            sources = ", ".join(part["kernel_source"].unique().sort().to_list())
            best = with_parts(found.device, found.engine, best, dtype, phase)
            yield Sample(found.device, found.engine, found.version, dtype, sources, best)


def with_parts(device: Accelerator, engine: str, rows: pl.DataFrame, dtype: str, phase: str) -> pl.DataFrame:
    """Rows with the seconds of what is not attention, and the device's rates."""
    decode = phase == "generation"
    fixed = np.zeros(len(rows))
    heads, m = rows["num_heads"].to_numpy().astype(float), (rows["batch_size"] * rows["isl"]).to_numpy().astype(float)
    for gemm_type in rows["gemm_type"].unique():
        mask = (rows["gemm_type"] == gemm_type).to_numpy()
        part = projections(device, engine, gemm_type, m[mask], heads[mask], decode=decode)
        fixed[mask] = part + elementwise(device, m[mask], heads[mask], decode=decode)
    return rows.with_columns(
        pl.Series("fixed", fixed),
        pl.lit(1 if dtype == "fp8" else 2).alias("kv_bytes"),
        pl.lit(fitted_peak(device, dtype)).alias("peak_flops"),
        pl.lit(device.memory_bytes_per_s).alias("bytes_per_s"),
    )


def module_curves(kernel: Kernel, wheel: Path, phase: str, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Curves of engines that were measured as modules only, and a line on how well the others' modules are composed.

    Attention is what the sum of the other parts leaves. Its launch, and in prefill its rate of memory and its norm,
    are those of the device's kernel under other engines: rigs differ in what they add to a module, `host` seconds
    without CUDA graphs, `unfused` passes over queries, keys and values where nothing fuses them. Neither is shipped.
    """
    entries = []
    for sample in modules(wheel, phase):
        own = [e for e in known if e["device"] == sample.device.slug and e["dtype"] == sample.dtype]
        same = [e for e in own if e["engine"] == sample.engine]
        x = arrays(sample.rows.drop("gemm_type"))
        if same:
            error = (x["fixed"] + kernel.seconds(x, same[0]["coefficients"])) / x["seconds"] - 1
            same[0]["module"] = spread(error)
            continue
        if not own:
            own = [e for e in known if e["device"] == sample.device.slug]
        taken = ("floor", "memory", "p") if phase == "context" else ("floor",)
        fixed = {key: own[0]["coefficients"][key] for key in taken}
        entries.append(module_curve(kernel, sample, fixed, phase))
    return entries


def module_curve(kernel: Kernel, sample: Sample, fixed: dict[str, float], phase: str) -> dict[str, Any]:
    """A curve of attention fitted to whole modules, scored on them with what the bench adds."""
    extra = EXTRA[phase]
    bench = Kernel(
        shape=("gemm_type", *kernel.shape),
        seconds=lambda x, c: module_seconds(kernel, x, {**c, **fixed}),
        start={**kernel.start, **{key: BENCH_START[key] for key in extra}},
        low={**kernel.low, **{key: BENCH_LOW[key] for key in extra}},
        high={**kernel.high, **{key: BENCH_HIGH[key] for key in extra}},
    )
    formats = sample.rows["gemm_type"]
    codes = formats.replace_strict({name: i for i, name in enumerate(FORMATS)})
    entry = of_device(bench, replace(sample, rows=sample.rows.with_columns(codes.alias("gemm_type"))))
    coefficients = {**entry["coefficients"], **fixed}
    entry["bench"] = {key: coefficients.pop(key) for key in extra}
    entry["coefficients"] = coefficients
    entry["fitted_on"] = f"mla_{phase}_module_perf"
    return entry


def module_seconds(kernel: Kernel, x: Any, c: dict[str, float]) -> Any:
    """Parts, attention, and what the bench adds."""
    activations = x["batch_size"] * x["isl"] * x["num_heads"] * (2 * (NOPE + ROPE) + 2 * V_DIM) * 2
    return x["fixed"] + kernel.seconds(x, c) + c["host"] + c.get("unfused", 0) * activations / x["bytes_per_s"]
