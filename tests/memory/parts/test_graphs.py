from __future__ import annotations

import pytest

import inferwise as iw
from inferwise.catalog.accelerators import accelerator
from inferwise.catalog.engines import engine, layouts
from inferwise.memory.case import Case
from inferwise.memory.parts.graphs import capture_sizes, captured_sets, graph_bytes
from inferwise.memory.placement import stages
from inferwise.spec.hardware import Node


def sets_of(version: str, sequences: int, *, drafted: int = 0, blackwell: bool = False) -> list[int]:
    """How many sizes each set of a version has, in a server's step of 8,192 tokens."""
    defaults = engine("vllm", version).defaults
    made = captured_sets(defaults, sequences=sequences, tokens=8192, drafted=drafted, blackwell=blackwell)
    return [len(sizes) for sizes in made]


@pytest.mark.parametrize(
    ("version", "sequences", "expected"),
    [
        ("0.6.6", 256, [35]),  # 1, 2, 4 and every 8 to 256, of whole decode steps
        ("0.8.5", 256, [67]),  # to 512 in pieces, whatever max_num_seqs
        ("0.10.2", 64, [19]),  # to twice max_num_seqs
        ("0.11.0", 256, [67, 35]),  # in pieces, and whole decode steps
        ("0.19.0", 1024, [51, 51]),  # every 16 from 256 on
        ("0.19.0", 256, [51, 35]),
        ("0.19.0", 1, [2, 1]),
    ],
)
def test_sizes_of_each_version(version: str, sequences: int, expected: list[int]) -> None:
    assert sets_of(version, sequences) == expected


def test_blackwell_and_drafts_capture_more() -> None:
    assert sets_of("0.28.0", 1024, blackwell=True) == [83, 83]
    assert sets_of("0.27.1", 1024, blackwell=True) == [51, 51]
    assert sets_of("0.19.0", 64, drafted=3) == [51, 35]
    assert capture_sizes(3, 16) == [1, 2]
    assert capture_sizes(512, 16)[-2:] == [496, 512]


def test_at_least_a_mebibyte_a_graph_and_the_activations_of_the_largest() -> None:
    device = accelerator("h100-sxm-80gb")
    case = Case(
        model=iw.model("meta-llama/Llama-3.1-8B-Instruct"),
        node=Node(devices=(device,)),
        engine=engine("vllm", "0.19.0"),
        layout=layouts()["vllm"],
    )
    stage = stages(case.model, None, case.parallel)[0]
    size, how = graph_bytes(case, stage, 1024, 8192)
    few, _ = graph_bytes(case, stage, 64, 8192)
    gate_up_and_product = 512 * 3 * 14336 * 2
    assert 100 * 2**20 + gate_up_and_product <= size <= 100 * 2**20 + 2 * gate_up_and_product
    assert few < size
    assert "51 sizes" in how
    short, _ = graph_bytes(case, stage, 1024, 128)
    assert few < short < size  # the same sizes of pieces, more of whole steps
