"""Decode context parallelism, attention data parallelism and pipelines: what ranks exchange."""

from __future__ import annotations

import pytest

from inferwise.catalog.hardware import hardware
from inferwise.memory.deploy import deployment
from inferwise.read.resolve import resolve
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, part_seconds
from inferwise.timing.operators.experts import Dispatch
from inferwise.timing.operators.latent import LatentDecode, LatentPrefill
from inferwise.timing.operators.passes import Passes
from inferwise.timing.operators.small import Collective
from inferwise.timing.step import Step

LONG = Step(decodes=16.0, context=100_000.0)
PREFILL = Step(prompts=1.0, prompt_tokens=1024.0)


def of(
    model: str = "deepseek-ai/DeepSeek-V3", device: str = "h200-sxm-141gb", engine: str = "vllm", **degrees: int
) -> Forward:
    return forward(deployment(resolve(model), hardware(device), engine=engine, degrees=degrees))


def test_ranks_share_a_context_and_gather_its_queries() -> None:
    plain, dealt = of(tp=8), of(tp=8, cp=8)
    assert part_seconds(dealt, LONG, 0)["attention"] < 0.6 * part_seconds(plain, LONG, 0)["attention"]
    gathers = [each for each in dealt.stages[0] if isinstance(each, Passes) and each.part == "communication"]
    assert sorted(each.name for each in gathers) == ["all-gather", "reduce-scatter"]
    assert all(each.count == 61 and float(each.seconds(LONG)) > 0 for each in gathers)
    assert all(float(each.seconds(PREFILL)) == 0 for each in gathers)  # prompts keep to the rank's own heads
    sent = float(gathers[0].work(LONG)[1])
    assert sent == pytest.approx(16 * 128 * 576 * 2 * 7 / 8)
    heads = {type(each): each.heads for each in dealt.stages[0] if isinstance(each, LatentPrefill | LatentDecode)}
    assert heads == {LatentPrefill: 16.0, LatentDecode: 128.0}


def test_experts_whole_on_their_ranks_are_dispatched_to_where_attention_is_replicated() -> None:
    made = of(tp=8, dp=8, ep=8, engine="tensorrt-llm")
    dispatched = [each for each in made.stages[0] if isinstance(each, Dispatch)]
    assert [each.count for each in dispatched] == [58.0]
    assert dispatched[0].ranks == 8
    kinds = {each.kind: each.count for each in made.stages[0] if isinstance(each, Collective) and each.rows == "tokens"}
    assert kinds == {"all_gather": 3.0, "reduce_scatter": 3.0, "all_reduce": 1.0}  # dense layers; the embedding


def test_engines_that_do_not_dispatch_gather_all_tokens() -> None:
    made = of(tp=8, dp=8, ep=8, engine="vllm")
    assert not [each for each in made.stages[0] if isinstance(each, Dispatch)]
    kinds = {each.kind: each.count for each in made.stages[0] if isinstance(each, Collective) and each.rows == "tokens"}
    assert kinds == {"all_gather": 61.0, "reduce_scatter": 61.0, "all_reduce": 1.0}


def test_stages_hand_rows_over() -> None:
    made = of("meta-llama/Llama-3.1-8B", pp=2)
    sent = [[each for each in stage if isinstance(each, Collective)] for stage in made.stages]
    assert [each.kind for each in sent[0]] == ["point_to_point"]
    assert not sent[1]
    assert float(sent[0][0].work(PREFILL)[1]) == 1024 * 4096 * 2


def test_a_shared_block_is_summed_over_ranks_wherever_it_runs() -> None:
    made = of("Zyphra/Zamba-7B-v1", device="h100-sxm-80gb", tp=2)
    reduced = sum(each.count for each in made.stages[0] if isinstance(each, Collective) and each.kind == "all_reduce")
    layers = len(made.case.model.decoder.pattern)
    assert reduced >= layers + 13 + 1  # every mixer, the shared MLP 13 times, the embedding
