"""Fits sparse latent attention (DSA) to measured modules; writes curves/sparse_*.json.

    python benchmarks/fit_sparse.py WHEEL_DIR     # as in kernel_fit.py; after fit_gemm.py and fit_latent.py

Only whole modules were measured: attention, indexer and selection are what the projections leave (benchmarks/
latent_modules.py). Host time of benches without CUDA graphs is taken from the MLA modules of the same bench (decode),
or the rows that it bounds are left out (prefill).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import kernel_fit
from inferwise.spec.hardware import Accelerator
from inferwise.timing.kernels import latent, sparse
from latent_modules import ELEMENTWISE, choose, gemm_part
from pooled_fit import Columns, Kernel, Sample, curves, fitted_peak

ABOUT = (
    "indexer, selection and attention of DSA, of whole modules less their GEMMs by their curves; fp8: FP8 cache, shares"
    " of the FP8 peak; errors are of whole modules; left_out: median on shapes left out (pooled: on devices left out);"
    " sister: error of the same engine's curve of the nearest device of the architecture"
)
KV_RANK, ROPE, INDEX_DIM, TOPK = 512, 64, 128, 2048
DIMENSIONS = {  # of the models' configs: hidden, q_rank, nope, v_dim, index_heads
    "DeepseekV32ForCausalLM": (7168, 1536, 128, 128, 64),
    "GlmMoeDsaForCausalLM": (6144, 2048, 192, 256, 32),
}
HOST_BOUND = 3e-4  # s: no module's kernels take as long for a few tokens
KEYS = ("architecture", "skip", "gemm_type", "num_heads", "batch_size", "isl", "step")


def rates(x: Columns) -> dict[str, Any]:
    """What both phases take from the rows."""
    return {
        "heads": x["num_heads"],
        "kv_rank": KV_RANK,
        "rope": ROPE,
        "index_heads": x["index_heads"],
        "index_dim": INDEX_DIM,
        "topk": TOPK,
        "kv_bytes": x["kv_bytes"],
        "peak_flops": x["peak_flops"],
        "bytes_per_s": x["bytes_per_s"],
    }


def prefill_seconds(x: Columns, c: dict[str, float]) -> Columns:
    """Of the rows of a context table: modules."""
    timed = sparse.sparse_prefill_seconds(x["batch_size"], x["isl"], x["step"], **rates(x), c=c)
    return x["fixed"] + timed


def decode_seconds(x: Columns, c: dict[str, float]) -> Columns:
    """Of the rows of a generation table: modules."""
    return x["fixed"] + sparse.sparse_decode_seconds(x["batch_size"], x["step"], **rates(x), c=c)


PREFILL = Kernel(
    shape=("index_heads", "q_rank", "gemm", "num_heads", "batch_size", "isl", "step"),
    seconds=prefill_seconds,
    start={
        **{"tile": 64, "units": 130, "waves": 2, "pad": 0.5, "compute": 0.4, "index": 0.4},
        **{"select": 0.2, "row": 3e-8, "floor": 3e-5, "copies": 2, "gather": 0.2, "sequence": 1e-6},
    },
    low={
        **{"tile": 8, "units": 1, "waves": 0.7, "pad": 0.001, "compute": 0.01, "index": 0.01},
        **{"select": 0.005, "row": 1e-10, "floor": 2e-5, "copies": 0.01, "gather": 0.001, "sequence": 1e-9},
    },
    high={
        **{"tile": 128, "units": 2000, "waves": 8, "pad": 1, "compute": 1, "index": 1},
        **{"select": 1, "row": 1e-6, "floor": 5e-5, "copies": 30, "gather": 1, "sequence": 1e-4},
    },
)
DECODE = Kernel(
    shape=PREFILL.shape,
    seconds=decode_seconds,
    start={
        **{"tile": 64, "block": 64, "compute": 0.4, "memory": 0.5, "p": 2, "index": 0.5, "select": 0.2},
        **{"serial": 1e-10, "floor": 3e-5, "queries": 2},
    },
    low={
        **{"tile": 8, "block": 1, "compute": 0.01, "memory": 0.02, "p": 1, "index": 0.005, "select": 0.005},
        **{"serial": 1e-12, "floor": 1e-6, "queries": 1},
    },
    high={
        **{"tile": 128, "block": 2048, "compute": 1, "memory": 1, "p": 8, "index": 1, "select": 1},
        **{"serial": 1e-6, "floor": 3e-4, "queries": 60},
    },
)


def samples(wheel: Path, phase: str) -> Iterator[Sample]:
    """Modules of a phase, a sample a device, engine and cache format; those that ran dense attention left out."""
    for found in kernel_fit.tables(wheel, "sparse_attention", f"dsa_{phase}_module_perf"):
        skip = pl.col("op_name").str.contains("skip_indexer").alias("skip")
        rows = found.rows.filter(~pl.col("kernel_source").str.contains("dense_mha")).with_columns(skip)
        for (cache,), part in rows.group_by(["kv_cache_dtype"], maintain_order=True):
            dtype = "fp8" if cache == "fp8" else "bf16"
            sources = ", ".join(part["kernel_source"].unique().sort().to_list())
            best = part.group_by(KEYS).agg(pl.col("seconds").min()).sort(KEYS)
            if phase == "context":
                best = device_bound(best)
            best = kernel_fit.thin(best, 8000)
            version = found.version
            yield Sample(found.device, found.engine, version, dtype, sources, with_parts(found, best, dtype, phase))


def device_bound(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that the host's launches do not bound: well over what the smallest steps take, where these take long.

    vLLM's and SGLang's benches run prefill without CUDA graphs: 1 to 5 ms for any step of up to 1,000 tokens.
    """
    small = (
        rows.filter(pl.col("batch_size") * pl.col("isl") <= 64)
        .group_by("skip")
        .agg(host=pl.col("seconds").quantile(0.9))
    )
    bound = pl.when(pl.col("host") > HOST_BOUND).then(1.5 * pl.col("host")).otherwise(0)
    return rows.join(small, on="skip").filter(pl.col("seconds") > bound).drop("host")


def with_parts(found: kernel_fit.Table, rows: pl.DataFrame, dtype: str, phase: str) -> pl.DataFrame:
    """Rows with the model's dimensions, the seconds of what is not attention, and the device's rates."""
    fixed = np.full(len(rows), host_seconds(found.engine) if phase == "generation" else 0.0)
    for architecture, skip, gemm_type in rows.select("architecture", "skip", "gemm_type").unique().iter_rows():
        mask = (
            (rows["architecture"] == architecture) & (rows["skip"] == skip) & (rows["gemm_type"] == gemm_type)
        ).to_numpy()
        heads = rows["num_heads"].to_numpy()[mask].astype(float)
        m = (rows["batch_size"] * rows["isl"]).to_numpy()[mask].astype(float)
        fixed[mask] += projections(found.device, found.engine, gemm_type, m, heads, DIMENSIONS[architecture], skip)
    dims = {name: [DIMENSIONS[a][i] for a in rows["architecture"]] for i, name in ((1, "q_rank"), (4, "index_heads"))}
    codes = {name: i for i, name in enumerate(("bfloat16", "fp8_block", "nvfp4"))}
    return rows.with_columns(
        pl.Series("fixed", fixed),
        pl.Series("q_rank", dims["q_rank"]),
        pl.when(pl.col("skip")).then(0).otherwise(pl.Series("index_heads", dims["index_heads"])).alias("index_heads"),
        pl.col("gemm_type").replace_strict(codes).alias("gemm"),
        pl.lit(1 if dtype == "fp8" else 2).alias("kv_bytes"),
        pl.lit(fitted_peak(found.device, dtype)).alias("peak_flops"),
        pl.lit(found.device.memory_bytes_per_s).alias("bytes_per_s"),
    ).drop("architecture", "skip", "gemm_type")


def projections(
    device: Accelerator, engine: str, gemm_type: str, m: Any, heads: Any, dims: tuple[int, ...], skip: bool
) -> Any:
    """Seconds of a module's GEMMs, the indexer's among them, of the absorption, and of norms and rope."""
    hidden, q_rank, nope, v_dim, index_heads = dims
    parts = [(q_rank + KV_RANK + ROPE, hidden), (heads * (nope + ROPE), q_rank), (hidden, heads * v_dim)]
    parts += [] if skip else [(index_heads * INDEX_DIM, q_rank), (INDEX_DIM + index_heads, hidden)]
    total = sum(gemm_part(device, engine, gemm_type, m, n, k) for n, k in parts)
    c = choose("latent_bmm", device, engine, "bf16").coefficients
    rate = {"peak_flops": fitted_peak(device, "bf16"), "bytes_per_s": device.memory_bytes_per_s}
    for rows, columns in ((nope, KV_RANK), (KV_RANK, v_dim)):
        total = total + latent.latent_bmm_seconds(m, heads=heads, rows=rows, columns=columns, c=c, **rate)
    elements = q_rank + KV_RANK + ROPE + heads * ROPE + (0 if skip else index_heads * INDEX_DIM)
    return total + 4 * m * elements / (ELEMENTWISE * device.memory_bytes_per_s)


def host_seconds(engine: str) -> float:
    """What decode modules of an engine took beside their kernels without CUDA graphs, as all of its DSA modules did.

    From the MLA modules of the same bench (those on B200 and GB300 ran in graphs; their DSA modules show that they did
    not). Engines without that overhead: 0.
    """
    entries = json.loads((kernel_fit.OUT / "latent_decode.json").read_text("utf-8"))["curves"]
    found = [e["bench"]["host"] for e in entries if e["engine"] == engine and "bench" in e]
    return max(found, default=0.0)


def main(wheel: Path) -> None:
    """Writes the two files."""
    for name, kernel, phase in (("sparse_prefill", PREFILL, "context"), ("sparse_decode", DECODE, "generation")):
        entries = curves(kernel, list(samples(wheel, phase)))
        source = kernel_fit.SOURCE.format(folder="sparse_attention", table=f"dsa_{phase}_module_perf")
        kernel_fit.write(name, ABOUT, source, entries)
        for e in entries:
            where = e["device"] or e["architecture"] or e["vendor"] or "any"
            figures = f"{e['median']:.3f} {e['p90']:.3f} {e['bias']:+.3f} left out {e['left_out']:.3f}"
            print(f"{name:15s}{where:31s}{e['engine']:14s}{e['dtype']:6s}", figures, e["coefficients"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
