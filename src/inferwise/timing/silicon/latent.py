"""Latent attention: over sequences and tokens, of equal heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferwise.timing.kernels.latent import latent_decode_seconds, latent_prefill_seconds
from inferwise.timing.operators.latent import LatentDecode, LatentPrefill
from inferwise.timing.rates import memory_rate
from inferwise.timing.silicon.entry import Entry
from inferwise.timing.silicon.grid import Array, Ratios
from inferwise.timing.silicon.softmax import fitted_peak
from inferwise.timing.silicon.wheel import Columns, folder, known, read

TABLES = {"latent_prefill": "context_mla_perf", "latent_decode": "generation_mla_perf"}
NAMES = ("num_heads", "batch_size", "isl", "step")
FORMATS = {"bf16": "!=", "fp8": "=="}


def ratios(where: Path, at: Entry) -> Ratios | None:
    """Of the fastest kernel of each shape. None where the curve was fitted to whole modules, or to MQA over latents."""
    found = folder(where, at.device.slug, "mla", at.engine, at.version)
    prefill = at.kernel == "latent_prefill"
    if found is None or at.fitted_on or at.dtype not in FORMATS:
        return None
    if prefill and at.engine == "sglang" and at.kernel_source in known()["latent"]["absorbed"]:
        return None
    filters = [("kv_cache_dtype", FORMATS[at.dtype], "fp8")]
    rows = read(found / f"{TABLES[at.kernel]}.parquet", NAMES, filters)
    if rows is None or not len(rows["seconds"]):
        return None
    shape = np.stack([rows[name].astype(float) for name in NAMES], axis=1)
    shape, which = np.unique(shape, axis=0, return_inverse=True)
    seconds = np.full(len(shape), np.inf)
    np.minimum.at(seconds, which.ravel(), rows["seconds"])
    best = dict(zip(NAMES, shape.T, strict=True))
    tokens = best["isl"] if prefill else best["step"] + 1.0
    return Ratios(
        fixed=np.log2(best["num_heads"][:, None]),
        varying=np.log2(np.stack([best["batch_size"], tokens], axis=1)),
        values=np.log(seconds / benched(at, best)),
    )


def benched(at: Entry, rows: Columns) -> Any:
    """What the curve gives for the rows."""
    sizes: dict[str, Any] = {name: known()["latent"][name] for name in ("kv_rank", "rope")}
    sizes |= {"heads": rows["num_heads"], "kv_bytes": 1.0 if at.dtype == "fp8" else 2.0, "c": at.coefficients}
    sizes |= {"peak_flops": fitted_peak(at.device, at.dtype), "bytes_per_s": memory_rate(at.device)}
    if at.kernel == "latent_decode":
        return latent_decode_seconds(rows["batch_size"], rows["step"] + 1, **sizes)
    sizes |= {name: known()["latent"][name] for name in ("nope", "v_dim")}
    return latent_prefill_seconds(rows["batch_size"], rows["isl"], rows["step"], **sizes)


def timed(operator: LatentPrefill | LatentDecode) -> bool:
    """Whether the tables have its dimensions."""
    return all(getattr(operator, name) == known()["latent"][name] for name in ("kv_rank", "rope", "nope", "v_dim"))


def fixed(operator: LatentPrefill | LatentDecode) -> Array:
    """log2 of heads."""
    return np.log2([operator.heads])
