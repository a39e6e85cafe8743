"""Latency against throughput of a deployment, over its loads: a table, a chart for a terminal, an SVG file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from inferwise.report.roofline import shortened
from inferwise.report.svg import (
    Box,
    LogScale,
    Room,
    along,
    around,
    around_point,
    axes,
    document,
    dot,
    path,
    place,
    text,
)
from inferwise.report.tables import table
from inferwise.report.terminal_chart import chart
from inferwise.serving.estimate import Estimate
from inferwise.serving.sweep_load import Point

Shown: TypeAlias = "tuple[str, Callable[[Point], float]]"  # an axis' name, and a point's value on it

SIZE = (760.0, 700.0)
LEFT, RIGHT = 80.0, 730.0
PANELS = ((70.0, 330.0), (390.0, 640.0))  # top and bottom: above TPOT, below TTFT


def curve_text(points: Sequence[Point]) -> str:
    """The table and the chart."""
    if not points:
        return ""
    header = ("at once", "TTFT", "TPOT", "latency", "tok/s", "tok/s a device", "tok/s a user")
    rows = (
        (
            ("* " if point.asked else "  ") + f"{point.concurrency:,}",
            seconds(point.ttft_s),
            seconds(point.tpot_s),
            seconds(point.latency_s),
            f"{point.output_tok_s or point.total_tok_s:,.5g}",
            f"{point.tok_s_per_device:,.5g}",
            "-" if point.tok_s_per_user is None else f"{point.tok_s_per_user:,.4g}",
        )
        for point in points
    )
    shown = [table(rows, header=header, right=range(7))]
    if any(point.asked for point in points):
        shown.append("* the load that was asked for")
    if len(points) > 1:
        x = [point.tok_s_per_device for point in points]
        of = _per_token(points)
        shown.append(
            f"{of[0]} against tok/s a device (both logarithmic)\n"
            + chart(x, [of[1](point) for point in points], [point.asked for point in points])
        )
    return "\n\n".join(shown)


def _per_token(points: Sequence[Point]) -> Shown:
    """What the upper chart shows: TPOT in ms, or the latency where nothing is generated."""
    if points[0].tpot_s is None:
        return "latency [ms]", lambda point: 1e3 * point.latency_s
    return "TPOT [ms]", lambda point: 1e3 * (point.tpot_s or 0.0)


def seconds(value: float | None) -> str:
    """A duration for a reader: `8.17 ms`, `2.11 s`, `1 h 12 min`."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"
    if value < 600:
        return f"{value:.3g} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60} min"


def _first_ms(point: Point) -> float:
    return 1e3 * point.ttft_s


FIRST: Shown = ("TTFT [ms]", _first_ms)


def curve_svg(made: Estimate, points: Sequence[Point]) -> str:
    """TPOT and TTFT over tokens/s of a device, one above the other, each point with its requests at once."""
    case = made.forward.case
    low, high = around([point.tok_s_per_device for point in points], 1.4)
    x = LogScale(low, high, LEFT, RIGHT)
    parts = []
    for (name, of), (top, bottom), kind in zip((_per_token(points), FIRST), PANELS, ("a", "b"), strict=True):
        y = LogScale(*around([of(point) for point in points], 1.4), bottom, top)
        parts += axes(x, y, (_under_axis(made), name))
        parts += _panel(points, of, x, y, kind)
    devices = f"{made.replicas * len(case.devices)} x {case.devices[0].name}"
    title, work = f"{case.model.name} on {devices}", made.workload
    ringed = "; ringed: the load asked for" if any(point.asked for point in points) else ""
    under = (
        f"latency against throughput, {work.prompt:,} tokens in, {work.output:,} out; numbers: requests at once{ringed}"
    )
    head = [text(20, 30, shortened(title, 75), kind="head"), text(20, 48, under, kind="small")]
    return document(SIZE, f"{title}: latency against throughput", _described(points), head + parts)


def _under_axis(made: Estimate) -> str:
    return f"{'output' if made.workload.output else 'input'} tokens/s of a device"


def _panel(points: Sequence[Point], of: Callable[[Point], float], x: LogScale, y: LogScale, kind: str) -> list[str]:
    """A curve with its points, numbered where there is room."""
    spots = [(x.at(point.tok_s_per_device), y.at(of(point))) for point in points]
    taken = [around_point(*spot, 10.0 if point.asked else 6.0) for point, spot in zip(points, spots, strict=True)]
    taken += along(spots)
    room = Room(Box(x.start, y.end, x.end, y.start), taken, [])
    parts = [path(spots, f"{kind} line")]
    order = sorted(range(len(points)), key=lambda index: not points[index].asked)  # its number is sure of a place
    for index in order:
        point, spot = points[index], spots[index]
        told = f"{point.concurrency:,} at once: {of(point):.4g} ms, {point.tok_s_per_device:,.4g} tok/s a device"
        parts.append(dot(*spot, 4, kind, told))
        if point.asked:
            parts.append(dot(*spot, 9, f"{kind} ring"))
        label = f"{point.concurrency:,}"
        where = place(room, *spot, label)
        if where:
            parts.append(text(*where, label, kind="small"))
    return parts


def _described(points: Sequence[Point]) -> str:
    """The chart in words."""
    told = "; ".join(
        f"{point.concurrency:,} at once: TTFT {seconds(point.ttft_s)}, TPOT {seconds(point.tpot_s)}, "
        f"{point.tok_s_per_device:,.4g} tok/s a device"
        for point in points
    )
    return f"Time per output token and time to the first token against tokens/s of a device. {told}."
