"""Adapters: their bytes are those of the accounting of memory, and they cost launches and the adapters that are hit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.hardware import hardware
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.placement import stages
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Lora
from inferwise.timing.deploy import forward
from inferwise.timing.operators.adapters import Adapters
from inferwise.timing.step import Step


def case_of(model: str = "meta-llama/Llama-3.1-8B", tp: int = 1, engine: str = "vllm", **lora: int) -> Case:
    device = "h100-sxm-80gb" if engine == "vllm" else "rtx-4090"
    load = {"weights": "Q8_0"} if engine != "vllm" else {}
    return deployment(resolve(model), hardware(device), engine=engine, degrees={"tp": tp}, lora=Lora(**lora), **load)


def adapters(case: Case) -> list[Adapters]:
    return [each for stage in forward(case).stages for each in stage if isinstance(each, Adapters)]


@pytest.mark.parametrize("tp", [1, 2, 8])
@pytest.mark.parametrize("model", ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B"])
def test_all_adapters_together_are_the_bytes_that_memory_counts(model: str, tp: int) -> None:
    case = case_of(model, tp, slots=4, rank=16)
    assert case.lora is not None
    read = sum(
        each.count * each.slots * each.element_bytes * each.rank * (each.slices * each.k + each.n)
        for each in adapters(case)
    )
    held = lora_bytes(case.model, stages(case.model, None, case.parallel)[0].tensors, case.lora)
    assert read == pytest.approx(held, rel=1e-3)


def test_a_layer_has_four_pairs_of_kernels() -> None:
    found = adapters(case_of(slots=4, rank=16))
    assert sum(each.count for each in found) == 4 * 32  # qkv, o, gate and up, down
    assert sorted(each.slices for each in found) == [1, 1, 2, 3]
    assert all(each.part == "lora" for each in found)


@settings(deadline=None, max_examples=50)
@given(slots=st.integers(1, 64), batch=st.floats(1, 512))
def test_hit_adapters_are_between_one_and_all(slots: int, batch: float) -> None:
    each = adapters(case_of(slots=slots, rank=8))[0]
    hit = float(each.hit(Step(decodes=batch, context=100.0)))
    assert 1 - 1e-9 <= hit <= min(slots, batch) + 1e-9
    assert hit <= float(each.hit(Step(decodes=2 * batch, context=100.0))) + 1e-9


def test_seconds_hold_two_launches_and_the_bytes() -> None:
    few, many = adapters(case_of(slots=1, rank=16)), adapters(case_of(slots=64, rank=16))
    step = Step(decodes=64.0, context=100.0)
    for one, all_of in zip(few, many, strict=True):
        assert float(one.one(step)) > 2 * one.curve.coefficients["launch"]
        assert float(all_of.one(step)) > float(one.one(step))
        moved = float(all_of.work(step)[1])
        assert float(all_of.one(step)) >= moved / all_of.bytes_per_s


def test_llama_cpp_runs_one_adapter_at_a_time() -> None:
    found = adapters(case_of(engine="llama.cpp", slots=8, rank=16))
    assert found
    assert all(float(each.hit(Step(decodes=32.0, context=10.0))) == 1.0 and each.element_bytes == 4 for each in found)


def test_adapters_take_arrays() -> None:
    each = adapters(case_of(slots=8, rank=16))[0]
    batches = np.array([1.0, 7.0, 99.0])
    found = np.asarray(each.one(Step(decodes=batches, context=10.0)))
    assert found == pytest.approx([float(each.one(Step(decodes=float(b), context=10.0))) for b in batches], rel=1e-12)


def test_without_adapters_there_are_none() -> None:
    assert not adapters(deployment(resolve("meta-llama/Llama-3.1-8B"), hardware("h100-sxm-80gb"), engine="vllm"))
