"""Operators that look their seconds up: the fitted curve times the measured ratio at the nearest timed shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from inferwise.timing.curves import MEASURED, Curve
from inferwise.timing.operators.attention import DecodeAttention, PrefillAttention
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.latent import LatentDecode, LatentPrefill
from inferwise.timing.operators.small import Collective
from inferwise.timing.silicon import latent, linear, messages, routed, softmax
from inferwise.timing.silicon.entry import Entry, entry
from inferwise.timing.silicon.grid import Array, Grid, Ratios, grid, log_ratio
from inferwise.timing.silicon.wheel import known, root, version, version_note
from inferwise.timing.step import Quantity, Step

LOOKED_UP = "looked up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How an operator is looked up. whole: the share of the ratio that a step's shape takes, 1 for what was timed."""

    ratios: Callable[[Path, Entry], Ratios | None]
    fixed: Callable[[Any], Array]
    varying: Callable[[Any, Step], tuple[Quantity, ...]]
    whole: Callable[[Step], Quantity] = lambda step: 1.0


def _unread(step: Step) -> Quantity:
    """Prompts were timed without a cached part: the more is cached, the less a table says."""
    return step.prompt_tokens / np.maximum(step.prompt_tokens + step.past, 1e-9)


def _one_query(step: Step) -> Quantity:
    """Decodes were timed with one query a sequence."""
    return np.where(np.equal(step.queries, 1.0), 1.0, 0.0)


KINDS: dict[type[Operator], Kind] = {
    Gemm: Kind(ratios=linear.ratios, fixed=linear.fixed, varying=linear.varying),
    PrefillAttention: Kind(ratios=softmax.ratios, fixed=softmax.fixed, varying=softmax.of_prompts, whole=_unread),
    DecodeAttention: Kind(ratios=softmax.ratios, fixed=softmax.fixed, varying=softmax.of_decodes, whole=_one_query),
    LatentPrefill: Kind(ratios=latent.ratios, fixed=latent.fixed, varying=softmax.of_prompts, whole=_unread),
    LatentDecode: Kind(ratios=latent.ratios, fixed=latent.fixed, varying=softmax.of_decodes, whole=_one_query),
    RoutedExperts: Kind(ratios=routed.ratios, fixed=routed.fixed, varying=routed.varying),
    Collective: Kind(ratios=messages.ratios, fixed=messages.fixed, varying=messages.varying),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """What corrects an operator's fitted seconds: its grid of measured over fitted."""

    grid: Grid
    kind: Kind

    def __call__(self, operator: Operator, step: Step, fitted: Quantity) -> Quantity:
        """Seconds: never under the roofline, unless the fitted ones are."""
        with np.errstate(divide="ignore"):  # of steps with nothing to do
            sizes = [np.log2(size) for size in self.kind.varying(operator, step)]
        ratio = np.exp(self.kind.whole(step) * log_ratio(self.grid, *sizes))
        found: Quantity = np.maximum(fitted * ratio, np.minimum(_least(operator, step), fitted))
        return found


def _least(operator: Operator, step: Step) -> Quantity:
    """Seconds at the peaks."""
    if isinstance(operator, Collective):
        return messages.least(operator, step)
    flops, moved = operator.work(step)
    return np.maximum(flops / operator.peak_flops, moved / operator.bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCurve(Curve):
    """A curve that a table corrects; shown: what a reader is told."""

    shown: str

    @property
    def source(self) -> str:
        """The table, and whether the very shape was timed."""
        return self.shown


def looked_up(operator: Operator, where: Path | None = None) -> Operator:
    """The operator with what was measured near its shape, itself where nothing was.

    where: the tables' folder, None for the installed ones; raises BadInput where the extra is not installed.
    """
    where = where or root()
    for each in fields(operator):
        inner = getattr(operator, each.name)
        if isinstance(inner, Operator):  # it runs another: in other passes, or beside a transfer
            found = looked_up(inner, where)
            changed: dict[str, Any] = {each.name: found}
            operator = replace(operator, **changed)
            if found.looked_up is not None and each.name == "inner":
                operator = replace(operator, curve=found.curve, basis=found.basis)
    kind = KINDS.get(type(operator))
    made = _grid(kind, operator, where) if kind else None
    if kind is None or made is None:
        return operator
    return replace(
        operator, looked_up=LookUp(grid=made, kind=kind), curve=_shown(operator.curve, made.exact), basis=LOOKED_UP
    )


def _grid(kind: Kind, operator: Operator, where: Path) -> Grid | None:
    """What was timed near an operator, by the engine and on the device whose own curve it takes."""
    if operator.basis != MEASURED:
        return None
    if isinstance(operator, LatentPrefill | LatentDecode) and not latent.timed(operator):
        return None
    at = entry(operator.curve)
    return None if at is None else _made(str(where), at, tuple(kind.fixed(operator).tolist()), kind)


@cache
def _made(where: str, at: Entry, fixed: tuple[float, ...], kind: Kind) -> Grid | None:
    found = _ratios(where, at, kind)
    return None if found is None else grid(found, np.array(fixed))


@cache
def _ratios(where: str, at: Entry, kind: Kind) -> Ratios | None:
    """A table's, read once."""
    return kind.ratios(Path(where), at)


def _shown(curve: Curve, exact: bool) -> TableCurve:
    at = entry(curve)
    number = at.version if at else ""
    near = "" if exact else ", from shapes near it"
    shown = f"looked up: {curve.device}, {curve.engine} {number}, {curve.kernel} {curve.dtype}{near}"
    own = {each.name: getattr(curve, each.name) for each in fields(Curve)}
    return TableCurve(**own, shown=shown)


def stages_looked_up(
    stages: tuple[tuple[Operator, ...], ...],
) -> tuple[tuple[tuple[Operator, ...], ...], tuple[str, ...]]:
    """All operators of a deployment, looked up where they were timed; and what to say of it.

    Raises BadInput where the extra is not installed.
    """
    where = root()
    found = tuple(tuple(looked_up(each, where) for each in stage) for stage in stages)
    flat = [each for stage in found for each in stage]
    hits = sum(each.basis == LOOKED_UP for each in flat)
    name = f"{known()['package']} {version()}".strip()
    note = (
        f"{hits} of {len(flat)} operators are looked up in the tables of {name}, the rest are fitted"
        if hits
        else f"{name} has no tables for this device, engine and format: all operators are fitted"
    )
    return found, tuple(each for each in (note, version_note()) if each)
