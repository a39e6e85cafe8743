"""The seconds of a step: its operators on each pipeline stage, and what the engine adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from inferwise.memory.case import Case
from inferwise.timing.operators.base import Operator
from inferwise.timing.profiles import Profile
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A deployment ready to be timed: the operators of one device of each pipeline stage, the layers of each, and
    what the engine adds. factors: on each operator of each stage (`factors_of`; empty: none). notes: what runs
    otherwise than its name says."""

    case: Case
    stages: tuple[tuple[Operator, ...], ...]
    layers: tuple[int, ...]
    profile: Profile
    factors: tuple[tuple[float, ...], ...] = ()
    notes: tuple[str, ...] = ()


# Loads that show how near to its roofline an operator comes: few and many sequences, short and long, read and decoded.
_DECODES, _CONTEXTS = np.array([1.0, 16.0, 256.0, 4096.0]), np.array([16.0, 1024.0, 16384.0, 2.0**20])
_PROBES = Step(
    decodes=np.concatenate([np.repeat(_DECODES, 4), np.zeros(8)]),
    context=np.concatenate([np.tile(_CONTEXTS, 4), np.ones(8)]),
    prompts=np.concatenate([np.zeros(16), np.repeat([1.0, 16.0], 4)]),
    prompt_tokens=np.concatenate([np.zeros(16), np.tile([16.0, 1024.0, 16384.0, 2.0**18], 2)]),
    images=np.concatenate([np.zeros(16), np.tile([256.0, 4096.0], 4)]),
    image_patches=np.concatenate([np.zeros(16), np.tile([256.0, 4096.0], 4)]),
)


@lru_cache(maxsize=4096)
def best_share(operator: Operator) -> float:
    """The largest share of its roofline that an operator reaches over `_PROBES`."""
    flops, moved = operator.done(_PROBES)
    roof = np.maximum(flops / operator.peak_flops, moved / operator.bytes_per_s)
    taken = np.broadcast_to(operator.seconds(_PROBES), np.shape(roof))
    return float(np.max(roof / np.where(taken > 0, taken, np.inf), initial=0.0))


def factors_of(made: Profile, operators: tuple[Operator, ...]) -> tuple[float, ...]:
    """What the engine multiplies each operator's time by. One number an operator, so that times stay as smooth as its
    kernel's; one below 1 is raised to where the operator comes just to its roofline at best."""
    asked = (made.factors.get(each.part, 1.0) for each in operators)
    return tuple(
        factor if factor >= 1 else min(max(factor, best_share(replace(each, count=1.0))), 1.0)
        for factor, each in zip(asked, operators, strict=True)
    )


def scaled(forward: Forward, stage: int) -> Iterator[tuple[float, Operator]]:
    """The operators of a stage, each with the engine's factor."""
    operators = forward.stages[stage]
    return zip(forward.factors[stage] if forward.factors else (1.0,) * len(operators), operators, strict=True)


def part_seconds(forward: Forward, step: Step, stage: int) -> dict[str, Quantity]:
    """Seconds of a step on one stage by part, factors in; they add up to `stage_seconds`."""
    found: dict[str, Quantity] = {}
    for factor, operator in scaled(forward, stage):
        found[operator.part] = found.get(operator.part, 0.0) + factor * operator.seconds(step)
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
    taken = engine_seconds(forward, step, stage)
    for factor, operator in scaled(forward, stage):
        taken = taken + factor * operator.seconds(step)
    return taken


def step_seconds(forward: Forward, step: Step) -> Quantity:
    """Seconds of a step from its start to its tokens, through all stages."""
    return sum(stage_seconds(forward, step, stage) for stage in range(len(forward.stages)))
