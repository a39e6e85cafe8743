"""What every fit of a kernel shares: the measured operators, groups left out, robust least squares, the curves' file.

    python benchmarks/fit_gemm.py WHEEL_DIR     # WHEEL_DIR: aiconfigurator-core 0.12.0, unpacked (pip download; unzip)

Needs numpy, scipy and polars. Errors are relative (logarithms of seconds), losses soft-L1.
"""

from __future__ import annotations

import datetime
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import least_squares

from inferwise.catalog.accelerators import accelerator
from inferwise.spec.hardware import Accelerator

OUT = Path(__file__).parents[1] / "src/inferwise/timing/curves"
DATA = "aiconfigurator_core/systems/data"
SOURCE = (
    "operator timings of aiconfigurator-core 0.12.0 (PyPI, Apache-2.0), systems/data/*/{folder}/*/*/{table}.parquet"
)
ENGINES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt-llm", "nccl": "nccl", "oneccl": "oneccl"}
DEVICES = {
    "a100_sxm": "a100-sxm-80gb",
    "h100_sxm": "h100-sxm-80gb",
    "h200_sxm": "h200-sxm-141gb",
    "b200_sxm": "b200-sxm-180gb",
    "b300_sxm": "b300-sxm-288gb",
    "gb200": "gb200-186gb",
    "gb300": "gb300-288gb",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000-blackwell-server",
    "b60": "arc-pro-b60",
}


@dataclass(frozen=True)
class Table:
    """The newest rows of one device and engine. Latency in seconds, in column `seconds`."""

    device: Accelerator
    engine: str
    version: str
    rows: pl.DataFrame


def tables(wheel: Path, folder: str, table: str) -> Iterator[Table]:
    """Each device and engine that has the table, at its newest version with most rows."""
    for system, slug in DEVICES.items():
        for name, engine in ENGINES.items():
            found = sorted((wheel / DATA / system / folder / name).glob(f"*/{table}.parquet"), key=version_key)
            if found:
                rows = pl.read_parquet(found[-1])
                if "latency" in rows.columns:
                    rows = rows.with_columns((pl.col("latency") / 1e3).alias("seconds")).filter(pl.col("seconds") > 0)
                yield Table(accelerator(slug), engine, found[-1].parent.name, rows)


def version_key(path: Path) -> tuple[int, ...]:
    """`0.5.14` after `0.5.6.post2`."""
    parts = path.parent.name.replace("rc", ".").replace("post", ".").split(".")
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)


def left_out_mask(rows: pl.DataFrame, columns: Sequence[str], share: float = 0.2) -> np.ndarray:
    """Rows of the groups (equal in `columns`) that the fit does not see: by a hash, the same for everyone."""
    keys = rows.select(pl.concat_str([pl.col(c).cast(pl.String) for c in columns], separator="|").alias("k"))["k"]
    unique = {key: zlib.crc32(key.encode()) % 1000 < 1000 * share for key in keys.unique()}
    return np.array([unique[key] for key in keys], dtype=bool)


def thin(rows: pl.DataFrame, most: int, seed: int = 0) -> pl.DataFrame:
    """At most so many rows, at random, the same every time."""
    return rows if len(rows) <= most else rows.sample(most, seed=seed)


def fit(
    seconds: Callable[[dict[str, float]], np.ndarray],
    measured: np.ndarray,
    start: dict[str, float],
    low: dict[str, float],
    high: dict[str, float],
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """Coefficients that make `seconds(coefficients)` fit `measured`, between bounds; searched in logarithms."""
    names = list(start)
    x0, lo, hi = (np.log([d[n] for n in names]) for d in (start, low, high))
    target, w = np.log(measured), np.ones(len(measured)) if weights is None else weights

    def residual(x: np.ndarray) -> np.ndarray:
        return w * (np.log(seconds(dict(zip(names, np.exp(x), strict=True)))) - target)

    found = least_squares(
        residual, np.clip(x0, lo + 1e-6, hi - 1e-6), bounds=(lo, hi), loss="soft_l1", f_scale=0.1, max_nfev=200
    )
    return {n: float(f"{v:.5g}") for n, v in zip(names, np.exp(found.x), strict=True)}


def errors(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Absolute percentage errors, as shares."""
    return np.abs(predicted / measured - 1)


def scores(p: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Over rows: median and 90th percentile of the errors, and the bias."""
    wrong = errors(p, seconds)
    bias = float(np.median(p / seconds) - 1)
    return {"median": float(np.median(wrong)), "p90": float(np.quantile(wrong, 0.9)), "bias": bias}


def write(kernel: str, about: str, source: str, entries: list[dict[str, Any]]) -> None:
    """The kernel's file of curves. An entry: device or architecture or vendor, engine, dtype, version, coefficients,
    rows, median, p90, bias, left_out."""
    head = {"kernel": kernel, "about": about, "source": source, "fitted": datetime.date.today().isoformat()}
    lines = ",\n".join("  " + json.dumps(rounded(entry)) for entry in entries)
    text = json.dumps(head, indent=1)[:-2] + f',\n "curves": [\n{lines}\n ]\n}}\n'
    json.loads(text)
    (OUT / f"{kernel}.json").write_text(text, encoding="utf-8")


def rounded(value: Any) -> Any:
    """Numbers to five digits."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value
