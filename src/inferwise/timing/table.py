"""A step explained: each operator with its time, its share, what bound it, and where its efficiency comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inferwise.timing.forward import Forward, part_seconds
from inferwise.timing.operators.base import Operator
from inferwise.timing.rates import memory_rate, peak
from inferwise.timing.step import Step

COMPUTE, MEMORY, LINK, LAUNCH, HOST = "compute", "memory", "link", "launch", "host"
OVER_LINKS = ("communication", "offload")
NOT_ON_DEVICE = (*OVER_LINKS, "host")  # whose bytes and FLOPs no device moves
BOUND_FROM = 0.35  # of its time that an operator's nearest roof takes, for that roof to be what binds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An operator of a step. count: kernels; flops, bytes_moved, seconds: of all of them, factors of the engine in.

    utilisation: of the roof that is nearest (MFU where bound is compute, MBU where it is memory). intensity: FLOP/byte.
    source: of its efficiency; basis: how near the measurements are; error: median of its curve on what the fit did not
    see, as a share (None: of none).
    """

    stage: int
    name: str
    part: str
    count: float
    shape: dict[str, Any]
    seconds: float
    share: float
    flops: float
    bytes_moved: float
    bound: str
    utilisation: float
    source: str
    basis: str
    error: float | None = None

    @property
    def intensity(self) -> float | None:
        """FLOPs a byte, None where nothing is moved."""
        return self.flops / self.bytes_moved if self.bytes_moved else None


def table(forward: Forward, step: Step) -> tuple[Row, ...]:
    """The operators of one step (scalars), stage by stage in order; their seconds add up to the step's."""
    rows, total = [], 0.0
    for number, operators in enumerate(forward.stages):
        for operator in operators:
            seconds = float(operator.seconds(step) * forward.profile.factors.get(operator.part, 1.0))
            if seconds > 0:
                rows.append(_row(number, operator, step, seconds))
                total += seconds
        added = float(part_seconds(forward, step, number)["engine"])
        if added > 0:
            rows.append(_engine(forward, number, added))
            total += added
    return tuple(_with_share(row, total) for row in rows)


def _row(stage: int, operator: Operator, step: Step, seconds: float) -> Row:
    flops, moved = (float(value) for value in operator.done(step))
    compute, memory = flops / operator.peak_flops, moved / operator.bytes_per_s
    nearest = max(compute, memory) / seconds
    roof = COMPUTE if compute > memory else LINK if operator.part in OVER_LINKS else MEMORY
    return Row(
        stage=stage,
        name=operator.name,
        part=operator.part,
        count=operator.count,
        shape=operator.shape(),
        seconds=seconds,
        share=0.0,
        flops=flops,
        bytes_moved=moved,
        bound=roof if nearest >= BOUND_FROM else LAUNCH,
        utilisation=min(nearest, 1.0),
        source=operator.curve.source,
        basis=operator.basis,
        error=operator.curve.left_out,
    )


def _engine(forward: Forward, stage: int, seconds: float) -> Row:
    """What the engine adds beside its kernels."""
    made = forward.profile
    return Row(
        stage=stage,
        name="engine",
        part="engine",
        count=1.0,
        shape={},
        seconds=seconds,
        share=0.0,
        flops=0.0,
        bytes_moved=0.0,
        bound=HOST,
        utilisation=0.0,
        source=f"profile {made.name}, {made.runs} runs",
        basis="runs",
        error=made.error,
    )


def _with_share(row: Row, total: float) -> Row:
    return replace(row, share=row.seconds / total if total else 0.0)


def utilisation(forward: Forward, rows: tuple[Row, ...], seconds: float) -> tuple[float, float]:
    """(MFU, MBU): shares of a step's time, in the first device's 16-bit peak and bandwidth, over all stages.

    MFU counts FLOPs in whatever format they ran, against the 16-bit peak.
    """
    device = forward.case.devices[0]
    flops = sum(row.flops for row in rows if row.part != "host")
    moved = sum(row.bytes_moved for row in rows if row.part not in NOT_ON_DEVICE)
    stages = len(forward.stages)
    return (
        flops / (seconds * stages * peak(device, "bf16").flops),
        moved / (seconds * stages * memory_rate(device)),
    )


def bottleneck(rows: tuple[Row, ...]) -> str:
    """What binds most of the time."""
    spent: dict[str, float] = {}
    for row in rows:
        spent[row.bound] = spent.get(row.bound, 0.0) + row.seconds
    return max(spent, key=lambda name: spent[name]) if spent else HOST
