"""Speed of a fit in process, and of a machine over the whole catalog: `pytest benchmarks/test_fit_speed.py`."""

from __future__ import annotations

from typing import Any

import pytest

import inferwise as iw
from inferwise.catalog.accelerators import accelerators
from inferwise.memory.survey import over_catalog, over_hardware

CASES = (
    ("meta-llama/Llama-3.1-8B-Instruct", "h100", {}),
    ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090", {"weights": "Q4_K_M"}),
    ("deepseek-ai/DeepSeek-V3", "h200", {"tp": 8, "ep": 8}),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "h100", {"tp": 4}),
    ("google/gemma-3-27b-it", "m4-max", {}),
    ("Qwen/Qwen3-30B-A3B", "h100", {"engine": "sglang"}),
    ("Qwen/Qwen3-30B-A3B", "h100", {"engine": "tensorrt-llm"}),
)


@pytest.mark.parametrize(("model", "gpu", "asked"), CASES)
def test_a_fit(benchmark: Any, model: str, gpu: str, asked: dict[str, Any]) -> None:
    spec = iw.model(model)
    benchmark.pedantic(lambda: iw.fit(spec, gpu, **asked), rounds=30, iterations=5, warmup_rounds=2)


@pytest.mark.parametrize("gpu", ["this", "rtx-4090", "h100", "m3-ultra"])
def test_a_machine_over_the_catalog(benchmark: Any, gpu: str) -> None:
    from inferwise.memory.ask import node_named

    node = node_named(gpu)
    benchmark.pedantic(lambda: over_catalog(node), rounds=3, iterations=1, warmup_rounds=0)


def test_a_model_over_all_hardware(benchmark: Any) -> None:
    model = iw.model("meta-llama/Llama-3.1-70B-Instruct")
    benchmark.pedantic(lambda: over_hardware(model, accelerators().values()), rounds=3, iterations=1, warmup_rounds=1)
