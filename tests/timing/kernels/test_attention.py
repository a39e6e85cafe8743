"""Softmax attention: invariants over every shipped curve, worked values, residuals under the issue's limits."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.timing.kernels import attention

PREFILL, DECODE, ENCODER = (
    json.loads(files("inferwise.timing.curves").joinpath(f"attention_{name}.json").read_text("utf-8"))["curves"]
    for name in ("prefill", "decode", "encoder")
)
RATES = {"peak_flops": 989.4e12, "bytes_per_s": 3.35e12}
PREFILL_LIMIT, DECODE_LIMIT, ENCODER_LIMIT, DEVICE_LIMIT = 0.12, 0.10, 0.12, 0.20
# What misses the limit, and by how much: SGLang serves head dimensions with two kernels on cards with GDDR, and
# TensorRT-LLM's FP8 prefill has a fast kernel for head dimension 128 there only; its XQA decode splits keys in steps.
MISSES = {
    "prefill": {
        ("b300-sxm-288gb", "vllm", "bf16"): 0.121,
        ("l40s", "sglang", "bf16"): 0.14,
        ("l40s", "sglang", "fp8"): 0.13,
        ("l40s", "sglang", "fp8_fp8"): 0.20,
        ("l40s", "tensorrt-llm", "fp8_fp8"): 0.14,
        ("rtx-pro-6000-blackwell-server", "sglang", "bf16"): 0.18,
        ("rtx-pro-6000-blackwell-server", "sglang", "fp8"): 0.15,
        ("rtx-pro-6000-blackwell-server", "sglang", "fp8_fp8"): 0.20,
        ("rtx-pro-6000-blackwell-server", "tensorrt-llm", "fp8_fp8"): 0.15,
    },
    "decode": {
        ("a100-sxm-80gb", "vllm", "bf16"): 0.105,
        ("a100-sxm-80gb", "tensorrt-llm", "bf16"): 0.13,
        ("h100-sxm-80gb", "tensorrt-llm", "bf16"): 0.12,
        ("h100-sxm-80gb", "tensorrt-llm", "fp8"): 0.14,
        ("h200-sxm-141gb", "sglang", "fp8"): 0.105,
        ("h200-sxm-141gb", "tensorrt-llm", "bf16"): 0.13,
        ("h200-sxm-141gb", "tensorrt-llm", "fp8"): 0.15,
        ("b200-sxm-180gb", "sglang", "bf16"): 0.11,
        ("b300-sxm-288gb", "sglang", "bf16"): 0.11,
        ("l40s", "sglang", "bf16"): 0.11,
        ("l40s", "sglang", "fp8"): 0.105,
        ("l40s", "tensorrt-llm", "fp8"): 0.105,
        ("rtx-pro-6000-blackwell-server", "sglang", "bf16"): 0.14,
        ("rtx-pro-6000-blackwell-server", "sglang", "fp8"): 0.14,
        ("rtx-pro-6000-blackwell-server", "tensorrt-llm", "bf16"): 0.11,
        ("arc-pro-b60", "vllm", "fp8"): 0.11,
    },
    "encoder": {("l40s", "sglang", "bf16"): 0.17},
}

sequences = st.integers(1, 4096)
tokens = st.integers(1, 131_072)
past = st.integers(0, 1_000_000)
contexts = st.integers(1, 1_000_000)
windows = st.sampled_from([0, 1, 128, 1024, 8192])
more = st.integers(1, 5000)


@st.composite
def layers(draw):
    """Heads, head dimensions and cache of one layer on one device."""
    kv_heads, group = draw(st.sampled_from([1, 2, 8, 40])), draw(st.sampled_from([1, 2, 5, 8, 16, 48, 71]))
    head_dim = draw(st.sampled_from([64, 80, 128, 192, 256, 512]))
    return {
        "heads": kv_heads * group,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "v_dim": draw(st.sampled_from([head_dim, 128])),
        "window": draw(windows),
        "kv_bytes": draw(st.sampled_from([0.5, 1, 2])),
    }


def prefill(curve, b, t, p, layer):
    seconds = attention.prefill_seconds(b, t, p, **layer, **RATES, c=curve["coefficients"])
    return seconds, roof(*attention.prefill_work(b, t, p, **layer))


def decode(curve, b, n, layer):
    seconds = attention.decode_seconds(b, n, **layer, **RATES, c=curve["coefficients"])
    return seconds, roof(*attention.decode_work(b, n, **layer))


def encoder(curve, b, t, heads, head_dim):
    shape = {"heads": heads, "head_dim": head_dim}
    seconds = attention.encoder_seconds(b, t, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*attention.encoder_work(b, t, **shape))


def roof(flops, moved):
    return np.maximum(flops / RATES["peak_flops"], moved / RATES["bytes_per_s"])


def holds(small, large):
    """Finite, positive, over its roof; and non-decreasing from one to the other."""
    for seconds, floor in (small, large):
        assert np.isfinite(seconds)
        assert seconds > 0
        assert seconds >= floor * (1 - 1e-9)
    assert large[0] >= small[0] * (1 - 1e-9)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PREFILL), sequences, tokens, past, layers(), more)
def test_prefill_is_monotone_and_over_its_roof(curve, b, t, p, layer, extra):
    base = prefill(curve, b, t, p, layer)
    holds(base, prefill(curve, b + extra, t, p, layer))
    holds(base, prefill(curve, b, t + extra, p, layer))
    holds(base, prefill(curve, b, t, p + extra, layer))
    holds(base, prefill(curve, b, t, p, {**layer, "window": 0}))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(DECODE), sequences, contexts, layers(), more)
def test_decode_is_monotone_and_over_its_roof(curve, b, n, layer, extra):
    base = decode(curve, b, n, layer)
    holds(base, decode(curve, b + extra, n, layer))
    holds(base, decode(curve, b, n + extra, layer))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ENCODER), sequences, tokens, st.integers(1, 32), st.sampled_from([64, 72, 80, 96, 128]), more)
def test_encoder_is_monotone_and_over_its_roof(curve, b, t, heads, head_dim, extra):
    base = encoder(curve, b, t, heads, head_dim)
    holds(base, encoder(curve, b + extra, t, heads, head_dim))
    holds(base, encoder(curve, b, t + extra, heads, head_dim))
    holds(base, encoder(curve, b, t, heads + extra, head_dim))


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 70), st.sampled_from([1, 4]))
def test_prefill_work_counts_each_pair_and_key_once(t, p, window, group):
    reach = [min(p + i, window or p + i) for i in range(1, t + 1)]
    seen = {key for i, keys in enumerate(reach, start=1) for key in range(p + i - keys, p + i)}
    shape = {"heads": 2 * group, "kv_heads": 2, "head_dim": 64, "v_dim": 32, "window": window, "kv_bytes": 1}
    flops, moved = attention.prefill_work(3, t, p, **shape)
    assert flops == 2 * 3 * 2 * group * sum(reach) * 96
    assert moved == 3 * (t * 2 * group * 96 * 2 + 2 * 96 * len(seen))


def test_decode_reads_each_key_once_for_the_heads_that_share_it():
    shape = {"kv_heads": 8, "head_dim": 128, "v_dim": 128, "window": 0, "kv_bytes": 1}
    few, many = (attention.decode_work(4, 1000, heads=h, **shape) for h in (8, 64))
    assert few == (2 * 4 * 8 * 256 * 1000, 4 * 8 * 256 * (1000 + 2))
    assert many[0] == 8 * few[0]
    assert many[1] - few[1] == 4 * 56 * 256 * 2
    assert attention.decode_work(4, 1000, heads=8, **{**shape, "window": 100})[0] == few[0] / 10


def test_arrays_give_what_scalars_give():
    b, n = np.array([[1.0], [64.0], [512.0]]), np.array([[1.0, 700.0, 65_000.0]])
    layer = {"kv_heads": 8, "head_dim": 128, "v_dim": 128, "window": np.array([[0], [128], [4096]]), "kv_bytes": 2}
    for kernel, curves, shape in ((prefill, PREFILL, (n, 300.0)), (decode, DECODE, (n,))):
        for curve in curves:
            together = kernel(curve, b, *shape, {**layer, "heads": 32})[0]
            assert together.shape == (3, 3)
            for i in range(3):
                one = {**layer, "heads": 32, "window": int(layer["window"][i, 0])}
                apart = [kernel(curve, float(b[i, 0]), float(k), *shape[1:], one)[0] for k in n[0]]
                np.testing.assert_allclose(together[i], apart, rtol=1e-12)


def curve_of(curves, device, engine, dtype):
    return next(c for c in curves if (c["device"], c["engine"], c["dtype"]) == (device, engine, dtype))


def test_long_decode_runs_near_the_bandwidth_and_long_prefill_near_the_peak():
    layer = {"heads": 32, "kv_heads": 8, "head_dim": 128, "v_dim": 128, "window": 0, "kv_bytes": 2}
    seconds, floor = decode(curve_of(DECODE, "h100-sxm-80gb", "vllm", "bf16"), 64, 16_384, layer)
    assert 0.80 < floor / seconds < 1
    seconds, floor = prefill(curve_of(PREFILL, "h100-sxm-80gb", "vllm", "bf16"), 1, 16_384, 0, layer)
    assert 0.50 < floor / seconds < 0.75


def test_a_chunk_after_a_cached_prefix_costs_what_the_whole_prompt_adds():
    layer = {"heads": 32, "kv_heads": 8, "head_dim": 128, "v_dim": 128, "window": 0, "kv_bytes": 2}
    for curve in PREFILL:
        whole, half = prefill(curve, 4, 16_384, 0, layer)[0], prefill(curve, 4, 8192, 0, layer)[0]
        chunk = prefill(curve, 4, 8192, 8192, layer)[0]
        assert chunk == pytest.approx(whole - half, rel=0.25)


def test_a_window_saves_time_where_the_kernel_skips_what_it_masks():
    layer = {"heads": 64, "kv_heads": 8, "head_dim": 64, "v_dim": 64, "kv_bytes": 2}
    for engine in ("vllm", "tensorrt-llm"):
        curve = curve_of(PREFILL, "h100-sxm-80gb", engine, "bf16")
        narrow, full = (prefill(curve, 1, 16_384, 0, {**layer, "window": w})[0] for w in (128, 0))
        assert narrow < full / 5


@pytest.mark.parametrize(
    ("kernel", "curves", "limit"),
    [("prefill", PREFILL, PREFILL_LIMIT), ("decode", DECODE, DECODE_LIMIT), ("encoder", ENCODER, ENCODER_LIMIT)],
)
def test_shapes_left_out_are_under_the_limit_but_for_what_is_listed(kernel, curves, limit):
    own = {(c["device"], c["engine"], c["dtype"]): c["left_out"] for c in curves if c["device"]}
    over = {name for name, error in own.items() if error > limit}
    assert over == set(MISSES[kernel])
    for name, most in MISSES[kernel].items():
        assert limit < own[name] <= most


@pytest.mark.parametrize("curves", [PREFILL, DECODE, ENCODER])
def test_a_device_left_out_is_under_the_limit_by_its_architectures_other(curves):
    errors = {
        (c["device"], c["engine"], c["dtype"]): c["left_out_by_sister"] for c in curves if "left_out_by_sister" in c
    }
    assert len({device for device, _, _ in errors}) == 6  # Hopper, Blackwell and Blackwell Ultra: two each
    assert max(errors.values()) <= DEVICE_LIMIT


@pytest.mark.parametrize("curves", [PREFILL, DECODE, ENCODER])
def test_each_format_has_a_curve_for_any_device_and_shares_are_shares(curves):
    formats = {c["dtype"] for c in curves}
    assert formats == {c["dtype"] for c in curves if not (c["device"] or c["architecture"] or c["vendor"])}
    for curve in curves:
        c = curve["coefficients"]
        assert all(0 < c[name] <= 1 for name in ("eff", "mem", "write", "serial", "waste") if name in c)
        assert c["cache"] == 1  # a step reads memory
