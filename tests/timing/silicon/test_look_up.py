from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.accelerators import accelerator
from inferwise.errors import BadInput
from inferwise.timing.operators.attention import DecodeAttention, PrefillAttention
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.latent import LatentDecode
from inferwise.timing.operators.passes import DECODES, PROMPTS, passes
from inferwise.timing.operators.small import Collective
from inferwise.timing.silicon import messages
from inferwise.timing.silicon.entry import Entry, entry_of
from inferwise.timing.silicon.look_up import LOOKED_UP, looked_up, stages_looked_up
from inferwise.timing.silicon.routed import benched as benched_experts
from inferwise.timing.silicon.softmax import benched as benched_softmax
from inferwise.timing.step import Step

H100 = "h100-sxm-80gb"
N, K = 4096.0, 4096.0


def at(kernel: str, engine: str, dtype: str) -> Entry:
    found = entry_of(kernel, H100, engine, dtype)
    assert found is not None
    return found


def gemm(common: Callable[..., dict[str, Any]], n: float = N, k: float = K, basis: str | None = None) -> Gemm:
    given = common("gemm", "vllm", "bf16") | ({"basis": basis} if basis else {})
    return Gemm(**given, n=n, k=k, weight_bytes=2 * n * k, input_bytes=2.0, label="bf16")


def rows_of(m: float) -> Step:
    return Step(decodes=m, context=1000.0)


@pytest.fixture
def linear(wheel: Any, operator: Any) -> Any:
    """Timings of one n and k at 16, 64 and 256 rows: 1.2, 1.5 and 0.9 times the curve's."""
    one, ratio = gemm(operator), {16: 1.2, 64: 1.5, 256: 0.9}
    table = {
        "kernel_source": ["a"] * 3 + ["slow"],
        "gemm_dtype": ["bfloat16"] * 4,
        "m": [*ratio, 64],
        "n": [int(N)] * 4,
        "k": [int(K)] * 4,
        "latency": [float(one.one(rows_of(m))) * r * 1e3 for m, r in ratio.items()] + [1e3],
    }
    wheel.write(f"h100_sxm/gemm/vllm/{at('gemm', 'vllm', 'bf16').version}/gemm_perf", table)
    return wheel


def said(common: Any, m: float, n: float = N) -> float:
    one = gemm(common, n=n)
    return float(looked_up(one).seconds(rows_of(m)) / one.seconds(rows_of(m)))


@pytest.mark.usefixtures("linear")
def test_gemm_is_the_fastest_kernel_timed(operator: Any) -> None:
    if at("gemm", "vllm", "bf16").bench:
        pytest.skip("the curve has a bench of its own, whose part a table holds too")
    assert [said(operator, m) for m in (16, 64, 256)] == pytest.approx([1.2, 1.5, 0.9])


@pytest.mark.usefixtures("linear")
def test_gemm_between_and_beyond(operator: Any) -> None:
    assert said(operator, 32) == pytest.approx((1.2 * 1.5) ** 0.5)
    assert said(operator, 512) == pytest.approx(1.0)
    assert said(operator, 4) == pytest.approx(1.0)
    assert 0.9 < said(operator, 300) < 1.0


@pytest.mark.usefixtures("linear")
def test_a_reader_is_told_where_it_comes_from(operator: Any) -> None:
    found, near = looked_up(gemm(operator)), looked_up(gemm(operator, n=N * 1.5))
    assert found.basis == near.basis == LOOKED_UP
    assert found.curve.source.startswith(f"looked up: {H100}, vllm ")
    assert "near" in near.curve.source
    assert "near" not in found.curve.source
    assert 1.0 < said(operator, 64, n=N * 1.5) < 1.5


@pytest.mark.usefixtures("linear")
def test_far_shapes_and_borrowed_curves_stay_as_they_are(operator: Any) -> None:
    far, borrowed = gemm(operator, n=N * 16, k=K * 16), gemm(operator, basis="same architecture")
    assert looked_up(far) is far
    assert looked_up(borrowed) is borrowed


@pytest.mark.usefixtures("linear")
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_arrays_are_as_scalars(operator: Any, rows: list[int]) -> None:
    found = looked_up(gemm(operator))
    together = found.seconds(Step(decodes=np.array(rows, dtype=float), context=np.full(len(rows), 10.0)))
    alone = [float(found.seconds(rows_of(float(m)))) for m in rows]
    assert np.broadcast_to(together, len(rows)) == pytest.approx(alone)
    assert np.all(np.isfinite(together))


def test_never_under_the_roofline(wheel: Any, operator: Any) -> None:
    one = gemm(operator)
    columns = {"gemm_dtype": ["bfloat16"], "m": [64], "n": [int(N)], "k": [int(K)], "latency": [1e-9]}
    wheel.write(f"h100_sxm/gemm/vllm/{at('gemm', 'vllm', 'bf16').version}/gemm_perf", columns)
    flops, moved = one.work(rows_of(64))
    least = max(flops / one.peak_flops, moved / one.bytes_per_s)
    assert float(looked_up(one).seconds(rows_of(64))) == pytest.approx(least)


@pytest.mark.usefixtures("linear")
def test_what_runs_another_operator_is_looked_up_inside(operator: Any) -> None:
    one = gemm(operator)
    step = Step(decodes=16.0, context=10.0, prompts=1.0, prompt_tokens=64.0)
    found = looked_up(passes(one, (2.0, DECODES), (1.0, PROMPTS)))
    parts = looked_up(one)
    assert found.basis == LOOKED_UP
    assert float(found.seconds(step)) == pytest.approx(
        2 * float(parts.seconds(rows_of(16))) + float(parts.seconds(rows_of(64)))
    )


ATTENTION = {"heads": 32.0, "kv_heads": 8.0, "head_dim": 128.0, "v_dim": 128.0, "window": 0.0, "kv_bytes": 2.0}
SHAPE = {"num_heads": [32] * 4, "num_key_value_heads": [8] * 4, "head_dim": [128] * 4, "window_size": [0] * 4}


def softmax_table(wheel: Any, kernel: str, ratio: float) -> None:
    """Four timings: 1 and 4 sequences of 512 and 2,048 tokens; operands on the bench may sit in L2."""
    tokens, decode = [512, 2048, 512, 2048], kernel == "attention_decode"
    columns = {"batch_size": [1, 1, 4, 4], "isl": [1] * 4 if decode else tokens, **SHAPE}
    columns |= {"step": [count - 1 for count in tokens] if decode else [0] * 4}
    found = at(kernel, "vllm", "bf16")
    benched = benched_softmax(found, {name: np.array(values) for name, values in columns.items()})
    text = {"attn_dtype": ["bfloat16"] * 4, "kv_cache_dtype": ["bfloat16"] * 4, "kernel_source": ["fa"] * 4}
    name = "generation_attention_perf" if decode else "context_attention_perf"
    path = f"h100_sxm/attention/vllm/{found.version}/{name}"
    wheel.write(path, {**columns, **text, "latency": (benched * ratio * 1e3).tolist()})


def test_decode_attention(wheel: Any, operator: Any) -> None:
    softmax_table(wheel, "attention_decode", 1.25)
    one = DecodeAttention(**operator("attention_decode", "vllm", "bf16"), **ATTENTION)
    found = looked_up(one)
    inside, drafted = Step(decodes=2.0, context=1000.0), Step(decodes=2.0, context=1000.0, queries=2.0)
    assert float(found.seconds(inside) / one.seconds(inside)) == pytest.approx(1.25)
    assert float(found.seconds(drafted) / one.seconds(drafted)) == pytest.approx(1.0)
    both = found.seconds(Step(decodes=np.array([0.0, 2.0]), context=np.array([0.0, 1000.0])))
    assert both == pytest.approx([0.0, float(found.seconds(inside))])


def test_prefill_attention_fades_with_what_is_cached(wheel: Any, operator: Any) -> None:
    softmax_table(wheel, "attention_prefill", 1.44)
    one = PrefillAttention(**operator("attention_prefill", "vllm", "bf16"), **ATTENTION)
    found = looked_up(one)
    for past, ratio in ((0.0, 1.44), (1024.0, 1.2)):
        step = Step(prompts=1.0, prompt_tokens=1024.0, past=past)
        assert float(found.seconds(step) / one.seconds(step)) == pytest.approx(ratio)


def test_a_window_does_not_stand_in_for_none(wheel: Any, operator: Any) -> None:
    softmax_table(wheel, "attention_decode", 1.25)
    one = DecodeAttention(**operator("attention_decode", "vllm", "bf16"), **{**ATTENTION, "window": 1024.0})
    assert looked_up(one) is one


def test_latent_attention(wheel: Any, operator: Any) -> None:
    given = operator("latent_decode", "tensorrt-llm", "bf16")
    sizes = {"heads": 16.0, "kv_rank": 512.0, "nope": 128.0, "rope": 64.0, "v_dim": 128.0, "kv_bytes": 2.0}
    one, step = LatentDecode(**given, **sizes), Step(decodes=8.0, context=4096.0)
    columns = {"num_heads": [16], "batch_size": [8], "isl": [1], "step": [4095], "kv_cache_dtype": ["bfloat16"]}
    path = f"h100_sxm/mla/trtllm/{at('latent_decode', 'tensorrt-llm', 'bf16').version}/generation_mla_perf"
    wheel.write(path, {**columns, "latency": [float(one.one(step)) * 1.3e3]})
    assert float(looked_up(one).seconds(step) / one.seconds(step)) == pytest.approx(1.3)
    other = LatentDecode(**given, **{**sizes, "kv_rank": 256.0})
    assert looked_up(other) is other


def test_experts(wheel: Any, operator: Any) -> None:
    sizes = {"hidden": 2048.0, "width": 384.0, "held": 128.0, "experts": 128.0, "top_k": 8.0, "gated": True}
    given = {"expert_bytes": 6 * 2048 * 384.0, "input_bytes": 2.0, "label": "bf16"}
    one, step = RoutedExperts(**operator("experts", "vllm", "bf16"), **sizes, **given), rows_of(256.0)
    shape = {"hidden_size": [2048], "inter_size": [768], "topk": [8], "num_experts": [128]}
    columns: dict[str, list[Any]] = {**shape, "moe_tp_size": [2], "moe_ep_size": [1], "num_tokens": [256]}
    found = at("experts", "vllm", "bf16")
    benched = float(benched_experts(found, {name: np.array(value) for name, value in columns.items()})[0])
    text = {"moe_dtype": ["bfloat16"] * 3, "distribution": ["balanced", "power_law_1.2", "balanced"]}
    text |= {"kernel_source": ["k", "k", "k_min_latency"], "latency": [benched * 1.6e3, 1e4, 1e4]}
    path = f"h100_sxm/moe/vllm/{found.version}/moe_perf"
    wheel.write(path, {**{name: value * 3 for name, value in columns.items()}, **text})
    assert float(looked_up(one).seconds(step) / one.seconds(step)) == pytest.approx(1.6)
    plain = RoutedExperts(**operator("experts", "vllm", "bf16"), **{**sizes, "gated": False}, **given)
    assert looked_up(plain) is plain


@pytest.mark.parametrize(("engine", "kind"), [("vllm", "all_reduce"), ("nccl", "all_to_all")])
def test_collectives(wheel: Any, operator: Any, engine: str, kind: str) -> None:
    device = accelerator(H100)
    given = operator("collectives", engine, kind) | {"bytes_per_s": float(device.link_bytes_per_s or 0)}
    one = Collective(**given, kind=kind, ranks=4.0, row_bytes=8192.0)
    found, step = at("collectives", engine, kind), rows_of(64.0)
    latency = float(messages.benched(found, np.array([8192.0 * 64]), np.array([4.0]))[0]) * 1e3
    columns: dict[str, list[Any]] = {"num_gpus": [4] * 4, "message_size": [4096 * 64] * 4}
    columns |= {"kernel_source": ["graph"] * 3 + ["x_eager"], "latency": [latency * r for r in (1.1, 1.2, 1.3, 0.5)]}
    dtype = ["bfloat16"] * 4
    if engine == "nccl":
        columns |= {"op_name": ["alltoall"] * 3 + ["all_gather"], "nccl_dtype": ["half"] * 4}
        wheel.write(f"h100_sxm/comm/nccl/{found.version}/nccl_perf", columns)
    else:
        wheel.write(f"h100_sxm/comm/vllm/{found.version}/custom_allreduce_perf", {**columns, "allreduce_dtype": dtype})
    assert float(looked_up(one).seconds(step) / one.seconds(step)) == pytest.approx(1.2)


@pytest.mark.usefixtures("no_wheel")
def test_without_the_extra_it_says_what_to_install(operator: Any) -> None:
    with pytest.raises(BadInput, match=r"inferwise\[silicon\]"):
        stages_looked_up(((gemm(operator),),))
    with pytest.raises(BadInput, match=r"inferwise\[silicon\]"):
        iw.estimate("meta-llama/Llama-3.1-8B-Instruct", H100, silicon=True)


def test_another_version_is_said(linear: Any, operator: Any) -> None:
    assert len(stages_looked_up(((gemm(operator),),))[1]) == 1
    linear.say("0.13.1")
    stages, notes = stages_looked_up(((gemm(operator),),))
    assert stages[0][0].basis == LOOKED_UP
    assert "0.13.1 is installed, the curves are of 0.12.0" in notes[1]


def test_a_broken_table_is_no_traceback(wheel: Any, operator: Any) -> None:
    path = wheel.data / f"h100_sxm/gemm/vllm/{at('gemm', 'vllm', 'bf16').version}/gemm_perf.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(BadInput, match="reinstall"):
        looked_up(gemm(operator))


def test_a_table_of_other_columns_is_passed_over(wheel: Any, operator: Any) -> None:
    one = gemm(operator)
    wheel.write(f"h100_sxm/gemm/vllm/{at('gemm', 'vllm', 'bf16').version}/gemm_perf", {"m": [1], "latency": [1.0]})
    assert looked_up(one) is one


def test_an_estimate_is_looked_up_and_says_so(linear: Any) -> None:
    """Of Llama 3.1 8B only what is near the one GEMM timed changes; the wheel's code is not run."""
    plain = iw.estimate("meta-llama/Llama-3.1-8B-Instruct", H100, batch=64, engine="vllm")
    found = iw.estimate("meta-llama/Llama-3.1-8B-Instruct", H100, batch=64, engine="vllm", silicon=True)
    assert linear.at.exists()
    assert "aiconfigurator_core" not in sys.modules
    assert any("operators are looked up in the tables of aiconfigurator-core 0.12.0" in note for note in found.notes)
    before, after = ({row.name: row for row in each.decode} for each in (plain, found))
    assert after["o_proj"].basis == LOOKED_UP
    assert after["o_proj"].seconds > before["o_proj"].seconds * 1.3
    assert after["sampling"].seconds == pytest.approx(before["sampling"].seconds)
    assert found.tpot_s > plain.tpot_s


def test_a_device_without_tables_stays_as_it_is(linear: Any) -> None:
    assert linear.at.exists()
    plain = iw.estimate("meta-llama/Llama-3.1-8B-Instruct", "mi300x")
    found = iw.estimate("meta-llama/Llama-3.1-8B-Instruct", "mi300x", silicon=True)
    assert found.tpot_s == plain.tpot_s
    assert any("all operators are fitted" in note for note in found.notes)
