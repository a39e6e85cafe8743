"""Drafting: passes of the draft, its verification, and the tokens a step yields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.read.resolve import resolve
from inferwise.timing.decompose.speculation import check_acceptance
from inferwise.timing.deploy import forward
from inferwise.timing.forward import part_seconds
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.passes import Passes
from inferwise.timing.operators.recurrent import RecurrentDecode
from inferwise.timing.step import Step


def case_of(model: str, *, tp: int = 1, draft: str | None = None, **load: Any) -> Case:
    extra: dict[str, Any] = {"draft": resolve(draft)} if draft else {}
    return deployment(resolve(model), hardware("h100-sxm-80gb"), engine="vllm", degrees={"tp": tp}, **extra, **load)


def parts(case: Case, step: Step) -> dict[str, float]:
    made = forward(case)
    return {name: float(value) for name, value in part_seconds(made, step, len(made.stages) - 1).items()}


def kernels(case: Case, step: Step) -> float:
    """Of the operators themselves: a draft's are taken as they were timed, without the engine's factors."""
    return sum(float(each.seconds(step)) for each in forward(case).stages[-1])


def test_a_draft_model_runs_once_over_the_step_and_then_a_token_at_a_time() -> None:
    both = case_of("meta-llama/Llama-3.1-8B", draft="meta-llama/Llama-3.2-1B", speculative_tokens=4)
    small = case_of("meta-llama/Llama-3.2-1B")
    step = Step(decodes=8.0, context=2000.0, queries=5.0)
    # the first pass gives the logits of one position a sequence, the verified ones are not asked of the draft
    head = [each for each in forward(small).stages[0] if isinstance(each, Gemm) and each.part == "head"]
    first = kernels(small, step) - sum(float(each.seconds(step)) for each in head)
    sampled = [each for each in forward(small).stages[0] if each.part == "sampling"]
    first -= sum(float(each.seconds(step)) for each in sampled)
    one = Step(decodes=8.0, context=2000.0)
    first += sum(float(each.seconds(one)) for each in (*head, *sampled))
    expected = first + 3 * kernels(small, one)
    assert parts(both, step)["draft"] == pytest.approx(expected, rel=1e-9)


def test_the_target_is_untouched_by_its_draft() -> None:
    plain = case_of("meta-llama/Llama-3.1-8B")
    both = case_of("meta-llama/Llama-3.1-8B", draft="meta-llama/Llama-3.2-1B", speculative_tokens=4)
    step = Step(decodes=4.0, context=1000.0, queries=5.0)
    found = parts(both, step)
    assert found.pop("draft") > 0
    assert found | {"engine": 0.0} == pytest.approx(parts(plain, step) | {"engine": 0.0}, rel=1e-12)


def test_nothing_is_drafted_without_drafted_tokens() -> None:
    step = Step(decodes=4.0, context=1000.0)
    assert "draft" not in parts(case_of("meta-llama/Llama-3.1-8B", draft="meta-llama/Llama-3.2-1B"), step)
    assert "draft" not in parts(case_of("meta-llama/Llama-3.1-8B", speculative_tokens=3), step)  # n-grams cost nothing


def test_mtp_runs_one_module_and_the_head_a_pass() -> None:
    case = case_of("zai-org/GLM-4.5-Air", tp=2, mtp=True, speculative_tokens=1)
    made = forward(case)
    drafts = [each for each in made.stages[0] if each.part == "draft"]
    matrices = [each.inner for each in drafts if isinstance(each, Passes) and isinstance(each.inner, Gemm)]
    assert any("eh_proj" in each.name for each in matrices)
    assert sum(1 for each in matrices if each.part == "head") == 1  # the model's own, once
    heads = [each for each in made.stages[0] if isinstance(each, Gemm) and each.part == "head"]
    assert [each.weight_bytes for each in matrices if each.part == "head"] == [heads[0].weight_bytes]
    step = Step(decodes=1.0, context=1000.0, queries=2.0)
    found = parts(case, step)
    rest = sum(value for name, value in found.items() if name not in ("draft", "engine"))
    layers = len(case.model.decoder.pattern)
    assert rest / layers / 2 < found["draft"] < 6 * rest / layers  # a layer and a head of all of them


def test_modules_take_turns() -> None:
    three = case_of("stepfun-ai/Step-3.7-Flash", tp=8, mtp=True, speculative_tokens=1)
    drafts = [each for each in forward(three).stages[0] if each.part == "draft" and "eh_proj" in each.name]
    assert sum(each.count for each in drafts) == pytest.approx(1.0)


def test_a_model_without_mtp_layers_has_none_to_draft_with() -> None:
    with pytest.raises(BadInput, match="no MTP layers"):
        forward(case_of("meta-llama/Llama-3.1-8B", mtp=True, speculative_tokens=1))


@settings(deadline=None, max_examples=20)
@given(tokens=st.integers(1, 7), batch=st.floats(1, 256))
def test_more_drafted_tokens_take_longer(tokens: int, batch: float) -> None:
    case = case_of("meta-llama/Llama-3.1-8B", draft="meta-llama/Llama-3.2-1B", speculative_tokens=tokens)
    more = replace(case, speculative_tokens=tokens + 1)
    step = Step(decodes=batch, context=2000.0, queries=1.0 + tokens)
    assert 0 < parts(case, step)["draft"] < parts(more, replace(step, queries=2.0 + tokens))["draft"]


def test_a_recurrence_steps_through_what_it_verifies() -> None:
    made = forward(case_of("Qwen/Qwen3-Next-80B-A3B-Instruct", tp=4))
    decodes = [each for each in made.stages[0] if isinstance(each, RecurrentDecode)]
    assert decodes
    one, three = Step(decodes=64.0, context=1000.0), Step(decodes=64.0, context=1000.0, queries=3.0)
    for each in decodes:
        assert 1.5 * each.one(one) < each.one(three) <= 3.0 * each.one(one) * (1 + 1e-9)


def test_drafts_take_arrays() -> None:
    case = case_of("meta-llama/Llama-3.1-8B", draft="meta-llama/Llama-3.2-1B", speculative_tokens=2)
    made, batches = forward(case), np.array([1.0, 8.0, 64.0])
    found = part_seconds(made, Step(decodes=batches, context=1000.0, queries=3.0), 0)["draft"]
    alone = [part_seconds(made, Step(decodes=each, context=1000.0, queries=3.0), 0)["draft"] for each in batches]
    assert np.asarray(found) == pytest.approx(np.array([float(each) for each in alone]), rel=1e-12)


def test_acceptance_is_at_most_what_a_step_verifies() -> None:
    case = case_of("meta-llama/Llama-3.1-8B", speculative_tokens=3)
    check_acceptance(case, 4.0)
    with pytest.raises(BadInput, match="3 drafted"):
        check_acceptance(case, 4.1)
    with pytest.raises(BadInput, match="no draft"):
        check_acceptance(case_of("meta-llama/Llama-3.1-8B"), 1.5)
