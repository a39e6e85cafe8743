"""The loaded surrogate: a deployment's step time from small tables, within 0.5 % of its operators.

Operators depend on a step through few numbers: GEMMs and experts on its tokens, sampling on its sequences, attention of
decodes on (decodes, context), attention of prompts on (prompts, tokens, past). Operators of one such view are added up
in one table, which interpolates linearly along each axis between named knots. The whole is so a sum of piecewise
multilinear functions: affine in the cached tokens of a batch between two knots, which a simulator may step over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from inferwise.errors import BadInput
from inferwise.timing.forward import Forward, engine_seconds, scaled
from inferwise.timing.knots import Axis, chosen, interpolated
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Array, Quantity, Step
from inferwise.timing.views import PROBES, VIEWS, Ranges, View, pieces

TOLERANCE = 0.0035  # of a table at the points between its knots; the rest of 0.5 % is for what lies between those


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Seconds of the operators of one view [a knot of each axis]; view: a name in `views.VIEWS`."""

    view: str
    axes: tuple[Axis, ...]
    seconds: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A deployment's steps as tables, those of all its pipeline stages (stage: the tables of each).

    fixed: seconds of every step, every decode, every prompt, every prompt token (the engine's own). ranges: what the
    tables hold for; queries: tokens that each decode puts in.
    """

    stages: tuple[tuple[Table, ...], ...]
    fixed: tuple[tuple[float, float, float, float], ...]
    ranges: Ranges

    @property
    def knots(self) -> int:
        """Knots of all different axes' grids: numbers that are stored."""
        return sum(table.seconds.size for table in {id(t): t for stage in self.stages for t in stage}.values())


def surrogate(forward: Forward, ranges: Ranges, *, tolerance: float = TOLERANCE) -> Surrogate:
    """The tables of a deployment; equal pipeline stages share theirs.

    Each operator is evaluated a bounded number of times, on arrays: on PROBES steps to learn what it depends on, and on
    one grid of that. Raises BadInput for an operator that depends on more than a view holds.
    """
    made: dict[tuple[Any, ...], tuple[Table, ...]] = {}
    found = []
    for stage in range(len(forward.stages)):
        operators = tuple(scaled(forward, stage))
        key = tuple((factor, id(each)) for factor, each in operators)
        if key not in made:
            made[key] = _tables(operators, ranges, tolerance)
        found.append(made[key])
    fixed = tuple(_fixed(forward, stage, ranges) for stage in range(len(forward.stages)))
    return Surrogate(stages=tuple(found), fixed=fixed, ranges=ranges)


def _tables(operators: Sequence[tuple[float, Operator]], ranges: Ranges, tolerance: float) -> tuple[Table, ...]:
    """One table a view, of the operators (each with the engine's factor) that depend on that alone."""
    groups: dict[str, list[tuple[float, Operator]]] = {}
    for factor, operator in operators:
        for view, members in pieces([operator], ranges).items():
            groups.setdefault(view, []).extend((factor * times, each) for times, each in members)
    tables = []
    for view, members in groups.items():
        axes = VIEWS[view].fine(ranges, [operator for _, operator in members])
        evaluate = partial(_together, members, VIEWS[view], ranges)
        kept, seconds = chosen(axes, evaluate, tolerance)
        tables.append(Table(view=view, axes=kept, seconds=seconds))
    return tuple(tables)


def _together(members: Sequence[tuple[float, Operator]], view: View, ranges: Ranges, *at: Array) -> Array:
    """Seconds of operators of one view, at the numbers that it shows."""
    step, total = view.step(ranges, *at), np.zeros(at[0].shape)
    for times, operator in members:
        total += times * operator.seconds(step)
    return total


def _fixed(forward: Forward, stage: int, ranges: Ranges) -> tuple[float, float, float, float]:
    """What the engine adds to a stage, by differences: of a step, of each decode, prompt and prompt token."""
    one = float(engine_seconds(forward, Step(decodes=1.0, queries=ranges.queries), stage))
    two = float(engine_seconds(forward, Step(decodes=2.0, queries=ranges.queries), stage))
    first = float(engine_seconds(forward, Step(prompts=1.0, prompt_tokens=1.0), stage))
    longer = float(engine_seconds(forward, Step(prompts=1.0, prompt_tokens=2.0), stage))
    step = 2 * one - two
    return step, two - one, first - step - (longer - first), longer - first


def surrogate_seconds(made: Surrogate, step: Step) -> Quantity:
    """Seconds of a step through all stages; scalars or arrays of one shape. Beyond its ranges: as at their ends."""
    return sum(stage_seconds(made, step, stage) for stage in range(len(made.stages)))


def stage_seconds(made: Surrogate, step: Step, stage: int) -> Quantity:
    """Seconds of a step on one pipeline stage."""
    fixed, decode, prompt, token = made.fixed[stage]
    reads = step.read_tokens
    total: Quantity = np.greater(step.tokens, 0) * fixed + decode * step.decodes
    total = total + prompt * step.prompts * np.greater(reads, 0) + token * reads
    for table in made.stages[stage]:
        view = VIEWS[table.view]
        values = view.of(step)
        total = total + np.greater(view.busy(step), 0) * interpolated(table.axes, table.seconds, values)
    return total


def decode_line(made: Surrogate, decodes: float, context: float) -> tuple[float, float, float]:
    """(seconds, seconds a token, next): of a step of decodes at a mean context, its slope in that, and the context up
    to which it is so (infinite where no knot follows: past the tables' range, they stay as at its end).

    `decodes` sequences that each grow by a token take, k steps on, seconds + k * slope, as long as context + k <= next.
    """
    queries = made.ranges.queries
    seconds = float(surrogate_seconds(made, Step(decodes=decodes, context=context, queries=queries)))
    knots = [axis.at for stage in made.stages for t in stage for axis in t.axes if axis.name == "context"]
    after = [float(at[at > context][0]) for at in knots if (at > context).any()]
    if not after:
        return seconds, 0.0, float("inf")
    upto = min(after)
    there = float(surrogate_seconds(made, Step(decodes=decodes, context=upto, queries=queries)))
    return seconds, (there - seconds) / (upto - context), upto


def as_dict(made: Surrogate) -> dict[str, Any]:
    """As JSON holds it."""
    return {
        "ranges": made.ranges.to_dict(),
        "fixed": [list(each) for each in made.fixed],
        "stages": [
            [
                {
                    "view": table.view,
                    "axes": [axis.to_dict() for axis in table.axes],
                    "seconds": table.seconds.tolist(),
                }
                for table in stage
            ]
            for stage in made.stages
        ],
    }


def from_dict(data: Mapping[str, Any]) -> Surrogate:
    """Out of what `as_dict` gave. Raises BadInput for what is not that."""
    try:
        stages = tuple(
            tuple(
                Table(
                    view=table["view"],
                    axes=tuple(Axis.from_dict(axis) for axis in table["axes"]),
                    seconds=np.asarray(table["seconds"], dtype=np.float64),
                )
                for table in stage
            )
            for stage in data["stages"]
        )
        fixed = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in data["fixed"])
        return Surrogate(stages=stages, fixed=fixed, ranges=Ranges(**data["ranges"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"not a surrogate: {error}", remedy="give what as_dict wrote") from error


__all__ = [
    "PROBES",
    "Ranges",
    "Surrogate",
    "Table",
    "as_dict",
    "decode_line",
    "from_dict",
    "surrogate",
    "surrogate_seconds",
]
