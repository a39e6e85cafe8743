"""What lies on the host: fetched each step, run by its processor, or streamed where that is faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as example
from hypothesis import strategies as st

from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Host
from inferwise.timing.decompose.offload import host_device
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, part_seconds, step_seconds
from inferwise.timing.operators.attention import DecodeAttention
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.offload import Fetch, OnHost
from inferwise.timing.step import Step
from inferwise.timing.table import table, utilisation

DECODE = Step(decodes=1.0, context=1000.0)
PREFILL = Step(prompts=1.0, prompt_tokens=512.0)
PCIE_4 = 31.504e9
GB = 10**9


def case_of(
    model: str = "meta-llama/Llama-3.1-8B",
    device: str = "rtx-4090",
    engine: str = "llama.cpp",
    host: Host | None = None,
    **settings: Any,
) -> Case:
    weights: dict[str, Any] = {"weights": "Q4_K_M"} if engine in ("llama.cpp", "ollama") else {}
    node = hardware(device)
    node = replace(node, host=host) if host else node
    return deployment(resolve(model), node, engine=engine, settings=Settings(**settings), **weights)


def seconds(case: Case, step: Step = DECODE) -> float:
    return float(step_seconds(forward(case), step))


def part(made: Forward, name: str, step: Step = DECODE) -> float:
    return sum(float(part_seconds(made, step, stage).get(name, 0.0)) for stage in range(len(made.stages)))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_offloaded_weights_come_over_pcie_in_every_step(engine: str) -> None:
    plain = case_of(engine=engine)
    less = case_of(engine=engine, offload_weight_bytes=4 * GB)
    more = case_of(engine=engine, offload_weight_bytes=8 * GB)
    assert part(forward(plain), "offload") == 0
    assert part(forward(less), "offload") > 0.9 * 4 * GB / PCIE_4
    assert part(forward(more), "offload") == pytest.approx(2 * part(forward(less), "offload"), rel=0.01)
    assert seconds(more) == pytest.approx(seconds(plain) + part(forward(more), "offload"), rel=1e-6)
    assert any("PCIe" in note for note in forward(more).notes)


def test_kernels_that_read_in_place_fetch_only_the_experts_that_are_hit() -> None:
    asked: dict[str, Any] = {"model": "Qwen/Qwen3-30B-A3B", "device": "h100-sxm-80gb", "offload_weight_bytes": 30 * GB}
    in_place, copied = forward(case_of(engine="vllm", **asked)), forward(case_of(engine="sglang", **asked))
    moved = [
        sum(float(each.work(DECODE)[1]) for each in made.stages[0] if isinstance(each, Fetch))
        for made in (in_place, copied)
    ]
    assert moved[1] == 30 * GB
    assert moved[0] < 0.2 * moved[1]  # 8 of 128 experts
    many = Step(decodes=512.0, context=1000.0)
    fetched = sum(float(each.work(many)[1]) for each in in_place.stages[0] if isinstance(each, Fetch))
    assert 0.8 * 30 * GB < fetched <= 30.01 * GB


def test_all_on_the_device_is_as_without_placing() -> None:
    assert not [each for each in forward(case_of()).stages[0] if isinstance(each, OnHost)]
    assert seconds(case_of()) == pytest.approx(seconds(case_of(gpu_layers=99)), rel=1e-12)


@example(deadline=None, max_examples=12)
@given(layers=st.integers(0, 31))
def test_fewer_layers_on_the_device_take_longer(layers: int) -> None:
    low, high = case_of(gpu_layers=layers), case_of(gpu_layers=layers + 1)
    assert seconds(low) > seconds(high)
    assert seconds(low, PREFILL) > 0


def test_host_layers_read_the_hosts_memory() -> None:
    slow = case_of(gpu_layers=0, host=Host(memory_bytes_per_s=50e9))
    fast = case_of(gpu_layers=0, host=Host(memory_bytes_per_s=400e9))
    weights = 4.5e9  # of 8 billion parameters in Q4_K_M, the embedding apart
    assert seconds(slow) > weights / 50e9
    assert weights / 400e9 < seconds(fast) < seconds(slow) / 3
    assert host_device(slow).memory_bytes_per_s == 50e9
    assert "50 GB/s (as given)" in forward(slow).notes[0]
    assert "assumed" in forward(case_of(gpu_layers=0)).notes[0]


def test_long_prompts_stream_weights_to_the_device() -> None:
    made = forward(case_of(gpu_layers=0))
    streamed = [each for each in made.stages[0] if isinstance(each, OnHost) and each.device is not None]
    assert streamed
    for each in streamed:
        host, both = float(each.inner.seconds(PREFILL)), float(each.one(PREFILL))
        assert both <= host
        assert float(each.one(DECODE)) <= float(each.inner.seconds(DECODE))
    long = Step(prompts=1.0, prompt_tokens=2048.0)
    assert any(float(each.one(long)) < float(each.inner.seconds(long)) for each in streamed)


def test_experts_on_the_host() -> None:
    counts: list[Any] = []
    for layers in (0, 12, 48):
        made = forward(case_of("Qwen/Qwen3-30B-A3B", cpu_moe_layers=layers))
        on_host = sum(
            each.count for each in made.stages[0] if isinstance(each, OnHost) and each.name.startswith("experts")
        )
        on_device = sum(each.count for each in made.stages[0] if isinstance(each, RoutedExperts))
        counts.append((on_host, on_device))
    # a mix stores some layers' experts in wider types: 12 layers are about a quarter of the bytes
    assert counts[0] == (0, 48)
    assert counts[1] == (pytest.approx(12, abs=1.5), pytest.approx(36, abs=1.5))
    assert counts[2] == (pytest.approx(48), 0)
    times = [seconds(case_of("Qwen/Qwen3-30B-A3B", cpu_moe_layers=layers)) for layers in (0, 12, 48)]
    assert times == sorted(times)
    patterns = case_of("Qwen/Qwen3-30B-A3B", override_tensors=((r"ffn_.*_exps", "CPU"),))
    assert seconds(patterns) == pytest.approx(times[2], rel=1e-6)


def test_a_cache_on_the_host_is_attended_to_there() -> None:
    made = forward(case_of(kv_offload=False))
    assert not [each for each in made.stages[0] if isinstance(each, DecodeAttention)]
    assert part(made, "host", Step(decodes=1.0, context=100_000.0)) > part(made, "host") > 0
    assert seconds(case_of(kv_offload=False)) > seconds(case_of())


def test_what_does_not_fit_is_timed_as_it_is_placed() -> None:
    large = case_of("meta-llama/Llama-3.1-70B")
    made = forward(large)
    assert part(made, "host") > 0.5 * seconds(large)  # half of it lies on the host, ten times slower
    assert 30 < made.layers[0] == 80
    ollama = forward(case_of("meta-llama/Llama-3.1-70B", engine="ollama"))
    assert part(ollama, "host") > 0


def test_layers_follow_the_devices_free_memory() -> None:
    made = forward(case_of(device="rtx-4090+rtx-3060-12gb"))
    assert made.layers[0] > made.layers[1] > 0
    assert sum(made.layers) == 32
    assert made.stages[0][0].bytes_per_s > made.stages[1][0].bytes_per_s


def test_memory_that_is_shared_has_nothing_to_fetch() -> None:
    made = forward(case_of(device="m4-max"))
    assert not [each for each in made.stages[0] if each.part in ("host", "offload")]


def test_a_device_whose_link_is_not_known_is_refused() -> None:
    node = hardware("rtx-4090")
    device = replace(node.devices[0], pcie_bytes_per_s=None)
    case = replace(case_of(gpu_layers=5), node=replace(node, devices=(device,)))
    with pytest.raises(BadInput, match="link to its host"):
        forward(case)


def test_what_the_host_does_counts_for_no_device() -> None:
    made = forward(case_of(gpu_layers=0))
    rows = table(made, DECODE)
    total = sum(row.seconds for row in rows)
    assert total == pytest.approx(float(step_seconds(made, DECODE)), rel=1e-9)
    assert utilisation(made, rows, total) == (0.0, 0.0)
