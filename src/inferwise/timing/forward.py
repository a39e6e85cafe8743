"""The seconds of a step: its operators on each pipeline stage, and what the engine adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inferwise.memory.case import Case
from inferwise.timing.operators.base import Operator
from inferwise.timing.profiles import Profile
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A deployment ready to be timed: the operators of one device of each pipeline stage, the layers of each, and
    what the engine adds. notes: what runs otherwise than its name says."""

    case: Case
    stages: tuple[tuple[Operator, ...], ...]
    layers: tuple[int, ...]
    profile: Profile
    notes: tuple[str, ...] = ()


def part_seconds(forward: Forward, step: Step, stage: int) -> dict[str, Quantity]:
    """Seconds of a step on one stage by part, factors in; they add up to `stage_seconds`."""
    made = forward.profile
    found: dict[str, Quantity] = {}
    for operator in forward.stages[stage]:
        taken = operator.seconds(step) * made.factors.get(operator.part, 1.0)
        found[operator.part] = found.get(operator.part, 0.0) + taken
    found["engine"] = engine_seconds(forward, step, stage)
    return found


def engine_seconds(forward: Forward, step: Step, stage: int) -> Quantity:
    """Seconds that the engine adds to a stage's kernels; affine in what a step holds (`surrogate` relies on it)."""
    made = forward.profile
    added: Quantity = made.layer_s * forward.layers[stage]
    if stage == 0:
        added = added + made.step_s + made.sequence_s * step.decodes
    return np.greater(step.tokens, 0) * added


def stage_seconds(forward: Forward, step: Step, stage: int) -> Quantity:
    """Seconds of a step on one stage."""
    factors = forward.profile.factors
    taken = engine_seconds(forward, step, stage)
    for operator in forward.stages[stage]:
        taken = taken + operator.seconds(step) * factors.get(operator.part, 1.0)
    return taken


def step_seconds(forward: Forward, step: Step) -> Quantity:
    """Seconds of a step from its start to its tokens, through all stages."""
    return sum(stage_seconds(forward, step, stage) for stage in range(len(forward.stages)))
