"""What a token and a sequence take of a device: against the state terms, summed over the layers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.memory.engines.properties import MODELS

from inferwise.catalog.engines import layouts
from inferwise.memory.parts.cells import stage_cells
from inferwise.memory.search import largest
from inferwise.memory.state import stage_state_terms
from inferwise.read.resolve import resolve
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.state import StateLayout

PARALLEL = (Parallel(), Parallel(tp=2), Parallel(tp=8, dp=8), Parallel(pp=2), Parallel(tp=4, cp=4), Parallel(tp=16))


@settings(max_examples=60)
@given(
    st.sampled_from((*MODELS, "deepseek-ai/DeepSeek-V3.2")),
    st.sampled_from(PARALLEL),
    st.sampled_from(["sglang", "tensorrt-llm", "transformers", "mlx"]),
    st.sampled_from(["bf16", "fp8"]),
    st.integers(1, 200_000),
)
def test_they_sum_to_the_state(name: str, parallel: Parallel, engine: str, kv: str, tokens: int) -> None:
    model, layout = resolve(name), StateLayout(kv=kv, index=layouts()[engine].index)
    terms = stage_state_terms(model, tokens, layout, parallel)
    for layers, state in zip(pipeline_stages(len(model.decoder.pattern), parallel.pp), terms, strict=True):
        cells = stage_cells(model, layout, parallel, layers)
        assert cells.full_bytes(tokens) + cells.window_bytes(tokens) + cells.sequence == sum(state.values())
        assert cells.full_token <= cells.full_bytes(parallel.cp * 64) / 64 or not cells.full


def test_windows_off_keeps_all() -> None:
    model = resolve("google/gemma-3-12b-it")
    on = stage_cells(model, StateLayout(), Parallel(), range(48))
    off = stage_cells(model, StateLayout(windows=False), Parallel(), range(48))
    assert off.windows == ()
    assert off.full_token == on.full_token + on.window_token
    assert on.widest_window == 1024


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_largest(limit: int, most: int) -> None:
    trials = []

    def holds(value: int) -> bool:
        trials.append(value)
        return value <= limit

    assert largest(holds, most) == min(limit, most)
    assert len(trials) <= 2 * max(limit, 1).bit_length() + 3
