"""TensorRT-LLM's accounting: its rule worked by hand, published totals, properties, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.memory.engines.properties import MODELS, held, limits_are_tight, more_never_takes_less, terms_add_up

from inferwise.errors import BadInput
from inferwise.spec.engine import Settings
from inferwise.units import GIB, gib

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
FORMATS = {"float32": "fp32", "float16": "fp16", "int8": "int8", "int4": "int4"}
PUBLISHED = {"meta-llama/Llama-2-7b-chat-hf": "meta-llama/Llama-2-7b-hf"}


@settings(max_examples=40)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(["h100", "h200", "rtx-4090"]),
    st.sampled_from(["0.12.0", "0.18.0", "1.0.0", "1.2.0"]),
    st.integers(1, 60_000),
    st.integers(1, 300),
)
def test_properties(model: str, gpu: str, version: str, context: int, batch: int) -> None:
    if model == "openai/gpt-oss-20b" and gpu == "rtx-4090":
        gpu = "h100"  # MXFP4 from Hopper on
    found = held("tensorrt-llm", model, gpu, engine_version=version, context=context, batch=batch)
    terms_add_up(found)
    limits_are_tight(found)
    if not any(state.window for kind in found.case.model.decoder.kinds for state in kind.state()):
        more_never_takes_less(found.case)


def test_pool_is_the_share_of_what_is_free() -> None:
    found = held("tensorrt-llm", LLAMA, "h100")
    device, pool = found.devices[0], found.pool
    assert pool is not None
    free = device.capacity_bytes - device.total_bytes + device.size("kv pool")
    assert device.size("kv pool") == pytest.approx(0.9 * free, abs=1)
    assert device.free_bytes == pytest.approx(0.1 * free, abs=1)
    assert (pool.block_tokens, pool.block_bytes) == (32, 32 * 131072)
    assert pool.tokens == pool.blocks * 32 == found.max_context
    assert found.max_batch == pool.tokens // 8192


def test_totals_published_for_the_c_runtime(shared_data: Path) -> None:
    # One constant was fitted on these rows; the share and the blocks are the engine's.
    rows = [
        row
        for row in csv.DictReader((shared_data / "memory_logs.csv").open())
        if row["engine"] == "Nvidia TensorRT-LLM" and row["quantity"] == "total_gib"
    ]
    assert len(rows) == 8
    for row in rows:
        made = FORMATS[row["precision"]]
        found = held(
            "tensorrt-llm",
            PUBLISHED.get(row["model"], row["model"]),
            "a100-sxm-80gb",
            engine_version="0.8.0",
            weights=made,
            kv="fp32" if made == "fp32" else "fp16",
            context=512,
        )
        assert gib(found.devices[0].total_bytes) == pytest.approx(float(row["value"]), rel=0.005), row


def test_blocks_of_the_versions() -> None:
    versions = ("0.8", "0.12", "0.18", "1.0")
    blocks = [held("tensorrt-llm", LLAMA, "h100", engine_version=version).pool for version in versions]
    assert [pool.block_tokens for pool in blocks if pool] == [128, 64, 32, 32]


def test_windows_have_pools_of_their_own() -> None:
    found = held("tensorrt-llm", "openai/gpt-oss-20b", "h100", context=8192)
    layer, pool = 2 * 8 * 64 * 2 * 12, found.devices[0].size("kv pool")
    assert found.pool is not None
    # dealt by window x bytes: 8,192 to 128, of equal layers
    assert found.pool.size_bytes == pytest.approx(pool * 8192 / 8320, rel=0.001)
    assert found.max_batch == int(pool * 128 / 8320 // (32 * layer)) // 5  # 128 tokens may touch five blocks
    old = held("tensorrt-llm", "openai/gpt-oss-20b", "h100", context=8192, engine_version="1.0")
    assert old.pool is not None
    assert old.pool.block_bytes == 2 * 32 * layer


def test_states_before_and_in_the_pool() -> None:
    model = "Qwen/Qwen3-Next-80B-A3B-Instruct"
    asked = {"engine_version": "1.0", "degrees": {"tp": 2}}
    old = held("tensorrt-llm", model, "h200", **asked)
    few = held("tensorrt-llm", model, "h200", **asked, settings=Settings(max_num_seqs=64))
    new = held("tensorrt-llm", model, "h200", degrees={"tp": 2})
    slots = old.devices[0].size("state slots")
    assert slots == 2048 // 64 * few.devices[0].size("state slots") > 0
    assert few.max_batch == 64  # slots, not cache
    assert new.devices[0].size("state slots") == 0


def test_all_reduce_workspace_by_ranks() -> None:
    sizes = [held("tensorrt-llm", LLAMA, "h100", degrees={"tp": tp}).devices[0].size("non-torch") for tp in (2, 4, 8)]
    assert [size - sizes[0] for size in sizes] == [0, 2 * 4 * 64 * 2**20, 6 * 4 * 64 * 2**20]


def test_attention_dp() -> None:
    found = held("tensorrt-llm", "deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "dp": 8, "ep": 8}, mtp=True)
    assert found.pool is not None
    assert found.pool.block_bytes == 62 * 576 * 2 * 32  # the MTP layer keeps a latent too
    assert found.max_batch == 8 * (found.pool.tokens // 8192)


@pytest.mark.parametrize(
    ("gpu", "asked", "what"),
    [
        ("mi300x", {}, "does not run on"),
        ("a100-sxm-80gb", {"weights": "nvfp4"}, "nvfp4"),
        ("a100-sxm-80gb", {"weights": "fp8"}, "fp8"),
        ("v100-pcie-16gb", {"weights": "fp16", "kv": "fp8"}, "fp8"),
        ("v100-pcie-16gb", {}, "bf16"),
        ("h100", {"weights": "Q4_K_M"}, "gguf"),
        ("h100", {"degrees": {"tp": 8, "dp": 2}}, "dp 2"),
        ("h100", {"settings": Settings(offload_weight_bytes=GIB)}, "host"),
    ],
)
def test_refused(gpu: str, asked: dict[str, object], what: str) -> None:
    with pytest.raises(BadInput, match=what) as error:
        held("tensorrt-llm", LLAMA, gpu, **asked)
    assert ";" in str(error.value)


def test_too_large_is_told() -> None:
    found = held("tensorrt-llm", "meta-llama/Llama-3.1-70B-Instruct", "h100")
    assert found.max_batch == found.max_context == 0
    assert "missing" in found.problems[0]
