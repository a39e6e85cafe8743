"""Measured MoE operators as the experts' kernel takes them: by device, engine and format.

Kernels are what each engine chose by itself for a model on a device (vLLM 0.24: FlashInfer TRT-LLM on Blackwell, Triton
for bf16 on Hopper, CUTLASS and Triton for fp8_block, Marlin for int4; ...). The one with most rows is fitted, with
those for experts without a gate (coefficient `plain`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from expert_routing import routed, skew_of
from inferwise.catalog.accelerators import accelerator
from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.experts import grouped_seconds
from kernel_fit import DATA, DEVICES, ENGINES, left_out_mask, thin, version_key

SHAPE = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
# Our word; bytes a weight with its scales (fp32 per 128x128; bf16 per 32; fp8 per 16; 8 bits per 32) and bytes an
# element of the GEMMs' inputs; formats whose dense peak counts, the first that the device has.
FORMATS: dict[str, tuple[str, float, float, tuple[str, ...]]] = {
    "bfloat16": ("bf16", 2.0, 2.0, ("bf16",)),
    "fp8": ("fp8", 1.0, 1.0, ("fp8", "bf16")),
    "fp8_block": ("fp8_block", 1 + 4 / 128**2, 1.0, ("fp8", "bf16")),
    "int4_wo": ("int4", 0.5 + 2 / 32, 2.0, ("bf16",)),
    "nvfp4": ("nvfp4", 0.5 + 1 / 16, 0.5 + 1 / 16, ("fp4", "bf16")),
    "w4a16_mxfp4": ("mxfp4", 0.5 + 1 / 32, 2.0, ("bf16",)),
    "w4a8_mxfp4_mxfp8": ("mxfp4_mxfp8", 0.5 + 1 / 32, 1 + 1 / 32, ("fp8", "bf16")),
}
# Nemotron 3 (nano, super, ultra): squared ReLU, no gate. hidden_size, inter_size, topk, num_experts.
PLAIN = {
    (2688, 1856, 6, 128),
    (1024, 2688, 22, 512),
    (2048, 5120, 22, 512),
    (4096, 2688, 22, 512),
    (8192, 5120, 22, 512),
}
# Where TensorRT-LLM has generated kernels for nvfp4 ("min_latency" in the table, for all sizes; timed on the first two
# alone) beside CUTLASS, 2 to 3 times slower at decoding's batches. moe_config.backend picks; we take the generated
# ones: in whole runs of DeepSeek-R1 on B200 a step takes less than its experts alone would by CUTLASS.
GENERATED = ("b200-sxm-180gb", "gb200-186gb", "b300-sxm-288gb", "gb300-288gb")
MOST_ROWS, ENOUGH = 4000, 500


@dataclass(frozen=True)
class Timed:
    """Timings of one device, engine and format: the kernel's arguments, seconds, and which rows are which."""

    device: Accelerator
    engine: str
    version: str
    dtype: str
    kernel_source: str
    arguments: dict[str, Any]
    seconds: np.ndarray
    left_out: np.ndarray
    fitted: np.ndarray  # of the kernel that the curve stands for
    skewed: dict[str, Any]  # what the routing by skew needs

    def predict(self, c: dict[str, float], rows: np.ndarray | None = None, floor: bool = True) -> np.ndarray:
        """Seconds of the rows in the mask, or of all."""
        return np.asarray(grouped_seconds(**part(self.arguments, rows), c=c, floor=floor))


def part(arguments: dict[str, Any], rows: np.ndarray | None) -> dict[str, Any]:
    """The arguments of some rows."""
    return {k: v[rows] if rows is not None and isinstance(v, np.ndarray) else v for k, v in arguments.items()}


def timings(wheel: Path) -> Iterator[Timed]:
    """All of them: by format the newest version that has rows enough."""
    for system, slug in DEVICES.items():
        for name, engine in ENGINES.items():
            found: dict[str, tuple[str, pl.DataFrame]] = {}
            for path in sorted((wheel / DATA / system / "moe" / name).glob("*/moe_perf.parquet"), key=version_key):
                for (dtype,), rows in pl.read_parquet(path).filter(pl.col("latency") > 0).group_by("moe_dtype"):
                    rows = by_default(rows, slug, engine, str(dtype))
                    gated = len(rows.filter(~pl.col("kernel_source").str.contains("nongated")))
                    if gated >= ENOUGH or str(dtype) not in found:
                        found[str(dtype)] = path.parent.name, rows
            for dtype, (version, rows) in sorted(found.items()):
                if dtype in FORMATS and len(rows):
                    yield timed(accelerator(slug), engine, version, dtype, rows)


def by_default(rows: pl.DataFrame, slug: str, engine: str, dtype: str) -> pl.DataFrame:
    """Without the kernels that the engine would not take by itself, or that were timed untuned."""
    source = pl.col("kernel_source").str
    generated = source.contains("min_latency")
    if (engine, dtype) == ("vllm", "fp8") and accelerator(slug).architecture == "Hopper":
        # 5 to 6 times slower than TensorRT-LLM's CUTLASS, and than vLLM 0.19's Triton, for the same shapes
        return rows.filter(~source.contains("flashinfer_cutlass"))
    if (engine, dtype) != ("tensorrt-llm", "nvfp4") or slug not in GENERATED:
        return rows.filter(~generated)
    if not rows.select(generated.any()).item():  # not timed here: another engine's curve of these kernels serves
        return rows[:0]
    return rows.filter(generated | source.contains("nongated"))


def timed(device: Accelerator, engine: str, version: str, dtype: str, rows: pl.DataFrame) -> Timed:
    """Rows as the kernel's arguments."""
    word, weight_bytes, input_bytes, peaks = FORMATS[dtype]
    rows = thin(rows, MOST_ROWS)
    hidden, inter, top_k, count, tp, ep = (rows[c].to_numpy().astype(float) for c in SHAPE)
    tokens = rows["num_tokens"].to_numpy().astype(float)
    held = count / ep
    triples = rows.select(
        "num_tokens", "num_experts", "topk", (pl.col("num_experts") // pl.col("moe_ep_size")).alias("held")
    )
    load = [routed(*t, d) for t, d in zip(triples.iter_rows(), rows["distribution"], strict=True)]
    gated = np.array([model not in PLAIN for model in rows.select(SHAPE[:4]).iter_rows()])
    width = inter / tp
    source = str(rows.group_by("kernel_source").len().sort("len", "kernel_source")["kernel_source"][-1])
    own = np.array([kin(s, source) for s in rows["kernel_source"]])
    arguments = {
        "rows": np.array([x[0] for x in load]),
        "hit": np.array([x[1] for x in load]),
        "tokens": tokens,
        "top_k": top_k,
        "hidden": hidden,
        "width": width,
        "gated": gated,
        "expert_bytes": weight_bytes * (2.0 + gated) * hidden * width,
        "input_bytes": input_bytes,
        "peak_flops": next(device.dense_flops[p] for p in peaks if p in device.dense_flops),
        "bytes_per_s": device.memory_bytes_per_s,
    }
    skew = np.array([skew_of(d) for d in rows["distribution"]])
    return Timed(
        device=device,
        engine=engine,
        version=version,
        dtype=word,
        kernel_source=source,
        arguments=arguments,
        seconds=rows["latency"].to_numpy() / 1e3,
        left_out=left_out_mask(rows, SHAPE),
        fitted=own | ~gated,
        skewed={"held": held, "count": count, "skew": skew},
    )


def kin(one: str, other: str) -> bool:
    """Whether two kernel sources are one kernel behind two interfaces, or chosen by shape and not by model."""
    families = ("trtllm", "cutlass", "triton", "marlin", "moe_torch_flow")
    return one == other or {f for f in families if f in one} == {f for f in families if f in other} or "fp8moe" in one
