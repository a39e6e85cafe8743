"""From plain values to a case: engines by hardware, replicas, names that are none."""

from __future__ import annotations

import pytest

import inferwise as iw
from inferwise.errors import BadInput, UnknownName
from inferwise.memory.ask import ask
from inferwise.memory.deploy import replicas
from inferwise.spec.deployment import Parallel

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("gpu", "values", "engine"),
    [
        ("h100", {}, "vllm"),
        ("mi300x", {}, "vllm"),
        ("rtx-4090", {}, "vllm"),
        ("rtx-4090", {"weights": "Q4_K_M"}, "llama.cpp"),
        ("m4-max", {}, "llama.cpp"),
        ("raspberry-pi-5-8gb", {}, "llama.cpp"),
        ("this", {}, "llama.cpp"),
        ("m4-max", {"engine": "mlx"}, "mlx"),
    ],
)
def test_the_engine_that_runs_there(gpu: str, values: dict[str, str], engine: str) -> None:
    assert ask(LLAMA, gpu, **values).engine.name == engine


def test_one_device_stands_for_all_ranks() -> None:
    assert len(ask(LLAMA, "h100", tp=4, pp=2).devices) == 8
    case = ask(LLAMA, "dgx-h100", tp=2)
    assert (len(case.devices), case.parallel) == (2, Parallel(tp=2))
    assert case.node.host.memory_bytes
    assert ask(LLAMA, "dgx-h100").parallel.tp == 8
    from inferwise.catalog.nodes import node

    assert replicas(node("dgx-h100"), case) == 4


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(BadInput, match="did you mean max_num_seqs"):
        ask(LLAMA, "h100", max_num_seq=3)
    with pytest.raises(BadInput, match="3 devices for tp 2"):
        ask(LLAMA, "h100", 3, tp=2)
    with pytest.raises(UnknownName, match="h100-sxm-80gb"):
        ask(LLAMA, "h10")
    with pytest.raises(BadInput, match="no version"):
        ask(LLAMA, "h100", engine_version="newest")


def test_versions_outside_the_table_are_marked() -> None:
    future = ask(LLAMA, "h100", engine_version="9.0").engine
    assert future.version == "9.0"
    assert "newer than" in future.notes[0]
    assert "newer than" in " ".join(iw.fit(LLAMA, "h100", engine_version="9.0").allocation.notes)
    assert "older than" in ask(LLAMA, "h100", engine_version="0.1").engine.notes[0]
    between = ask(LLAMA, "h100", engine_version="0.19.1").engine
    assert (between.version, between.basis, between.notes) == ("0.19.1", "0.19.0", ())


def test_a_context_past_the_models_is_marked() -> None:
    from inferwise.report.fit import fit_text

    text = fit_text(iw.fit(LLAMA, "h100", context=200_000))
    assert "200,000 tokens are more than the 131,072 that the model was made for" in text
