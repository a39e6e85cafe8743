"""A deployment's operators are kept between estimates, and told apart by all that they follow from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inferwise.memory.case import Case
from inferwise.memory.llama_cpp.search import fitted
from inferwise.serving.ask_load import question
from inferwise.serving.estimate import estimate
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Lora
from inferwise.timing.deploy import built, forward
from inferwise.timing.forward import part_seconds, stage_seconds
from inferwise.timing.step import Step

LLAMA, QWEN = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B"
STEP = Step(decodes=8.0, context=2000.0, prompts=1.0, prompt_tokens=300.0)


def case(model: str = LLAMA, device: str = "h100-sxm", count: int = 4, **flags: Any) -> Case:
    return question(model, device, count, concurrency=8, **flags).case


def test_lengths_and_batches_share_the_operators() -> None:
    one = case()
    other = replace(one, context=one.context + 1024, batch=5)
    short, long = forward(one), forward(other)
    assert short.stages is long.stages
    assert (short.case, long.case) == (one, other)


@pytest.mark.parametrize(
    "changed",
    [
        {"parallel": Parallel(tp=2, pp=2)},
        {"parallel": Parallel(tp=4, dp=4)},
        {"weights": "fp8"},
        {"lora": Lora(slots=4)},
        {"model": case(QWEN).model},
        {"draft": case().model, "speculative_tokens": 2},
        {"layout": case(kv="fp8").layout},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_deployment_has_operators_of_its_own(changed: dict[str, Any]) -> None:
    plain = case()
    other = replace(plain, **changed)
    forward(plain)
    found = forward(other)
    assert found.stages != forward(plain).stages
    built.cache_clear()
    assert forward(other) == found


def test_another_placement_has_operators_of_its_own() -> None:
    """Where llama.cpp places fewer layers for a longer context, more of them run on the host."""
    asked = question("meta-llama/Llama-3.1-70B-Instruct", "rtx-4090", 1, weights="Q4_K_M").case
    short, long = forward(asked), forward(replace(asked, context=asked.context * 8))
    on_host = [sum(operator.count for operator in made.stages[0] if operator.part == "host") for made in (short, long)]
    assert on_host[0] < on_host[1]


def test_an_answer_is_the_same_the_second_time() -> None:
    for model, device, flags in ((LLAMA, "h100-sxm", {}), (LLAMA, "rtx-4090", {"weights": "Q4_K_M"})):
        asked = question(model, device, 1, **flags)
        built.cache_clear()
        fitted.cache_clear()
        first = estimate(asked.case, asked.workload)
        assert estimate(asked.case, asked.workload).to_dict() == first.to_dict()


def test_a_stage_takes_what_its_parts_take() -> None:
    made = forward(case(QWEN, tp=2, pp=2))
    for stage in range(len(made.stages)):
        assert stage_seconds(made, STEP, stage) == pytest.approx(sum(part_seconds(made, STEP, stage).values()))
