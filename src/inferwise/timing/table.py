"""A step explained: each operator with its time, its share, what bound it, and where its efficiency comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inferwise.timing.forward import Forward, engine_seconds, scaled
from inferwise.timing.operators.base import Operator
from inferwise.timing.rates import memory_rate, peak
from inferwise.timing.step import Step

COMPUTE, MEMORY, LINK, LAUNCH, HOST = "compute", "memory", "link", "launch", "host"
OVER_LINKS = ("communication", "offload")
ENGINE = "engine"
NOT_ON_DEVICE = (*OVER_LINKS, "host")  # whose bytes and FLOPs no device moves
SMALL_S = 3e-5  # a kernel of fewer seconds that is far from its roof is too small for the device
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


class Work(NamedTuple):
    """What a row is made of. operator: None of what the engine adds; nearest: share of the time of the nearest roof."""

    stage: int
    operator: Operator | None
    part: str
    seconds: float
    flops: float
    bytes_moved: float
    bound: str
    nearest: float


def works(forward: Forward, step: Step) -> tuple[Work, ...]:
    """The operators that one step (scalars) runs, stage by stage in order; their seconds add up to the step's."""
    found = []
    for number in range(len(forward.stages)):
        for factor, operator in scaled(forward, number):
            seconds = float(factor * operator.seconds(step))
            if seconds > 0:
                found.append(_work(number, operator, step, seconds))
        added = float(engine_seconds(forward, step, number))
        if added > 0:
            found.append(Work(number, None, ENGINE, added, 0.0, 0.0, HOST, 0.0))
    return tuple(found)


def _work(stage: int, operator: Operator, step: Step, seconds: float) -> Work:
    flops, moved = (float(value) for value in operator.done(step))
    compute, memory = flops / operator.peak_flops, moved / operator.bytes_per_s
    nearest = max(compute, memory) / seconds
    roof = COMPUTE if compute > memory else LINK if operator.part in OVER_LINKS else MEMORY
    small = nearest < BOUND_FROM and seconds < SMALL_S * operator.count
    return Work(stage, operator, operator.part, seconds, flops, moved, LAUNCH if small else roof, nearest)


def table(forward: Forward, step: Step) -> tuple[Row, ...]:
    """`works` for a reader."""
    found = works(forward, step)
    total = sum(each.seconds for each in found)
    return tuple(_row(forward, each, each.seconds / total) for each in found)


def _row(forward: Forward, work: Work, share: float) -> Row:
    operator, made = work.operator, forward.profile
    return Row(
        stage=work.stage,
        name=operator.name if operator else ENGINE,
        part=work.part,
        count=operator.count if operator else 1.0,
        shape=operator.shape() if operator else {},
        seconds=work.seconds,
        share=share,
        flops=work.flops,
        bytes_moved=work.bytes_moved,
        bound=work.bound,
        utilisation=work.nearest,
        source=operator.curve.source if operator else f"profile {made.name}, {made.runs} runs",
        basis=operator.basis if operator else "runs",
        error=operator.curve.left_out if operator else made.error,
    )


def utilisation(forward: Forward, rows: Sequence[Row | Work], seconds: float) -> tuple[float, float]:
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


def bottleneck(rows: Sequence[Row | Work]) -> str:
    """What binds most of the time."""
    spent: dict[str, float] = {}
    for row in rows:
        spent[row.bound] = spent.get(row.bound, 0.0) + row.seconds
    return max(spent, key=lambda name: spent[name]) if spent else HOST
