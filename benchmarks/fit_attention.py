"""Fits softmax attention (prefill, decode, encoder) to measured operators; writes curves/attention_*.json.

    python benchmarks/fit_attention.py WHEEL_DIR     # as in kernel_fit.py

"bf16": attention and cache in 16 bits. "fp8": an FP8 cache, as the engine computes with it: vLLM casts queries to FP8
on Hopper and on Blackwell with HBM, as do SGLang's FA3 and trtllm_mha, whose FP8 rows stand for "fp8" and "fp8_fp8"
alike. "fp8_fp8": FP8 products asked for. Timings are of the engine's own call: SGLang's and vLLM's with the writing of
keys and values, TensorRT-LLM's with RoPE too. `step` counts cached tokens; it is 0 in every prefill row.

The tables time one call again and again, so operands that fit L2 come from there (on an L40S four times as fast as
from memory); in a step, other layers' weights have displaced the cache. Such rows are fitted with a gain of their own
(`cache_gain`) and curves ship without it. `left_out` and `median` are with the gain where it applies;
`left_out_shipped` is of the curve as it ships, on the rows where L2 makes no difference (operands beyond it, or below a
sixteenth of it). Pooled curves are fitted and judged on these rows only. An engine's minor kernels (SGLang's Triton for
odd head dimensions) are thinned to a tenth in the fit, never in the score.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import kernel_fit
from inferwise.catalog.accelerators import accelerator
from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.attention import (
    decode_seconds,
    decode_work,
    encoder_seconds,
    encoder_work,
    prefill_seconds,
    prefill_work,
)
from pooled_fit import Columns, Kernel, Sample, arrays, errors, fitted_peak, of_device, pooled, spread

# Of one shape measured with several kernels, the engine's default: SGLang's choice on Blackwell, then its fallbacks.
PREFERRED = {"trtllm_mha": 0, "flashinfer": 1, "triton": 2}
FORMATS = {("bfloat16", "bfloat16"): "bf16", ("bfloat16", "fp8"): "fp8", ("fp8", "fp8"): "fp8_fp8"}
SHAPE = ("batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "window_size")
# What no fit moves: rows of a prefill kernel's query tile (FA3 and Blackwell's TMEM kernels; else mma.sync ones), of
# the smallest tensor-core tile, the widest group that TensorRT-LLM's XQA takes, steps of an encoder's head dimension.
TILES = {"Hopper": 128, "Blackwell": 128, "Blackwell Ultra": 128}
TILE, ROWS, GROUP, STEP = 64, 16, 32, 32
# Bytes of L2, NVIDIA's architecture whitepapers (B200, B300: both dies) and Intel's data sheet.
L2_BYTES = {
    "a100-sxm-80gb": 40e6,
    "h100-sxm-80gb": 50e6,
    "h200-sxm-141gb": 50e6,
    "b200-sxm-180gb": 126e6,
    "gb200-186gb": 126e6,
    "b300-sxm-288gb": 126e6,
    "gb300-288gb": 126e6,
    "l40s": 96e6,
    "rtx-pro-6000-blackwell-server": 128e6,
    "arc-pro-b60": 18e6,
}


def shape(x: Columns) -> dict[str, Columns]:
    """What prefill and decode take by name."""
    return {
        "heads": x["num_heads"],
        "kv_heads": x["num_key_value_heads"],
        "head_dim": x["head_dim"],
        "v_dim": x["head_dim"],
        "window": x["window_size"],
        "kv_bytes": x["kv_bytes"],
        "peak_flops": x["peak_flops"],
        "bytes_per_s": x["bytes_per_s"],
    }


def of_prefill(x: Columns, c: dict[str, float]) -> Columns:
    """Seconds of the rows of a context table."""
    fixed = {"tile": x["tile"], "pack": x["pack"], "cache": np.where(resident(x), c["cache"], 1)}
    return prefill_seconds(x["batch_size"], x["isl"], x["step"], **shape(x), c={**c, **fixed})


def operands(x: Columns) -> Columns:
    """Bytes that a call reads and writes, by its shape."""
    if "step" not in x:
        return encoder_work(x["batch_size"], x["isl"], heads=x["num_heads"], head_dim=x["head_dim"])[1]
    given = {k: v for k, v in shape(x).items() if k not in ("peak_flops", "bytes_per_s")}
    prefill = prefill_work(x["batch_size"], x["isl"], 0, **given)[1]
    return np.where(x["step"] > 0, decode_work(x["batch_size"], x["step"] + 1, **given)[1], prefill)


def resident(x: Columns) -> Columns:
    """Rows whose operands fit L2."""
    return operands(x) <= x["l2_bytes"]


def served(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows on which L2 makes no difference."""
    share = operands(arrays(rows)) / rows["l2_bytes"].to_numpy()
    return rows.filter(pl.Series((share > 1) | (share < 1 / 16)))


def of_decode(x: Columns, c: dict[str, float]) -> Columns:
    """Seconds of the rows of a generation table, keys and values in L2 where they fit."""
    fixed = {"rows": ROWS, "group": GROUP, "cache": np.where(resident(x), c["cache"], 1)}
    return decode_seconds(x["batch_size"], x["step"] + 1, **shape(x), c={**c, **fixed})


def of_encoder(x: Columns, c: dict[str, float]) -> Columns:
    """Seconds of the rows of an encoder table."""
    fixed = {"tile": x["tile"], "step": STEP, "cache": np.where(resident(x), c["cache"], 1)}
    peaks = {"peak_flops": x["peak_flops"], "bytes_per_s": x["bytes_per_s"]}
    given = {"heads": x["num_heads"], "head_dim": x["head_dim"], **peaks}
    return encoder_seconds(x["batch_size"], x["isl"], **given, c={**c, **fixed})


PREFILL = Kernel(
    shape=SHAPE,
    seconds=of_prefill,
    start={"eff": 0.8, "keys": 128, "waste": 0.01, "softmax": 250, "wide": 0.2, "tail": 8000, "write": 0.4, "mem": 0.6,
           "p": 1.5, "floor": 9e-6, "cache": 2},
    low={"eff": 0.02, "keys": 1, "waste": 1e-4, "softmax": 1, "wide": 1e-3, "tail": 100, "write": 0.02, "mem": 0.02,
         "p": 1, "floor": 1e-6, "cache": 1},
    high={"eff": 1, "keys": 1000, "waste": 1, "softmax": 5000, "wide": 3, "tail": 1e5, "write": 1, "mem": 1,
          "p": 8, "floor": 1e-4, "cache": 8},
)  # fmt: skip
DECODE = Kernel(
    shape=SHAPE,
    seconds=of_decode,
    start={"eff": 0.3, "wide": 0.1, "item": 5e4, "item1": 0.9, "mem": 0.9, "serial": 0.3, "serial1": 1.1, "pad": 40,
           "regroup": 0.1, "crowd": 0.1, "p": 2, "q": 1.2, "floor": 1e-5, "split": 2e-6, "knee": 300, "cache": 2},
    low={"eff": 0.01, "wide": 1e-3, "item": 100, "item1": 0.05, "mem": 0.05, "serial": 1e-3, "serial1": 0.2, "pad": 0.1,
         "regroup": 1e-3, "crowd": 1e-3, "p": 1, "q": 1, "floor": 1e-6, "split": 1e-8, "knee": 30, "cache": 1},
    high={"eff": 1, "wide": 3, "item": 1e7, "item1": 20, "mem": 1, "serial": 1, "serial1": 100, "pad": 300,
          "regroup": 1, "crowd": 1, "p": 8, "q": 4, "floor": 2e-4, "split": 1e-4, "knee": 30000, "cache": 8},
)  # fmt: skip
ENCODER = Kernel(
    shape=("batch_size", "isl", "num_heads", "head_dim"),
    seconds=of_encoder,
    start={"eff": 0.5, "keys": 64, "odd": 1.1, "tail": 15000, "mem": 0.6, "p": 1.5, "floor": 8e-6, "cache": 2},
    low={"eff": 0.02, "keys": 1, "odd": 1, "tail": 100, "mem": 0.02, "p": 1, "floor": 1e-6, "cache": 1},
    high={"eff": 1, "keys": 1000, "odd": 20, "tail": 1e5, "mem": 1, "p": 8, "floor": 1e-4, "cache": 8},
)

NAMES = {of_prefill: "attention_prefill", of_decode: "attention_decode", of_encoder: "attention_encoder"}


def default_kernel(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each shape the rows of the engine's default kernel; the mean of what was measured twice."""
    order = pl.col("kernel_source").replace_strict(PREFERRED, default=0)
    rows = rows.filter(order == order.min().over(SHAPE))
    minor = (pl.col("kernel_source").first() != rows["kernel_source"].mode().sort()[0]).alias("minor")
    return rows.group_by(SHAPE).agg(pl.col("seconds").mean(), minor).sort(SHAPE)


def with_device(rows: pl.DataFrame, device: Accelerator, dtype: str) -> pl.DataFrame:
    """With the columns that the device and the format decide; heads that share a key share a tile in FA3 (pack_gqa)."""
    constants = {
        "kv_bytes": 2.0 if dtype == "bf16" else 1.0,
        "peak_flops": fitted_peak(device, dtype),
        "bytes_per_s": device.memory_bytes_per_s,
        "l2_bytes": L2_BYTES[device.slug],
        "tile": float(tile(device)),
        "pack": float(device.architecture == "Hopper"),
    }
    return rows.with_columns(pl.lit(value).alias(column) for column, value in constants.items())


def tile(device: Accelerator) -> int:
    """Rows of a query tile: small without tensor memory or warpgroup MMA (so on Blackwell with GDDR)."""
    return TILES.get(device.architecture, TILE) if (device.memory_bytes_per_s or 0) > 3e12 else TILE


def samples(wheel: Path, table: str) -> Iterator[Sample]:
    """The rows of each device, engine and format."""
    for found in kernel_fit.tables(wheel, "attention", table):
        rows, device = found.rows, found.device
        if "window_size" not in rows.columns:
            rows = rows.with_columns(pl.lit(0).alias("window_size"))
        rows = rows.with_columns(pl.col("window_size").fill_null(0))
        for (attention, kv), part in rows.group_by(["attn_dtype", "kv_cache_dtype"], maintain_order=True):
            dtype = FORMATS[str(attention), str(kv)]
            rest = default_kernel(part)
            main_source = part["kernel_source"].mode().sort()[0]
            yield Sample(device, found.engine, found.version, dtype, main_source, with_device(rest, device, dtype))


def served_formats(found: list[Sample]) -> list[Sample]:
    """With FP8 for SGLang on Hopper and HBM Blackwell, where only its minor kernels were timed with 16-bit queries."""
    fast = {s.device.slug for s in found if s.kernel_source in ("fa3", "trtllm_mha") and s.dtype == "fp8_fp8"}
    kept = [s for s in found if not (s.engine == "sglang" and s.dtype == "fp8" and s.device.slug in fast)]
    same = [s for s in found if s.engine == "sglang" and s.dtype == "fp8_fp8" and s.device.slug in fast]
    return kept + [s.named("fp8") for s in same]


def encoder_samples(wheel: Path) -> Iterator[Sample]:
    """The rows of each device and engine."""
    for found in kernel_fit.tables(wheel, "encoder_attention", "encoder_attention_perf"):
        rows = found.rows.group_by(ENCODER.shape).agg(pl.col("seconds").mean(), pl.lit(False).alias("minor"))
        rows = with_device(rows.sort(ENCODER.shape), found.device, "bf16")
        source = found.rows["kernel_source"].mode().sort()[0]
        yield Sample(found.device, found.engine, found.version, "bf16", source, rows)


def curves(kernel: Kernel, found: list[Sample]) -> list[dict[str, Any]]:
    """Entries of devices, then pooled ones."""
    entries = [device_curve(kernel, sample) for sample in found]
    by_device = {(e["device"], e["engine"], e["dtype"]): e for e in entries}
    for entry, sample in zip(entries, found, strict=True):
        sister = nearest(sample, found)
        if sister:
            error = errors(kernel, served(sample.rows), {**by_device[name(sister)]["coefficients"], "cache": 1})
            entry["left_out_by_sister"] = median(error)
    by_dtype = sorted((uncached(s) for s in found), key=lambda s: s.dtype)
    for dtype, group in groupby(by_dtype, key=lambda s: s.dtype):
        entries += pooled(kernel, dtype, list(group))
    return [shipped(kernel, entry) for entry in entries]


def device_curve(kernel: Kernel, sample: Sample) -> dict[str, Any]:
    """A curve of the engine's main kernel, scored on all rows left out."""
    minor = sample.rows.filter("minor")
    chosen = pl.concat([sample.rows.filter(~pl.col("minor")), kernel_fit.thin(minor, len(minor) // 10)])
    entry = of_device(kernel, replace(sample, rows=chosen))
    error, out = errors(kernel, sample.rows, entry["coefficients"]), kernel_fit.left_out_mask(sample.rows, kernel.shape)
    asked = served(sample.rows.filter(pl.Series(out)))
    bare = errors(kernel, asked, {**entry["coefficients"], "cache": 1})
    more = {
        "left_out": median(error[out]),
        "left_out_shipped": median(bare),
        "cache_gain": entry["coefficients"]["cache"],
    }
    return {**entry, "rows": len(sample.rows), **spread(error), **more}


def uncached(sample: Sample) -> Sample:
    """For pools: rows on which L2 makes no difference; Blackwell with GDDR, which has Ada's tensor cores, apart."""
    device, rows = sample.device, served(sample.rows).drop("minor")
    if device.architecture == "Blackwell" and tile(device) == TILE:
        device = replace(device, architecture="Blackwell, GDDR")
    return replace(sample, device=device, rows=rows)


def shipped(kernel: Kernel, entry: dict[str, Any]) -> dict[str, Any]:
    """With what the fit held fixed: the tile and the packing of the device's architecture, operands from memory."""
    architecture = entry["architecture"]
    small = entry["device"] and tile(accelerator(entry["device"])) == TILE
    rows = TILE if small else TILES.get(architecture, TILE)
    fixed = {
        "attention_prefill": {"tile": rows, "pack": int(architecture == "Hopper")},
        "attention_decode": {"rows": ROWS, "group": GROUP},
        "attention_encoder": {"tile": rows, "step": STEP},
    }[NAMES[kernel.seconds]]
    return {**entry, "coefficients": {**entry["coefficients"], "cache": 1, **fixed}}


def name(sample: Sample) -> tuple[str, str, str]:
    """What finds its entry."""
    return sample.device.slug, sample.engine, sample.dtype


def nearest(sample: Sample, found: list[Sample]) -> Sample | None:
    """The device that would stand in: the same engine, format and tensor cores, the nearest bandwidth."""
    near = [
        (
            s.device.architecture != sample.device.architecture,
            abs(np.log(s.device.memory_bytes_per_s / sample.device.memory_bytes_per_s)),
            s.device.slug,
            s,
        )
        for s in found
        if s.device.slug != sample.device.slug
        and (s.engine, s.dtype, tile(s.device)) == (sample.engine, sample.dtype, tile(sample.device))
        and s.device.architecture.split()[0] == sample.device.architecture.split()[0]
    ]
    return min(near, key=lambda n: n[:3])[3] if near else None


def median(error: np.ndarray) -> float:
    """Of absolute errors."""
    return float(np.median(np.abs(error)))


def main(wheel: Path) -> None:
    """Writes the three files."""
    for kernel, key, about, table in (
        (PREFILL, "attention_prefill", "causal attention of new tokens, GQA and windows", "context_attention_perf"),
        (
            DECODE,
            "attention_decode",
            "one query token a sequence; keys and values from memory",
            "generation_attention_perf",
        ),
        (ENCODER, "attention_encoder", "bidirectional attention without a cache", "encoder_attention_perf"),
    ):
        found = list(encoder_samples(wheel) if kernel is ENCODER else samples(wheel, table))
        found = served_formats(found) if kernel is PREFILL else found
        entries = curves(kernel, found)
        folder = "encoder_attention" if kernel is ENCODER else "attention"
        kernel_fit.write(key, about, kernel_fit.SOURCE.format(folder=folder, table=table), entries)
        for e in entries:
            where = e["device"] or e["architecture"] or e["vendor"] or "any"
            more = e.get("left_out_devices") or {
                k: v for k, v in e.items() if k in ("left_out_shipped", "left_out_by_sister")
            }
            more = {k: round(v, 3) for k, v in more.items()}
            error = f"{e['median']:.3f} {e['p90']:.3f} {e['left_out']:.3f}"
            print(f"{key:18s}{where:30s}{e['engine']:13s}{e['dtype']:8s}{error}", more)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
