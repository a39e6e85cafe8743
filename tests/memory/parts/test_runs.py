"""What an engine can run on a device: by vendor, generation and kind of format, from the engines' own tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.memory.engines.properties import case

from inferwise.catalog.engines import NAMES, runs
from inferwise.errors import BadInput
from inferwise.memory.parts.runs import GENERATIONS, KINDS, check, weight_kind, weight_kinds
from inferwise.read.resolve import resolve
from inferwise.spec.hardware import Accelerator, Node
from inferwise.spec.weight_formats import CONVERSIONS, DENSE

LLAMA = "meta-llama/Llama-3.2-1B-Instruct"
TABLES = [name for name in NAMES if runs(name)]


@pytest.mark.parametrize("engine", TABLES)
def test_tables_speak_of_known_things(engine: str) -> None:
    table = runs(engine)
    known = {generation for line in GENERATIONS for generation in line}
    kinds = {kind for _, kind in KINDS} | {*DENSE, "gguf"}
    assert table["vendors"]
    for what in ("weights", "kv"):
        for kind, rules in table.get(what, {}).items():  # llama.cpp's formats are those of GGUF
            assert what == "kv" or kind in kinds, kind
            assert all(rule == "*" or rule.removesuffix("+") in known for rule in rules), (kind, rules)


def test_kinds_of_formats() -> None:
    expected = {
        "fp8_block": "fp8", "awq": "int4", "gptq": "int4", "bnb_int8": "bnb", "nf4": "bnb", "mlx_int4": "mlx",
        "bf16": "bf16",
    }  # fmt: skip
    assert {name: weight_kind(name) for name in expected} == expected
    assert all(weight_kind(name) in {kind for _, kind in KINDS} for name in CONVERSIONS)
    assert weight_kinds(resolve("openai/gpt-oss-20b"), None) == ["mxfp4"]
    assert weight_kinds(resolve("deepseek-ai/DeepSeek-V3"), None) == ["fp8"]
    assert weight_kinds(resolve(LLAMA), "Q4_K_M") == ["gguf"]
    assert weight_kinds(resolve(LLAMA), None) == ["bf16"]


def test_later_generations_run_what_earlier_ones_do() -> None:
    for gpu in ("a100-sxm-80gb", "rtx-4090", "h100", "b200"):
        check(case("sglang", LLAMA, gpu, weights="fp8", kv="fp8"))
    with pytest.raises(BadInput, match="is Turing"):
        check(case("sglang", LLAMA, "t4", weights="fp8"))


def test_an_unknown_generation_is_not_refused() -> None:
    asked = case("tensorrt-llm", LLAMA, "h100")
    own = Accelerator(slug="own", name="Own", memory_bytes=2**36, architecture="Feynman", vendor="NVIDIA")
    check(replace(asked, node=Node(devices=(own,)), weights="nvfp4"))
    check(replace(asked, node=Node(devices=(replace(own, vendor="", architecture=""),)), weights="nvfp4"))


def test_the_draft_is_looked_at_too() -> None:
    draft = resolve(LLAMA)
    with pytest.raises(BadInput, match="nvfp4"):
        check(case("sglang", LLAMA, "a100-sxm-80gb", draft=draft, draft_weights="nvfp4"))


def test_every_device_is_looked_at() -> None:
    with pytest.raises(BadInput, match="Turing"):
        check(case("sglang", LLAMA, "a100-sxm-80gb+t4", weights="fp8", degrees={"tp": 2}))
