from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.engines import engine, layouts
from inferwise.memory.parts.paged import Keep, PageLayout, Rules, page_layout, paging_rules
from inferwise.memory.parts.paged_groups import Cache, Counted, grouped
from inferwise.memory.state import layout_for, stage_state_terms
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.state import State, StateKind
from inferwise.units import GIB, round_up

VLLM = layouts()["vllm"]
UNIFORM = [
    "Qwen/Qwen2.5-7B-Instruct",
    "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3.2",
    "meta-llama/Llama-3.1-70B",
]
HYBRID = [
    "google/gemma-3-12b-it",
    "google/gemma-4-31B-it",
    "openai/gpt-oss-20b",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "deepseek-ai/DeepSeek-V4-Pro",
    "mistralai/Mistral-7B-v0.1",
    "openai/whisper-large-v3",
]
VERSIONS = ["0.6.0", "0.8.5", "0.9.2", "0.10.2", "0.12.0", "0.14.0", "0.19.0", "0.20.2", "0.26.0", "0.33.0"]


def rules_of(version: str, *, latent: bool = False, tokens: int = 8192) -> Rules:
    return paging_rules(engine("vllm", version).defaults, latent=latent, max_num_batched_tokens=tokens)


def pages(
    name: str,
    version: str = "0.19.0",
    parallel: Parallel | None = None,
    stage: int = 0,
    extra: tuple[tuple[State, int], ...] = (),
) -> PageLayout:
    model, parallel = iw.model(name), parallel or Parallel()
    layers = pipeline_stages(len(model.decoder.pattern), parallel.pp)[stage]
    return page_layout(model, VLLM, parallel, layers, rules_of(version), extra)


def shape(layout: PageLayout) -> dict[str, tuple[int, int]]:
    """Groups of each kind with the layers of each."""
    return {group.keep.value: (group.copies, group.layers) for group in layout.groups}


def test_the_log_of_a_real_pool(shared_data: Path) -> None:
    """vLLM 0.19 logs 1,096,000 tokens (to a thousand) for a pool of 58.53 GiB (to 0.01)."""
    with (shared_data / "memory_vllm.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kv_tokens"]]
    assert rows
    for row in rows:
        layout = pages(row["model"], row["engine_version"])
        low, high = (
            layout.tokens_logged(int((float(row["kv_pool_gib"]) + off) * GIB), int(row["max_model_len"]))
            for off in (-0.005, 0.005)
        )
        assert low - 500 <= float(row["kv_tokens"]) <= high + 500


@pytest.mark.parametrize(
    "parallel",
    [Parallel(), Parallel(tp=4), Parallel(tp=8, dp=8), Parallel(tp=8, cp=8), Parallel(tp=16, cp=2), Parallel(pp=3)],
)
@pytest.mark.parametrize("name", UNIFORM)
@pytest.mark.parametrize("tokens", [1, 4095, 32768])
def test_a_uniform_model_is_its_state_in_whole_blocks(name: str, parallel: Parallel, tokens: int) -> None:
    model = iw.model(name)
    terms = stage_state_terms(model, round_up(tokens, 16 * parallel.cp), VLLM, parallel)
    for stage, expected in enumerate(terms):
        layout = pages(name, parallel=parallel, stage=stage)
        assert layout.group_count == 1
        assert layout.sequence_bytes(tokens) == sum(expected.values())


def test_groups_of_the_design_document() -> None:
    """10 full and 20 windowed layers are three groups of 10 (docs/design/hybrid_kv_cache_manager)."""
    layers = [Counted(Cache(Keep.FULL, 4096), 10, 10), Counted(Cache(Keep.WINDOW, 4096, span=1024), 20, 20)]
    groups, block_bytes, notes = grouped(layers, Rules())
    assert [(group.layers, group.copies) for group in groups] == [(10, 1), (10, 2)]
    assert block_bytes == 10 * 16 * 4096
    assert not notes


def test_gemma_3_has_a_full_group_and_five_of_windows() -> None:
    layout = pages("google/gemma-3-12b-it")
    assert shape(layout) == {"window": (5, 8), "full": (1, 8)}
    assert layout.block_bytes == 8 * 16 * 2 * 8 * 256 * 2
    pool = 1000 * layout.block_bytes
    assert layout.tokens_logged(pool, 32768) == 1000 // 6 * 16
    # 2,048 blocks of the full layers; 1,023 + 8,192 tokens of a window and a block it straddles, five times
    assert layout.sequence_blocks(32768) == 2048 + 5 * (576 + 1)
    assert layout.max_concurrency(pool, 32768) == 1000 / (2048 + 5 * 577)


def test_since_0_20_1_the_log_is_concurrency_times_the_length() -> None:
    layout = pages("google/gemma-3-12b-it", "0.21.0")
    pool = 5000 * layout.block_bytes
    assert layout.tokens_logged(pool, 32768) == int(5000 / (2048 + 5 * 577) * 32768)
    assert layout.tokens_logged(pool, 32768) > 2.4 * pages("google/gemma-3-12b-it", "0.19.0").tokens_logged(pool, 32768)


def test_a_draft_layer_pads_groups_instead_of_doubling_one() -> None:
    """gpt-oss-20b with EAGLE: 12 windows and 13 full layers (the comment in _get_kv_cache_groups_uniform_page_size)."""
    draft = ((State(StateKind.KV, 1024, units=8, row=64), 1),)
    assert shape(pages("openai/gpt-oss-20b")) == {"window": (1, 12), "full": (1, 12)}
    assert shape(pages("openai/gpt-oss-20b", "0.12.0", extra=draft)) == {"window": (1, 12), "full": (1, 13)}
    before = pages("openai/gpt-oss-20b", "0.10.2", extra=draft)
    assert shape(before) == {"window": (1, 12), "full": (2, 7)}
    assert before.sequence_blocks(32768) == 2 * 2048 + (8192 + 127 + 15) // 16 + 1


def test_a_draft_lies_on_the_last_stage_and_groups_are_the_whole_models() -> None:
    draft = ((State(StateKind.KV, 1024, units=8, row=64), 1),)
    first, last = (pages("openai/gpt-oss-20b", parallel=Parallel(pp=2), stage=at, extra=draft) for at in (0, 1))
    assert first.group_count == last.group_count == 2
    assert last.block_bytes - first.block_bytes == 16 * 1024 * 2
    assert first.sequence_blocks(8192) == last.sequence_blocks(8192)


@pytest.mark.parametrize(("version", "paged_apart"), [("0.8.5", False), ("0.9.2", True), ("0.33.0", True)])
def test_windows_keep_every_token_before_hybrid_groups(version: str, paged_apart: bool) -> None:
    model, layout = iw.model("google/gemma-3-12b-it"), pages("google/gemma-3-12b-it", version)
    whole = model.state_bytes(32768, layout=replace(VLLM, windows=False))
    assert (layout.sequence_bytes(32768) == whole) is not paged_apart
    assert layout.sequence_bytes(32768) <= whole


def test_chunked_attention_had_no_groups_from_0_10_1_to_0_14() -> None:
    name = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
    assert shape(pages(name, "0.10.0")) == shape(pages(name, "0.19.0"))
    assert shape(pages(name, "0.13.0")) == {"full": (1, 48)}
    assert shape(pages(name, "0.14.0")) == {"chunk": (3, 12), "full": (1, 12)}
    assert pages(name).sequence_blocks(32768) == 2048 + 3 * 1024  # a chunk of 8,192 tokens and a step of as many


@pytest.mark.parametrize("tp", [1, 2, 4])
@pytest.mark.parametrize("name", ["Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"])
def test_an_attention_page_is_no_smaller_than_a_state(name: str, tp: int) -> None:
    """The fewest multiples of 16 tokens whose page holds a state; every page is padded to it."""
    layout, model = pages(name, parallel=Parallel(tp=tp)), iw.model(name)
    full = next(group for group in layout.groups if group.keep is Keep.FULL)
    states = next(group for group in layout.groups if group.keep is Keep.STATE)
    terms = stage_state_terms(model, 0, VLLM, Parallel(tp=tp))[0]
    state = sum(terms.values()) // sum(
        bool(kind.state()) and kind.state()[0].constant for kind, n in model.decoder.layer_counts() for _ in range(n)
    )
    page = full.used_bytes // full.layers
    assert full.block_tokens % 16 == 0
    assert page * (full.block_tokens - 16) // full.block_tokens < state <= page
    assert states.used_bytes // states.layers == page
    assert states.blocks(10**6, 8192) == 1


def test_qwen3_next_blocks() -> None:
    layout = pages("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert shape(layout) == {"state": (3, 12), "full": (1, 12)}
    assert layout.block_tokens == 544
    assert pages("Qwen/Qwen3-Next-80B-A3B-Instruct", parallel=Parallel(tp=4)).block_tokens == 272
    assert layout.sequence_blocks(544 * 10) == 10 + 3
    assert pages("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.26.0").sequence_blocks(544 * 10) == 10 + 3 * 2


def test_v0_keeps_recurrent_state_in_slots() -> None:
    name = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"
    old, model = pages(name, "0.6.6"), iw.model(name)
    terms = model.state_terms(32768, VLLM)
    assert old.slot_bytes == terms[StateKind.RECURRENT] + terms[StateKind.CONVOLUTION]
    assert old.sequence_bytes(32768) == terms[StateKind.KV]
    assert pages(name).slot_bytes == 0


def test_unlike_pages_are_made_equal() -> None:
    """gemma-4: a token takes twice as much in a window as in a full layer, whose blocks so have twice the tokens."""
    layout = pages("google/gemma-4-31B-it")
    tokens = {group.keep: group.block_tokens for group in layout.groups}
    assert tokens == {Keep.WINDOW: 16, Keep.FULL: 32}
    assert len({group.used_bytes // group.layers for group in layout.groups}) == 1
    odd = [Counted(Cache(Keep.FULL, 3000), 4, 4), Counted(Cache(Keep.WINDOW, 4000, span=64), 4, 4)]
    groups, _, notes = grouped(odd, Rules())
    assert {group.used_bytes for group in groups} == {4 * 16 * 4000}
    assert notes == ("pages of 48000 bytes padded to 64000",)


def test_compressed_attention_packs_its_whole_length_caches() -> None:
    model, layout = iw.model("deepseek-ai/DeepSeek-V4-Pro"), pages("deepseek-ai/DeepSeek-V4-Pro", "0.33.0")
    whole = next(group for group in layout.groups if group.keep is Keep.FULL)
    grown = model.state_bytes(256 * 1000) - model.state_bytes(256 * 900)
    assert whole.used_bytes * 100 == grown
    assert all(group.used_bytes <= layout.block_bytes == whole.used_bytes for group in layout.groups)
    assert layout.notes


@pytest.mark.parametrize("name", [*UNIFORM[:1], *HYBRID])
@settings(max_examples=25)
@given(data=st.data())
def test_pools_sequences_and_lengths_agree(name: str, data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(VERSIONS))
    layout = pages(name, version, Parallel(tp=data.draw(st.sampled_from([1, 2, 8]))))
    pool, tokens = data.draw(st.integers(0, 400 * GIB)), data.draw(st.integers(1, 200_000))
    more, sequences = data.draw(st.integers(0, 100_000)), data.draw(st.integers(1, 64))
    blocks = layout.blocks_in(pool)
    assert blocks * layout.block_bytes <= pool < (blocks + 1) * layout.block_bytes
    assert layout.sequence_blocks(tokens) <= layout.sequence_blocks(tokens + more)
    assert layout.held_blocks(tokens, sequences) <= layout.held_blocks(tokens + more, sequences + 1)
    assert layout.held_blocks(tokens, 1) <= layout.sequence_blocks(tokens)
    assert layout.tokens_logged(pool, tokens) <= layout.tokens_logged(pool + more * 1024, tokens)
    assert layout.max_concurrency(pool, tokens) == blocks / layout.sequence_blocks(tokens)
    most = layout.most(pool, tokens, high=2**20)
    assert most == 0 or layout.fits(blocks, tokens, most)
    assert most == 2**20 or not layout.fits(blocks, tokens, most + 1)
    assert most >= layout.most(pool, tokens + more)
    longest = layout.longest(pool, sequences)
    assert longest is None or longest == 0 or layout.fits(blocks, longest, sequences)
    assert longest is None or not layout.fits(blocks, longest + 1, sequences)
    assert (longest is None or longest >= tokens) is (most >= sequences)


@given(st.sampled_from(UNIFORM), st.integers(0, 200 * GIB), st.sampled_from(VERSIONS))
@settings(max_examples=40)
def test_a_uniform_pool_over_bytes_a_token_is_its_tokens(name: str, pool: int, version: str) -> None:
    layout = pages(name, version)
    assert layout.tokens_logged(pool, 16) == pool // layout.block_bytes * 16


@given(st.sampled_from(HYBRID), st.integers(1, 300_000), st.sampled_from(["bf16", "fp8"]))
@settings(max_examples=60)
def test_pages_hold_at_least_the_state(name: str, tokens: int, kv: str) -> None:
    """Never less than the lower bound, and at most what its groups could pad."""
    model, layout = iw.model(name), layout_for("vllm", kv=kv)
    paged = page_layout(model, layout, Parallel(), range(len(model.decoder.pattern)), rules_of("0.19.0"))
    state = sum(stage_state_terms(model, tokens, layout, Parallel())[0].values())
    assert paged.sequence_bytes(tokens) >= state
    assert paged.held_blocks(tokens) * paged.block_bytes >= state


def test_versions_are_in_order_and_each_has_what_it_takes() -> None:
    small, large = engine("vllm", "0.19.0").defaults, engine("vllm", "0.33.0").defaults
    assert (small["gpu_memory_utilization"], large["gpu_memory_utilization"]) == (0.9, 0.92)
    assert (small["graphs_in_pool"], large["graphs_in_pool"]) == (False, True)
    assert (small["max_num_seqs"], small["max_num_seqs_large"]) == (256, 1024)
    assert (small["max_num_batched_tokens"], small["max_num_batched_tokens_large"]) == (2048, 8192)
    assert large["max_num_batched_tokens_huge"] == 16384
    assert engine("vllm", "0.20.0").basis == "0.20.0"
    for version in VERSIONS:
        assert rules_of(version).block_tokens == 16
        assert engine("vllm", version).basis == version or version in ("0.9.2", "0.20.2", "0.12.0")
    assert rules_of("0.19.0", latent=True).block_tokens == 64
