"""The SVG files: well-formed, read out, inside their box, no text on another, and the marks where the numbers say."""

from __future__ import annotations

import math
import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inferwise as iw
from inferwise.report.curve import curve_svg
from inferwise.report.roofline import PLOT, grouped, marks_of, roofline_svg
from inferwise.report.svg import Box, LogScale, Room, around, place, short, text_box
from inferwise.serving.estimate import Estimate
from inferwise.serving.sweep_load import sweep

SVG = "{http://www.w3.org/2000/svg}"
CASES = (
    ("meta-llama/Llama-3.1-8B-Instruct", "h100", {"concurrency": 16}),
    ("meta-llama/Llama-3.1-8B-Instruct", "b200-sxm-180gb", {"batch": 512, "weights": "nvfp4"}),
    ("deepseek-ai/DeepSeek-V3", "h200", {"tp": 8, "ep": 8, "concurrency": 64}),
    ("Qwen/Qwen2.5-7B-Instruct", "rtx-4090", {"weights": "Q4_K_M"}),
    ("meta-llama/Llama-3.2-1B-Instruct", "apple-m4-max", {}),
    ("meta-llama/Llama-3.2-1B-Instruct", "raspberry-pi-5-8gb", {"weights": "Q4_K_M"}),
    ("BAAI/bge-m3", "l40s", {"concurrency": 32}),
    ("meta-llama/Llama-3.1-70B-Instruct", "h100", {"tp": 2, "pp": 2, "concurrency": 8}),
)


def made_of(case: tuple[str, str, dict[str, object]]) -> Estimate:
    return iw.estimate(case[0], case[1], **case[2])  # type: ignore[arg-type]


def charts(made: Estimate) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in (roofline_svg(made), curve_svg(made, sweep(made)))]


def boxes(root: ElementTree.Element) -> list[tuple[str, Box]]:
    """Each text with the box that it takes at most; turned ones stand upright."""
    found = []
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        kind = text.get("class", "")
        size = {"head": 15.0, "small": 11.0}.get(kind, 12.0)
        box = text_box(x, y, text.text or "", text.get("text-anchor", "start"), size)
        if "transform" in text.attrib:
            wide, high = box.right - box.left, box.bottom - box.top
            box = Box(x - high, y - wide / 2, x + 0.3 * high, y + wide / 2)
        found.append((text.text or "", box))
    return found


@pytest.mark.parametrize("case", CASES)
def test_nothing_overlaps_and_all_is_inside(case: tuple[str, str, dict[str, object]]) -> None:
    for root in charts(made_of(case)):
        wide, high = (float(size) for size in root.attrib["viewBox"].split()[2:])
        sheet, texts = Box(0, 0, wide, high), boxes(root)
        for content, box in texts:
            assert sheet.holds(box), content
        for (first, a), (second, b) in combinations(texts, 2):
            assert not a.overlaps(b), (first, second)
        for circle in root.iter(f"{SVG}circle"):
            x, y, r = (float(circle.attrib[name]) for name in ("cx", "cy", "r"))
            assert sheet.holds(Box(x - r, y - r, x + r, y + r))


@pytest.mark.parametrize("case", CASES[:4])
def test_charts_are_read_out_and_follow_the_page(case: tuple[str, str, dict[str, object]]) -> None:
    made = made_of(case)
    for root in charts(made):
        assert root.attrib["role"] == "img"
        named = {element.attrib["id"]: element.text or "" for element in root if "id" in element.attrib}
        assert set(root.attrib["aria-labelledby"].split()) == set(named)
        assert case[0] in named["title"]
        assert len(named["about"]) > 100
        assert "prefers-color-scheme:dark" in (root.find(f"{SVG}style").text or "")  # type: ignore[union-attr]
        assert not re.search(r"\b(nan|inf)\b", ElementTree.tostring(root, encoding="unicode"))


def test_marks_lie_under_the_roofs() -> None:
    """No operator computes faster than the peak of its format, nor moves more than the memory's bandwidth."""
    for case in CASES[:5]:
        made = made_of(case)
        device = made.forward.case.devices[0]
        peak, bandwidth = max(device.dense_flops.values()), float(device.memory_bytes_per_s or 0)
        for mark in (*marks_of(made.decode, "D", False), *marks_of(made.prefill, "P", True)):
            assert mark.flop_per_s <= peak * 1.0001
            assert mark.flop_per_s <= bandwidth * mark.intensity * 1.0001, mark.name


def test_every_roof_and_mark_is_drawn() -> None:
    made = made_of(CASES[0])
    root = charts(made)[0]
    shown = [text for text, _ in boxes(root)]
    for name in grouped(made.forward.case.devices[0].dense_flops):
        assert any(text.startswith(f"{name}: ") for text in shown)
    marks = (*marks_of(made.decode, "D", False), *marks_of(made.prefill, "P", True))
    for mark in marks:
        assert len([text for text in shown if mark.label in text.split()]) == 2  # beside its mark and in the legend
    discs = [c for c in root.iter(f"{SVG}circle") if c.attrib["r"] == "5"]
    assert len(discs) == len([mark for mark in marks if not mark.prompt])
    assert all(PLOT.left <= float(disc.attrib["cx"]) <= PLOT.right for disc in discs)


def test_the_curve_has_every_load_and_rings_the_one_that_was_asked_for() -> None:
    made = made_of(CASES[0])
    root = ElementTree.fromstring(curve_svg(made, sweep(made)))
    points = sweep(made)
    dots = [c for c in root.iter(f"{SVG}circle") if c.attrib["r"] == "4"]
    assert len(dots) == 2 * len(points)
    xs = [float(dot.attrib["cx"]) for dot in root.iter(f"{SVG}circle") if dot.attrib["r"] == "4"]
    assert sorted(xs[: len(points)]) == pytest.approx(sorted(xs[len(points) :]))
    assert len([c for c in root.iter(f"{SVG}circle") if c.attrib["r"] == "9"]) == 2
    shown = [text for text, _ in boxes(root)]
    assert shown.count("16") == 2


def test_a_name_with_markup_stays_text() -> None:
    from inferwise.report.svg import document, dot, text

    root = ElementTree.fromstring(
        document((10, 10), "<a> & b", "c<d", [text(1, 1, "<script>&"), dot(1, 1, 2, "a", 'q"<')])
    )
    assert root.find(f"{SVG}title").text == "<a> & b"  # type: ignore[union-attr]
    assert root.find(f"{SVG}text").text == "<script>&"  # type: ignore[union-attr]
    assert not list(root.iter(f"{SVG}script"))


@given(st.lists(st.floats(1e-9, 1e18), min_size=1, max_size=6))
def test_a_logarithmic_scale_holds_its_values_in_order(values: list[float]) -> None:
    scale = LogScale(*around(values), 0.0, 100.0)
    at = [scale.at(value) for value in sorted(values)]
    assert at == sorted(at)
    assert all(0 <= each <= 100 for each in at)
    for tick in scale.ticks():
        assert scale.low * 0.99 <= tick <= scale.high * 1.01
        assert math.isfinite(float(short(tick).rstrip("kMGTP")))


@given(st.lists(st.tuples(st.floats(20, 380), st.floats(20, 280)), max_size=12))
def test_placed_labels_never_cover_one_another(spots: list[tuple[float, float]]) -> None:
    room = Room(Box(0, 0, 400, 300), [Box(x - 6, y - 6, x + 6, y + 6) for x, y in spots], [])
    marks = list(room.taken)
    for x, y in spots:
        place(room, x, y, "D12")
    for index, label in enumerate(room.texts):
        assert room.inside.holds(label)
        assert not any(label.overlaps(other) for other in (*marks, *room.texts[:index]))
    assert room.texts or not spots
