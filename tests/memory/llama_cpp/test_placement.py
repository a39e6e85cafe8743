from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.errors import BadInput
from inferwise.memory.llama_cpp.layers import layers_of
from inferwise.memory.llama_cpp.placement import HOST, device_number, place_weights, placed
from inferwise.memory.weights import weight_bytes

LLAMA = iw.model("meta-llama/Llama-3.1-8B-Instruct")
MIXTURE = iw.model("Qwen/Qwen3-30B-A3B")


def test_33_layers_over_four_equal_cards() -> None:
    where = placed(32, 99, (1.0,) * 4, 0)
    assert where.runs == ((0, 9), (9, 17), (17, 25), (25, 32))
    assert (where.host, where.output, where.gpu_layers(32)) == (0, 3, 33)


def test_the_last_layers_are_offloaded_first_and_the_output_with_them() -> None:
    where = placed(32, 10, (24.0, 12.0), 0)
    assert (where.host, where.runs, where.output) == (23, ((23, 30), (30, 32)), 1)
    assert placed(32, 0, (1.0,), 0).output == HOST


def test_a_device_without_a_share_has_no_layer() -> None:
    assert placed(32, 99, (0.0, 1.0), 0).runs[0] == (0, 0)


def test_weights_of_all_devices_and_host_are_the_model() -> None:
    layers = layers_of(LLAMA, "Q4_K_M")
    found = place_weights(layers, placed(32, 20, (2.0, 1.0, 1.0), 0), ())
    assert sum(found.devices) + found.host == layers.total == weight_bytes(LLAMA, "Q4_K_M").total


def test_a_tied_embedding_lies_twice() -> None:
    layers = layers_of(iw.model("google/gemma-3-1b-it"), "Q4_K_M")
    found = place_weights(layers, placed(26, 99, (1.0,), 0), ())
    assert found.host == layers.input == layers.tied
    assert found.devices[0] + found.host == layers.total + layers.tied


def test_experts_of_the_first_layers_stay_on_the_host() -> None:
    layers = layers_of(MIXTURE, "Q4_K_M")
    whole = place_weights(layers, placed(48, 99, (1.0,), 0), ())
    some = place_weights(layers, placed(48, 99, (1.0,), 10), ())
    assert some.host - whole.host == sum(layers.experts[:10]) == whole.devices[0] - some.devices[0]
    assert some.streamed == max(layers.experts[:10])


def test_a_pattern_moves_what_it_matches() -> None:
    layers = layers_of(MIXTURE, "Q4_K_M")
    where = placed(48, 99, (1.0,), 0)
    by_pattern = place_weights(layers, where, ((r"blk\.\d\.ffn_(up|gate|down)_exps", "CPU"),))
    by_flag = place_weights(layers, placed(48, 99, (1.0,), 10), ())
    assert (by_pattern.devices, by_pattern.host) == (by_flag.devices, by_flag.host)
    assert place_weights(layers, where, (("nothing_like_it", "CPU"),)).devices == (
        place_weights(layers, where, ()).devices
    )


@given(
    gpu_layers=st.integers(0, 60),
    shares=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    split=st.sampled_from(("layer", "tensor", "none")),
)
@settings(max_examples=80, deadline=None)
def test_nothing_is_lost_however_it_is_split(gpu_layers: int, shares: list[float], split: str) -> None:
    layers = layers_of(LLAMA, "Q8_0")
    where = placed(32, gpu_layers, shares, 0, split=split)
    found = place_weights(layers, where, ())
    assert sum(found.devices) + found.host == layers.total
    assert all(size >= 0 for size in found.devices)


@pytest.mark.parametrize("name", ["", "CUDA0000", "no device!", "9"])
def test_a_device_that_is_none_is_told(name: str) -> None:
    with pytest.raises(BadInput):
        device_number(name)
    assert (device_number("CPU"), device_number("CUDA1"), device_number("Metal")) == (HOST, 1, 0)
