"""What each device of a deployment holds of the weights: nothing is lost, and what is split is split evenly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import inferwise as iw
from inferwise.memory.placement import stage_weights
from inferwise.memory.weights import each_tensor, weight_bytes
from inferwise.read.config import model_from_config
from inferwise.spec.deployment import Parallel
from inferwise.spec.model import Model
from inferwise.spec.stored import Stored, StoredTensor
from inferwise.spec.tensor import Component

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
MODELS = [
    "7b",
    "meta-llama/Llama-3.2-1B-Instruct",  # tied
    "deepseek-ai/DeepSeek-V3",  # FP8 blocks, experts, MTP
    "openai/gpt-oss-20b",  # MXFP4 experts, windows
    "Qwen/Qwen3-Next-80B-A3B-Instruct",  # recurrent
    "google/gemma-3-27b-it",  # tied, vision tower
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
]
DEGREES = [
    {"tp": tp, "pp": pp, "ep": ep, "dp": dp, "cp": cp}
    for tp in (1, 2, 4, 8, 16)
    for pp in (1, 2, 3)
    for ep in sorted({1, min(tp, 2), tp})
    for dp, cp in {(1, 1), (tp, 1), (1, tp), (min(tp, 2), 1)}
]


def with_headers(model: Model) -> Model:
    """The model as if headers had been read that store every tensor in BF16."""
    tensors = tuple(
        StoredTensor(name, "bf16", tensor.shape, 2 * tensor.elements)
        for stack, tensor, layers in each_tensor(model)
        for name in ([tensor.name] if layers is None else [f"{stack.prefix}.{i}.{tensor.name}" for i in layers])
    )
    return replace(model, stored=Stored(tensors=tensors, files=(), source="headers"))


@given(st.sampled_from(MODELS), st.sampled_from(DEGREES), st.sampled_from([None, "bf16", "fp8_block", "Q4_K_M"]))
def test_devices_together_hold_at_least_the_whole(name: str, degrees: dict[str, int], weights: str | None) -> None:
    model, parallel = iw.model(name), Parallel(**degrees)
    whole = weight_bytes(model, weights).by_component()
    held = [stage.by_component() for stage in stage_weights(model, weights, parallel)]
    assert len(held) == parallel.pp
    for part, size in whole.items():
        assert sum(stage.get(part, 0) for stage in held) * parallel.tp >= size, part
    assert all(sum(stage.values()) <= sum(whole.values()) for stage in held)


@given(st.sampled_from(MODELS), st.sampled_from(DEGREES), st.sampled_from([None, "int4"]))
def test_more_ranks_never_hold_more_each(name: str, degrees: dict[str, int], weights: str | None) -> None:
    assume(degrees["dp"] == 1)
    model, parallel = iw.model(name), Parallel(**degrees)
    more = replace(parallel, tp=parallel.tp * 2, ep=parallel.ep * 2 if parallel.ep > 1 else 1)
    fewer, further = (stage_weights(model, weights, each) for each in (parallel, more))
    assert all(b.total <= a.total for a, b in zip(fewer, further, strict=True))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", [None, "bf16"])
@pytest.mark.parametrize("pp", [1, 2, 5])
def test_without_tensor_parallelism_stages_add_up_to_the_whole(name: str, weights: str | None, pp: int) -> None:
    model = iw.model(name)
    whole = weight_bytes(model, weights).by_component()
    twice = whole[Component.EMBEDDING] if model.tied and pp > 1 else 0  # the last stage has the head's matrix too
    assert sum(each.total for each in stage_weights(model, weights, Parallel(pp=pp))) == sum(whole.values()) + twice


def test_one_device_holds_what_is_stored_beside_nothing() -> None:
    v3 = iw.model("deepseek-ai/DeepSeek-V3")
    assert stage_weights(v3, None, Parallel()) == [weight_bytes(v3)]


def test_llama_8b_on_eight_ranks_splits_all_but_its_norms() -> None:
    model = model_from_config(LLAMA)
    (share,) = stage_weights(model, None, Parallel(tp=8))
    norms = (2 * 32 + 1) * 4096 * 2
    assert share.total == (16_060_522_496 - norms) // 8 + norms == 2_008_031_232
    (sixteen,) = stage_weights(model, None, Parallel(tp=16))
    kv = 32 * 2 * 1024 * 4096 * 2  # eight heads on sixteen ranks: each rank has one, as on eight
    assert sixteen.total == (16_060_522_496 - norms - kv) // 16 + kv // 8 + norms


def test_pipeline_ends_hold_the_embedding_and_the_head() -> None:
    first, middle, last = stage_weights(model_from_config(LLAMA | {"num_hidden_layers": 33}), None, Parallel(pp=3))
    matrix, layer = 128256 * 4096 * 2, (4096 * (2 * 4096 + 2 * 1024 + 3 * 14336) + 2 * 4096) * 2
    assert (first.total, middle.total) == (matrix + 11 * layer, 11 * layer)
    assert last.total == matrix + 11 * layer + 4096 * 2


def test_expert_parallelism_deals_whole_experts_and_attention_data_parallelism_copies_attention() -> None:
    v3 = iw.model("deepseek-ai/DeepSeek-V3")
    whole = weight_bytes(v3).by_component()
    tp, ep, dp = (
        stage_weights(v3, None, Parallel(**degrees))[0].by_component()
        for degrees in ({"tp": 8}, {"tp": 8, "ep": 8}, {"tp": 8, "ep": 8, "dp": 8})
    )
    assert ep[Component.EXPERTS] == dp[Component.EXPERTS] == whole[Component.EXPERTS] // 8
    assert tp[Component.EXPERTS] >= ep[Component.EXPERTS]
    assert dp[Component.ATTENTION] == whole[Component.ATTENTION] > 2 * ep[Component.ATTENTION]
    assert ep[Component.ROUTER] == whole[Component.ROUTER]
    assert Component.MTP not in ep
    (odd,) = stage_weights(iw.model("openai/gpt-oss-20b"), None, Parallel(tp=3, ep=3))
    experts = weight_bytes(iw.model("openai/gpt-oss-20b")).by_component()[Component.EXPERTS]
    assert odd.by_component()[Component.EXPERTS] == experts * 11 // 32  # 32 experts on 3 ranks: 11, 11, 10


def test_experts_of_a_group_are_cut_over_its_ranks() -> None:
    """SGLang's `--tp 8 --ep 2`: each rank has half of the experts, and a quarter of each of them."""
    for name, degree in (("deepseek-ai/DeepSeek-V3", 8), ("openai/gpt-oss-20b", 4)):
        model = iw.model(name)
        whole = weight_bytes(model).by_component()
        mixed = stage_weights(model, None, Parallel(tp=degree, ep=2))[0].by_component()
        plain = stage_weights(model, None, Parallel(tp=degree))[0].by_component()
        assert mixed[Component.EXPERTS] * degree == pytest.approx(whole[Component.EXPERTS], rel=1e-3)
        assert {part: size for part, size in mixed.items() if part is not Component.EXPERTS} == {
            part: size for part, size in plain.items() if part is not Component.EXPERTS
        }
    (odd,) = stage_weights(iw.model("openai/gpt-oss-20b"), "bf16", Parallel(tp=6, ep=3))
    experts = weight_bytes(iw.model("openai/gpt-oss-20b"), "bf16").by_component()[Component.EXPERTS]
    assert odd.by_component()[Component.EXPERTS] >= experts * 11 / 64  # 11 of 32 experts, each cut in two


@pytest.mark.parametrize("name", ["7b", "meta-llama/Llama-3.2-1B-Instruct", "google/gemma-3-27b-it"])
@pytest.mark.parametrize("degrees", [{"tp": 2}, {"tp": 8, "pp": 2}, {"pp": 3}])
def test_what_headers_tell_is_dealt_as_the_formulas_deal(name: str, degrees: dict[str, int]) -> None:
    model, parallel = with_headers(iw.model(name)), Parallel(**degrees)
    by_formula = stage_weights(replace(model, stored=None), "bf16", parallel)
    for stored, formula in zip(stage_weights(model, None, parallel), by_formula, strict=True):
        assert stored.basis == "header of headers"
        for part, size in formula.by_component().items():
            assert abs(stored.by_component()[part] - size) <= 1


def test_headers_serve_where_the_config_does_not_tell_what_its_quantisation_takes() -> None:
    model = with_headers(model_from_config(LLAMA | {"quantization_config": {"quant_method": "hqq"}}))
    (share,) = stage_weights(model, None, Parallel(tp=8))
    assert share.total == 2_008_031_232
