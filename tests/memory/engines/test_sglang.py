"""SGLang's accounting: its own rules worked by hand, as properties, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.memory.engines.properties import MODELS, case, held, limits_are_tight, more_never_takes_less, terms_add_up

from inferwise.errors import BadInput
from inferwise.memory.engines import allocate
from inferwise.memory.engines.sglang_flags import prefill_sizes
from inferwise.memory.state import stage_state_terms
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Lora, Settings
from inferwise.spec.state import StateKind
from inferwise.units import GIB, MIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
VERSIONS = ("0.4.0", "0.4.9", "0.5.3", "0.5.23")


@settings(max_examples=40)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(["h100", "h200", "rtx-4090"]),
    st.sampled_from(VERSIONS),
    st.integers(1, 60_000),
    st.integers(1, 300),
)
def test_properties(model: str, gpu: str, version: str, context: int, batch: int) -> None:
    if model == "openai/gpt-oss-20b" and gpu == "rtx-4090":
        gpu = "h100"  # MXFP4 from Hopper on
    found = held("sglang", model, gpu, engine_version=version, context=context, batch=batch)
    terms_add_up(found)
    limits_are_tight(found)
    more_never_takes_less(found.case)


# The rule of 0.5.3 (512 MiB + 1.5 MiB a token of a chunk + 2 MiB a sequence of the graphs + 128 MiB a rank) on an H100
# of 79.19 GiB, as the engine would print mem_fraction_static: 8,192 tokens and 256 sequences.
@pytest.mark.parametrize(
    ("version", "tp", "fraction"),
    [
        ("0.4.0", 1, 0.88),
        ("0.4.0", 8, 0.81),
        ("0.4.9", 1, 1 - (9.5 + 0.5) / 79.19),
        ("0.4.9", 8, 1 - (9.5 + 4) / 79.19),
        ("0.5.3", 1, 1 - (512 + 8192 * 1.5 + 256 * 2 + 128) / 1024 / 79.19),
        ("0.5.3", 8, 1 - (512 + 8192 * 1.5 + 512 * 2 + 1024) / 1024 / 79.19),
    ],
)
def test_static_share(version: str, tp: int, fraction: float) -> None:
    found = held("sglang", "meta-llama/Llama-3.1-70B-Instruct", "h100", engine_version=version, degrees={"tp": tp})
    flags = {name: value for name, value, _ in found.settings}
    assert flags["gpu_memory_utilization"] == pytest.approx(fraction, abs=0.0006)


@pytest.mark.parametrize(("gpu", "chunk", "graphs"), [("t4", 2048, 8), ("rtx-4090", 2048, 24), ("b200", 16384, 512)])
def test_classes_of_devices(gpu: str, chunk: int, graphs: int) -> None:
    found = held("sglang", "meta-llama/Llama-3.2-1B-Instruct", gpu)
    flags = {name: value for name, value, _ in found.settings}
    assert (flags["max_num_batched_tokens"], flags["graph_sequences"]) == (chunk, graphs)


def test_pool_is_what_the_formula_leaves() -> None:
    # free before = capacity - context; pool = free before - loaded - (1 - share) x free before; 128 KiB a token.
    found = held("sglang", LLAMA, "h100", settings=Settings(gpu_memory_utilization=0.8))
    device, pool = found.devices[0], found.pool
    assert pool is not None
    before = device.capacity_bytes - device.size("non-torch") - device.size("others")
    expected = before - device.size("weights") - before * 0.2
    assert pool.size_bytes == pytest.approx(expected, abs=131072)
    assert pool.tokens == pool.size_bytes // 131072 == pool.blocks
    assert found.max_batch == pool.tokens // 8192
    assert found.max_context == pool.tokens


def test_more_of_the_device_is_more_pool() -> None:
    shares = [Settings(gpu_memory_utilization=share) for share in (0.5, 0.7, 0.9)]
    pools = [held("sglang", LLAMA, "h100", settings=each).max_batch for each in shares]
    assert pools == sorted(pools)
    assert pools[0] < pools[-1]


def test_latent_is_whole_on_every_rank_and_sequences_are_dealt_by_attention_dp() -> None:
    tp = held("sglang", "deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8})
    dp = held("sglang", "deepseek-ai/DeepSeek-V3", "h200", degrees={"tp": 8, "dp": 8})
    assert tp.pool is not None
    assert dp.pool is not None
    assert tp.pool.block_bytes == dp.pool.block_bytes == 61 * 576 * 2
    assert dp.pool.tokens < tp.pool.tokens  # attention weights are whole on each rank, and more is kept back
    assert dp.max_batch == 8 * (dp.pool.tokens // 8192)


def test_window_pool() -> None:
    # gpt-oss: 12 full and 12 windowed layers of 2 x 8 x 64 x 2 B a token; 0.8 window tokens for each full one.
    found = held("sglang", "openai/gpt-oss-20b", "h100")
    device, layer = found.devices[0], 2 * 8 * 64 * 2 * 12
    assert found.pool is not None
    assert device.size("kv pool") == found.pool.tokens * layer
    assert device.size("window pool") == int(found.pool.tokens * 0.8) * layer
    old = held("sglang", "openai/gpt-oss-20b", "h100", engine_version="0.4.0")
    assert old.devices[0].size("window pool") == 0
    assert any("windowed" in note for note in old.notes)


def test_recurrent_slots() -> None:
    # 0.9 of what the cache has goes to states: budget x 0.9 / 1.9; FP32 states, five slots for each running request.
    found = held("sglang", "Qwen/Qwen3-Next-80B-A3B-Instruct", "h200", degrees={"tp": 2})
    device = found.devices[0]
    slots, kv = device.size("state slots"), device.size("kv pool")
    assert slots / kv == pytest.approx(0.9, rel=0.01)
    terms = stage_state_terms(found.case.model, 1, found.case.layout, found.case.parallel)[0]
    each = terms[StateKind.RECURRENT] + terms[StateKind.CONVOLUTION]
    assert terms[StateKind.RECURRENT] == 36 * 32 * 128 * 128 * 4 // 2  # 36 layers of 32 heads, FP32, two ranks
    assert slots % each == 0
    assert found.max_batch == (slots // each - 1) // 5


def test_states_of_drafted_tokens() -> None:
    asked = {"degrees": {"tp": 2}, "mtp": True, "speculative_tokens": 4}
    plain = held("sglang", "Qwen/Qwen3-Next-80B-A3B-Instruct", "h200", degrees={"tp": 2})
    found = held("sglang", "Qwen/Qwen3-Next-80B-A3B-Instruct", "h200", **asked)
    device = found.devices[0]
    both = device.size("state slots") + device.size("drafted states")
    assert both / (device.size("kv pool") + device.size("draft kv")) == pytest.approx(0.9, rel=0.02)
    # five slots and four drafted states a request, where five slots did before
    assert found.max_batch / plain.max_batch == pytest.approx(5 / 9, rel=0.05)


def test_draft_and_adapters_and_mtp() -> None:
    plain = held("sglang", LLAMA, "h100").devices[0]
    small = resolve("meta-llama/Llama-3.2-1B-Instruct")
    draft = held("sglang", LLAMA, "h100", draft=small).devices[0]
    lora = held("sglang", LLAMA, "h100", lora=Lora(slots=8, rank=64)).devices[0]
    assert draft.size("draft weights") > 2 * GIB
    assert draft.size("draft kv") > 0
    assert draft.size("kv pool") < plain.size("kv pool")
    assert lora.size("lora") + lora.size("kv pool") == pytest.approx(plain.size("kv pool"), abs=MIB)
    asked = {"degrees": {"tp": 8}, "mtp": True, "speculative_tokens": 3}
    mtp = held("sglang", "deepseek-ai/DeepSeek-V3", "h200", **asked).devices[0]
    assert mtp.size("mtp weights") > GIB
    assert mtp.size("draft kv") * 61 == pytest.approx(mtp.size("kv pool"), rel=0.001)


def test_prefill_graph_sizes() -> None:
    assert prefill_sizes(3) == 0
    assert prefill_sizes(32) == 8
    assert prefill_sizes(8192) == 8 + 14 + 8 + 8 + 12 + 8  # to 32, 256, 512, 1024, 4096, 8192


def test_unequal_devices_are_refused_and_the_smallest_pool_counts() -> None:
    mixed = held("sglang", LLAMA, "rtx-3090+rtx-3060", degrees={"tp": 2})
    assert any("unequal" in problem for problem in mixed.problems)
    first, second = mixed.devices
    assert first.size("kv pool") == second.size("kv pool")


@pytest.mark.parametrize(
    ("model", "gpu", "asked", "what"),
    [
        (LLAMA, "apple-m4-max", {}, "does not run on"),
        (LLAMA, "v100-pcie-16gb", {}, "Turing"),
        (LLAMA, "t4", {"kv": "fp8"}, "KV cache in fp8"),
        (LLAMA, "a100-sxm-80gb", {"weights": "nvfp4"}, "nvfp4"),
        (LLAMA, "h100", {"kv": "q8_0"}, "q8_0"),
        (LLAMA, "h100", {"degrees": {"tp": 3}}, "tp 3"),
    ],
)
def test_refused(model: str, gpu: str, asked: dict[str, object], what: str) -> None:
    with pytest.raises(BadInput, match=what) as error:
        held("sglang", model, gpu, **asked)
    assert ";" in str(error.value)  # what to do


def test_too_large_is_told() -> None:
    found = held("sglang", "meta-llama/Llama-3.1-70B-Instruct", "h100")
    assert not found.fits
    assert found.max_batch == 0
    assert "missing" in " ".join(found.problems)


def test_a_request_table_that_does_not_fit() -> None:
    # 2,049 requests x 2.1 million tokens x 4 B beside the pool; fewer requests mend it.
    model = "nvidia/Llama-3.1-Nemotron-8B-UltraLong-2M-Instruct"
    found = held("sglang", model, "h200")
    assert found.max_batch == 0
    assert "max-num-seqs" in found.problems[0]
    assert held("sglang", model, "h200", settings=Settings(max_num_seqs=64)).fits


def test_offload_frees_the_device() -> None:
    plain = held("sglang", LLAMA, "rtx-4090")
    moved = held("sglang", LLAMA, "rtx-4090", settings=Settings(offload_weight_bytes=4 * GIB))
    assert moved.host_bytes == 4 * GIB
    assert moved.max_batch > plain.max_batch


def test_quick() -> None:
    asked = case("sglang", LLAMA, "h100")
    allocate(asked)
    start = perf_counter()
    for _ in range(20):
        allocate(replace(asked))
    assert (perf_counter() - start) / 20 < 0.015  # 1.5 ms on a quiet machine; ten times that anywhere
