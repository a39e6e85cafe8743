"""SVG by hand: elements as text, logarithmic axes, and labels that do not cover one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

CHARACTER = 0.62  # width of a character of the charts' font, in units of its size, rounded up
FONT = 12.0
DECADES_WITH_STEPS = 3  # up to so many decades an axis also names 2 and 5 in each

# Colours by class, for light and for dark pages: Okabe and Ito's palette, told apart without colour vision too.
STYLE = """
.sheet{fill:#fff}.grid{stroke:#e3e6ea}.axis{stroke:#6b7280}.roof{stroke:#374151;fill:none}text{fill:#1f2937;
font:12px ui-sans-serif,system-ui,"DejaVu Sans",sans-serif}.head{font-size:15px;font-weight:600}.small{font-size:11px;
fill:#4b5563}.a{fill:#0072b2;stroke:#0072b2}.b{fill:#d55e00;stroke:#d55e00}.lead{stroke:#9ca3af}
@media (prefers-color-scheme:dark){.sheet{fill:#111827}.grid{stroke:#2b3442}.axis{stroke:#9ca3af}.roof{stroke:#d1d5db}
text{fill:#e5e7eb}.small{fill:#b6bdc8}.a{fill:#56b4e9;stroke:#56b4e9}.b{fill:#e69f00;stroke:#e69f00}.lead{stroke:#6b7280}}
.line,.ring{fill:none;stroke-width:2}
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in user units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share any area."""
        return not (
            self.right <= other.left or other.right <= self.left or self.bottom <= other.top or other.bottom <= self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True, slots=True)
class LogScale:
    """Positive values from `low` to `high`, laid from `start` to `end` by their logarithm."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The position of a value; outside values lie on the edge."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten inside, with their 2 and 5 where there are few of them."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if last - first <= DECADES_WITH_STEPS else (1,)
        every = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [value for value in every if self.low * 0.999 <= value <= self.high * 1.001]


def around(values: Iterable[float], margin: float = 1.25) -> tuple[float, float]:
    """Lowest and highest of positive values with a margin (a factor), at least a factor of four apart."""
    held = [value for value in values if value > 0]
    low, high = min(held) / margin, max(held) * margin
    if high / low < 4:
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
    return low, high


def short(value: float) -> str:
    """A tick's number: `0.5`, `20`, `2k`, `5M`, `1T`."""
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit * 0.9999:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def width(text: str, size: float = FONT) -> float:
    """What a text takes at most."""
    return len(text) * size * CHARACTER


def text_box(x: float, y: float, text: str, anchor: str = "start", size: float = FONT) -> Box:
    """The box of a text whose base line starts, is centred or ends at (x, y)."""
    wide = width(text, size)
    left = x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return Box(left, y - size, left + wide, y + 0.3 * size)


def text(x: float, y: float, content: str, *, anchor: str = "start", kind: str = "", turn: float = 0) -> str:
    """A text element."""
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}{turned}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Straight lines through points."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{kind}"/>'


def dot(x: float, y: float, radius: float, kind: str, told: str = "") -> str:
    """A disc, with what a pointer over it reads."""
    title = f"<title>{escape(told)}</title>" if told else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}">{title}</circle>'


def diamond(x: float, y: float, radius: float, kind: str, told: str = "") -> str:
    """A square on its corner, with what a pointer over it reads."""
    title = f"<title>{escape(told)}</title>" if told else ""
    corners = ((0, -radius), (radius, 0), (0, radius), (-radius, 0))
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" class="{kind}">{title}</polygon>'


def axes(x: LogScale, y: LogScale, names: tuple[str, str]) -> list[str]:
    """Grid lines, numbers and names of two axes; y's name is turned, left of its numbers."""
    found = []
    for value in x.ticks():
        at = x.at(value)
        found += [line(at, y.start, at, y.end, "grid"), text(at, y.start + 16, short(value), anchor="middle")]
    for value in y.ticks():
        at = y.at(value)
        found += [line(x.start, at, x.end, at, "grid"), text(x.start - 6, at + 4, short(value), anchor="end")]
    found += [line(x.start, y.start, x.end, y.start, "axis"), line(x.start, y.start, x.start, y.end, "axis")]
    found.append(text((x.start + x.end) / 2, y.start + 36, names[0], anchor="middle"))
    found.append(text(x.start - 46, (y.start + y.end) / 2, names[1], anchor="middle", turn=-90))
    return found


# Where a label may stand about a point: to its right and left first, then below and above, then between.
AROUND = ((1, -0.5), (1, 0.6), (-1, -0.5), (-1, 0.6), (0, -1), (0, 1.3), (0.5, 1.3), (-0.5, 1.3), (0.5, -1), (-0.5, -1))


@dataclass(frozen=True, slots=True)
class Room:
    """Where labels may stand: inside a box, off what is taken; their lines to what they name cross none of texts."""

    inside: Box
    taken: list[Box]
    texts: list[Box]

    def free(self, box: Box) -> bool:
        """Whether a label may stand there."""
        return self.inside.holds(box) and not any(box.overlaps(other) for other in (*self.taken, *self.texts))


def place(room: Room, x: float, y: float, label: str) -> tuple[float, float] | None:
    """Where a label's base line starts so that it is free, near (x, y); None where there is no room.

    The label and its line are added to what is taken.
    """
    wide = width(label)
    for reach in (8.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0, 96.0, 120.0):
        for dx, dy in AROUND:
            left = x + dx * reach - wide * (1 - dx) / 2
            base = y + dy * reach + 4
            box = text_box(left, base, label)
            lead = along([(x, y), nearest(box, x, y)])
            if room.free(box) and not any(piece.overlaps(other) for piece in lead for other in room.texts):
                room.texts.append(box)
                room.taken.extend(lead)
                return left, base
    return None


def nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    """The point of a box that is nearest to (x, y)."""
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


def around_point(x: float, y: float, radius: float = 6.0) -> Box:
    """The box of a mark."""
    return Box(x - radius, y - radius, x + radius, y + radius)


def along(points: Sequence[tuple[float, float]], pieces: int = 12) -> list[Box]:
    """Small boxes on the lines between points, so that labels keep off them."""
    found = []
    for (x1, y1), (x2, y2) in pairwise(points):
        steps = [n / pieces for n in range(1, pieces)]
        found += [around_point(x1 + (x2 - x1) * share, y1 + (y2 - y1) * share, 2.0) for share in steps]
    return found


def document(size: tuple[float, float], title: str, about: str, parts: Iterable[str]) -> str:
    """A whole SVG file: its title and description are read out to those who do not see it."""
    wide, high = size
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" '
            f'height="{high:g}" role="img" aria-labelledby="title about">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="about">{escape(about)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="sheet" width="{wide:g}" height="{high:g}"/>',
            *parts,
            "</svg>\n",
        )
    )
