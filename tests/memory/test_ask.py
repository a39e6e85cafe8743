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


@pytest.mark.parametrize(
    ("model", "gpu", "values", "fits"),
    [
        # What the GPU of a Mac may take is a cap on it, not a part taken from the host.
        ("meta-llama/Llama-3.3-70B-Instruct", "apple-m4-max-128gb", {"weights": "Q4_K_M", "gpu_layers": 0}, True),
        ("meta-llama/Llama-3.3-70B-Instruct", "apple-m4-max-64gb", {"weights": "Q8_0", "engine": "llama.cpp"}, False),
        # GPU and host together have what the driver gives, not what the datasheet says.
        ("Qwen/Qwen3-235B-A22B", "dgx-spark", {"weights": "Q4_0", "engine": "llama.cpp", "gpu_layers": 84}, False),
    ],
)
def test_a_memory_that_gpu_and_host_share_is_counted_once(
    model: str, gpu: str, values: dict[str, object], fits: bool
) -> None:
    held = iw.fit(model, gpu, **values).allocation  # type: ignore[arg-type]
    assert held.fits == fits
    device = held.devices[0]
    together = sum(each.total_bytes for each in held.devices) + held.host_bytes
    whole = device.device.memory_bytes if device.device.gpu_limit_bytes else device.capacity_bytes
    assert (together <= whole) == fits


def test_two_machines_with_shared_memory_have_both() -> None:
    assert iw.fit("Qwen/Qwen3-Coder-Next", "dgx-spark", count=2, engine="llama.cpp").fits


def test_nothing_is_offloaded_to_the_same_memory() -> None:
    with pytest.raises(BadInput, match="shares the host's memory"):
        iw.fit("meta-llama/Llama-3.1-70B", "dgx-spark", engine="vllm", offload_weight_bytes=60 * 2**30)


def test_ngl_counts_the_output_last_in_older_builds() -> None:
    def held(version: str, layers: int) -> tuple[int, int]:
        made = iw.fit(
            LLAMA, "rtx-3060-12gb", engine="llama.cpp", engine_version=version, weights="Q4_K_M", gpu_layers=layers
        )
        return made.allocation.devices[0].size("kv"), made.allocation.devices[0].size("weights")

    whole = held("b6325", 99)
    assert held("b6325", 32)[0] == whole[0]  # all layers, and the head on the host
    assert held("b6325", 32)[1] < whole[1]
    assert held("b11549", 32)[0] == whole[0] * 31 // 32  # the head, and all layers but one
    assert held("b11549", 1)[0] == 0


def test_a_flag_that_an_engine_does_not_read_is_told() -> None:
    notes = iw.fit(LLAMA, "h100", engine="vllm", gpu_layers=3).allocation.notes
    assert "vllm has no gpu-layers: it is left out" in notes
    assert not any("left out" in note for note in iw.fit(LLAMA, "h100", max_num_seqs=3).allocation.notes)


def test_a_version_of_another_engine_is_refused() -> None:
    for engine, version in (("vllm", "b5000"), ("llama.cpp", "0.19")):
        with pytest.raises(BadInput, match="is no version of"):
            ask(LLAMA, "h100", engine=engine, engine_version=version)
