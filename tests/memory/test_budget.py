"""What fills the fullest device: terms add up, more never takes less, and the limits that it tells are tight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.engines import layouts
from inferwise.errors import BadInput, UnknownName
from inferwise.memory.budget import MAX_BATCH, Budget, budget
from inferwise.memory.placement import stage_weights
from inferwise.memory.state import layout_for, stage_state_terms
from inferwise.memory.weights import weight_bytes
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import GIB

MODELS = [
    "7b",
    "meta-llama/Llama-3.2-1B-Instruct",
    "deepseek-ai/DeepSeek-V3.2",
    "openai/gpt-oss-20b",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
]
MAMBA = "state-spaces/mamba-2.8b-hf"
DEGREES = [{}, {"tp": 2}, {"tp": 8, "ep": 8}, {"tp": 8, "dp": 4, "pp": 2}, {"tp": 4, "cp": 4}, {"pp": 5}]
WEIGHTS = [None, "int4", "nvfp4", "fp8", "bf16", "fp32"]  # from fewer bits to more, but for the first
KV = ["int4", "q4_0", "fp8_e4m3", "q8_0", "bf16", "fp32", "fp64"]

models, degrees = st.sampled_from(MODELS), st.sampled_from(DEGREES)
contexts, batches = st.integers(1, 300_000), st.integers(1, 500)


def device(gib: float) -> Accelerator:
    return Accelerator(
        slug="x", name="X", memory_bytes=int(gib * GIB), reported_bytes=None, source="made up for the test"
    )


def made(name: str, gib: float = 80, *, engine: str = "vllm", kv: str | None = None, **more: Any) -> Budget:
    parallel = Parallel(**{key: more.pop(key) for key in ("tp", "pp", "ep", "dp", "cp") if key in more})
    return budget(iw.model(name), device(gib), parallel=parallel, layout=layout_for(engine, kv=kv), **more)


@given(models, degrees, contexts, batches, st.sampled_from(WEIGHTS), st.sampled_from(sorted(layouts())))
def test_terms_add_up(
    name: str, parallel: dict[str, int], context: int, batch: int, weights: str | None, engine: str
) -> None:
    found = made(name, engine=engine, context=context, batch=batch, weights=weights, **parallel)
    assert found.weights_bytes + found.state_bytes + found.free_bytes == found.capacity_bytes == 80 * GIB
    assert found.weights_bytes == sum(found.weights.by_component().values()) > 0
    assert found.state_bytes == sum(found.state.values()) > 0
    assert found.fits == (found.free_bytes >= 0) == (found.max_batch >= batch)
    told = found.to_dict()
    assert told["weights"]["total_bytes"] + told["state_bytes"]["total"] == told["total_bytes"]
    assert told["total_bytes"] + told["free_bytes"] == told["capacity_bytes"]


@given(models, degrees, contexts, batches, st.integers(1, 50_000), st.integers(1, 100))
def test_more_tokens_and_more_sequences_never_take_less(
    name: str, parallel: dict[str, int], context: int, batch: int, tokens: int, sequences: int
) -> None:
    found = made(name, context=context, batch=batch, **parallel)
    for longer in (
        made(name, context=context + tokens, batch=batch, **parallel),
        made(name, context=context, batch=batch + sequences, **parallel),
    ):
        assert longer.total_bytes >= found.total_bytes
        assert longer.fits <= found.fits
    assert made(name, context=context + tokens, batch=batch, **parallel).max_batch <= found.max_batch


@given(models, degrees, contexts, st.sampled_from(["vllm", "llama.cpp"]))
def test_more_bits_never_take_less(name: str, parallel: dict[str, int], context: int, engine: str) -> None:
    by_weights = [made(name, context=context, weights=weights, **parallel).total_bytes for weights in WEIGHTS[1:]]
    assert by_weights == sorted(by_weights)
    by_kv = [made(name, engine=engine, context=context, kv=kv, **parallel).total_bytes for kv in KV]
    assert by_kv == sorted(by_kv)


@given(models, contexts, batches)
def test_one_device_holds_the_undivided_sum(name: str, context: int, batch: int) -> None:
    model, found = iw.model(name), made(name, context=context, batch=batch)
    assert found.weights == weight_bytes(model)
    assert found.state_bytes == batch * model.state_bytes(context)


@given(models, degrees, contexts, batches)
def test_the_device_told_of_is_the_fullest(name: str, parallel: dict[str, int], context: int, batch: int) -> None:
    found, dealt = made(name, context=context, batch=batch, **parallel), Parallel(**parallel)
    state = stage_state_terms(found.model, context, found.layout, dealt, batch)
    weights = stage_weights(found.model, None, dealt)
    totals = [w.total + sum(s.values()) for w, s in zip(weights, state, strict=True)]
    assert found.total_bytes == max(totals)


@given(models, degrees, contexts, batches, st.sampled_from([8, 24, 80, 192]))
def test_the_longest_context_and_the_most_sequences_are_tight(
    name: str, parallel: dict[str, int], context: int, batch: int, gib: int
) -> None:
    def fits(context: int, batch: int) -> bool:
        return made(name, gib, context=context, batch=batch, **parallel).fits

    found = made(name, gib, context=context, batch=batch, **parallel)
    longest, most = found.max_context, found.max_batch
    assert longest is not None
    assert longest == 0 or fits(longest, batch)
    assert not fits(longest + 1, batch)
    assert most == 0 or fits(context, most)
    assert most == MAX_BATCH or not fits(context, most + 1)


def test_a_purely_recurrent_model_has_room_for_any_length() -> None:
    found = made(MAMBA, 80, context=MAX_TOKENS)
    assert (found.fits, found.max_context) == (True, None)
    assert set(found.state) == {"recurrent", "convolution"}
    assert found.state_bytes == made(MAMBA, 80, context=1).state_bytes
    assert made(MAMBA, 1, context=1).max_context == 0


def test_llama_8b_on_an_h100_by_hand() -> None:
    found = iw.fit("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm-80gb", context=8192, batch=4).lower_bound
    capacity, weights, token = int(79.19 * GIB), 16_060_522_496, 2 * 32 * 8 * 128 * 2
    assert (found.weights_bytes, found.state, found.capacity_bytes) == (weights, {"kv": 4 * 8192 * token}, capacity)
    assert found.max_batch == (capacity - weights) // (8192 * token) == 64
    assert found.max_context == (capacity - weights) // (4 * token)


def test_a_device_that_is_just_full_fits_and_one_byte_less_does_not() -> None:
    total = made("7b", 80, context=4096, batch=3).total_bytes
    full = replace(device(1), memory_bytes=total)
    assert budget(iw.model("7b"), full, context=4096, batch=3).free_bytes == 0
    short = budget(iw.model("7b"), replace(full, memory_bytes=total - 1), context=4096, batch=3)
    assert (short.fits, short.free_bytes, short.max_context, short.max_batch) == (False, -1, 4095, 2)


def test_what_the_driver_reports_counts_before_the_datasheet() -> None:
    h100 = accelerators()["h100-sxm-80gb"]
    assert budget(iw.model("7b"), h100).capacity_bytes == h100.reported_bytes
    assert budget(iw.model("7b"), replace(h100, reported_bytes=None)).capacity_bytes == 80 * GIB


@pytest.mark.parametrize("name", ["context", "batch"])
@pytest.mark.parametrize("value", [0, -1, True, 1.0, 2**41, 10**100, "8", None, float("nan")])
def test_a_length_or_batch_that_is_not_one_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"^{name} is "):
        budget(iw.model("7b"), device(80), **{name: value})


def test_python_and_its_defaults_give_what_the_stages_give() -> None:
    assert iw.fit("7b", "RTX 4090") == iw.fit(iw.model("7b"), "rtx-4090", context=8192, batch=1, tp=1)
    with pytest.raises(UnknownName, match="unknown device"):
        iw.fit("7b", "no such device")
    with pytest.raises(BadInput, match="pp 33 with 32 layers"):
        iw.fit("7b", "rtx-4090", pp=33)
