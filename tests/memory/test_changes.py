"""What is offered where it does not fit: each change alone makes it fit, and is the smallest of its lever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.memory.engines import allocate

CASES = (
    ("meta-llama/Llama-3.1-70B-Instruct", "a100-sxm-80gb", {}),
    ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090", {"context": 131072}),
    ("Qwen/Qwen3-30B-A3B", "rtx-3060-12gb", {"engine": "llama.cpp", "weights": "Q8_0", "fit": False}),
    ("google/gemma-3-27b-it", "rtx-3090", {"engine": "llama.cpp", "fit": False}),
    ("openai/gpt-oss-120b", "h100", {"batch": 64, "context": 131072}),
)


@pytest.mark.parametrize(("model", "gpu", "asked"), CASES)
def test_each_change_makes_it_fit(model: str, gpu: str, asked: dict[str, object]) -> None:
    result = iw.fit(model, gpu, **asked)  # type: ignore[arg-type]
    assert not result.fits
    assert result.allocation.problems
    assert result.changes
    for change in result.changes:
        assert change.allocation.fits
        assert change.flags
        assert allocate(change.allocation.case).fits
        told = change.to_dict()
        assert told["max_batch"] >= change.allocation.case.batch
    levers = [change.lever for change in result.changes]
    assert len(levers) == len(set(levers))


@given(st.sampled_from(CASES), st.integers(1, 8))
@settings(deadline=None, max_examples=10)
def test_a_longer_context_than_offered_does_not_fit(case: tuple[str, str, dict[str, object]], batch: int) -> None:
    model, gpu, asked = case
    result = iw.fit(model, gpu, **{**asked, "batch": batch})  # type: ignore[arg-type]
    for change in result.changes:
        if change.lever == "context":
            longest = change.allocation.max_context
            assert longest is not None
            longer = replace(result.case, context=min(longest + 512, result.case.context))
            assert not allocate(longer).fits


def test_fewer_bits_come_first_widest() -> None:
    """A 70B on an 80 GB card: FP8 does, so INT4 is not offered."""
    result = iw.fit("meta-llama/Llama-3.1-70B-Instruct", "h100")
    formats = {change.lever: change.flags for change in result.changes}
    assert formats["weight format"] == "--weights fp8"
    assert formats["devices"] == "--count 2 --tp 2"


def test_nothing_is_offered_where_it_fits() -> None:
    assert iw.fit("meta-llama/Llama-3.1-8B-Instruct", "h100").changes == ()
