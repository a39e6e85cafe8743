"""mlx-lm's accounting: against a real MLX's counts, by hand, as properties, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.memory.engines.properties import MODELS, case, held, limits_are_tight, more_never_takes_less, terms_add_up

from inferwise.catalog.engines import engine
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.engines import allocate
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Lora, Settings
from inferwise.spec.hardware import Accelerator, Kind, Node
from inferwise.units import GIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MAC = "apple-m4-max"
MEASURED = Path(__file__).parents[3] / "benchmarks" / "results" / "mlx_memory.json"


@settings(max_examples=40)
@given(st.sampled_from(MODELS), st.sampled_from(["apple-m4", MAC]), st.integers(1, 60_000), st.integers(1, 40))
def test_properties(model: str, gpu: str, context: int, batch: int) -> None:
    found = held("mlx", model, gpu, context=context, batch=batch)
    terms_add_up(found)
    limits_are_tight(found)
    more_never_takes_less(found.case)


@pytest.mark.parametrize("row", json.loads(MEASURED.read_text())["rows"], ids=str)
def test_against_mlx(row: dict[str, object], tmp_path: Path) -> None:
    # benchmarks/mlx_memory.py: what MLX 0.32.4 counts of this model.
    config = {
        "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 896,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "rms_norm_eps": 1e-5, "vocab_size": 2048,
        "rope_theta": 1e4, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "max_position_embeddings": 8192,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    mac = Accelerator(slug="mac", name="Mac", memory_bytes=64 * GIB, vendor="Apple", kind=Kind.UNIFIED)
    weights = row.get("format") if row.get("format") != "bf16" else None
    tokens = row.get("tokens", 256)
    assert isinstance(tokens, int)
    asked = Case(
        model=resolve(str(tmp_path)),
        node=Node(devices=(mac,)),
        engine=engine("mlx"),
        layout=engine("mlx").layout,
        context=tokens,
        weights=str(weights) if weights else None,
    )
    found = allocate(asked).devices[0].size(str(row["what"]))
    assert found == pytest.approx(row["measured"], abs=16)


def test_quantised_cache() -> None:
    # 8 bits and 32 bits for each 64 values: 8.5 bits; 4 bits: 4.5.
    sizes = {kv: held("mlx", LLAMA, MAC, kv=kv).devices[0].size("kv") for kv in ("bf16", "int8", "int4")}
    assert sizes["bf16"] == GIB
    assert sizes["int8"] == GIB * 8.5 / 16
    assert sizes["int4"] == GIB * 4.5 / 16


def test_chunks_by_version_and_flag() -> None:
    old = held("mlx", LLAMA, MAC, engine_version="0.20.0").devices[0].size("activations")
    new = held("mlx", LLAMA, MAC).devices[0].size("activations")
    small = held("mlx", LLAMA, MAC, settings=Settings(max_num_batched_tokens=512)).devices[0].size("activations")
    assert small == old < new


def test_scores_where_no_kernel_is_fused() -> None:
    # Qwen3-Next's heads are 256 wide: 16 heads x 2,048 x 8,192 scores in 16 bits, twice.
    found = held("mlx", "Qwen/Qwen3-Next-80B-A3B-Instruct", MAC, weights="int4").devices[0].size("activations")
    assert found > 16 * 2048 * 8192 * 2 * 2


def test_windows_rotate() -> None:
    model = "google/gemma-3-12b-it"
    short, long = (held("mlx", model, MAC, context=tokens).devices[0].size("kv") for tokens in (8192, 16384))
    full = 8 * 2 * 8 * 256 * 2  # 8 of 48 layers keep every token
    assert long - short == 8192 * full


def test_the_working_set_is_the_limit() -> None:
    found = held("mlx", "meta-llama/Llama-3.1-70B-Instruct", MAC)
    device = found.devices[0].device
    assert found.devices[0].capacity_bytes == device.gpu_limit_bytes < device.memory_bytes
    assert not found.fits
    assert "may wire" in found.problems[0]


def test_draft_and_adapters() -> None:
    draft = case("mlx", "meta-llama/Llama-3.2-1B-Instruct", MAC).model
    device = held("mlx", LLAMA, MAC, draft=draft, lora=Lora(slots=1, rank=8)).devices[0]
    assert device.size("draft weights") > 2 * GIB
    assert device.size("draft kv") == 8192 * 16 * 2 * 8 * 64 * 2
    assert device.size("lora") > 0


@pytest.mark.parametrize(
    ("model", "gpu", "asked", "what"),
    [
        (LLAMA, "h100", {}, "does not run on"),
        (LLAMA, MAC, {"weights": "Q4_K_M"}, "gguf"),
        (LLAMA, MAC, {"kv": "fp8"}, "fp8"),
        ("google/gemma-3-12b-it", MAC, {"kv": "int8"}, "rotating"),
        (LLAMA, MAC, {"settings": Settings(offload_kv_bytes=GIB)}, "host"),
    ],
)
def test_refused(model: str, gpu: str, asked: dict[str, object], what: str) -> None:
    with pytest.raises(BadInput, match=what) as error:
        held("mlx", model, gpu, **asked)
    assert ";" in str(error.value)
