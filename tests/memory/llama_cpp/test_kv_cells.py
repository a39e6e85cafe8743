from __future__ import annotations

import pytest

import inferwise as iw
from inferwise.catalog.engines import engine
from inferwise.memory.llama_cpp.kv_cells import cache_bytes, cells_for
from inferwise.memory.llama_cpp.layers import layers_of

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "google/gemma-3-27b-it",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V3",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
)


def of_all(name: str, context: int, slots: int = 1, *, unified: bool = False, kv: str = "fp16", **kinds: bool) -> int:
    layers = layers_of(iw.model(name), "Q8_0")
    cells = cells_for(context, slots, 512, unified=unified, multiple=256, **kinds)
    return sum(cache_bytes(layers, cells, kv, "fp16").of(layers, 0, len(layers.pattern)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("context", [256, 4096, 131072])
def test_one_sequence_is_what_the_spec_says(name: str, context: int) -> None:
    model, layout = iw.model(name), engine("llama.cpp").layout
    assert of_all(name, context) == model.state_bytes(context, layout=layout)


@pytest.mark.parametrize("name", MODELS)
def test_sequences_with_caches_of_their_own_multiply(name: str) -> None:
    assert of_all(name, 8192, 4) == 4 * of_all(name, 8192)


def test_one_cache_for_all_shares_a_windows_extra() -> None:
    apart = of_all("google/gemma-3-27b-it", 8192, 4)
    shared = of_all("google/gemma-3-27b-it", 8192, 4, unified=True)
    layers = layers_of(iw.model("google/gemma-3-27b-it"), "Q8_0")
    windowed = sum(layers.windowed[kind] for kind in layers.pattern)
    row = 2 * 16 * 128 * 2
    assert apart - shared == windowed * row * (4 * 1536 - (4 * 1024 + 512))


def test_cells_come_in_multiples() -> None:
    assert cells_for(1000, 3, 512, unified=False, multiple=256).total == 3 * 1024
    assert cells_for(1000, 3, 512, unified=True, multiple=256).total == 3072
    assert cells_for(1001, 3, 512, unified=True, multiple=256).total == 3072


def test_quantised_rows() -> None:
    assert of_all(MODELS[0], 8192, kv="q8_0") * 32 == of_all(MODELS[0], 8192) * 17
    assert of_all(MODELS[0], 8192, kv="q4_0") * 32 == of_all(MODELS[0], 8192) * 9


def test_older_builds_kept_every_head_of_a_latent() -> None:
    # 61 layers, 128 heads of 192 and 128 (ik_llama.cpp logs 2440.00 MiB at 512 tokens without MLA)
    assert of_all("deepseek-ai/DeepSeek-V3", 512, absorbed=False) == 2440 * 2**20
    assert of_all("deepseek-ai/DeepSeek-V3", 32768) == 2196 * 2**20


def test_older_builds_kept_every_token_of_a_window() -> None:
    assert of_all("google/gemma-3-27b-it", 32768, windows=False) == 15872 * 2**20
