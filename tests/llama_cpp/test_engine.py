"""Real loads by a real llama.cpp: that its log is read whole, and that it allocated what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from tests.llama_cpp import engine, gguf_models, shapes
from tests.llama_cpp.cases import CASES, SMALL, Loaded
from tests.llama_cpp.conftest import Load

pytest.importorskip("xllamacpp", exc_type=ImportError)

MIB = 2**20
ROUNDED = 0.005 + 1e-9  # the log has two decimals


def test_what_was_asked_for_is_what_was_loaded(loaded: Loaded) -> None:
    asked, log = loaded.case.settings, loaded.log
    assert (log.context, log.sequences, log.ubatch) == (asked.context, asked.parallel, asked.ubatch)
    assert log.context_per_sequence == asked.context // (1 if asked.kv_unified else asked.parallel)
    # No batch is longer than the context, and an embedding server takes a batch in one piece.
    assert log.batch == (asked.ubatch if asked.embedding else min(asked.batch, asked.context))
    assert log.outputs == (asked.ubatch if asked.embedding else asked.parallel)
    assert log.kv_unified == asked.kv_unified
    assert log.flash_attn == (asked.flash_attn != "off")
    assert {(cache.k_type, cache.v_type) for cache in log.caches} == {(asked.kv_k, asked.kv_v)}


def test_the_weights_are_the_files(loaded: Loaded) -> None:
    log = loaded.log
    file_mib = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(loaded.path).tensors) / MIB
    assert log.file_mib == pytest.approx(file_mib, abs=ROUNDED * (1 if file_mib < 1024 else 1024))  # MiB, then GiB
    repacked, mapped = log.model_mib.get("CPU_REPACK", 0.0), log.model_mib.get("CPU_Mapped", 0.0)
    if not loaded.case.settings.mmap:
        assert set(log.model_mib) == {"CPU"}
        assert log.model_mib["CPU"] == pytest.approx(file_mib, abs=ROUNDED)
    elif loaded.case.weights in ("Q4_0", "MXFP4"):
        # Repacked matrices stand beside the file's mapping, which runs from the first tensor left in it to the last.
        assert 0 < repacked <= file_mib
        assert mapped <= file_mib < repacked + mapped
    else:
        assert set(log.model_mib) == {"CPU_Mapped"}
        assert mapped == pytest.approx(file_mib, abs=ROUNDED)


def test_every_layer_has_its_state(loaded: Loaded) -> None:
    shape, log = loaded.case.shape, loaded.log
    hybrid = [key for key in ("attention.head_count_kv", "full_attention_interval") if key in shape.extra]
    attending = sum(cache.layers for cache in log.caches)
    assert len(log.caches) == (2 if shape.window else 1)
    assert attending == (shape.layers // 4 if hybrid else shape.layers)
    assert (log.recurrent_mib > 0) == bool(hybrid)
    streams = 1 if log.kv_unified else log.sequences
    assert {cache.streams for cache in log.caches} == {streams}
    assert log.caches[0].cells == log.context_per_sequence
    cached = sum(cache.k_mib + cache.v_mib for cache in log.caches)
    assert sum(log.kv_mib) == pytest.approx(cached, abs=ROUNDED * 3 * len(log.caches))
    assert log.peak_bytes > cached * MIB  # llama.cpp clears its caches, so they are in memory


def test_outputs_and_computation_have_their_buffers(loaded: Loaded) -> None:
    shape, log = loaded.case.shape, loaded.log
    assert set(log.compute_mib) == {"CPU"}
    widest_mib = log.ubatch * shape.hidden * 4 / MIB  # one activation of the residual stream, the least there can be
    assert log.compute_mib["CPU"] > widest_mib
    assert log.nodes > 10 * shape.layers
    assert log.splits == 1
    logits_mib = log.sequences * shape.vocab * 4 / MIB
    assert log.output_mib == pytest.approx(logits_mib, rel=0.05, abs=0.02)


def test_a_known_model_at_a_known_context(load_case: Load) -> None:
    log = load_case("Llama-3.2-1B").log
    assert log.kv_mib == (64.0,)  # 16 layers x 8 heads x 64 x 2 x 2 bytes x 2,048 cells
    assert "n_ctx                 = 2048" in log.text


def test_windows_shorten_their_cache_only(load_case: Load) -> None:
    short, full = load_case("gemma-3-1b").log.caches, load_case("gemma-3-1b, windows kept in full").log.caches
    assert [(cache.cells, cache.layers) for cache in short] == [(32768, 4), (1024, 22)]
    assert [(cache.cells, cache.layers) for cache in full] == [(8192, 4), (8192, 22)]


def test_more_layers_need_no_larger_compute_buffer(tmp_path: Path) -> None:
    settings = engine.Settings(context=2048)
    two, eight = (
        engine.load(
            gguf_models.write(tmp_path / f"{layers}.gguf", shapes.with_layers(SMALL, layers), weights="Q8_0"),
            settings,
        )
        for layers in (2, 8)
    )
    assert two.compute_mib == eight.compute_mib
    assert sum(eight.kv_mib) == 4 * sum(two.kv_mib)
    assert eight.nodes > two.nodes


def test_a_load_that_llama_cpp_refuses(load_case: Load, tmp_path: Path) -> None:
    path = load_case("small").path
    with pytest.raises(engine.LoadFailed, match=r"V cache|flash|Flash"):
        engine.load(path, engine.Settings(flash_attn="off", kv_v="q8_0"))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(engine.LoadFailed, match=r"not within the file bounds|corrupted"):
        engine.load(cut, engine.Settings())


def test_fit_leaves_alone_what_fits(load_case: Load) -> None:
    path, settings = load_case("small").path, CASES["small"].settings
    log = engine.load(path, replace(settings, fit=True))
    assert "projected to use" in log.text
    assert log.total_mib == load_case("small").log.total_mib


@pytest.mark.parametrize("line", ["file size", "output buffer size", "n_ctx ", "graph: nodes"])
def test_a_log_that_lacks_a_line_is_refused(load_case: Load, line: str) -> None:
    text = load_case("small").log.text
    kept = "\n".join(each for each in text.splitlines() if line not in each)
    with pytest.raises(KeyError):
        engine.parse(kept, peak_bytes=0)
