"""Collectives: over bytes, of equal ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inferwise.timing.kernels.collectives import collective_bytes, collective_seconds
from inferwise.timing.operators.small import Collective
from inferwise.timing.silicon.entry import Entry
from inferwise.timing.silicon.grid import Array, Ratios
from inferwise.timing.silicon.wheel import Columns, folder, known, read
from inferwise.timing.step import Quantity, Step

LIBRARIES = ("nccl", "oneccl")
NAMES = {"all_to_all": "alltoall"}  # ours: the tables'
EAGER = "_eager"


def ratios(where: Path, at: Entry) -> Ratios | None:
    """Of the faster kernel of each shape, the median of its timings."""
    found = folder(where, at.device.slug, "comm", at.engine, at.version)
    rows = None if found is None else (_of_library if at.engine in LIBRARIES else _of_engine)(found, at)
    if rows is None or not len(rows["seconds"]):
        return None
    keys = np.stack([rows["num_gpus"].astype(float), rows["bytes"]], axis=1)
    sources, number = np.unique(rows["kernel_source"].astype(str), return_inverse=True)
    shape, which = np.unique(keys, axis=0, return_inverse=True)
    seconds = np.full(len(shape), np.inf)
    for shape_number in range(len(shape)):
        mine = which.ravel() == shape_number
        for source in range(len(sources)):
            if np.any(both := mine & (number == source)):
                seconds[shape_number] = min(seconds[shape_number], np.median(rows["seconds"][both]))
    return Ratios(
        fixed=np.log2(shape[:, :1]),
        varying=np.log2(shape[:, 1:]),
        values=np.log(seconds / benched(at, shape[:, 1], shape[:, 0])),
    )


def _of_engine(found: Path, at: Entry) -> Columns | None:
    """Rows of an engine's own kernels; in graphs, where it has any."""
    names = ("num_gpus", "message_size", "kernel_source", "allreduce_dtype")
    rows = read(found / "custom_allreduce_perf.parquet", names, [])
    if rows is None or not at.dtype.startswith("all_reduce"):
        return None
    eager = np.array([str(name).endswith(EAGER) for name in rows["kernel_source"]], dtype=bool)
    kept = eager if at.dtype.endswith(EAGER) or eager.all() else ~eager
    return _sized({name: column[kept] for name, column in rows.items()}, "allreduce_dtype")


def _of_library(found: Path, at: Entry) -> Columns | None:
    """Rows of a library; a message to one peer is an all-to-all of two, of which half stays at home."""
    names = ("num_gpus", "message_size", "kernel_source", "nccl_dtype")
    alone = at.dtype == "point_to_point"
    kind = "all_to_all" if alone else at.dtype
    filters = [("op_name", "==", NAMES.get(kind, kind)), *([("num_gpus", "==", 2)] if alone else [])]
    rows = read(found / f"{at.engine}_perf.parquet", names, filters)
    if rows is None:
        return None
    sized = _sized(rows, "nccl_dtype")
    return {**sized, "bytes": sized["bytes"] / 2} if alone else sized


def _sized(rows: Columns, dtype: str) -> Columns:
    """With bytes."""
    sizes = known()["collectives"]
    element = np.array([float(sizes.get(str(name), 2)) for name in rows[dtype]])
    return {**rows, "bytes": rows["message_size"] * element}


def benched(at: Entry, size_bytes: Array, ranks: Array) -> Array:
    """What the curve gives."""
    device = at.device
    rate = float((device.pcie_bytes_per_s if device.link == "none" else device.link_bytes_per_s) or 0)
    kind = at.dtype.removesuffix(EAGER)
    return collective_seconds(size_bytes, ranks, kind=kind, link_bytes_per_s=rate, c=at.coefficients)


def fixed(operator: Collective) -> Array:
    """log2 of ranks."""
    return np.log2([operator.ranks])


def varying(operator: Collective, step: Step) -> tuple[Quantity, ...]:
    """Bytes."""
    return (operator.row_bytes * operator.load(step),)


def least(operator: Collective, step: Step) -> Quantity:
    """Seconds of the bytes over the link, added up in the switch."""
    size = operator.row_bytes * operator.load(step)
    return collective_bytes(operator.kind, size, operator.ranks, in_switch=True) / operator.bytes_per_s
