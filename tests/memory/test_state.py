from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.engines import layouts
from inferwise.errors import BadInput, UnknownName
from inferwise.memory.state import device_state_bytes, layout_for
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.precision import CACHE_BLOCKS
from inferwise.spec.state import State, StateKind, StateLayout, state_format
from inferwise.units import GIB

VLLM, LLAMA_CPP = layouts()["vllm"], layouts()["llama.cpp"]

# Caches read back after a forward pass on the meta device, and the layouts of engines' sources (design, section 10).
EXACT = [
    ("meta-llama/Llama-3.1-8B-Instruct", 8192, VLLM, 1073741824),
    ("deepseek-ai/DeepSeek-V3", 8192, VLLM, 575668224),
    ("deepseek-ai/DeepSeek-V3.2", 32768, VLLM, 2566520832),
    ("deepseek-ai/DeepSeek-V3.2", 32768, replace(VLLM, index="bf16"), 2814377984),
    ("deepseek-ai/DeepSeek-V3.2", 32768, replace(VLLM, kv="fp8"), 1575092224),
    ("deepseek-ai/DeepSeek-V3.2", 32768, replace(VLLM, kv="fp8_ds_mla"), 1575092224),
    ("deepseek-ai/DeepSeek-V3.2", 32768, replace(VLLM, kv="fp8_e4m3"), 1415184384),
    ("google/gemma-3-27b-it", 32768, VLLM, 3120562176),
    ("google/gemma-3-27b-it", 32768, LLAMA_CPP, 3338665984),
    ("openai/gpt-oss-20b", 32768, VLLM, 808452096),
    ("openai/gpt-oss-20b", 32768, LLAMA_CPP, 824180736),
    ("mistralai/Mistral-7B-v0.1", 32768, VLLM, 536870912),
    ("mistralai/Mistral-7B-v0.1", 32768, replace(VLLM, windows=False), 4294967296),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 32768, VLLM, 201326592 + 49082368),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 32768, LLAMA_CPP, 201326592 + 49930240),
    ("Qwen/Qwen3.5-122B-A10B", 32768, VLLM, 805306368 + 153649152),
    ("Qwen/Qwen3.5-122B-A10B", 32768, LLAMA_CPP, 805306368 + 156303360),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", 32768, VLLM, 805306368 + 39518208),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", 32768, layouts()["sglang"], 805306368 + 77266944),
]


@pytest.mark.parametrize(("name", "tokens", "layout", "expected"), EXACT)
def test_state_is_exact_to_the_byte(name: str, tokens: int, layout: StateLayout, expected: int) -> None:
    assert iw.model(name).state_bytes(tokens, layout=layout) == expected


def layout_of_row(kv_format: str) -> StateLayout:
    """The layout that a row of state_truth.csv describes in words."""
    text = kv_format.lower()
    layout = StateLayout()
    if "llama.cpp" in text:
        layout = LLAMA_CPP
    if "window ignored" in text:
        layout = replace(layout, windows=False)
    if "bf16 indexer" in text:
        layout = replace(layout, index="bf16")
    if "656" in text:
        layout = replace(layout, kv="fp8_ds_mla")
    if "fp8_e4m3 latent" in text:
        layout = replace(layout, kv="fp8_e4m3")
    if "state fp32" in text:
        layout = replace(layout, recurrent="fp32")
    if "state bf16" in text:
        layout = replace(layout, recurrent="bf16")
    return layout


def test_every_row_of_state_truth(shared_data: Path) -> None:
    with (shared_data / "state_truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25
    for row in rows:
        terms = iw.model(row["hf_id"]).state_terms(int(row["tokens"]), layout_of_row(row["kv_format"]))
        recurrent = sum(size for kind, size in terms.items() if kind.value in ("recurrent", "convolution"))
        total = sum(terms.values())
        assert (total - recurrent, recurrent) == (int(row["kv_bytes_total_all_layers"]), int(row["state_bytes"])), row


def test_a_latent_is_whole_on_every_tensor_parallel_rank() -> None:
    v3 = iw.model("deepseek-ai/DeepSeek-V3")
    whole = v3.state_bytes(8192)
    assert device_state_bytes(v3, 8192, VLLM, Parallel(tp=8)) == whole
    assert device_state_bytes(v3, 8192, VLLM, Parallel(tp=8, cp=8)) == whole // 8
    assert device_state_bytes(v3, 8192, VLLM, Parallel(tp=8, dp=8), batch=8) == whole


def test_about_80_sequences_of_deepseek_fit_on_eight_h200() -> None:
    """Not 650: the latent is not divided by TP. An engine's overhead, not counted here, takes the rest of the room."""
    found = iw.fit("deepseek-ai/DeepSeek-V3", "h200-sxm-141gb", tp=8, ep=8, context=8192)
    assert 80 <= found.max_batch <= 120


def test_heads_are_replicated_once_ranks_outnumber_them() -> None:
    llama = iw.model("meta-llama/Llama-3.1-8B-Instruct")
    assert device_state_bytes(llama, 8192, VLLM, Parallel(tp=8)) == 2**30 // 8
    assert device_state_bytes(llama, 8192, VLLM, Parallel(tp=16)) == 2**30 // 8
    assert device_state_bytes(llama, 8192, VLLM, Parallel(tp=16, cp=2)) == 2**30 // 16


def test_pipeline_stages_split_the_state_by_layers() -> None:
    llama = iw.model("meta-llama/Llama-3.1-8B-Instruct")
    assert device_state_bytes(llama, 8192, VLLM, Parallel(pp=4)) == 2**30 // 4
    assert [len(stage) for stage in pipeline_stages(61, 4)] == [15, 15, 16, 15]
    with pytest.raises(BadInput, match="pp 33 with 32 layers"):
        device_state_bytes(llama, 8192, VLLM, Parallel(pp=33))


def test_block_formats_are_counted_by_whole_rows() -> None:
    llama = iw.model("meta-llama/Llama-3.1-8B-Instruct")
    assert llama.state_bytes(8192, kv="q8_0") == 2**30 // 2 * 34 // 32
    assert llama.state_bytes(8192, kv="q4_0") == 2**30 // 2 * 18 // 32
    assert llama.state_bytes(8192, kv="fp8") == 2**29
    with pytest.raises(UnknownName, match="q8_0"):
        llama.state_bytes(8192, kv="q8")


@pytest.mark.parametrize("tokens", [-1, 1.5, True, 2**41])
def test_a_length_that_is_not_one_is_refused(tokens: int) -> None:
    with pytest.raises(BadInput, match="tokens is"):
        iw.model("7b").state_bytes(tokens)


@pytest.mark.parametrize("degrees", [{"tp": 0}, {"tp": 4, "dp": 3}, {"tp": 2, "cp": 4}, {"tp": 8, "ep": 3}, {"ep": 2}])
def test_degrees_that_cannot_be_laid_over_one_another_are_refused(degrees: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        Parallel(**degrees)


def test_what_the_model_says_of_its_state_comes_before_an_engines_default() -> None:
    """SGLang takes FP32 where the config is silent; a user's own format comes before both."""
    sglang = layouts()["sglang"]
    said, silent = (State(StateKind.RECURRENT, 1, constant=True, dtype=dtype) for dtype in ("bf16", None))
    assert state_format(said, sglang, "bf16") == "bf16"
    assert state_format(silent, sglang, "bf16") == "fp32"
    assert state_format(silent, layouts()["vllm"], "bf16") == "bf16"
    assert state_format(said, layout_for("sglang", state="fp32"), "bf16") == "fp32"


def test_unknown_engine_is_named() -> None:
    with pytest.raises(UnknownName, match=r"llama\.cpp"):
        layout_for("lama.cpp")


MODELS = ["7b", "deepseek-ai/DeepSeek-V3.2", "google/gemma-3-27b-it", "Qwen/Qwen3.5-122B-A10B", "openai/gpt-oss-20b"]


@given(
    st.sampled_from(MODELS),
    st.integers(0, 200_000),
    st.integers(1, 50_000),
    st.sampled_from(sorted(CACHE_BLOCKS)),
    st.sampled_from(sorted(layouts())),
)
def test_state_is_monotone_in_length_and_bits_and_its_terms_add_up(
    name: str, tokens: int, more: int, kv: str, engine: str
) -> None:
    model, layout = iw.model(name), layout_for(engine, kv=kv)
    total = model.state_bytes(tokens, layout=layout)
    assert total == sum(model.state_terms(tokens, layout).values())
    assert total <= model.state_bytes(tokens + more, layout=layout)
    assert total <= model.state_bytes(tokens, layout=replace(layout, kv="fp32")) or kv == "fp64"


@given(
    st.sampled_from(MODELS),
    st.integers(1, 100_000),
    st.sampled_from([(1, 1), (2, 1), (4, 2), (8, 8), (16, 4)]),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 64),
)
def test_devices_together_hold_at_least_the_whole(
    name: str, tokens: int, degrees: tuple[int, int], pp: int, batch: int
) -> None:
    model, (tp, dp) = iw.model(name), degrees
    whole = model.state_bytes(tokens)
    share = device_state_bytes(model, tokens, VLLM, Parallel(tp=tp, dp=dp, pp=pp), batch)
    assert share * tp * pp >= whole * batch
    assert share <= whole * batch
    assert device_state_bytes(model, tokens, VLLM, Parallel(), batch) == whole * batch
    assert share <= device_state_bytes(model, tokens, VLLM, Parallel(tp=tp, dp=dp, pp=pp), batch + dp)


def test_gib_figures_of_the_design() -> None:
    assert round(iw.model("google/gemma-3-27b-it").state_bytes(32768) / GIB, 4) == 2.9062
    assert round(iw.model("Qwen/Qwen3.5-122B-A10B").state_bytes(32768) / GIB, 4) == 0.8931
