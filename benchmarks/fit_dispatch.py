"""Fit dispatch and combine to measured all-to-all kernels; writes timing/curves/dispatch.json.

    python benchmarks/fit_dispatch.py WHEEL_DIR     # as benchmarks/kernel_fit.py says

Formats ("dtype") are the modes: low_latency (DeepEP's kernels for decoding; TensorRT-LLM's one-sided NVLink kernel
where a rack shares NVLink) and normal (DeepEP's for prefill, 20 SMs as it sets by itself). Engines' own tables
(moe_a2a) were taken without CUDA graphs, launches and allocation included: that is how prefill runs (normal), decoding
does not (low_latency_eager). SGLang's DeepEP: 8-bit activations out, random experts; several nodes by older tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import pooled_fit
from inferwise.catalog.accelerators import accelerator
from inferwise.timing.kernels.dispatch import RESULT_BYTES, copies, sent_seconds
from kernel_fit import DATA, DEVICES, tables, version_key, write
from pooled_fit import Kernel, Sample

SHAPE = ("hidden", "top_k", "experts", "ranks", "nodes", "tokens")
TRAY = {"gb200": 4, "gb300": 4}  # devices a node in the tables of DeepEP; 8 elsewhere
SMS = 20  # DeepEP, Buffer.num_sms
OUT_BYTES = {"bfloat16": 2.0, "default": 2.0, "fp8": 1 + 4 / 128, "nvfp4": 0.5 + 1 / 16, "fp4": 0.5 + 1 / 16}
START = {"latency_s": 2e-5, "growth": 0.2, "efficiency": 0.5, "p": 1.5}
LOW = {"latency_s": 1e-6, "growth": 1e-3, "efficiency": 0.02, "p": 0.7}
HIGH = {"latency_s": 2e-3, "growth": 1.0, "efficiency": 1.0, "p": 8.0}
NETWORK = {"network_latency_s": 2e-5, "network_bytes_per_s": 5e10}
NETWORK_LOW = {"network_latency_s": 1e-6, "network_bytes_per_s": 5e9}
NETWORK_HIGH = {"network_latency_s": 5e-4, "network_bytes_per_s": 4e11}


def kernel(merged: float, network: dict[str, float] | None = None) -> Kernel:
    """network None: its coefficients are fitted too (rows of several nodes)."""

    def seconds(x: Any, c: dict[str, float]) -> Any:
        names = ("ranks", "nodes", "link_bytes_per_s")
        fixed = {"merged": merged, **(network or {})}
        return sent_seconds(x["size_bytes"], x["out"], x["crossing"], **{n: x[n] for n in names}, c={**c, **fixed})

    more = ({}, {}, {}) if network else (NETWORK, NETWORK_LOW, NETWORK_HIGH)
    return Kernel(shape=SHAPE, seconds=seconds, start=START | more[0], low=LOW | more[1], high=HIGH | more[2])


def sample(rows: pl.DataFrame, slug: str, engine: str, version: str, dtype: str, source: str) -> Sample:
    """Rows (SHAPE, out_bytes, seconds; dealt: experts in turn, not at random) with what the kernel takes."""
    device = accelerator(slug)
    merged = float(dtype == "normal" or source == "NVLinkOneSided")
    top_k, ranks, nodes = (rows[c].to_numpy().astype(float) for c in ("top_k", "ranks", "nodes"))
    out, crossing = copies(top_k, ranks, nodes, merged)
    if source == "NVLinkOneSided":  # dealt in turn, a token's experts lie on as many ranks as there are
        out = np.minimum(top_k, ranks) * (1 - 1 / ranks)
    size = pl.col("tokens") * pl.col("hidden") * (pl.col("out_bytes") + RESULT_BYTES)
    rows = rows.select(*SHAPE, "seconds", size.alias("size_bytes")).with_columns(
        pl.Series("out", out),
        pl.Series("crossing", crossing),
        pl.lit(float(device.link_bytes_per_s or 0)).alias("link_bytes_per_s"),
    )
    return Sample(device, engine, version, dtype, source, rows)


def deepep(wheel: Path) -> Iterator[Sample]:
    """SGLang's: the newest version's rows, and those of several nodes that only an older one has."""
    for system, slug in DEVICES.items():
        for dtype, table in (("low_latency", "wideep_deepep_ll_perf"), ("normal", "wideep_deepep_normal_perf")):
            paths = sorted((wheel / DATA / system / "comm" / "sglang").glob(f"*/{table}.parquet"), key=version_key)
            if not paths:
                continue
            took = ("dispatch_avg_t_us", "combine_avg_t_us")
            if dtype == "normal":
                took = ("dispatch_transmit_us", "combine_transmit_us")
            parts = []
            for path in paths:
                rows = pl.read_parquet(path)
                if dtype == "normal":
                    rows = rows.filter((pl.col("dispatch_sms") == SMS) & (pl.col("combine_sms") == SMS))
                parts.append(
                    (rows if path == paths[-1] else rows.filter(pl.col("node_num") > 1)).select(
                        pl.col("hidden_size").alias("hidden"),
                        pl.col("num_topk").alias("top_k"),
                        pl.col("num_experts").alias("experts"),
                        (pl.col("node_num") * TRAY.get(system, 8)).alias("ranks"),
                        pl.col("node_num").alias("nodes"),
                        pl.col("num_token").alias("tokens"),
                        ((pl.col(took[0]) + pl.col(took[1])) / 1e6).alias("seconds"),
                        pl.lit(OUT_BYTES["fp8"]).alias("out_bytes"),
                    )
                )
            yield sample(pl.concat(parts), slug, "sglang", paths[-1].parent.name, dtype, "deepep")


def by_engine(wheel: Path) -> Iterator[Sample]:
    """vLLM's and TensorRT-LLM's DeepEP: both phases of one shape, results in 16 bits."""
    for table in tables(wheel, "comm", "moe_a2a_perf"):
        keys = ["hidden_size", "topk", "num_experts", "ep_size", "node_num", "num_tokens"]
        back = table.rows.filter((pl.col("phase") == "combine") & pl.col("comm_dtype").is_in(["bfloat16", "default"]))
        there = table.rows.filter(pl.col("phase") == "dispatch")
        both = there.join(back.select(*keys, "comm_backend", back=pl.col("latency")), on=[*keys, "comm_backend"])
        for ending, dtype in (("ht", "normal"), ("ll", "low_latency_eager")):
            rows = both.filter(pl.col("comm_backend").str.ends_with(ending)).select(
                *[pl.col(a).alias(b) for a, b in zip(keys, SHAPE, strict=True)],
                ((pl.col("latency") + pl.col("back")) / 1e6).alias("seconds"),
                pl.col("comm_dtype").replace_strict(OUT_BYTES).alias("out_bytes"),
            )
            if len(rows):
                yield sample(rows, table.device.slug, table.engine, table.version, dtype, f"deepep_{ending}")


def one_sided(wheel: Path) -> Iterator[Sample]:
    """TensorRT-LLM's own, over NVLink of a rack; it serves prefill and decoding."""
    for table in tables(wheel, "comm", "trtllm_alltoall_perf"):
        rows = table.rows.filter(pl.col("kernel_source") == "NVLinkOneSided")
        keys = ["hidden_size", "topk", "num_experts", "moe_ep_size", "num_tokens", "moe_dtype"]
        total = rows.group_by(keys).agg(pl.col("latency").sum(), pl.len()).filter(pl.col("len") == 2).sort(keys)
        found = total.select(
            pl.col("hidden_size").alias("hidden"),
            pl.col("topk").alias("top_k"),
            pl.col("num_experts").alias("experts"),
            pl.col("moe_ep_size").alias("ranks"),
            pl.lit(1).alias("nodes"),
            pl.col("num_tokens").alias("tokens"),
            (pl.col("latency") / 1e3).alias("seconds"),
            pl.col("moe_dtype").replace_strict(OUT_BYTES).alias("out_bytes"),
        )
        yield sample(found, table.device.slug, table.engine, table.version, "low_latency", "NVLinkOneSided")


def fitted(samples: list[Sample], dtype: str) -> Iterator[dict[str, Any]]:
    """Entries of one mode: the network's coefficients first, of the rows that have nodes; then all others by them."""
    merged = float(dtype == "normal")
    far = [s for s in samples if int(s.rows["nodes"].max()) > 1]  # type: ignore[arg-type]
    network = FAR.get(dtype) or FAR.get("low_latency", {})
    if far:
        found = pooled_fit.solve(kernel(merged), pooled_fit.even(far))
        network = FAR[dtype] = {name: found[name] for name in NETWORK}
    own = [s for s in samples if s.kernel_source != "NVLinkOneSided"]
    for entry in pooled_fit.curves(kernel(merged, network), own):
        if dtype.endswith("eager") and not entry["device"]:
            continue  # host-bound: nothing that would hold on another device
        yield entry | {"coefficients": entry["coefficients"] | network | {"merged": merged}}
    for one in (s for s in samples if s.kernel_source == "NVLinkOneSided"):
        entry = pooled_fit.of_device(kernel(1.0, network), one)
        yield entry | {"coefficients": entry["coefficients"] | network | {"merged": 1.0}}


FAR: dict[str, dict[str, float]] = {}  # what rows of several nodes gave, by mode


def main(wheel: Path) -> None:
    """Fit all, print what was found, write the file."""
    samples = [*deepep(wheel), *by_engine(wheel), *one_sided(wheel)]
    entries = []
    for dtype in ("low_latency", "normal", "low_latency_eager"):
        entries += list(fitted([s for s in samples if s.dtype == dtype], dtype))
    for entry in entries:
        entry["link"] = "NVLink"
        where = entry["device"] or entry["architecture"] or entry["vendor"] or "any"
        figures = {k: round(entry[k], 3) for k in ("median", "p90", "bias", "left_out")}
        print(where, entry["engine"], entry["dtype"], entry["rows"], figures, entry["coefficients"], flush=True)
    about = (
        "dispatch_seconds: dispatch and combine of one layer; dtype: the mode (low_latency, normal; _eager: without "
        "CUDA graphs); left_out: whole shapes (tokens too), pooled curves: whole devices"
    )
    source = (
        "operator timings of aiconfigurator-core 0.12.0 (PyPI, Apache-2.0), systems/data/*/comm/*/*/"
        "{wideep_deepep_ll,wideep_deepep_normal,moe_a2a,trtllm_alltoall}_perf.parquet"
    )
    write("dispatch", about, source, entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
