"""vLLM's accounting: against its logs, as properties, and what it refuses."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.memory_vllm import compared, left_out
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput
from inferwise.memory.allocation import Allocation
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Lora, Settings
from inferwise.units import GIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MODELS = (
    LLAMA,
    "google/gemma-3-12b-it",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "openai/gpt-oss-20b",
)


def held(model: str, gpu: str, **asked: object) -> Allocation:
    return allocate(deployment(resolve(model), hardware(gpu), engine="vllm", **asked))  # type: ignore[arg-type]


# Goals of the issue: mean absolute errors.
@pytest.mark.parametrize(
    ("quantity", "goal"), [("kv pool", 0.02), ("activation", 0.12), ("non-torch", 0.15), ("weights", 0.005)]
)
def test_terms_of_the_logs(shared_data: Path, quantity: str, goal: float) -> None:
    rows = list(compared(shared_data / "memory_vllm.csv"))
    assert len(rows) == 27
    assert statistics.mean(abs(row.error(quantity)) for row in rows) <= goal


@pytest.mark.parametrize(("quantity", "goal"), [("kv pool", 0.02), ("activation", 0.12), ("non-torch", 0.15)])
def test_terms_of_models_that_were_left_out_of_the_fit(shared_data: Path, quantity: str, goal: float) -> None:
    rows = list(left_out(shared_data / "memory_vllm.csv"))
    assert len(rows) == 27
    assert statistics.mean(abs(row.error(quantity)) for row in rows) <= goal


def test_a_start_that_the_log_tells_whole() -> None:
    # vLLM 0.19, Qwen2.5-7B-Instruct, H100 at 0.95: 14.25 GiB loaded, 2.21 activations, 58.53 pool, 1,096,000 tokens.
    found = held(
        "Qwen/Qwen2.5-7B-Instruct", "h100", engine_version="0.19.0", settings=Settings(gpu_memory_utilization=0.95)
    )
    device = found.devices[0]
    assert round(device.size("weights") / GIB, 2) == 14.25
    assert device.size("activations") / GIB == pytest.approx(2.21, abs=0.02)
    assert device.size("kv pool") / GIB == pytest.approx(58.53, abs=0.05)
    assert found.pool is not None
    assert found.pool.tokens == pytest.approx(1_096_000, rel=1e-3)


def test_the_latent_is_whole_on_every_rank() -> None:
    """About 80 sequences of 8k on eight H200 (design, section 10), where dividing the latent by TP gives 650."""
    found = held("deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "ep": 8})
    assert 70 <= found.max_batch <= 90
    sharded = held("deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "ep": 8, "cp": 8})
    assert sharded.max_batch > 6 * found.max_batch


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["h100", "h200", "b200"]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1024, 8192, 40960]),
    st.integers(1, 64),
    st.sampled_from(["0.7.1", "0.10.2", "0.19.0", None]),
)
@settings(deadline=None, max_examples=60)
def test_terms_add_up_and_room_is_what_fits(
    model: str, gpu: str, tp: int, context: int, batch: int, version: str | None
) -> None:
    found = held(model, gpu, degrees={"tp": tp}, context=context, batch=batch, engine_version=version)
    for device in found.devices:
        assert device.total_bytes + device.free_bytes == device.capacity_bytes
        assert all(term.size_bytes >= 0 and term.how for term in device.terms)
    pool = found.pool
    assert pool is not None
    assert pool.size_bytes == min(device.size("kv pool") for device in found.devices)
    assert pool.blocks * pool.block_bytes <= pool.size_bytes
    assert found.fits == (found.max_batch >= batch)
    if found.max_batch:
        assert allocate(replace(found.case, batch=found.max_batch)).fits
        assert not allocate(replace(found.case, batch=found.max_batch + 1)).fits
    if found.max_context:
        assert allocate(replace(found.case, context=found.max_context)).fits == (found.max_context >= 1)


@given(st.sampled_from(MODELS), st.sampled_from([0.5, 0.7, 0.9]), st.sampled_from([64, 256, 1024]))
@settings(deadline=None, max_examples=25)
def test_monotone(model: str, share: float, sequences: int) -> None:
    def tokens(**flags: float) -> int:
        own = Settings(**{"gpu_memory_utilization": share, "max_num_seqs": sequences, **flags})  # type: ignore[arg-type]
        pool = held(model, "h200", engine_version="0.19.0", settings=own).pool
        assert pool is not None
        return pool.tokens

    assert tokens(gpu_memory_utilization=share + 0.05) >= tokens()
    assert tokens(max_num_seqs=sequences * 2) <= tokens()
    assert tokens(max_num_batched_tokens=16384) <= tokens(max_num_batched_tokens=4096)


def test_devices_pool_what_one_has_not() -> None:
    alone = held(LLAMA, "rtx-3090", settings=Settings(used_bytes=0))
    two = held(LLAMA, "rtx-3090", degrees={"tp": 2}, settings=Settings(used_bytes=0))
    assert two.pool is not None
    assert alone.pool is not None
    assert two.pool.tokens > 2 * alone.pool.tokens
    unequal = deployment(resolve(LLAMA), hardware("rtx-3090+rtx-3060"), engine="vllm", degrees={"tp": 2})
    small = allocate(unequal)
    assert small.pool is not None
    assert small.pool.size_bytes == small.devices[1].size("kv pool") < small.devices[0].size("kv pool")


def test_graphs_come_off_the_pool_from_0_20_on() -> None:
    old, new = (
        held(LLAMA, "h100", engine_version=v, settings=Settings(gpu_memory_utilization=0.9)) for v in ("0.19", "0.20")
    )
    assert old.pool is not None
    assert new.pool is not None
    graphs = new.devices[0].size("graphs")
    assert graphs > 0
    assert old.pool.size_bytes - new.pool.size_bytes == graphs
    eager = held(LLAMA, "h100", settings=Settings(graphs=False))
    assert eager.devices[0].size("graphs") == 0


def test_what_is_loaded_beside_the_model() -> None:
    plain = held(LLAMA, "h100").devices[0]
    draft = resolve("meta-llama/Llama-3.2-1B-Instruct")
    with_draft = held(LLAMA, "h100", draft=draft, speculative_tokens=4)
    assert with_draft.devices[0].size("draft weights") >= draft.parameters * 2
    assert with_draft.pool is not None
    own, other = (resolve(LLAMA).state_bytes(1), draft.state_bytes(1))
    assert with_draft.pool.block_bytes >= 16 * (own + other)
    slots = held(LLAMA, "h100", lora=Lora(slots=4, rank=16)).devices[0]
    assert slots.size("lora") == 4 * 2 * 41_943_040
    assert slots.size("kv pool") == plain.size("kv pool") - slots.size("lora")
    mtp = held("deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "ep": 8}, mtp=True)
    without = held("deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "ep": 8})
    assert mtp.devices[0].size("weights") > without.devices[0].size("weights") + GIB
    assert mtp.pool is not None
    assert without.pool is not None
    assert mtp.pool.block_bytes * 61 == without.pool.block_bytes * 62  # a 62nd layer
    text_only = held("google/gemma-3-12b-it", "h100", encoder=False).devices[0]
    assert text_only.size("weights") < held("google/gemma-3-12b-it", "h100").devices[0].size("weights")


def test_an_fp32_checkpoint_is_run_in_16_bits() -> None:
    bge = resolve("BAAI/bge-large-en-v1.5")
    found = held("BAAI/bge-large-en-v1.5", "h100")
    assert found.devices[0].size("weights") == pytest.approx(2 * bge.parameters, rel=0.01)
    assert "published in FP32, run in 16 bits" in found.notes


def test_weights_may_stay_on_the_host() -> None:
    found = held(LLAMA, "rtx-3060-12gb", settings=Settings(offload_weight_bytes=10 * GIB, max_num_seqs=16))
    assert found.fits
    assert found.host_bytes == 10 * GIB
    assert not held(LLAMA, "rtx-3060-12gb", settings=Settings(max_num_seqs=16)).fits


@pytest.mark.parametrize(
    ("model", "gpu", "asked", "words"),
    [
        (LLAMA, "h100", {"degrees": {"tp": 3}}, "does not divide 32 heads"),
        (LLAMA, "h100", {"degrees": {"pp": 33}}, "32 layers"),
        (LLAMA, "apple-m4-max", {}, "does not run on"),
        (LLAMA, "v100-pcie-16gb", {"kv": "fp8"}, "KV cache in fp8"),
        (LLAMA, "rtx-3090", {"weights": "mxfp8"}, "mxfp8"),
        (LLAMA, "h100", {"kv": "q8_0"}, "KV cache in q8_0"),
        ("Qwen/Qwen3-235B-A22B-FP8", "h100", {"degrees": {"tp": 8}}, "blocks of 128"),
        (LLAMA, "h100", {"context": 0}, "context is 0"),
    ],
)
def test_what_cannot_run_is_refused(model: str, gpu: str, asked: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        held(model, gpu, **asked)


def test_a_share_that_is_not_free_is_a_problem() -> None:
    found = held(LLAMA, "rtx-4090", settings=Settings(used_bytes=6 * GIB))
    assert not found.fits
    assert any("wants" in problem for problem in found.problems)


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0, float("nan")])
def test_utilisation_is_a_share(share: float) -> None:
    with pytest.raises(BadInput, match="gpu-memory-utilization"):
        Settings(gpu_memory_utilization=share)
