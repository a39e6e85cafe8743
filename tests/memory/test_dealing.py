"""Which degrees a model admits, and which are taken where the user names devices only."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.errors import BadInput
from inferwise.memory.dealing import check_dealing, default_parallel
from inferwise.spec.deployment import Parallel

NAMES = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "deepseek-ai/DeepSeek-V3",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "openai/gpt-oss-20b",
)


@pytest.mark.parametrize(
    ("name", "count", "tp", "pp"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8, 8, 1),
        ("meta-llama/Llama-3.1-8B-Instruct", 6, 2, 3),
        ("Qwen/Qwen2.5-7B-Instruct", 8, 4, 2),  # 28 heads
        ("Qwen/Qwen2.5-7B-Instruct", 7, 1, 7),  # 28 heads, but 18,944 columns
        ("deepseek-ai/DeepSeek-V3", 3, 1, 3),
    ],
)
def test_tensor_parallelism_as_far_as_it_divides(name: str, count: int, tp: int, pp: int) -> None:
    assert default_parallel(iw.model(name), "vllm", count) == Parallel(tp=tp, pp=pp)


@given(st.sampled_from(NAMES), st.integers(1, 24))
@settings(deadline=None, max_examples=60)
def test_what_is_taken_is_admitted_and_uses_every_device(name: str, count: int) -> None:
    model = iw.model(name)
    parallel = default_parallel(model, "sglang", count)
    assert parallel.devices == count
    check_dealing(model, parallel)


def test_experts_are_dealt_whole_where_their_blocks_would_be_cut() -> None:
    """1,536 columns over eight ranks are no multiple of the FP8 blocks of 128."""
    assert default_parallel(iw.model("Qwen/Qwen3-235B-A22B-FP8"), "vllm", 8) == Parallel(tp=8, ep=8)


def test_engines_of_one_process_have_no_ranks() -> None:
    model = iw.model(NAMES[0])
    assert default_parallel(model, "llama.cpp", 4) == Parallel()


@pytest.mark.parametrize(
    ("name", "degrees", "words"),
    [
        (NAMES[0], {"tp": 3}, r"tp 3 does not divide 32 heads .* 1, 2, 4, 8, 16, 32"),
        (NAMES[0], {"pp": 40}, "pp 40 with 32 layers"),
        (NAMES[2], {"tp": 32}, "blocks of 128"),  # 2,048 / 32 = 64 columns of an expert
    ],
)
def test_what_is_not_admitted_says_what_would_be(name: str, degrees: dict[str, int], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_dealing(iw.model(name), Parallel(**degrees))


def test_experts_dealt_whole_need_no_division() -> None:
    check_dealing(iw.model(NAMES[2]), Parallel(tp=32, ep=32), weights="bf16")


def test_experts_need_to_divide_over_the_ranks_of_their_group_only() -> None:
    """768 columns in blocks of 128: over four ranks 192, over the two of each of two groups 384."""
    model = iw.model("Qwen/Qwen3-30B-A3B")
    check_dealing(model, Parallel(tp=4, ep=2), weights="fp8_block")
    with pytest.raises(BadInput, match="tp 4 leaves 192 columns"):
        check_dealing(model, Parallel(tp=4), weights="fp8_block")
