"""Speed of one estimate in process: `pytest benchmarks/test_estimate_speed.py`. The aim is 3 ms for each case.

The model is read and the catalog loaded before; a deployment's tensors and operators are kept between its estimates.
"new" builds the operators each time, and searches llama.cpp's placement: a deployment that was not asked about before.
"""

from __future__ import annotations

from typing import Any

import pytest

from inferwise.memory.llama_cpp.search import fitted
from inferwise.serving.ask_load import question
from inferwise.serving.estimate import estimate
from inferwise.timing.deploy import built

CASES = {
    "dense": ("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", 1, {"concurrency": 16}),
    "dense tp": ("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", 4, {"concurrency": 64}),
    "latent": ("deepseek-ai/DeepSeek-V3", "h200-sxm", 8, {"concurrency": 64}),
    "experts": ("openai/gpt-oss-120b", "h100-sxm", 2, {"concurrency": 8}),
    "windows": ("google/gemma-3-27b-it", "h100-sxm", 2, {"concurrency": 8}),
    "batch": ("Qwen/Qwen3-30B-A3B", "a100-sxm-80gb", 1, {"batch": 32}),
    "one stream": ("Qwen/Qwen3-8B", "mi300x", 1, {}),
    "gguf": ("meta-llama/Llama-3.1-8B-Instruct", "rtx-4090", 1, {"weights": "Q4_K_M"}),
    "gguf, offloaded": ("meta-llama/Llama-3.1-70B-Instruct", "rtx-4090", 1, {"weights": "Q4_K_M"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("deployment", ["kept", "new"])
def test_an_estimate(benchmark: Any, case: str, deployment: str) -> None:
    model, gpu, count, load = CASES[case]
    asked = question(model, gpu, count, **load)

    def answer() -> None:
        if deployment == "new":
            built.cache_clear()
            fitted.cache_clear()
        estimate(asked.case, asked.workload, replicas=asked.replicas)

    benchmark.pedantic(answer, rounds=40, iterations=3, warmup_rounds=3)
