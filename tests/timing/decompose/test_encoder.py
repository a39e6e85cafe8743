"""Towers, encoder-only models, and cross-attention."""

from __future__ import annotations

from typing import Any

import pytest

from inferwise.catalog.hardware import hardware
from inferwise.memory.deploy import deployment
from inferwise.memory.placement import stages
from inferwise.read.resolve import resolve
from inferwise.spec.workload import Workload
from inferwise.timing.decompose.encoder import patches_of, tower_of
from inferwise.timing.decompose.stage import generates
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, part_seconds, step_seconds
from inferwise.timing.operators.attention import EncoderAttention
from inferwise.timing.operators.cross import CrossDecode
from inferwise.timing.operators.gemm import IMAGES, Gemm
from inferwise.timing.step import Step
from inferwise.timing.table import table

TEXT = Step(prompts=1.0, prompt_tokens=512.0)


def of(model: str, tp: int = 1, **load: Any) -> Forward:
    return forward(deployment(resolve(model), hardware("h100-sxm-80gb"), engine="vllm", degrees={"tp": tp}, **load))


def images(count: float, each: float) -> Step:
    return Step(prompts=1.0, prompt_tokens=512.0, images=count * each, image_patches=each)


@pytest.mark.parametrize(
    ("model", "merge"),
    [
        ("Qwen/Qwen2.5-VL-32B-Instruct", 4),
        ("Qwen/Qwen3-VL-2B-Instruct", 4),
        ("google/gemma-3-12b-it", 16),
        ("google/gemma-4-26B-A4B", 9),
        ("meta-llama/Llama-4-Maverick-17B-128E", 4),
        ("mistralai/Devstral-Small-2-24B-Instruct-2512", 4),
        ("OpenGVLab/InternVL2-8B", 4),
        ("llava-hf/llava-1.5-7b-hf", 1),
        ("ibm-granite/granite-vision-3.3-2b", 1),
    ],
)
def test_patches_that_become_a_token(model: str, merge: float) -> None:
    assert tower_of(resolve(model)).merge == merge


def test_patches_follow_from_tokens_where_the_workload_says_none() -> None:
    gemma = resolve("google/gemma-3-12b-it")
    assert patches_of(gemma, Workload(images=2, image_tokens=256)) == (8192, 4096)
    assert patches_of(gemma, Workload(images=2, patches=1000)) == (2000, 1000)
    assert patches_of(gemma, Workload())[0] == 0
    assert patches_of(resolve("openai/whisper-large-v3"), Workload()) == (1500, 1500)


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-VL-32B-Instruct", "google/gemma-3-12b-it", "OpenGVLab/InternVL2-8B"])
def test_patches_attend_within_their_image(model: str) -> None:
    attention = [each for each in of(model).stages[0] if isinstance(each, EncoderAttention)]
    assert attention
    for each in attention:
        flops = [float(each.work(images(count, 4096.0))[0]) for count in (1, 4)]
        assert flops[1] == pytest.approx(4 * flops[0])
        together = float(each.work(Step(prompts=1.0, prompt_tokens=512.0, images=4 * 4096.0))[0])
        assert together == pytest.approx(flops[1] if each.window else 4 * flops[1])


def test_windows_of_qwen_2_5() -> None:
    found = [each for each in of("Qwen/Qwen2.5-VL-32B-Instruct").stages[0] if isinstance(each, EncoderAttention)]
    assert {each.window: each.count for each in found} == {0.0: 4.0, 64.0: 28.0}
    full, windowed = sorted(found, key=lambda each: each.window)
    one = images(1, 4096.0)
    assert float(full.work(one)[0]) == pytest.approx(64 * float(windowed.work(one)[0]))  # 4,096 keys against 64


def test_what_lies_behind_the_merging_works_on_tokens() -> None:
    matrices = [each for each in of("Qwen/Qwen2.5-VL-32B-Instruct").stages[0] if isinstance(each, Gemm)]
    tower = [each for each in matrices if each.rows == IMAGES]
    merger = [each for each in tower if each.share != 1]
    assert [(each.n, each.k) for each in merger] == [(5120.0, 5120.0)] * 2
    assert all(float(each.load(images(1, 4096.0))) == 1024 for each in merger)
    assert sum(each.count for each in tower if each.share == 1) == 4 * 32  # qkv, proj, gate and up, down


def test_the_encoder_stands_in_the_prefill_table_alone() -> None:
    made = of("google/gemma-3-12b-it")
    with_images = table(made, images(1, 4096.0))
    assert sum(row.seconds for row in with_images if row.part == "encoder") > 0
    assert not [row for row in table(made, TEXT) if row.part == "encoder"]
    assert not [row for row in table(made, Step(decodes=8.0, context=1000.0)) if row.part == "encoder"]
    assert step_seconds(made, images(2, 4096.0)) > step_seconds(made, images(1, 4096.0)) > step_seconds(made, TEXT)


def test_a_tower_left_out_takes_no_time() -> None:
    made = of("google/gemma-3-12b-it", encoder=False)
    assert step_seconds(made, images(1, 4096.0)) == step_seconds(made, TEXT)


def test_ranks_share_a_tower() -> None:
    one, four = (float(part_seconds(of("google/gemma-3-12b-it", tp), images(4, 4096.0), 0)["encoder"]) for tp in (1, 4))
    assert one / 4 < four < one


def test_sound_is_not_read_where_images_are() -> None:
    made = of("Qwen/Qwen2.5-Omni-7B")
    heads = {each.heads for each in made.stages[0] if isinstance(each, EncoderAttention)}
    assert heads == {16.0}  # of its vision tower; the audio tower has 20


@pytest.mark.parametrize(
    "model", ["BAAI/bge-m3", "sentence-transformers/all-MiniLM-L6-v2", "answerdotai/ModernBERT-base"]
)
def test_embedding_models_look_both_ways(model: str) -> None:
    made = of(model)
    assert not generates(made.case.model)
    attention = [each for each in made.stages[0] if isinstance(each, EncoderAttention)]
    assert sum(each.count for each in attention) == len(made.case.model.decoder.pattern)
    assert not [each for each in made.stages[0] if each.part in ("head", "sampling") and each.name == "sampling"]
    whole = [each for each in attention if not each.window]
    flops, _ = whole[0].work(TEXT)
    assert float(flops) == 4 * 512**2 * whole[0].heads * whole[0].head_dim  # all pairs, two products
    whole_text, cut = Step(prompts=1.0, prompt_tokens=8192.0), Step(prompts=128.0, prompt_tokens=64.0)
    assert step_seconds(made, whole_text) > step_seconds(made, cut)  # the same tokens, fewer pairs


def test_whisper_hears_a_clip_and_looks_at_it_from_every_token() -> None:
    made = of("openai/whisper-large-v3")
    crossed = [each for each in made.stages[0] if isinstance(each, CrossDecode)]
    assert [each.span for each in crossed] == [1500.0]
    assert float(crossed[0].work(Step(decodes=1.0, context=10.0))[0]) == 4 * 20 * 64 * 1500
    clip = Step(prompts=1.0, prompt_tokens=4.0, images=1500.0, image_patches=1500.0)
    assert part_seconds(made, clip, 0)["encoder"] > 0


def test_an_encoder_of_prompts_is_not_run_by_decodes() -> None:
    made = of("google/flan-t5-xxl")
    decode = Step(decodes=1.0, context=100.0)
    read = sum(float(each.done(decode)[1]) for each in made.stages[0])
    held = stages(made.case.model, None, made.case.parallel)[0].tensors
    decoder = sum(each.size_bytes for each in held if each.stack.role == "decoder")
    assert 0.6 * decoder < read < 1.05 * decoder  # without the keys and values of what it looks at


def test_a_tower_of_convolutions_is_said_not_to_be_counted() -> None:
    assert any("convolutions" in note for note in of("google/gemma-3n-E2B-it").notes)
    assert not of("google/gemma-3n-E2B-it", encoder=False).notes
    assert not of("google/gemma-3-12b-it").notes
