"""The same function takes scalars and arrays: arrays are the scalars, element by element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.serving.ask_load import question
from inferwise.serving.steady import Load, Rates, closed_loop, decode_seconds, prefill_seconds, static_batch
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, step_seconds
from inferwise.timing.step import Step

DEPLOYMENTS = (
    ("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", 1, ()),
    ("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", 4, (("tp", 2), ("pp", 2))),
    ("deepseek-ai/DeepSeek-V3", "h200-sxm", 8, ()),
    ("openai/gpt-oss-120b", "h100-sxm", 2, ()),
    ("google/gemma-3-27b-it", "mi300x", 1, ()),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "h100-sxm", 4, ()),
    ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090", 1, (("weights", "Q4_K_M"),)),
)
BUDGET = 8192.0
LOADS = st.lists(
    st.tuples(st.integers(1, 20000), st.integers(2, 4000), st.integers(1, 512), st.integers(1, 600)),
    min_size=1,
    max_size=5,
)


@cache
def ready(name: int) -> Forward:
    model, gpu, count, flags = DEPLOYMENTS[name]
    return forward(question(model, gpu, count, **dict(flags)).case)


def rates(values: Rates) -> dict[str, Any]:
    return {field.name: getattr(values, field.name) for field in fields(values)}


FORMS: dict[str, Callable[[Forward, Load, Any], dict[str, Any]]] = {
    "closed_loop": lambda f, load, limit: rates(closed_loop(f, load, BUDGET, limit)),
    "static_batch": lambda f, load, limit: rates(static_batch(f, load, BUDGET)),
    "decode_seconds": lambda f, load, limit: {"decode": decode_seconds(f, load.concurrency, load)},
    "prefill_seconds": lambda f, load, limit: {"read": prefill_seconds(f, load.concurrency, load, BUDGET, limit)},
}


@pytest.mark.parametrize("form", FORMS)
@given(which=st.integers(0, len(DEPLOYMENTS) - 1), loads=LOADS)
@settings(deadline=None, max_examples=25)
def test_arrays_of_loads_are_their_scalars(form: str, which: int, loads: list[tuple[int, int, int, int]]) -> None:
    columns = [np.array(column, dtype=float) for column in zip(*loads, strict=True)]
    together = FORMS[form](ready(which), Load(input=columns[0], output=columns[1], concurrency=columns[2]), columns[3])
    for row, values in enumerate(zip(*columns, strict=True)):
        given_, answer, requests, limit = (float(value) for value in values)
        alone = FORMS[form](ready(which), Load(input=given_, output=answer, concurrency=requests), limit)
        for name, value in alone.items():
            assert np.ndim(value) == 0
            assert np.isfinite(value)
            assert value > 0
            assert float(np.broadcast_to(together[name], len(loads))[row]) == pytest.approx(float(value), rel=1e-12)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 300), st.integers(1, 50000), st.integers(0, 9), st.integers(1, 8000), st.integers(0, 50000)
    ),
    min_size=1,
    max_size=6,
)


@given(which=st.integers(0, len(DEPLOYMENTS) - 1), steps=STEPS)
@settings(deadline=None, max_examples=60)
def test_arrays_of_steps_are_their_scalars(which: int, steps: list[tuple[int, ...]]) -> None:
    names = ("decodes", "context", "prompts", "prompt_tokens", "past")
    columns = {
        name: np.array(column, dtype=float) for name, column in zip(names, zip(*steps, strict=True), strict=True)
    }
    together = np.broadcast_to(step_seconds(ready(which), Step(**columns)), len(steps))
    for row, values in enumerate(steps):
        alone = step_seconds(ready(which), Step(**dict(zip(names, map(float, values), strict=True))))
        assert float(together[row]) == pytest.approx(float(alone), rel=1e-12)
        assert (alone > 0) == (values[0] + values[2] > 0)
