"""A GGUF file's own types are what is timed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inferwise.catalog.hardware import hardware
from inferwise.memory.deploy import deployment
from inferwise.memory.llama_cpp.layers import layers_of
from inferwise.read.resolve import resolve
from inferwise.spec.model import Model
from inferwise.spec.stored import Stored, StoredTensor
from inferwise.timing.deploy import forward
from inferwise.timing.forward import step_seconds
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.step import Step


def as_file(name: str, weights: str) -> Model:
    """A model as the header of a GGUF file in these weights would tell it."""
    model = resolve(name)
    tensors = []
    for piece in layers_of(model, weights).pieces:
        prefix = "" if piece.layer is None else f"blk.{piece.layer}."
        tensors.append(
            StoredTensor(
                name=f"{prefix}{piece.name}.weight", format=piece.format, shape=(1,), size_bytes=piece.size_bytes
            )
        )
    metadata = {"general.architecture": "test"}
    return replace(model, stored=Stored(tensors=tuple(tensors), files=(), source="a test", metadata=metadata))


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B"])
def test_a_file_is_timed_as_its_mix(name: str) -> None:
    node = hardware("rtx-4090")
    file = forward(deployment(as_file(name, "Q4_K_M"), node, engine="llama.cpp"))
    mix = forward(deployment(resolve(name), node, engine="llama.cpp", weights="Q4_K_M"))
    labels = {each.label for each in file.stages[0] if isinstance(each, Gemm)}
    assert labels == {each.label for each in mix.stages[0] if isinstance(each, Gemm)}
    assert len(labels) > 1
    step = Step(decodes=1.0, context=1000.0)
    assert float(step_seconds(file, step)) == pytest.approx(float(step_seconds(mix, step)), rel=0.02)
