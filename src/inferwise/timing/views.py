"""What an operator sees of a step: the few numbers that its time depends on, found by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from inferwise.errors import BadInput
from inferwise.timing.knots import BEND, END, START, Axis, fine
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.passes import Passes
from inferwise.timing.step import Array, Quantity, Step

PROBES = 48  # random steps on which an operator's dependence is tried
ROUNDED = ("attention_prefill",)  # kernels that round queries up to whole tiles
MOST_TILES = 512  # of which one more makes less than the tolerance
MOST_WHOLE = 32  # prompts of a step, up to which each number of them is a point
SAME = 1e-9  # relative; what a view leaves out may not change an operator by more


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """What a surrogate holds for: the most decodes, their context, prompt tokens of a step, past of a prompt, prompts.

    queries: tokens that each decode puts in. No images: their encoders are timed apart.
    """

    decodes: float = 256.0
    context: float = 131072.0
    prompt_tokens: float = 8192.0
    past: float = 131072.0
    prompts: float = 8.0
    queries: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 1 or not np.isfinite(value):
                raise BadInput(f"{name} of a surrogate is {value}", remedy="give a number of at least 1")

    def to_dict(self) -> dict[str, float]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """of: the numbers that a step shows (one an axis). step: a step that shows them. axes: names; busy: what is zero
    where there is nothing to do."""

    axes: tuple[str, ...]
    of: Callable[[Step], tuple[Quantity, ...]]
    step: Callable[..., Step]
    busy: Callable[[Step], Quantity]

    def fine(self, ranges: Ranges, operators: Sequence[Operator]) -> tuple[Axis, ...]:
        """Points of each axis to choose knots among."""
        return tuple(_axis(name, ranges, operators, alone=len(self.axes) == 1) for name in self.axes)


# Steps that show one number: as decodes, or as one prompt of so many tokens.
VIEWS: Mapping[str, View] = {
    "always": View(
        axes=("step",),
        of=lambda s: (1.0,),
        step=lambda r, x: Step(decodes=x, queries=r.queries),
        busy=lambda s: s.tokens,
    ),
    "prompts": View(
        axes=("prompts",),
        of=lambda s: (s.prompts,),
        step=lambda r, x: Step(prompts=x, prompt_tokens=1.0),
        busy=lambda s: s.read_tokens,
    ),
    "decodes": View(
        axes=("decodes",),
        of=lambda s: (s.decodes,),
        step=lambda r, x: Step(decodes=x, queries=r.queries),
        busy=lambda s: s.decodes,
    ),
    "tokens": View(
        axes=("tokens",),
        of=lambda s: (s.tokens,),
        step=lambda r, x: Step(prompts=1.0, prompt_tokens=x),
        busy=lambda s: s.tokens,
    ),
    "reads": View(
        axes=("reads",),
        of=lambda s: (s.read_tokens,),
        step=lambda r, x: Step(prompts=1.0, prompt_tokens=x),
        busy=lambda s: s.read_tokens,
    ),
    "sequences": View(
        axes=("sequences",),
        of=lambda s: (s.sequences,),
        step=lambda r, x: Step(decodes=x / r.queries, queries=r.queries),
        busy=lambda s: s.sequences,
    ),
    "answers": View(
        axes=("sequences",),
        of=lambda s: (s.decodes + s.prompts,),
        step=lambda r, x: Step(decodes=x, queries=r.queries),
        busy=lambda s: s.tokens,
    ),
    "rows": View(
        axes=("tokens",),
        of=lambda s: (s.decodes + s.read_tokens,),
        step=lambda r, x: Step(prompts=1.0, prompt_tokens=x, queries=r.queries),
        busy=lambda s: s.tokens,
    ),
    "tokens and sequences": View(
        axes=("tokens", "sequences"),
        of=lambda s: (s.tokens, s.sequences),
        step=lambda r, x, y: Step(prompts=y, prompt_tokens=x / y, queries=r.queries),
        busy=lambda s: s.tokens,
    ),
    "prompts and lengths": View(
        axes=("prompts", "prompt tokens"),
        of=lambda s: (s.prompts, s.prompt_tokens),
        step=lambda r, x, y: Step(prompts=x, prompt_tokens=y),
        busy=lambda s: s.read_tokens,
    ),
    "decodes and context": View(
        axes=("decodes", "context"),
        of=lambda s: (s.decodes, s.context),
        step=lambda r, x, y: Step(decodes=x, context=y, queries=r.queries),
        busy=lambda s: s.decodes,
    ),
    "prompts, lengths and past": View(
        axes=("prompts", "prompt tokens", "past"),
        of=lambda s: (s.prompts, s.prompt_tokens, s.past),
        step=lambda r, x, y, z: Step(prompts=x, prompt_tokens=y, past=z),
        busy=lambda s: s.read_tokens,
    ),
}


def pieces(operators: Sequence[Operator], ranges: Ranges) -> dict[str, list[tuple[float, Operator]]]:
    """Operators, with how often, by the view that each depends on; passes over several views one by one."""
    probes = _probes(ranges)
    found: dict[str, list[tuple[float, Operator]]] = {}
    for operator in operators:
        for times, piece in _split(operator):
            seconds = np.broadcast_to(piece.seconds(probes), (PROBES,))
            if not seconds.any():  # towers: of images, of which there are none
                continue
            found.setdefault(_view(piece, seconds, probes, ranges), []).append((times, piece))
    return found


def _split(operator: Operator) -> list[tuple[float, Operator]]:
    """One operator a pass, of an operator that runs in several."""
    if not isinstance(operator, Passes):
        return [(1.0, operator)]
    return [(1.0, replace(operator, passes=(each,))) for each in operator.passes]


def _view(operator: Operator, seconds: Array, probes: Step, ranges: Ranges) -> str:
    """The first view whose own step, of the numbers that it shows, takes an operator as long."""
    for name, view in VIEWS.items():
        shown = view.step(ranges, *(np.broadcast_to(value, (PROBES,)) for value in view.of(probes)))
        there = np.where(np.greater(view.busy(probes), 0), operator.seconds(shown), 0.0)
        if np.allclose(there, seconds, rtol=SAME, atol=0.0):
            return name
    raise BadInput(f"{operator.name} depends on more of a step than a table holds", remedy="time it by its operators")


def _probes(ranges: Ranges) -> Step:
    """Steps all over the ranges: decodes alone, prompts alone, both."""
    draw = np.random.default_rng(0)
    most = ("decodes", "context", "prompts", "prompt_tokens", "past")
    values = {name: np.exp(draw.uniform(0, np.log(getattr(ranges, name)), PROBES)) for name in most}
    values["prompts"][: PROBES // 4] = 0.0
    values["decodes"][PROBES // 4 : PROBES // 2] = 0.0
    return Step(**values, queries=ranges.queries)


def _axis(name: str, ranges: Ranges, operators: Sequence[Operator], alone: bool) -> Axis:
    """Points of one axis: closer together where it is the only one."""
    ratio = 1.03 if alone else 1.06
    decodes = ranges.decodes * ranges.queries
    if name == "step":
        return fine(name, 1.0, 1.0, ratio)
    if name in ("tokens", "reads", "sequences"):
        high = {"tokens": decodes, "reads": 0.0, "sequences": decodes + ranges.prompts}[name]
        return fine(name, 1.0, high + (ranges.prompt_tokens if name != "sequences" else 0.0), ratio)
    if name in ("context", "past"):
        return fine(name, float(name == "context"), getattr(ranges, name), ratio, edges(operators))
    if name == "prompt tokens":
        return fine(name, 1.0, ranges.prompt_tokens, 1.03, edges(operators) | tiles(operators, ranges.prompt_tokens))
    if name == "prompts" and ranges.prompts <= MOST_WHOLE:
        points = np.arange(1.0, ranges.prompts + 1)
        return Axis(name=name, at=points, names=(START, *(BEND for _ in points[1:-1]), END)[: len(points)])
    return fine(name, 1.0, getattr(ranges, name), ratio)


def tiles(operators: Sequence[Any], most: float) -> dict[float, str]:
    """Where attention of prompts begins another tile of queries: its last token, and the first of the next."""
    found: dict[float, str] = {}
    for operator in operators:
        inner = getattr(operator, "inner", operator)
        c = inner.curve.coefficients
        tile = c.get("tile", 0.0)
        if inner.curve.kernel not in ROUNDED:
            found |= {float(tile): f"bend {tile:g}"} if tile > 1 else {}
            continue
        tile = tile / (inner.heads / inner.kv_heads) ** c["pack"]  # queries of heads that share a key fill one together
        if tile > 1:
            count = np.ceil(np.arange(1.0, min(most, tile * MOST_TILES) + 1) / tile)
            last = np.flatnonzero(np.diff(count)) + 1.0
            found |= {float(at): f"tile {tile:g}" for at in (*last, *(last + 1))}
    return found


def edges(operators: Sequence[Any]) -> dict[float, str]:
    """Lengths at which attention bends: windows, what a sparse index selects, the least block of a kernel."""
    found: dict[float, str] = {}
    for operator in operators:
        inner = getattr(operator, "inner", operator)
        share = getattr(inner, "tokens_share", 1.0) or 1.0
        for field, why in (("window", "window"), ("topk", "top-k")):
            size = getattr(inner, field, 0.0)
            if size:
                found[float(size) / share] = f"{why} {size:g}"
        block = inner.curve.coefficients.get("block")
        if block and block > 1:
            found[float(block) / share] = f"block {block:g}"
    return found
