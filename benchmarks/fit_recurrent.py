"""Curves of recurrent mixers, from measured kernels: scans over prompts, steps of one token, short convolutions.

    python benchmarks/fit_recurrent.py WHEEL_DIR     # aiconfigurator-core 0.12.0, unpacked (pip download; unzip)

gdn_perf and kda_perf time a layer's kernels apart: the convolution and the delta rule. mamba2_perf holds convolutions
only (nobody timed Mamba-2's scan): inferwise.timing.curves.NEAREST takes the delta rule's for it. Kimi's kernels that
do the convolution and the step at once, its three convolutions in one call, and verification of drafts are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import pooled_fit
from inferwise.timing.kernels.recurrent import (
    convolution_seconds,
    convolution_work,
    recurrent_step_seconds,
    recurrent_step_work,
    scan_seconds,
)
from inferwise.timing.rates import memory_rate
from kernel_fit import SOURCE, Table, tables, write
from pooled_fit import Columns, Kernel, Sample

CONVOLUTION = "causal_conv1d"
PHASES = {"context": "prefill", "generation": "decode"}
# Kernels of an older flash-linear-attention keep the state in 16 bits (they would beat the memory in 32); others in 32.
HALF_STATE = "fused_recurrent_gated_delta_rule"
# Kernels that are no step of their own: they hold the convolution too.
FUSED = ("kda_fused_decode", "fused_kda_decode")
CONVOLVED = ("sequences", "tokens", "channels", "kernel")
SIZES = ("key_heads", "value_heads", "key_dim", "value_dim", "state_bytes")
# name: start, low, high
SCAN = {
    "launch": (1e-5, 1e-6, 2e-4),
    "chunk": (2e-6, 5e-8, 5e-5),
    "width": (128.0, 1.0, 5e3),
    "compute": (0.3, 0.005, 1.0),
    "bandwidth": (0.5, 0.01, 1.0),
    "cache_bytes": (5e7, 2e6, 5e8),
    "cache_gain": (5.0, 1.0, 20.0),
    "p": (1.0, 0.7, 8.0),
}
STREAM = {
    "launch": (2e-6, 5e-7, 5e-5),
    "fill": (1e-6, 1e-9, 5e-5),
    "fill_bytes": (1e6, 1e4, 1e8),
    "bandwidth": (0.7, 0.3, 1.0),
}
# Tokens that a block of the convolution works on at least, of one sequence's.
TILE = {"tile": (8.0, 0.5, 2048.0)}
# States and channels of some megabytes stay in L2 between repeats: memory is `gain` times faster up to about `fits`
# bytes. Fitted beside the kernel, scored with it, not shipped.
CACHE = {"fits": (6e7, 2e6, 3e8), "gain": (1.7, 1.0, 20.0)}


def main(wheel: Path) -> None:
    found = list(samples(wheel))
    entries: list[dict[str, Any]] = []
    for label in sorted({s.dtype for s in found}):
        made = [s for s in found if s.dtype == label]
        entries += prefill(made) if label in ("gdn_prefill", "kda_prefill") else streamed(label, made)
    for e in entries:
        name = e["device"] or e["architecture"] or e["vendor"] or "any"
        print(
            f"{e['dtype']:13} {name:30} {e['engine']:13} {e['rows']:5d} out {e['left_out']:6.1%} p90 {e['p90']:6.1%}"
            f" bias {e['bias']:+.1%} {e['coefficients']} {e.get('bench', '')}"
        )
    about = (
        "scan_seconds (gdn_prefill, kda_prefill), recurrent_step_seconds (gdn_decode, kda_decode), convolution_seconds"
        " (conv_prefill, conv_decode); errors as shares; left_out: median on shapes left out (pooled: on devices left"
        " out); bench: what stayed in L2 between repeats, scored with, not shipped"
    )
    source = SOURCE.format(folder="{linear_attention,kda}", table="{gdn,mamba2,kda}_perf")
    write("recurrent", about, source, entries)


def samples(wheel: Path) -> Iterator[Sample]:
    """Every device and engine by label. The convolutions of two tables of one engine are one sample."""
    both = list(tables(wheel, "linear_attention", "gdn_perf"))
    kimi = list(tables(wheel, "kda", "kda_perf"))
    mamba = {(t.device.slug, t.engine): t for t in tables(wheel, "linear_attention", "mamba2_perf")}
    for kind, group in (("gdn", both), ("kda", kimi)):
        for table in group:
            for phase, label in PHASES.items():
                rows = table.rows.filter((pl.col("phase") == phase) & ~is_convolution() & ~is_fused())
                if len(rows):
                    yield sample(table, f"{kind}_{label}", rows, mixer(rows), ["sequences", "tokens", *SIZES])
    for table in both:
        for phase, label in PHASES.items():
            parts = [convolution(table.rows, half_state(table.rows))]
            if (table.device.slug, table.engine) in mamba:
                parts.append(convolution(mamba[table.device.slug, table.engine].rows, False))
            rows = pl.concat([p.filter(pl.col("phase") == phase) for p in parts])
            yield sample(table, f"conv_{label}", rows, rows, CONVOLVED)


def is_convolution() -> pl.Expr:
    return pl.col("kernel_source").str.starts_with(CONVOLUTION)


def is_fused() -> pl.Expr:
    return pl.col("kernel_source").is_in(FUSED)


def mixer(rows: pl.DataFrame) -> pl.DataFrame:
    """The shape of a scan or a step in our words."""
    return rows.select(
        "seconds",
        sequences="batch_size",
        tokens="seq_len",
        key_heads="num_k_heads",
        value_heads="num_v_heads",
        key_dim="head_k_dim",
        value_dim="head_v_dim",
        state_bytes=pl.lit(2 if half_state(rows) else 4),
    )


def half_state(rows: pl.DataFrame) -> bool:
    """Whether a table is of the older kernels."""
    return bool((rows["kernel_source"] == HALF_STATE).any())


def convolution(rows: pl.DataFrame, keys_only: bool) -> pl.DataFrame:
    """The shape of a convolution in our words, of either table.

    keys_only: tables of the older kernels time one of as many channels as the keys have: the time does not depend on
    the value heads, by all channels it would beat the memory, and by these it agrees with the same kernel in
    mamba2_perf.
    """
    keys = pl.col("num_k_heads") * pl.col("head_k_dim") if "num_k_heads" in rows.columns else pl.lit(0)
    if "nheads" in rows.columns:
        channels = pl.col("nheads") * pl.col("head_dim") + 2 * pl.col("n_groups") * pl.col("d_state")
    else:
        channels = keys if keys_only else 2 * keys + pl.col("num_v_heads") * pl.col("head_v_dim")
    tokens = pl.col("batch_size") * pl.col("seq_len").cast(pl.Int64)
    return rows.filter(is_convolution()).select(
        "seconds", "phase", "kernel_source", sequences="batch_size", tokens=tokens, channels=channels, kernel="d_conv"
    )


def sample(table: Table, label: str, rows: pl.DataFrame, shaped: pl.DataFrame, shape: Sequence[str]) -> Sample:
    """One row a shape: the median of its timings."""
    source = "+".join(sorted(rows["kernel_source"].unique()))
    once = shaped.group_by(shape).agg(pl.col("seconds").median()).sort(shape)
    device = table.device
    once = once.with_columns(
        bytes_per_s=pl.lit(memory_rate(device)), peak_flops=pl.lit(pooled_fit.fitted_peak(device, "bf16"))
    )
    return Sample(device, table.engine, table.version, label, source, once)


def prefill(made: Sequence[Sample]) -> list[dict[str, Any]]:
    """Curves of scans."""
    start, low, high = ({n: bound[i] for n, bound in SCAN.items()} for i in range(3))
    shape = ("sequences", "tokens", *SIZES)
    return pooled_fit.curves(Kernel(shape=shape, seconds=scan, start=start, low=low, high=high), made)


def scan(x: Columns, c: dict[str, float]) -> Columns:
    sizes = {name: x[name] for name in SIZES}
    rates = {"peak_flops": x["peak_flops"], "bytes_per_s": x["bytes_per_s"]}
    return scan_seconds(x["sequences"], x["tokens"], **sizes, **rates, c=c)


def streamed(label: str, made: Sequence[Sample]) -> list[dict[str, Any]]:
    """Curves of what only moves bytes; pools from rows as they would be without the bench's cache."""
    entries = [of_device(sample) for sample in made]
    freed = []
    for _, own in groupby(sorted(made, key=pooled_fit.slug), key=pooled_fit.slug):
        best = pooled_fit.fastest(kernel(label, True), newest(list(own)))
        rate = pl.Series(best.rows["bytes_per_s"] * faster(pooled_fit.arrays(best.rows), of_device(best)["bench"]))
        freed.append(replace(best, rows=best.rows.with_columns(bytes_per_s=rate)))
    pools = pooled_fit.pooled(kernel(label, False), label, freed)
    for e in (*entries, *pools):
        if label.startswith("conv"):
            e["coefficients"] = fixed(label) | e["coefficients"]
    return entries + pools


def newest(made: list[Sample]) -> list[Sample]:
    """Those of a device that are not of the older kernels, where there are any: pools are of today's."""
    return [s for s in made if s.engine != "tensorrt-llm"] or made


def of_device(sample: Sample) -> dict[str, Any]:
    """A device's curve, with what the bench's cache did apart."""
    entry = pooled_fit.of_device(kernel(sample.dtype, True), sample)
    entry["bench"] = {name: entry["coefficients"].pop(name) for name in CACHE}
    return entry


def kernel(label: str, cached: bool) -> Kernel:
    """The kernel of a label, with the bench's cache or without."""
    tile = TILE if label == "conv_prefill" else {}
    search = STREAM | tile | (CACHE if cached else {})
    start, low, high = ({n: bound[i] for n, bound in search.items()} for i in range(3))
    bounds = {"start": start, "low": low, "high": high}
    if label.startswith("conv"):
        return Kernel(shape=CONVOLVED, seconds=lambda x, c: convolved(label, x, c), **bounds)
    return Kernel(shape=("sequences", *SIZES), seconds=stepped, **bounds)


def fixed(label: str) -> dict[str, float]:
    """What is known of a convolution: whether every token is of another sequence."""
    return {"window": 1.0, "tile": 0.0} if label == "conv_decode" else {"window": 0.0}


def convolved(label: str, x: Columns, c: dict[str, float]) -> Columns:
    rate = x["bytes_per_s"] * faster(x, c)
    shape = x["tokens"], x["channels"], x["kernel"]
    return convolution_seconds(*shape, bytes_per_s=rate, c=fixed(label) | c, sequences=x["sequences"])


def stepped(x: Columns, c: dict[str, float]) -> Columns:
    sizes = {name: x[name] for name in SIZES}
    return recurrent_step_seconds(x["sequences"], **sizes, bytes_per_s=x["bytes_per_s"] * faster(x, c), c=c)


def faster(x: Columns, c: dict[str, float]) -> Any:
    """By how much memory is faster for what stays in L2."""
    if "gain" not in c:
        return 1.0
    if "channels" in x:
        moved = convolution_work(x["tokens"], x["channels"], x["kernel"])[1]
    else:
        moved = recurrent_step_work(x["sequences"], **{name: x[name] for name in SIZES})[1]
    return 1 + (c["gain"] - 1) / (1 + np.asarray(moved / c["fits"]) ** 6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
