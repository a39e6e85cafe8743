"""The roofline of a device, and on it the operators of a decode step and of a prompt.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inferwise.report.svg import (
    Box,
    LogScale,
    Room,
    along,
    around,
    around_point,
    axes,
    diamond,
    document,
    dot,
    line,
    nearest,
    path,
    place,
    text,
    text_box,
)
from inferwise.serving.basis import merged
from inferwise.serving.estimate import Estimate
from inferwise.spec.hardware import Accelerator
from inferwise.timing.table import OVER_LINKS, Row

SIZE = (960.0, 560.0)
PLOT = Box(70, 64, 640, 500)
LEGEND = 660.0  # where its text starts
MOST = 9  # operators of a phase that are numbered; the rest take little time
NEAR = 14.0  # marks so near share one text
LONGEST = 30  # characters of a name in the legend


@dataclass(frozen=True, slots=True)
class Mark:
    """An operator on the chart. label: its number; prompt: of the prompt's step."""

    label: str
    name: str
    intensity: float
    flop_per_s: float
    share: float
    prompt: bool


def roofline_svg(made: Estimate) -> str:
    """The chart as an SVG file; a device's share of each operator against one device's roofs."""
    device = made.forward.case.devices[0]
    marks = (*marks_of(made.decode, "D", False), *marks_of(made.prefill, "P", True))
    bandwidth = float(device.memory_bytes_per_s or 0)
    roofs = grouped(device.dense_flops)
    peak = max(roofs.values())
    low, high = around([mark.intensity for mark in marks] + [0.5, peak / bandwidth * 4])
    floor = min([mark.flop_per_s for mark in marks] + [low * bandwidth])
    x = LogScale(low, high, PLOT.left, PLOT.right)
    y = LogScale(*around([floor, peak], 1.6), PLOT.bottom, PLOT.top)
    room = Room(PLOT, [around_point(x.at(mark.intensity), y.at(mark.flop_per_s)) for mark in marks], [])
    parts = axes(x, y, ("arithmetic intensity [FLOP/byte]", "FLOP/s of one device"))
    parts += _roofs(x, y, bandwidth, roofs, room)
    parts += _marks(x, y, marks, room)
    parts += _legend(marks)
    title = f"{made.forward.case.model.name} on {device.name}: roofline"
    parts.append(text(20, 30, shortened(title, 96), kind="head"))
    parts.append(text(20, 48, _under(made), kind="small"))
    return document(SIZE, title, described(device, roofs, marks), parts)


def marks_of(rows: Sequence[Row], letter: str, prompt: bool) -> tuple[Mark, ...]:
    """The operators of a step that compute and read memory, the longest first, numbered."""
    held = [row for row in merged(rows) if row.flops > 0 and row.bytes_moved > 0 and row.part not in OVER_LINKS]
    held.sort(key=lambda row: -row.seconds)
    return tuple(
        Mark(f"{letter}{n}", row.name, row.flops / row.bytes_moved, row.flops / row.seconds, row.share, prompt)
        for n, row in enumerate(held[:MOST], 1)
    )


def grouped(peaks: Mapping[str, float]) -> dict[str, float]:
    """Dense peaks by the formats that share them, the highest first."""
    names: dict[float, list[str]] = {}
    for name, value in peaks.items():
        if value:
            names.setdefault(value, []).append(name)
    return {", ".join(names[value]): value for value in sorted(names, reverse=True)}


def _roofs(x: LogScale, y: LogScale, bandwidth: float, roofs: Mapping[str, float], room: Room) -> list[str]:
    """The slope of the memory and the flat roof of each number format, named where there is room."""
    peak, start = max(roofs.values()), max(x.low, y.low / bandwidth)
    slope = [(x.at(start), y.at(start * bandwidth)), (x.at(peak / bandwidth), y.at(peak))]
    ends = {name: (x.at(max(value / bandwidth, x.low)), y.at(value)) for name, value in roofs.items()}
    room.taken.extend(along(slope, 40))
    for left, at in ends.values():
        room.taken.append(Box(left, at - 2, x.end, at + 2))
    parts = [path(slope, "roof")]
    for name, value in roofs.items():
        left, at = ends[name]
        parts.append(line(left, at, x.end, at, "roof"))
        parts += _named(f"{name}: {_flops(value)}", left, x.end, at, room)
    label = f"memory: {bandwidth / 1e9:,.0f} GB/s"
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        across, up = (first + share * (last - first) for first, last in zip(*slope, strict=True))
        spot = place(room, across, up, label)
        if spot:
            return [*parts, text(*spot, label, kind="small")]
    return parts


def _named(label: str, left: float, right: float, at: float, room: Room) -> list[str]:
    """A flat roof's name above it or below it, as far to the right as there is room."""
    end = right - 4
    while end > left - 20:  # beside the ridge, above the slope, there is room too
        for base in (at - 7, at + 15):
            box = text_box(end, base, label, "end")
            if room.free(box):
                room.texts.append(box)
                return [text(end, base, label, anchor="end", kind="small")]
        end -= 10
    return []


def _marks(x: LogScale, y: LogScale, marks: Sequence[Mark], room: Room) -> list[str]:
    """The operators with their numbers, and a line to numbers that stand apart; those in one place share a text."""
    parts = []
    for mark in marks:
        told = f"{mark.label} {mark.name}: {_flops(mark.flop_per_s)} at {mark.intensity:.3g} FLOP/byte"
        draw, kind = (diamond, "b") if mark.prompt else (dot, "a")
        parts.append(draw(x.at(mark.intensity), y.at(mark.flop_per_s), 5, kind, told))
    numbers: list[str] = []
    for group in _together(x, y, marks):
        shown = _numbered(x, y, group, room)
        for mark in () if shown else group:  # no room for all in one text
            shown += _numbered(x, y, [mark], room)
        numbers += shown
    return numbers + parts


def _numbered(x: LogScale, y: LogScale, group: Sequence[Mark], room: Room) -> list[str]:
    """One text with the numbers of marks in one place, and a line to it where it stands apart; empty without room."""
    label = " ".join(mark.label for mark in group)
    at = x.at(group[0].intensity), y.at(group[0].flop_per_s)
    spot = place(room, *at, label)
    if spot is None:
        return []
    near = nearest(text_box(*spot, label), *at)
    apart = abs(near[0] - at[0]) + abs(near[1] - at[1]) > 14
    return [*([line(*at, *near, "lead")] if apart else []), text(*spot, label)]


def _together(x: LogScale, y: LogScale, marks: Sequence[Mark]) -> list[list[Mark]]:
    """The marks of a phase whose place is nearly that of the first of them."""
    groups: list[list[Mark]] = []
    for mark in marks:
        for group in groups:
            first = group[0]
            across = abs(x.at(first.intensity) - x.at(mark.intensity))
            up = abs(y.at(first.flop_per_s) - y.at(mark.flop_per_s))
            if first.prompt is mark.prompt and max(across, up) < NEAR:
                group.append(mark)
                break
        else:
            groups.append([mark])
    return groups


def _legend(marks: Sequence[Mark]) -> list[str]:
    """Each number with its operator and its share of the step's time."""
    parts, at = [], PLOT.top + 8
    for prompt, head in ((False, "decode step"), (True, "prompt")):
        held = [mark for mark in marks if mark.prompt is prompt]
        if not held:
            continue
        parts.append(text(LEGEND, at, head, kind="head"))
        parts.append(text(SIZE[0] - 16, at, "of its time", anchor="end", kind="small"))
        for mark in held:
            at += 20
            draw, kind = (diamond, "b") if prompt else (dot, "a")
            parts += [draw(LEGEND + 5, at - 4, 4, kind), text(LEGEND + 16, at, mark.label)]
            parts.append(text(LEGEND + 42, at, shortened(mark.name, LONGEST), kind="small"))
            parts.append(text(SIZE[0] - 16, at, f"{mark.share:.0%}", anchor="end", kind="small"))
        at += 34
    return parts


def _under(made: Estimate) -> str:
    """What the chart shows, under its title."""
    work = made.workload
    middle = work.prompt + work.output // 2
    decode = f"a decode step of {made.running:,.3g} x {middle:,} tokens, " if made.decode else ""
    return f"{decode}a prompt of {work.prompt - work.prefix:,} tokens; one device's share against its datasheet's roofs"


def described(device: Accelerator, roofs: Mapping[str, float], marks: Sequence[Mark]) -> str:
    """The chart in words."""
    peaks = "; ".join(f"{name} {_flops(value)}" for name, value in roofs.items())
    points = "; ".join(
        f"{mark.label} {mark.name} {_flops(mark.flop_per_s)} at {mark.intensity:.3g} FLOP/byte" for mark in marks
    )
    return (
        f"Arithmetic intensity against FLOP/s, both logarithmic. {device.name}: "
        f"{float(device.memory_bytes_per_s or 0) / 1e9:,.0f} GB/s, dense peaks {peaks}. Operators: {points}."
    )


def _flops(value: float) -> str:
    """`989 TFLOP/s`, `1.98 PFLOP/s`."""
    unit, name = next(((u, n) for u, n in ((1e15, "P"), (1e12, "T")) if value >= u), (1e9, "G"))
    return f"{value / unit:,.3g} {name}FLOP/s"


def shortened(name: str, most: int) -> str:
    """At most so many characters."""
    return name if len(name) <= most else name[: most - 1] + "…"
