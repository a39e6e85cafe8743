"""One sequence alone: worked values, what grows with what, and llama-bench's own rows out of fold."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog import models as catalog
from inferwise.catalog.engines import engine
from inferwise.catalog.hardware import hardware
from inferwise.memory.case import Case
from inferwise.memory.state import layout_in
from inferwise.read.resolve import from_catalog
from inferwise.serving.single_stream import case_ubatch, prompt_seconds, resized, single_stream
from inferwise.serving.steady import Load
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, step_seconds
from inferwise.timing.step import Step

FOLDS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "llama_cpp_folds.json"


def made(
    model: str, weights: str, device: str = "ryzen-ai-max-395", backend: str = "vulkan", count: int = 1
) -> Forward:
    llama_cpp, entry = engine("llama.cpp"), catalog.find(model)
    assert entry is not None
    case = Case(
        model=from_catalog(entry),
        node=hardware(device, count),
        engine=llama_cpp,
        weights=weights,
        layout=layout_in(llama_cpp.layout),
        encoder=False,
    )
    return forward(case, backend=backend)


@pytest.fixture(scope="module")
def dense() -> Forward:
    return made("meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M")


def load(prompt: float = 512.0, answer: float = 128.0, prefix: float = 0.0) -> Load:
    return Load(input=prompt, output=answer, concurrency=1.0, prefix=prefix)


def test_decode_is_the_weights_at_the_memory_s_pace(dense: Forward) -> None:
    """8B in Q4_K_M: a token reads 4.62 GB (4.91 GB less the embedding), at 256 GB/s 55 tokens/s at most."""
    read = sum(operator.done(Step(decodes=1.0, context=1.0))[1] for operator in dense.stages[0])
    assert float(read) == pytest.approx(4.62e9, rel=0.03)
    rate = float(single_stream(dense, load(1)).decode_tok_s)
    assert 0.65 * 256e9 / 4.62e9 < rate < 256e9 / 4.62e9


def test_a_prompt_is_its_micro_batches(dense: Forward) -> None:
    """1,100 tokens: 512, 512 and 76, each after those before it."""
    chunks = ((512.0, 0.0), (512.0, 512.0), (76.0, 1024.0))
    by_hand = sum(float(step_seconds(dense, Step(prompts=1.0, prompt_tokens=n, past=p))) for n, p in chunks)
    assert float(prompt_seconds(dense, 1100.0, 0.0, 512.0)) == pytest.approx(by_hand, rel=1e-6)
    assert float(single_stream(dense, load(1100), 512.0).prompt_tok_s) == pytest.approx(1100 / by_hand, rel=1e-6)


def test_the_case_says_how_long_a_micro_batch_is(dense: Forward) -> None:
    assert case_ubatch(dense) == 512.0


def test_what_is_cached_is_not_read_again(dense: Forward) -> None:
    found = single_stream(dense, load(4096 + 512, 0.0, 4096))
    fresh = single_stream(dense, load(512, 0.0))
    assert float(found.prompt_s) > float(fresh.prompt_s)
    assert float(found.prompt_tok_s) == pytest.approx(512 / float(found.prompt_s))
    assert (float(found.decode_s), float(found.decode_tok_s)) == (0.0, 0.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60_000), st.integers(1, 30_000))
def test_nothing_gets_faster_by_more_of_it(depth: int, more: int) -> None:
    for one in (MODELS[name] for name in MODELS):
        low, high = (single_stream(one, load(float(n))) for n in (depth, depth + more))
        assert float(low.decode_s) <= float(high.decode_s) * (1 + 1e-9)
        assert float(low.prompt_s) <= float(high.prompt_s) * (1 + 1e-9)
        beside = [float(step_seconds(one, Step(decodes=b, context=float(depth)))) for b in (1.0, 2.0, 8.0)]
        assert beside == sorted(beside)


MODELS = {
    "dense": made("meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M"),
    "experts": made("Qwen/Qwen3-30B-A3B", "gguf:Q4_K_M", backend="rocm"),
    "windows": made("google/gemma-3-27b-it", "gguf:Q4_K_M"),
}


def test_scalars_and_arrays_agree() -> None:
    depths = np.array([1.0, 513.0, 5000.0])
    for one in MODELS.values():
        together = single_stream(one, load(depths))
        for number, depth in enumerate(depths):
            alone = single_stream(one, load(float(depth)))
            assert float(alone.prompt_s) == pytest.approx(together.prompt_s[number], rel=1e-12)
            assert float(alone.decode_s) == pytest.approx(together.decode_s[number], rel=1e-12)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("zai-org/GLM-4.7-Flash", "gguf:Q8_0"),  # latent attention
        ("Qwen/Qwen3.6-35B-A3B", "gguf:UD-Q4_K_XL"),  # gated delta net
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", "gguf:UD-Q4_K_XL"),  # Mamba-2
        ("deepseek-ai/DeepSeek-V4-Flash", "gguf:UD-IQ3_XXS"),  # compressed attention
    ],
)
def test_every_kind_of_layer_is_timed(model: str, weights: str) -> None:
    for backend in ("vulkan", "rocm"):
        found = single_stream(made(model, weights, backend=backend), load(2048.0))
        assert 5 < float(found.decode_tok_s) < 120
        assert float(found.decode_tok_s) < float(found.prompt_tok_s) < 5000


def test_more_bits_are_slower() -> None:
    rates = [float(single_stream(made("Qwen/Qwen3-32B", w), load()).decode_tok_s) for w in ("gguf:Q4_K_M", "gguf:Q8_0")]
    assert 1.4 < rates[0] / rates[1] < 2.0


def test_a_file_of_another_size(dense: Forward) -> None:
    half = single_stream(resized(dense, 0.5, 0.5), load())
    assert 1.7 < float(half.decode_tok_s) / float(single_stream(dense, load()).decode_tok_s) < 2.0


@pytest.mark.parametrize(("device", "rate"), [("rtx-4090", 1008e9), ("m4-max", 546e9), ("epyc-9654", 461e9)])
def test_other_devices_stay_under_their_datasheet(device: str, rate: float) -> None:
    """4.62 GB a token: at 40 to 100 % of the memory's rate. A prompt is faster than its tokens one by one."""
    found = single_stream(made("meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M", device, ""), load())
    assert 0.4 * rate / 4.62e9 < float(found.decode_tok_s) < rate / 4.62e9
    assert float(found.prompt_tok_s) > 2 * float(found.decode_tok_s)


def test_layers_over_two_devices_read_a_prompt_in_turn(dense: Forward) -> None:
    """Both work on micro-batches at once, so that a long prompt gets faster; a token passes through both."""
    two = made("meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M", "rtx-4090", "", 2)
    one = made("meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M", "rtx-4090", "")
    assert float(single_stream(two, load(8192.0)).prompt_s) < 0.7 * float(single_stream(one, load(8192.0)).prompt_s)
    assert float(single_stream(two, load()).decode_s) == pytest.approx(
        float(single_stream(one, load()).decode_s), rel=0.05
    )


def test_llama_bench_out_of_fold(shared_data: Path) -> None:
    """Issue 4: decode at most 10 %, prompts 25 % (median, best build of a cell), every row covered, in every source."""
    calibrate = pytest.importorskip("benchmarks.calibrate_llama_cpp", reason="scipy is not installed")
    scored = pytest.importorskip("benchmarks.llama_cpp_rows")
    rows = scored.measured(shared_data)
    assert len(rows) == 3943
    made = {int(fold): each for fold, each in json.loads(FOLDS.read_text()).items()}
    top = scored.best(rows, by_backend=False)
    rates = calibrate.out_of_fold(calibrate.groups(top), made)
    assert set(rates) == {row.run.id for row in top}
    for source in {row.run.source for row in top}:
        for metric, most in (("decode_tok_s", 0.10), ("prompt_tok_s", 0.25)):
            some = [row for row in top if row.run.source == source and row.metric == metric]
            assert statistics.median(scored.errors(some, rates)) <= most, (source, metric)
