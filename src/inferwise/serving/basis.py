"""What the operators of a step say together: what their times stand on, what binds them, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inferwise.timing.table import COMPUTE, HOST, LAUNCH, LINK, MEMORY, Row

CACHE_PARTS = ("attention", "recurrent")
# What binds, in words, and what relieves it.
BINDS = {
    COMPUTE: "the device's arithmetic",
    MEMORY: "memory bandwidth",
    LINK: "the links between devices",
    LAUNCH: "kernels too small to fill the device",
    HOST: "the engine's own work between kernels",
}
RELIEF = {
    COMPUTE: "weights and activations in fewer bits where the device computes in them, or more devices",
    LINK: "fewer tensor-parallel ranks, or a faster link",
    LAUNCH: "more sequences at once, fewer devices",
    HOST: "more sequences at once, a newer engine",
}
FEWER_WEIGHT_BYTES = "weights in fewer bits, more sequences at once (they share each read), or more devices"
FEWER_CACHE_BYTES = "a KV cache in fewer bits, shorter contexts, or more devices"


def basis_shares(rows: Sequence[Row]) -> dict[str, float]:
    """Shares of the rows' time by how near the measurements behind it are; they add up to 1."""
    total = sum(row.seconds for row in rows)
    shares: dict[str, float] = {}
    for row in rows:
        shares[row.basis] = shares.get(row.basis, 0.0) + row.seconds / total
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def curve_error(rows: Sequence[Row]) -> float | None:
    """Mean of the curves' errors on what their fits did not see, by time; None where no row has one."""
    known = [(row.seconds, row.error) for row in rows if row.error is not None]
    total = sum(seconds for seconds, _ in known)
    return sum(seconds * error for seconds, error in known) / total if total else None


def bound_shares(rows: Sequence[Row]) -> dict[str, float]:
    """Shares of the rows' time by what binds it, the largest first; they add up to 1."""
    total = sum(row.seconds for row in rows)
    shares: dict[str, float] = {}
    for row in rows:
        shares[row.bound] = shares.get(row.bound, 0.0) + row.seconds / total
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def relief(rows: Sequence[Row], bound: str) -> str:
    """What would relieve what binds most of the time."""
    if bound != MEMORY:
        return RELIEF[bound]
    moved = {True: 0.0, False: 0.0}
    for row in rows:
        if row.bound == MEMORY:
            moved[row.part in CACHE_PARTS] += row.seconds
    return FEWER_CACHE_BYTES if moved[True] > moved[False] else FEWER_WEIGHT_BYTES


def merged(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Equal operators (of one stage, name and shape) once, the largest share of the time first within a stage."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row.stage, row.name, tuple(sorted((k, str(v)) for k, v in row.shape.items())), row.source)
        groups.setdefault(key, []).append(row)
    found = [_sum(group) for group in groups.values()]
    return tuple(sorted(found, key=lambda row: (row.stage, -row.seconds)))


def _sum(rows: Sequence[Row]) -> Row:
    """One row of equal operators; its bound that of the longest of them, its utilisation their mean by time."""
    if len(rows) == 1:
        return rows[0]
    longest, seconds = max(rows, key=lambda row: row.seconds), sum(row.seconds for row in rows)
    return replace(
        longest,
        count=sum(row.count for row in rows),
        seconds=seconds,
        share=sum(row.share for row in rows),
        flops=sum(row.flops for row in rows),
        bytes_moved=sum(row.bytes_moved for row in rows),
        utilisation=sum(row.seconds * row.utilisation for row in rows) / seconds,
    )
