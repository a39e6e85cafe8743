"""Charts of plain characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from inferwise.report.svg import LogScale, around, short

WIDTH, HEIGHT = 64, 14


def chart(x: Sequence[float], y: Sequence[float], marked: Sequence[bool]) -> str:
    """Points on two logarithmic axes, joined by dots; those that are marked as `*`, the others as `o`."""
    across = LogScale(*around(x, 1.1), 0, WIDTH - 1)
    up = LogScale(*around(y, 1.1), HEIGHT - 1, 0)
    cells = [[" "] * WIDTH for _ in range(HEIGHT)]
    spots = [(across.at(left), up.at(top)) for left, top in zip(x, y, strict=True)]
    for (x1, y1), (x2, y2) in pairwise(spots):
        steps = max(1, round(max(abs(x2 - x1), abs(y2 - y1))))
        for n in range(steps + 1):
            cells[round(y1 + (y2 - y1) * n / steps)][round(x1 + (x2 - x1) * n / steps)] = "."
    for flagged in (False, True):
        for (left, top), mark in zip(spots, marked, strict=True):
            if mark is flagged:
                cells[round(top)][round(left)] = "*" if mark else "o"
    left_names = {round(up.at(value)): short(value) for value in up.ticks()}
    margin = max((len(name) for name in left_names.values()), default=0)
    lines = [
        f"{left_names.get(row, '').rjust(margin)} {'+' if row in left_names else '|'}{''.join(line).rstrip()}"
        for row, line in enumerate(cells)
    ]
    return "\n".join((*lines, *_foot(across, margin)))


def _foot(across: LogScale, margin: int) -> tuple[str, str]:
    """The axis below, and its numbers where they do not touch."""
    axis, names = ["-"] * WIDTH, [" "] * (WIDTH + 8)
    free = -1
    for value in across.ticks():
        at, name = round(across.at(value)), short(value)
        axis[at] = "+"
        start = max(0, at - len(name) // 2)
        if start > free:
            names[start : start + len(name)] = name
            free = start + len(name)
    return f"{' ' * margin} +{''.join(axis)}", f"{' ' * margin}  {''.join(names).rstrip()}"
