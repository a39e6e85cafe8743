"""Fits the kernels of latent attention (MLA) to measured operators; writes curves/latent_*.json.

    python benchmarks/fit_latent.py WHEEL_DIR     # as in kernel_fit.py

Curves "fp8" have an FP8 cache, and the device's FP8 peak as peak_flops (its 16-bit peak where it has none).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

import kernel_fit
from inferwise.timing.kernels import latent
from latent_modules import module_curves
from pooled_fit import Columns, Kernel, Sample, curves, fitted_peak

FIELDS = (
    "fp8: FP8 cache, shares of the FP8 peak where the device has one; pooled: the fastest engine of each shape;"
    " left_out: median on shapes left out (pooled: on devices left out); sister: error of the"
    " same engine's curve of the nearest device of the architecture; module: error on whole modules composed of their"
    " parts; bench: what a module's bench adds, scored with, not shipped"
)
DEEPSEEK = {"nope": 128, "rope": 64, "v_dim": 128, "kv_rank": 512}  # V2, V3, R1 and Kimi-K2 alike
ABSORBED = ("flash_attention", "triton")  # SGLang's kernels that were measured as MQA over the latents, in prefill too


def prefill_seconds(x: Columns, c: dict[str, float], *, absorbed: bool = False) -> Columns:
    """Of the rows of a context table."""
    return latent.latent_prefill_seconds(
        x["batch_size"],
        x["isl"],
        x["step"],
        heads=x["num_heads"],
        **DEEPSEEK,
        kv_bytes=x["kv_bytes"],
        peak_flops=x["peak_flops"],
        bytes_per_s=x["bytes_per_s"],
        c=c,
        absorbed=absorbed,
    )


def absorbed_seconds(x: Columns, c: dict[str, float]) -> Columns:
    """Of the rows of a context table measured in the absorbed form."""
    return prefill_seconds(x, c, absorbed=True)


def decode_seconds(x: Columns, c: dict[str, float]) -> Columns:
    """Of the rows of a generation table; its step counts the tokens before the new one."""
    return latent.latent_decode_seconds(
        x["batch_size"],
        x["step"] + 1,
        heads=x["num_heads"],
        kv_rank=512,
        rope=64,
        kv_bytes=x["kv_bytes"],
        peak_flops=x["peak_flops"],
        bytes_per_s=x["bytes_per_s"],
        c=c,
    )


def bmm_seconds(x: Columns, c: dict[str, float]) -> Columns:
    """Of the rows of an absorption table: without the floor of DRAM, since these weights were measured from L2."""
    return latent.latent_bmm_cached_seconds(
        x["num_tokens"],
        heads=x["num_heads"],
        rows=x["rows"],
        columns=640 - x["rows"],
        weight_bytes=x["kv_bytes"],
        peak_flops=x["peak_flops"],
        bytes_per_s=x["bytes_per_s"],
        c=c,
    )


PREFILL = Kernel(
    shape=("num_heads", "batch_size", "isl", "step"),
    seconds=prefill_seconds,
    start={"tile": 100, "edge": 300, "units": 200, "waves": 1.5, "compute": 0.6, "memory": 0.5, "p": 2, "floor": 1e-5},
    low={"tile": 16, "edge": 1, "units": 1, "waves": 0.7, "compute": 0.01, "memory": 0.02, "p": 1, "floor": 1e-6},
    high={"tile": 512, "edge": 2000, "units": 2000, "waves": 8, "compute": 1, "memory": 1, "p": 8, "floor": 1e-4},
)
ABSORBED_PREFILL = Kernel(
    shape=PREFILL.shape, seconds=absorbed_seconds, start=PREFILL.start, low=PREFILL.low, high=PREFILL.high
)
DECODE = Kernel(
    shape=("num_heads", "batch_size", "step"),
    seconds=decode_seconds,
    start={
        **{"tile": 64, "block": 64, "reread": 0.1, "split": 0.01, "compute": 0.5, "memory": 0.8, "p": 3},
        **{"floor": 1e-5, "queries": 1.5, "sweep": 1e-5, "ramp": 1000, "serial": 1e-9},
    },
    low={
        **{"tile": 8, "block": 1, "reread": 1e-3, "split": 1e-4, "compute": 0.01, "memory": 0.02, "p": 1},
        **{"floor": 1e-6, "queries": 1, "sweep": 1e-8, "ramp": 10, "serial": 1e-11},
    },
    high={
        **{"tile": 128, "block": 1000, "reread": 1, "split": 2, "compute": 1, "memory": 1, "p": 8},
        **{"floor": 1e-4, "queries": 30, "sweep": 1e-4, "ramp": 40000, "serial": 1e-6},
    },
)
BMM = Kernel(
    shape=("num_tokens", "num_heads", "rows"),
    seconds=bmm_seconds,
    start={"tile": 8, "compute": 0.3, "memory": 0.8, "p": 3, "floor": 5e-6},
    low={"tile": 1, "compute": 0.01, "memory": 0.05, "p": 1, "floor": 1e-6},
    high={"tile": 512, "compute": 1, "memory": 8, "p": 8, "floor": 1e-4},
)


def samples(wheel: Path, folder: str, table: str, kernel: Kernel) -> Iterator[Sample]:
    """The rows of each device, engine and cache format; the fastest of a shape measured twice."""
    for found in kernel_fit.tables(wheel, folder, table):
        dtype = pl.when(pl.col("bmm_dtype" if folder == "mla_bmm" else "kv_cache_dtype") == "fp8")
        rows = found.rows.with_columns(
            dtype.then(pl.lit("fp8")).otherwise(pl.lit("bf16")).alias("dtype"),
            (pl.col("op_name") == "mla_gen_pre").replace_strict({True: 128, False: 512}).alias("rows"),
        )
        for (name,), part in rows.group_by(["dtype"], maintain_order=True):
            sources = part["kernel_source"].unique().sort().to_list()
            best = part.group_by(kernel.shape).agg(pl.col("seconds").min()).sort(kernel.shape)
            best = best.with_columns(
                pl.lit(1 if name == "fp8" else 2).alias("kv_bytes"),
                pl.lit(fitted_peak(found.device, str(name))).alias("peak_flops"),
                pl.lit(found.device.memory_bytes_per_s).alias("bytes_per_s"),
            )
            yield Sample(found.device, found.engine, found.version, str(name), ", ".join(sources), best)


def absorbed(sample: Sample) -> bool:
    """Whether a context table's rows were measured as MQA over the latents."""
    return sample.engine == "sglang" and sample.kernel_source in ABSORBED


def main(wheel: Path) -> None:
    """Writes the three files: the absorption first, which the modules of the others are composed with."""
    write(
        "latent_bmm",
        "the absorption's GEMMs, a head each; weights from L2 as measured, hence memory above 1",
        "mla_bmm/*/*/mla_bmm_perf",
        curves(BMM, list(samples(wheel, "mla_bmm", "mla_bmm_perf", BMM))),
    )
    context = list(samples(wheel, "mla", "context_mla_perf", PREFILL))
    entries = curves(PREFILL, [s for s in context if not absorbed(s)])
    entries = module_curves(PREFILL, wheel, "context", entries) + entries
    entries += curves(ABSORBED_PREFILL, [s.named(f"{s.dtype}_absorbed") for s in context if absorbed(s)])
    about = "prefill attention of MLA, keys and values decompressed; *_absorbed: as MQA over the latents"
    write("latent_prefill", about, "mla/*/*/{context_mla,mla_context_module}_perf", entries)
    entries = curves(DECODE, list(samples(wheel, "mla", "generation_mla_perf", DECODE)))
    entries = module_curves(DECODE, wheel, "generation", entries) + entries
    about = "absorbed decode attention of MLA"
    write("latent_decode", about, "mla/*/*/{generation_mla,mla_generation_module}_perf", entries)


def write(kernel: str, about: str, tables: str, entries: list[dict[str, Any]]) -> None:
    """The file, and a line an entry."""
    kernel_fit.write(kernel, f"{about}; {FIELDS}", kernel_fit.SOURCE.replace("{folder}/*/*/{table}", tables), entries)
    for entry in entries:
        name = entry["device"] or entry["architecture"] or entry["vendor"] or "any"
        module = f"module {entry['module']['median']:.3f}" if "module" in entry else entry.get("bench", "")
        errors = f"{entry['median']:.3f} {entry['p90']:.3f} left out {entry['left_out']:.3f}"
        print(f"{kernel:15s}{name:31s}{entry['engine']:14s}{entry['dtype']:14s}", errors, module)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
