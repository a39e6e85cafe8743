"""Quantised checkpoints by what their names say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.process import inferwise

from inferwise.catalog.derived import derived
from inferwise.catalog.models import entry
from inferwise.memory.weights import weight_bytes
from inferwise.read.config import model_from_config


@pytest.mark.parametrize(
    "name",
    [
        "RedHatAI/Qwen2.5-7B-Instruct-FP8-dynamic",
        "RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8",
        "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic",
        "RedHatAI/Mistral-Small-3.1-24B-Instruct-2503-quantized.w8a8",
    ],
)
def test_what_the_catalog_has_comes_out_the_same(name: str) -> None:
    guessed = derived(name)
    assert guessed is not None
    known, found = (weight_bytes(model_from_config(config)) for config in (entry(name).config, guessed.config))
    assert found.total == known.total
    assert guessed.verified == "derived"
    assert "not read" in guessed.notes


@pytest.mark.parametrize(
    ("name", "base", "bits"),
    [
        ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w4a16", "Qwen/Qwen2.5-7B-Instruct", 4),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a16", "meta-llama/Llama-3.1-8B-Instruct", 8),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct", 4),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-7B-Instruct", 8),
        ("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct", 4),
    ],
)
def test_bits_of_a_recipe(name: str, base: str, bits: int) -> None:
    guessed = derived(name)
    assert guessed is not None
    model, whole = model_from_config(guessed.config), model_from_config(entry(base).config)
    assert model.parameters == whole.parameters
    ends = sum(each.elements * n for each, n in whole.counted_tensors() if each.component in ("embedding", "head"))
    inside = weight_bytes(model).total - 2 * ends
    assert bits / 8 <= inside / (whole.parameters - ends) <= (bits + 0.6) / 8


@pytest.mark.parametrize(
    "name", ["org/nothing-AWQ", "someone/Qwen2.5-7B-Instruct-FP8-dynamic", "Qwen2.5-7B-AWQ", "a/b", ""]
)
def test_other_names_say_nothing(name: str) -> None:
    assert derived(name) is None


@given(st.text(max_size=40), st.sampled_from(["-AWQ", "-FP8-dynamic", "-quantized.w4a16", ""]))
@settings(deadline=None, max_examples=60)
def test_any_text_is_a_name_or_none(tail: str, ending: str) -> None:
    found = derived(f"RedHatAI/{tail}{ending}")
    assert found is None or found.id.endswith(ending)


def test_only_where_the_hub_cannot_be_asked(tmp_path: Path) -> None:
    ran = inferwise(tmp_path, ["models", "RedHatAI/Qwen2.5-7B-Instruct-quantized.w4a16", "--json"], HF_HUB_OFFLINE="1")
    assert ran.code == 0
    assert any("its own config was not read" in note for note in json.loads(ran.out)["notes"])
