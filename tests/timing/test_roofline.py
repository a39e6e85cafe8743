"""No engine's profile takes an operator under its roofline, whatever the load."""

from __future__ import annotations

import pytest

from inferwise.serving.ask_load import question
from inferwise.timing.deploy import forward as forward_of
from inferwise.timing.step import Step
from inferwise.timing.table import works

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("model", "gpu", "engine", "version"),
    [
        (LLAMA, "mi300x", "vllm", None),
        (LLAMA, "mi300x", "vllm", "0.4.3"),
        (LLAMA, "mi250", "vllm", "0.4.3"),
        (LLAMA, "h100", "vllm", "0.4.3"),
        (LLAMA, "h100", "tensorrt-llm", "0.9.0"),
        ("mistralai/Mixtral-8x7B-v0.1", "h200", "tensorrt-llm", "0.9.0"),
        ("Qwen/Qwen3-30B-A3B", "b200", "sglang", None),
        ("deepseek-ai/DeepSeek-V3", "h200", "vllm", None),
    ],
)
def test_no_profile_takes_an_operator_under_its_roofline(
    model: str, gpu: str, engine: str, version: str | None
) -> None:
    count = 8 if "DeepSeek" in model else 1
    ready = forward_of(question(model, gpu, count, engine=engine, engine_version=version).case)
    for decodes, context, prompts, tokens in (
        (1, 100, 0, 0), (40, 32000, 0, 0), (256, 60000, 0, 0), (0, 1, 1, 32000), (0, 1, 16, 2048), (64, 4000, 1, 1024),
    ):  # fmt: skip
        step = Step(decodes=float(decodes), context=float(context), prompts=float(prompts), prompt_tokens=float(tokens))
        for work in works(ready, step):
            assert work.nearest <= 1 + 1e-6, (work.part, decodes, context, prompts, tokens)
