"""What an estimate is held to: the floor of physics, more load is never faster, and all devices have an answer."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.accelerators import accelerators
from inferwise.errors import BadInput
from inferwise.memory.fit import lower_bound
from inferwise.serving.estimate import Estimate
from inferwise.serving.sweep_load import batches, sweep
from inferwise.spec.tensor import Component
from inferwise.timing.forward import step_seconds
from inferwise.timing.step import Step
from inferwise.timing.table import bottleneck, utilisation

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MODELS = (
    "meta-llama/Llama-3.2-1B-Instruct",
    LLAMA,
    "google/gemma-3-4b-it",
    "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-V2-Lite",
    "openai/gpt-oss-20b",
)
DEVICES = ("h100", "h200", "a100-sxm-80gb", "l40s", "b200-sxm-180gb", "rtx-4090", "mi300x", "apple-m4-max", "epyc-9654")


def test_more_at_once_is_never_faster_for_a_user_nor_slower_in_all() -> None:
    for name in (LLAMA, "Qwen/Qwen3-30B-A3B"):
        for device in ("h100", "mi300x"):
            points = sweep(iw.estimate(name, device, input=512, output=200, concurrency=8))
            assert len(points) > 6
            for low, high in pairwise(points):
                assert high.tpot_s is not None
                assert low.tpot_s is not None
                assert high.tpot_s >= low.tpot_s * (1 - 1e-9)
                assert high.latency_s >= low.latency_s * (1 - 1e-9)
                assert high.tok_s_per_device >= low.tok_s_per_device * 0.99


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(MODELS),
    device=st.sampled_from(DEVICES),
    sizes=st.tuples(st.integers(1, 8000), st.integers(16, 2000), st.integers(1, 300)),
    grown=st.sampled_from(("input", "output", "concurrency")),
)
def test_a_larger_load_takes_no_less_time(name: str, device: str, sizes: tuple[int, int, int], grown: str) -> None:
    asked = dict(zip(("input", "output", "concurrency"), sizes, strict=True))
    low = iw.estimate(name, device, **asked)
    high = iw.estimate(name, device, **(asked | {grown: asked[grown] * 2}))
    assume(low.fits and high.fits)
    assert high.latency_s >= low.latency_s * (1 - 1e-6)
    if grown == "concurrency":
        assert high.tpot_s >= low.tpot_s * (1 - 1e-6)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(MODELS),
    device=st.sampled_from(DEVICES),
    batch=st.integers(1, 512),
    context=st.integers(1, 60_000),
    more=st.floats(1.0, 3.0),
)
def test_a_step_is_monotone_in_batch_and_context(name: str, device: str, batch: int, context: int, more: float) -> None:
    forward = iw.estimate(name, device, input=8, output=8).forward
    step = Step(decodes=float(batch), context=float(context))
    seconds = step_seconds(forward, step)
    assert step_seconds(forward, replace(step, decodes=batch * more)) >= seconds * (1 - 1e-6)
    assert step_seconds(forward, replace(step, context=context * more)) >= seconds * (1 - 1e-6)
    read = Step(prompts=1.0, prompt_tokens=float(context))
    assert step_seconds(forward, replace(read, prompt_tokens=context * more)) >= step_seconds(forward, read) * (
        1 - 1e-6
    )


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(MODELS),
    device=st.sampled_from(DEVICES),
    tokens=st.tuples(st.integers(1, 4000), st.integers(2, 500)),
    batch=st.integers(1, 256),
)
def test_no_time_is_under_the_physical_floor(name: str, device: str, tokens: tuple[int, int], batch: int) -> None:
    made = iw.estimate(name, device, input=tokens[0], output=tokens[1], batch=batch)
    assume(made.fits)
    running = min(batch, int(made.limit))
    floor_bytes, floor_flops = floors(made, running)
    held = made.forward.case.devices[0]
    assert held.memory_bytes_per_s
    assert made.tpot_s >= floor_bytes / held.memory_bytes_per_s
    assert made.tpot_s >= floor_flops * running / max(held.dense_flops.values())
    assert made.ttft_s >= floor_flops * running * tokens[0] / max(held.dense_flops.values())
    assert made.latency_s >= made.ttft_s + (tokens[1] - 1) * made.tpot_s * (1 - 1e-9)


def floors(made: Estimate, batch: int) -> tuple[float, float]:
    """Bytes that a step must read (the active share of the weights without the embedding, the prompts' cache), and
    FLOPs that a token must take (2 a weight that it passes through)."""
    case = replace(made.forward.case, context=made.workload.input, batch=batch)
    bound, model = lower_bound(case), case.model
    parts = bound.weights.by_component()
    looked_up = sum(parts.get(part, 0) for part in (Component.EMBEDDING, Component.VISION))
    active = model.active_parameters / model.parameters
    weights = sum(parts.values()) - looked_up
    outside = model.vocab * model.hidden * 2  # the embedding is looked up; logits are wanted of one token of a prompt
    return active * weights + sum(bound.state.values()), 2.0 * max(model.active_parameters - outside, 0)


def test_rows_add_up_to_the_step_and_shares_to_one() -> None:
    for flags in ({}, {"tp": 2, "pp": 2}, {"weights": "fp8", "tp": 4}):
        made = iw.estimate(LLAMA, "h100", concurrency=8, **flags)  # type: ignore[arg-type]
        for rows in (made.decode, made.prefill):
            assert sum(row.share for row in rows) == pytest.approx(1)
            assert all(row.seconds > 0 for row in rows)
        assert made.decode_step is not None
        assert made.decode_step.decodes == pytest.approx(made.running / len(made.forward.stages))
        assert made.decode_step.context == 1024 + 128
        whole = float(step_seconds(made.forward, made.decode_step))
        assert sum(row.seconds for row in made.decode) == pytest.approx(whole)


@pytest.mark.parametrize("flags", [{"tp": 2, "pp": 2}, {"output": 1}], ids=["decode", "prompt"])
def test_what_is_said_of_a_step_is_that_of_its_rows(flags: dict[str, Any]) -> None:
    made = iw.estimate(LLAMA, "h100", concurrency=8, **flags)
    rows = made.decode or made.prefill
    assert rows is (made.decode or made.prefill)  # kept once asked for
    stages = len(made.forward.stages)  # each works on a micro-batch of its own
    seconds = made.decode_s / stages if stages > 1 else sum(row.seconds for row in rows)
    assert (made.mfu, made.mbu) == pytest.approx(utilisation(made.forward, rows, seconds))
    assert made.mbu < 1
    assert made.bottleneck == bottleneck(rows)


def test_replicas_share_the_load() -> None:
    one = iw.estimate(LLAMA, "h100", concurrency=16)
    four = iw.estimate(LLAMA, "h100", count=4, tp=1, concurrency=64)
    assert four.replicas == 4
    assert four.tpot_s == one.tpot_s
    assert four.output_tok_s == pytest.approx(4 * one.output_tok_s)
    assert one.power_w is not None
    assert four.power_w == pytest.approx(4 * one.power_w)
    single = iw.estimate(LLAMA, "h100", count=4, tp=1)  # three of them have nothing to do
    assert single.output_tok_s == pytest.approx(iw.estimate(LLAMA, "h100").output_tok_s)
    uneven = iw.estimate(LLAMA, "h100", count=4, tp=1, concurrency=61)
    assert four.output_tok_s * 61 / 64 < uneven.output_tok_s < four.output_tok_s


def test_a_batch_that_does_not_fit_is_the_largest_that_does() -> None:
    huge = iw.estimate(LLAMA, "h100", batch=100_000)
    most = iw.fit(LLAMA, "h100", context=1280).max_batch
    assert int(huge.limit) == most
    assert huge.running == most
    assert huge.tpot_s == iw.estimate(LLAMA, "h100", batch=most).tpot_s
    assert any(f"the largest batch that does, {most:,}, is timed" in note for note in huge.notes)
    assert not any("is timed" in note for note in iw.estimate(LLAMA, "h100", batch=most).notes)


def test_what_memory_does_not_hold_waits() -> None:
    full = iw.estimate(LLAMA, "h100", concurrency=4000)
    data = full.to_dict()
    assert data["running"] <= data["max_running"] < 4000
    assert data["waiting"] == pytest.approx(4000 - full.limit)
    held = iw.estimate(LLAMA, "h100", concurrency=int(full.limit))
    assert full.output_tok_s == pytest.approx(held.output_tok_s, rel=0.01)
    assert full.ttft_s > 10 * held.ttft_s
    few = iw.estimate(LLAMA, "h100", concurrency=4000, max_num_seqs=32)
    assert few.limit == 32
    assert few.tpot_s < held.tpot_s


def test_room_for_a_longer_context_is_kept_by_slots_only() -> None:
    """vLLM grows sequences block by block; llama.cpp reserves a slot's whole context."""
    blocks = [iw.estimate(LLAMA, "h100", input=1000, output=24, context=c, concurrency=8).limit for c in (1024, 8192)]
    assert blocks[1] == pytest.approx(blocks[0], rel=0.03)
    gguf: dict[str, Any] = {"weights": "Q4_K_M", "engine": "llama.cpp"}
    slots = [
        iw.estimate(LLAMA, "rtx-4090", input=1000, output=24, context=c, concurrency=8, **gguf).limit
        for c in (1024, 8192)
    ]
    assert slots[1] < slots[0] / 4


def test_one_token_comes_with_its_prompt() -> None:
    one = iw.estimate(LLAMA, "h100", output=1, concurrency=8)
    assert one.latency_s == one.ttft_s
    assert one.decode == ()
    assert one.to_dict()["tpot_s"] is None
    flops = 2 * (8_030_261_248 - 2 * 128_256 * 4096) * 1024
    assert one.request_per_s < max(one.forward.case.devices[0].dense_flops.values()) / flops


def test_a_cached_prefix_and_images_change_the_prompt() -> None:
    plain = iw.estimate(LLAMA, "h100", input=8000)
    cached = iw.estimate(LLAMA, "h100", input=8000, prefix=7000)
    assert cached.ttft_s < plain.ttft_s / 3
    assert cached.tpot_s == plain.tpot_s
    seen = iw.estimate("Qwen/Qwen2.5-VL-7B-Instruct", "h100", images=2, image_tokens=1024)
    unseen = iw.estimate("Qwen/Qwen2.5-VL-7B-Instruct", "h100", input=1024 + 2048)
    assert seen.workload.prompt == 1024 + 2048
    assert seen.ttft_s > unseen.ttft_s


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"input": 0}, "input is 0"),
        ({"input": -3}, "input is -3"),
        ({"output": -1}, "output is -1"),
        ({"input": True}, "input is True"),
        ({"input": 1.5}, "input is 1.5"),
        ({"batch": 10**9}, "batch is 1000000000"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"batch": 2, "concurrency": 2}, "a batch and a concurrency"),
        ({"protocol": "moon"}, "protocol is 'moon'"),
        ({"protocol": "single_stream", "concurrency": 2}, "single stream"),
        ({"prefix": 1024}, "prefix 1024 leaves nothing"),
        ({"acceptance": 0.5}, "acceptance is 0.5"),
        ({"acceptance": math.nan}, "acceptance is nan"),
        ({"acceptance": 3.0, "speculative_tokens": 1}, "acceptance 3"),
        ({"images": 1}, "takes none"),
        ({"context": 100, "input": 90, "output": 90}, "too short"),
        ({"context": 0}, "context"),
        ({"engine": "mlx"}, "mlx"),
        ({"tpp": 2}, "tpp"),
    ],
)
def test_what_cannot_be_asked_is_told(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        iw.estimate(LLAMA, "h100", **asked)


def test_lengths_from_a_context() -> None:
    for asked, lengths in (
        ({"context": 4096}, (3840, 256)),
        ({"context": 100}, (50, 50)),
        ({"context": 4096, "input": 4000}, (4000, 96)),
        ({"context": 4096, "output": 96}, (4000, 96)),
        ({"context": 4096, "input": 10, "output": 10}, (10, 10)),
        ({}, (1024, 256)),
    ):
        made = iw.estimate(LLAMA, "h100", **asked)
        assert (made.workload.input, made.workload.output) == lengths
        assert made.fit.case.context == asked.get("context", 1280)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", {}),
        ("Qwen/Qwen3-30B-A3B", {"engine": "vllm", "weights": "int4"}),
        ("deepseek-ai/DeepSeek-V3", {"count": 8}),
        ("BAAI/bge-m3", {}),
    ],
)
def test_every_device_has_an_answer_or_is_told_why_not(name: str, flags: dict[str, Any]) -> None:
    answered, refused = 0, []
    for device in accelerators():
        try:
            made = iw.estimate(name, device, concurrency=16, **flags)
        except BadInput as error:
            refused.append(error)
            continue
        assert finite(made.to_dict())
        if made.fits:
            answered += 1
            assert made.ttft_s > 0
            assert 0 < made.mfu < 1
            assert 0 < made.mbu < 1
            assert made.latency_s >= made.ttft_s
    assert answered > 20
    assert all(error.remedy for error in refused)


def finite(value: Any) -> bool:
    """Whether no number in it is NaN or infinite."""
    if isinstance(value, dict):
        return all(finite(each) for each in value.values())
    if isinstance(value, list):
        return all(finite(each) for each in value)
    return not isinstance(value, float) or math.isfinite(value)


@given(limit=st.integers(1, 4096), asked=st.integers(1, 5000))
def test_batches_of_a_curve(limit: int, asked: int) -> None:
    found = batches(limit, asked)
    assert found == sorted(set(found))
    assert found[0] == 1
    assert found[-1] == limit
    assert (asked in found) == (asked <= limit)
    assert len(found) <= 15


def test_a_notebook_shows_it() -> None:
    shown = iw.estimate(LLAMA, "h100")._repr_html_()
    assert "<caption>" in shown
    assert "TPOT" in shown
    assert "does not fit" in iw.estimate("meta-llama/Llama-3.1-70B-Instruct", "rtx-4090")._repr_html_()
