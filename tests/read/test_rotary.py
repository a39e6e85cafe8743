"""Rotary tables by kind of scaling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.read.config import model_from_config

PLAIN: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "intermediate_size": 2048,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}


def tables(**fields: Any) -> list[tuple[int, int]]:
    return [(table.positions, table.width) for table in model_from_config({**PLAIN, **fields}).rotary]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [(4096, 128)]),
        ({"partial_rotary_factor": 0.5}, [(4096, 64)]),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, [(16384, 128)]),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}},
            [(4096, 128)],
        ),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}},
            [(8192, 128)],
        ),
        ({"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 2048}}, [(6144, 128)]),
        ({"rope_scaling": {"type": "default", "mrope_section": [16, 24, 24]}}, [(16384, 128)]),
    ],
)
def test_lengths_follow_the_scaling(fields: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    assert tables(**fields) == expected


def test_published_ones() -> None:
    # What vLLM's loaded weights have beside the parameters (docs/memory_vllm.md): 2.5 GiB for ten million positions.
    scout = iw.model("meta-llama/Llama-4-Scout-17B-16E-Instruct").rotary
    assert sum(table.size_bytes() for table in scout) == 10_485_760 * 128 * 2
    gemma = iw.model("google/gemma-3-12b-it").rotary
    assert [table.size_bytes() / 2**20 for table in gemma] == [64, 512]
    assert iw.model("openai-community/gpt2").rotary == ()
    assert [table.width for table in iw.model("deepseek-ai/DeepSeek-V3").rotary] == [64]


@given(
    st.dictionaries(
        st.sampled_from(["rope_type", "type", "factor", "original_max_position_embeddings", "mrope_section"]),
        st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=8), st.lists(st.integers(), max_size=2)),
    )
)
@settings(deadline=None, max_examples=100)
def test_any_scaling_gives_bounded_tables(scaling: dict[str, Any]) -> None:
    for positions, width in tables(rope_scaling=scaling):
        assert 0 < positions <= 2**31
        assert width == 128
