"""The surrogate against the operators that it stands for."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.errors import BadInput
from inferwise.serving.ask_load import question
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, step_seconds
from inferwise.timing.step import Step
from inferwise.timing.surrogate import Surrogate, as_dict, decode_line, from_dict, surrogate, surrogate_seconds
from inferwise.timing.views import Ranges

WITHIN = 0.005
RANGES = Ranges(decodes=256, context=65536, prompt_tokens=8192, past=65536, prompts=8)
# dense GQA, MoE, MLA, sparse MLA, windows, hybrids of both kinds, GGUF; devices, degrees
DEPLOYMENTS = {
    "dense": ("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", 1, {}),
    "dense tp": ("meta-llama/Llama-3.1-70B-Instruct", "a100-sxm-80gb", 4, {}),
    "dense pp": ("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", 4, {"tp": 2, "pp": 2}),
    "experts": ("Qwen/Qwen3-30B-A3B", "mi300x", 1, {}),
    "latent": ("deepseek-ai/DeepSeek-V3", "h200-sxm", 8, {}),
    "latent dp": ("deepseek-ai/DeepSeek-V3", "h200-sxm", 8, {"tp": 8, "dp": 8, "ep": 8}),
    "sparse": ("deepseek-ai/DeepSeek-V3.2", "b200-sxm", 8, {}),
    "windows": ("google/gemma-3-27b-it", "h100-sxm", 2, {}),
    "sinks": ("openai/gpt-oss-120b", "h100-sxm", 2, {}),
    "gated delta": ("Qwen/Qwen3-Next-80B-A3B-Instruct", "h100-sxm", 4, {}),
    "mamba": ("ibm-granite/granite-4.0-h-small", "h100-sxm", 2, {}),
    "gguf": ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090", 1, {"weights": "Q4_K_M"}),
}


@cache
def built(name: str) -> tuple[Forward, Surrogate]:
    model, gpu, count, flags = DEPLOYMENTS[name]
    ready = forward(question(model, gpu, count, **flags).case)
    return ready, surrogate(ready, RANGES)


def error(name: str, step: Step) -> float:
    ready, made = built(name)
    return float(np.max(np.abs(surrogate_seconds(made, step) / step_seconds(ready, step) - 1)))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_within_half_a_percent_of_the_operators_all_over_its_range(name: str) -> None:
    draw, size = np.random.default_rng(7), 3000

    def spread(high: float) -> np.ndarray:
        return np.round(np.exp(draw.uniform(0, np.log(high), size)))

    prompts = spread(RANGES.prompts)
    decoding = {"decodes": spread(RANGES.decodes), "context": spread(RANGES.context)}
    reading = {
        "prompts": prompts,
        "prompt_tokens": np.maximum(1, spread(RANGES.prompt_tokens) // prompts),
        "past": spread(RANGES.past) * (draw.random(size) > 0.3),
    }
    assert error(name, Step(**decoding)) <= WITHIN
    assert error(name, Step(**reading)) <= WITHIN
    assert error(name, Step(**decoding, **reading)) <= WITHIN


@given(
    name=st.sampled_from(sorted(DEPLOYMENTS)),
    decodes=st.integers(0, 256),
    context=st.integers(1, 65536),
    tokens=st.integers(0, 8192),
    past=st.integers(0, 65536),
)
@settings(deadline=None, max_examples=60)
def test_any_whole_step_is_within_half_a_percent(name: str, decodes: int, context: int, tokens: int, past: int) -> None:
    if decodes or tokens:
        reading = {"prompts": 1.0, "prompt_tokens": float(tokens), "past": float(past)} if tokens else {}
        assert error(name, Step(decodes=float(decodes), context=float(context), **reading)) <= WITHIN


@pytest.mark.parametrize("name", ["dense", "windows", "sparse", "latent"])
def test_time_is_a_line_in_cached_tokens_up_to_the_next_knot(name: str) -> None:
    _, made = built(name)
    context, lines = 100.0, 0
    while context < RANGES.context:
        seconds, slope, upto = decode_line(made, 32.0, context)
        assert slope >= 0
        assert upto > context
        for share in (0.25, 0.5, 1.0):
            at = context + share * (min(upto, RANGES.context) - context)
            there = surrogate_seconds(made, Step(decodes=32.0, context=at))
            assert there == pytest.approx(seconds + slope * (at - context), rel=1e-9)
        context, lines = upto, lines + 1
    assert lines < 60
    assert decode_line(made, 32.0, RANGES.context)[1:] == (0.0, float("inf"))


def test_knots_are_few_and_say_why_they_are_there() -> None:
    _, windows = built("windows")
    names = {name for stage in windows.stages for table in stage for axis in table.axes for name in axis.names}
    assert "window 1024" in names
    assert any(name.startswith("tile") for name in names)
    _, sparse = built("sparse")
    assert "top-k 2048" in {n for s in sparse.stages for t in s for axis in t.axes for n in axis.names}
    assert all(built(name)[1].knots < 60_000 for name in DEPLOYMENTS)


def test_equal_stages_share_nothing_wrong_and_json_keeps_all() -> None:
    _, made = built("dense pp")
    assert len(made.stages) == 2
    again = from_dict(json.loads(json.dumps(as_dict(made))))
    step = Step(decodes=np.arange(1.0, 50.0), context=777.0, prompts=1.0, prompt_tokens=300.0, past=50.0)
    assert np.array_equal(surrogate_seconds(again, step), surrogate_seconds(made, step))


def test_scalars_are_arrays_elementwise() -> None:
    _, made = built("experts")
    decodes, context = np.array([1.0, 7.0, 200.0]), np.array([5.0, 900.0, 60000.0])
    many = surrogate_seconds(made, Step(decodes=decodes, context=context))
    each = [surrogate_seconds(made, Step(decodes=b, context=c)) for b, c in zip(decodes, context, strict=True)]
    assert np.allclose(many, np.array(each, dtype=float), rtol=1e-12, atol=0)


@pytest.mark.parametrize("field", ["decodes", "context", "prompt_tokens", "past", "prompts", "queries"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_ranges_are_numbers_of_at_least_one(field: str, value: float) -> None:
    with pytest.raises(BadInput, match=field):
        Ranges(**{field: value})


def test_what_is_no_surrogate_is_said() -> None:
    with pytest.raises(BadInput, match="not a surrogate"):
        from_dict({"stages": []})
