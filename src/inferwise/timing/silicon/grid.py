"""Ratios of measured over fitted seconds on a grid, interpolated in logarithms.

A table's rows are of groups of equal fixed sizes (n and k of a GEMM, heads of an attention), each timed over one or two
sizes that vary with the step (rows; sequences and tokens). A grid is made once for an operator, from its own group or
from the nearest ones; a step then costs one interpolation. Away from what was timed the ratio fades to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

NEIGHBOURS = 4  # groups that stand in for one that was not timed
REACH = 3.0  # doublings of a group's sizes within which another may stand in
FADE = 1.0  # doublings of a step's sizes beyond the measured ones until the fitted curve alone speaks
SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Rows of a table. fixed [rows, sizes] and varying [rows, 1 or 2]: log2 of sizes; values: log(measured/fitted)."""

    fixed: Array
    varying: Array
    values: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Log-ratios over one or two axes (log2 of sizes, ascending), 0 where nothing was timed. exact: of the very sizes
    asked for, not of neighbours."""

    axes: tuple[Array, ...]
    values: Array
    exact: bool


def grid(ratios: Ratios, fixed: Array) -> Grid | None:
    """The grid of an operator whose fixed sizes are `fixed` (log2); None where nothing near them was timed."""
    if not len(ratios.values):
        return None
    distance = np.sqrt(np.sum((ratios.fixed - fixed) ** 2, axis=1))
    near = distance.min()
    if near >= REACH:
        return None
    groups, which = _nearest(ratios.fixed, distance)
    weights = 1.0 / (distance[groups] ** 2 + SAME)
    rows = [np.flatnonzero(which == number) for number in range(len(groups))]
    used = np.concatenate(rows)
    axes = tuple(np.unique(column) for column in ratios.varying[used].T)
    tables = np.stack([_table(ratios, each, axes) for each in rows])
    there = ~np.isnan(tables)
    weight = weights.reshape(-1, *(1 for _ in axes)) * there
    total = weight.sum(axis=0)
    values = np.where(there, tables * weight, 0.0).sum(axis=0) / np.where(total > 0, total, 1.0)
    return Grid(axes=axes, values=values * (1.0 - near / REACH), exact=bool(near < 1e-6))


def _nearest(fixed: Array, distance: Array) -> tuple[NDArray[Any], NDArray[Any]]:
    """(a row of each of the nearest groups, the number of each row's group or -1); one group where one is the same."""
    order = np.argsort(distance, kind="stable")
    found: list[int] = []
    which = np.full(len(distance), -1)
    for row in order:
        if which[row] >= 0:
            continue
        if len(found) == NEIGHBOURS or distance[row] >= REACH or (found and distance[found[0]] < 1e-6):
            break
        which[np.all(np.abs(fixed - fixed[row]) < 1e-6, axis=1)] = len(found)
        found.append(int(row))
    return np.array(found), which


def _table(ratios: Ratios, rows: NDArray[Any], axes: tuple[Array, ...]) -> Array:
    """One group's values on the axes: means of equal sizes, holes between timed ones filled, NaN elsewhere."""
    at = [np.searchsorted(axis, column) for axis, column in zip(axes, ratios.varying[rows].T, strict=True)]
    shape = tuple(len(axis) for axis in axes)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, tuple(at), ratios.values[rows])
    np.add.at(count, tuple(at), 1.0)
    found = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    if len(axes) == 1:
        return _filled(axes[0], found)
    along = [np.apply_along_axis(lambda line, n=n: _filled(axes[n], line), n, found) for n in (0, 1)]
    both = np.isnan(along[0]).astype(int) + np.isnan(along[1])
    mean = (np.nan_to_num(along[0]) + np.nan_to_num(along[1])) / np.maximum(2 - both, 1)
    return np.where(both == 2, np.nan, mean)


def _filled(axis: Array, line: Array) -> Array:
    """A line with the holes between its values filled."""
    known = ~np.isnan(line)
    if known.sum() < 2:
        return line
    return np.interp(axis, axis[known], line[known], left=np.nan, right=np.nan)


def log_ratio(made: Grid, *sizes: Any) -> Any:
    """Log of measured over fitted at sizes (log2; scalars or arrays that broadcast)."""
    near = 1.0
    for axis, size in zip(made.axes, sizes, strict=True):
        beyond = np.maximum(np.maximum(axis[0] - size, size - axis[-1]), 0.0)
        near = near * np.maximum(1.0 - beyond / FADE, 0.0)
    if len(made.axes) == 1:
        return near * np.interp(sizes[0], made.axes[0], made.values)
    (low, share), (left, part) = (_between(axis, size) for axis, size in zip(made.axes, sizes, strict=True))
    high, right = np.minimum(low + 1, len(made.axes[0]) - 1), np.minimum(left + 1, len(made.axes[1]) - 1)
    v = made.values
    first = v[low, left] * (1 - part) + v[low, right] * part
    last = v[high, left] * (1 - part) + v[high, right] * part
    return near * (first * (1 - share) + last * share)


def _between(axis: Array, size: Any) -> tuple[Any, Any]:
    """(index of the point below, share of the way to the next), within the axis."""
    inside = np.clip(size, axis[0], axis[-1])
    low = np.clip(np.searchsorted(axis, inside, side="right") - 1, 0, max(len(axis) - 2, 0))
    step = axis[np.minimum(low + 1, len(axis) - 1)] - axis[low]
    return low, (inside - axis[low]) / np.where(step > 0, step, 1.0)
