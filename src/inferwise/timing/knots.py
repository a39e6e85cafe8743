"""Knots: where a piecewise-linear table bends, the fewest that keep it within a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from inferwise.timing.step import Array, Quantity

START, END, BEND, TILE = "start", "end", "bend", "tile"
HALVINGS = 20  # of a gap between points: a million whole numbers
SAMPLES = 9  # of each other axis, on which the knots of one are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of a table: its knots in order, each with why it is there (window 1024, top-k 2048, bend, ...)."""

    name: str
    at: Array
    names: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"name": self.name, "at": self.at.tolist(), "names": list(self.names)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Axis:
        """Out of that."""
        return Axis(name=data["name"], at=np.asarray(data["at"], dtype=np.float64), names=tuple(data["names"]))


def fine(name: str, low: float, high: float, ratio: float, edges: Mapping[float, str] | None = None) -> Axis:
    """Points of an axis to choose knots among: whole numbers at first, then in steps of a ratio; edges are kept."""
    named = {low: START, high: END} | {at: why for at, why in (edges or {}).items() if low < at < high}
    count = int(np.ceil(np.log(max(high, low * 1.001) / max(low, 1e-9)) / np.log(ratio))) + 1 if low > 0 else 0
    if low > 0:
        spread = low * ratio ** np.arange(count)
    else:
        spread = np.concatenate([[0.0], ratio ** np.arange(int(np.ceil(np.log(max(high, 2.0)) / np.log(ratio))) + 1)])
    points = np.unique(np.concatenate([np.where(spread > 4, np.round(spread), spread), list(named)]))
    points = points[(points >= low) & (points <= high)]
    return Axis(name=name, at=points, names=tuple(named.get(float(at), BEND) for at in points))


def chosen(axes: Sequence[Axis], evaluate: Callable[..., Array], tolerance: float) -> tuple[tuple[Axis, ...], Array]:
    """The knots of each axis that keep a table within a relative tolerance at all of its points, and the table on them.

    Axes share the tolerance; on each, the longest lines that hold it are taken from its start on (bisected), and end
    at its named edges. They are tried with SAMPLES points of each other axis; evaluate: values at arrays of points.
    """
    kept = []
    for number, axis in enumerate(axes):
        others = [_sample(each.at) for each in axes]
        along = partial(_along, others, number, evaluate)
        axis, lines = _refined(axis, along, tolerance / len(axes) / 2)
        places = _places(axis, lines, tolerance / len(axes))
        kept.append(Axis(name=axis.name, at=axis.at[places], names=tuple(axis.names[place] for place in places)))
    return tuple(kept), _on([axis.at for axis in kept], evaluate)


def _along(others: Sequence[Array], number: int, evaluate: Callable[..., Array], points: Array) -> Array:
    """Values at points of one axis [point, place on the others]."""
    values = _on([points if place == number else each for place, each in enumerate(others)], evaluate)
    return np.moveaxis(values, number, 0).reshape(len(points), -1)


def _refined(axis: Axis, along: Callable[[Array], Array], tolerance: float) -> tuple[Axis, Array]:
    """An axis with the whole numbers about which it jumps or bends sharply between its points, found by halving."""
    at, lines = axis.at, along(axis.at)
    named = dict(zip(at.tolist(), axis.names, strict=True))
    tried = np.zeros(0)
    for _ in range(HALVINGS):
        left = np.flatnonzero((np.diff(at) >= 2) & ~np.isin(at[:-1], tried))
        middle = np.floor((at[left] + at[left + 1]) / 2)
        middle, left = middle[middle > at[left]], left[middle > at[left]]
        if not len(left):
            break
        weight = ((middle - at[left]) / (at[left + 1] - at[left]))[:, None]
        found = along(middle)
        error = np.abs((1 - weight) * lines[left] + weight * lines[left + 1] - found)
        bent = (error > tolerance * np.abs(found)).any(axis=1)
        tried = np.setdiff1d(np.union1d(tried, at[left][~bent]), at[left][bent])
        order = np.argsort(np.concatenate([at, middle[bent]]), kind="stable")
        at, lines = np.concatenate([at, middle[bent]])[order], np.concatenate([lines, found[bent]])[order]
    return Axis(name=axis.name, at=at, names=tuple(named.get(point, BEND) for point in at.tolist())), lines


def _sample(points: Array) -> Array:
    """A few points of an axis, its ends among them."""
    places = np.unique(np.round(np.linspace(0, len(points) - 1, SAMPLES)).astype(int))
    return points[places]


def _on(points: Sequence[Array], evaluate: Callable[..., Array]) -> Array:
    """Values on a grid."""
    grid = np.meshgrid(*points, indexing="ij")
    return evaluate(*(each.ravel() for each in grid)).reshape(grid[0].shape)


def _places(axis: Axis, lines: Array, tolerance: float) -> list[int]:
    """Places of the knots on one axis."""
    last, places = len(axis.at) - 1, [0]
    stops = [place for place, name in enumerate(axis.names) if place and name != BEND and not name.startswith(TILE)]
    while places[-1] < last:
        start = places[-1]
        stop = next(place for place in stops if place > start)
        reach, step = start + 1, 1
        while reach < stop and _holds(axis.at, lines, start, min(reach + step, stop), tolerance):
            reach, step = min(reach + step, stop), 2 * step
        low, high = reach, min(reach + step, stop)
        while low < high:  # the longest line that holds: low does
            middle = (low + high + 1) // 2
            if _holds(axis.at, lines, start, middle, tolerance):
                low = middle
            else:
                high = middle - 1
        places.append(low)
    return places


def _holds(at: Array, lines: Array, start: int, stop: int, tolerance: float) -> bool:
    """Whether the line from one point to another is near all between them."""
    if stop - start < 2:
        return True
    weight = ((at[start + 1 : stop] - at[start]) / (at[stop] - at[start]))[:, None]
    between = lines[start + 1 : stop]
    error = np.abs((1 - weight) * lines[start] + weight * lines[stop] - between)
    return bool((error <= tolerance * np.abs(between)).all())


def interpolated(axes: Sequence[Axis], values: Array, at: Sequence[Quantity]) -> Quantity:
    """A table between its knots, linear along each axis; beyond its ends, as at them."""
    corners: list[tuple[Quantity, tuple[Any, ...]]] = [(1.0, ())]
    for axis, where in zip(axes, at, strict=True):
        if len(axis.at) == 1:
            corners = [(weight, (*index, 0)) for weight, index in corners]
            continue
        inside = np.clip(where, axis.at[0], axis.at[-1])
        low = np.clip(np.searchsorted(axis.at, inside, side="right") - 1, 0, len(axis.at) - 2)
        right = (inside - axis.at[low]) / (axis.at[low + 1] - axis.at[low])
        corners = [
            (weight * part, (*index, low + offset))
            for weight, index in corners
            for offset, part in ((0, 1 - right), (1, right))
        ]
    found: Quantity = sum(weight * values[index] for weight, index in corners)
    return found
