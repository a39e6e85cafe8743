from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.llama_cpp.cases import SMALL, SMALL_MIXED, Loaded
from tests.llama_cpp.engine import Settings
from tests.llama_cpp.predicted import mib, predict

import inferwise as iw

ROUNDING = 0.005001  # the log has two decimals


def test_kv_and_recurrent_state_are_exact(loaded: Loaded) -> None:
    asked, log = loaded.case.settings, loaded.log
    if asked.kv_k != asked.kv_v:
        pytest.skip("one format for both K and V")
    made = predict(iw.model(str(loaded.path)), asked)
    assert abs(mib(made, "kv") - sum(log.kv_mib)) <= ROUNDING * len(log.kv_mib)
    assert abs(mib(made, "recurrent") - log.recurrent_mib) <= ROUNDING


def test_output_buffer_is_exact(loaded: Loaded) -> None:
    if loaded.case.settings.embedding:
        pytest.skip("an embedding server keeps embeddings as well, for every token")
    made = predict(iw.model(str(loaded.path)), loaded.case.settings)
    assert abs(mib(made, "output") - loaded.log.output_mib) <= ROUNDING


def test_weights_to_half_a_percent(loaded: Loaded) -> None:
    made = predict(iw.model(str(loaded.path)), loaded.case.settings)
    logged = sum(loaded.log.model_mib.values())
    assert mib(made, "mapped weights", "weights", "repacked weights") == pytest.approx(logged, rel=0.005)


def test_repacked_weights_stand_beside_the_mapped_ones(loaded: Loaded) -> None:
    made = predict(iw.model(str(loaded.path)), loaded.case.settings)
    logged = sum(size for name, size in loaded.log.model_mib.items() if "REPACK" in name)
    assert mib(made, "repacked weights") == pytest.approx(logged, rel=0.005, abs=0.01)


def test_compute_buffer_to_five_percent(loaded: Loaded) -> None:
    made = predict(iw.model(str(loaded.path)), loaded.case.settings)
    assert mib(made, "compute") == pytest.approx(sum(loaded.log.compute_mib.values()), rel=0.05)


def test_compute_buffers_are_mostly_exact(loaded_cases: tuple[Loaded, ...]) -> None:
    errors = []
    for loaded in loaded_cases:
        made = predict(iw.model(str(loaded.path)), loaded.case.settings)
        errors.append(abs(mib(made, "compute") - sum(loaded.log.compute_mib.values())))
    exact = sum(error <= 0.0101 for error in errors)
    assert exact >= 0.9 * len(errors), errors


def test_pool_has_the_cells_of_the_log(loaded: Loaded) -> None:
    pool = predict(iw.model(str(loaded.path)), loaded.case.settings).pool
    assert pool is not None
    if loaded.log.caches:
        assert pool.tokens == max(cache.cells * cache.streams for cache in loaded.log.caches)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("gguf")
    from tests.llama_cpp import gguf_models

    folder: Path = tmp_path_factory.mktemp("small")
    shapes = {"dense": SMALL, "experts": SMALL_MIXED}
    return {name: iw.model(str(gguf_models.write(folder / f"{name}.gguf", shape))) for name, shape in shapes.items()}


@given(
    name=st.sampled_from(("dense", "experts")),
    context=st.integers(1, 200_000),
    slots=st.integers(1, 16),
    ubatch=st.sampled_from((32, 128, 512, 2048)),
    flash=st.sampled_from(("on", "off")),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_grows_with_context_slots_and_micro_batch(
    small: dict[str, Any], name: str, context: int, slots: int, ubatch: int, flash: str
) -> None:
    def total(context: int, slots: int, ubatch: int) -> int:
        asked = Settings(context=context * slots, parallel=slots, ubatch=ubatch, flash_attn=flash)
        return predict(small[name], asked).devices[0].total_bytes

    now = total(context, slots, ubatch)
    assert now <= total(context + 256, slots, ubatch)
    assert now <= total(context, slots + 1, ubatch)
    assert now <= total(context, slots, ubatch * 2)
