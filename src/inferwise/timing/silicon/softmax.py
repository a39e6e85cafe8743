"""Softmax attention: over sequences and tokens, of equal heads, head dimension and window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels.attention import decode_seconds, decode_work, prefill_seconds, prefill_work
from inferwise.timing.operators.attention import Heads
from inferwise.timing.rates import memory_rate
from inferwise.timing.silicon.entry import Entry
from inferwise.timing.silicon.grid import Array, Ratios
from inferwise.timing.silicon.wheel import Columns, folder, known, read
from inferwise.timing.step import Quantity, Step

TABLES = {"attention_prefill": "context_attention_perf", "attention_decode": "generation_attention_perf"}
NAMES = ("batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "attn_dtype", "kernel_source")
NO_WINDOW = 2.0**40  # beyond any reach of one
# (queries and keys, cache) of each format's rows, the first that a table has
FORMATS = {
    "bf16": (("bfloat16", "bfloat16"),),
    "fp8": (("bfloat16", "fp8"),),
    "fp8_fp8": (("fp8", "fp8"),),
}
FAST_FP8 = ("fa3", "trtllm_mha")  # SGLang's kernels whose rows in FP8 stand for its FP8 cache


def ratios(where: Path, at: Entry) -> Ratios | None:
    """Of the engine's default kernel of each shape."""
    found = folder(where, at.device.slug, "attention", at.engine, at.version)
    if found is None or at.dtype not in FORMATS:
        return None
    fast = at.engine == "sglang" and at.kernel_source in FAST_FP8 and at.dtype == "fp8"
    prefill = at.kernel == "attention_prefill"
    queries, cache = ("fp8", "fp8") if fast and prefill else FORMATS[at.dtype][0]
    path, filters = (
        found / f"{TABLES[at.kernel]}.parquet",
        [("attn_dtype", "==", queries), ("kv_cache_dtype", "==", cache)],
    )
    rows = read(path, (*NAMES, "window_size"), filters) or read(path, NAMES, filters)
    if rows is None or not len(rows["seconds"]):
        return None
    rows = _default(rows)
    window = _window(rows)
    sizes = [rows[name].astype(float) for name in NAMES[3:6]] + [np.where(window > 0, window, NO_WINDOW)]
    tokens = rows["isl"].astype(float) if prefill else rows["step"] + 1.0
    values = np.log(rows["seconds"] / benched(at, rows))
    return Ratios(
        fixed=np.log2(np.stack(sizes, axis=1)),
        varying=np.log2(np.stack([rows["batch_size"].astype(float), tokens], axis=1)),
        values=values,
    )


def _window(rows: Columns) -> Array:
    """Of each row, 0 where the table has none."""
    found = rows.get("window_size", np.zeros(len(rows["isl"])))
    return np.asarray(np.nan_to_num(found.astype(float)))


def _default(rows: Columns) -> Columns:
    """The rows of the engine's default kernel of each shape."""
    preferred = known()["attention"]["preferred"]
    order = np.array([preferred.get(name, 0) for name in rows["kernel_source"]])
    if not order.any():
        return rows
    shape = np.stack([*(rows[name].astype(float) for name in NAMES[:6]), _window(rows)], axis=1)
    _, which = np.unique(shape, axis=0, return_inverse=True)
    least = np.full(which.max() + 1, np.inf)
    np.minimum.at(least, which.ravel(), order)
    kept = order == least[which.ravel()]
    return {name: column[kept] for name, column in rows.items()}


def benched(at: Entry, rows: Columns) -> Any:
    """What the curve gives for kernels on their bench, operands that fit L2 read from there."""
    n, isl, cached, heads, kv_heads, head_dim = (rows[name].astype(float) for name in NAMES[:6])
    sizes: dict[str, Any] = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "v_dim": head_dim}
    sizes |= {"window": _window(rows), "kv_bytes": 2.0 if at.dtype == "bf16" else 1.0}
    rates = {"peak_flops": fitted_peak(at.device, at.dtype), "bytes_per_s": memory_rate(at.device)}
    prefill = at.kernel == "attention_prefill"
    moved = prefill_work(n, isl, cached, **sizes)[1] if prefill else decode_work(n, cached + 1, **sizes)[1]
    gain = np.where(moved <= known()["l2_bytes"][at.device.slug], at.gain, 1.0)
    c = {**at.coefficients, "cache": gain}
    if prefill:
        return prefill_seconds(n, isl, cached, **sizes, **rates, c=c)
    return decode_seconds(n, cached + 1, **sizes, **rates, c=c)


def fitted_peak(device: Accelerator, dtype: str) -> float:
    """The peak that a curve's efficiency is a share of: FP8's for "fp8" where the device has it, else of 16 bits."""
    peaks = device.dense_flops
    return peaks["fp8"] if dtype.startswith("fp8") and "fp8" in peaks else peaks.get("bf16") or peaks["fp16"]


def fixed(operator: Heads) -> Array:
    """log2 of heads, KV heads, head dimension and window."""
    window = operator.window or NO_WINDOW
    return np.log2([operator.heads, operator.kv_heads, operator.head_dim, window])


def of_prompts(operator: Heads, step: Step) -> tuple[Quantity, ...]:
    """Sequences and tokens of each."""
    return np.maximum(step.prompts * operator.share, 1.0), step.prompt_tokens


def of_decodes(operator: Heads, step: Step) -> tuple[Quantity, ...]:
    """Sequences and tokens that each has cached."""
    return np.maximum(step.decodes * operator.share, 1.0), step.context * operator.tokens_share
