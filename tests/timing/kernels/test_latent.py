"""Latent attention (MLA): invariants over every shipped curve, worked values, residuals under the issue's limits."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.timing.kernels import latent

PREFILL, DECODE, BMM = (
    json.loads(files("inferwise.timing.curves").joinpath(f"latent_{name}.json").read_text("utf-8"))["curves"]
    for name in ("prefill", "decode", "bmm")
)
DEEPSEEK = {"nope": 128, "rope": 64, "v_dim": 128, "kv_rank": 512}
RATES = {"peak_flops": 989.4e12, "bytes_per_s": 3.35e12}
MLA_LIMIT, DEVICE_LIMIT = 0.15, 0.20
# What the absorption's kernels miss: weights that were timed from L2 on the cards with most of it.
BMM_MISSES = {("rtx-pro-6000-blackwell-server", "tensorrt-llm", "fp8"): 0.19, ("l40s", "tensorrt-llm", "bf16"): 0.16}

sequences = st.integers(1, 4096)
tokens = st.integers(1, 131_072)
past = st.integers(0, 1_000_000)
contexts = st.integers(1, 1_000_000)
heads = st.sampled_from([1, 2, 8, 16, 32, 64, 128])
cache_bytes = st.sampled_from([1, 2])


def prefill(curve, b, s, p, h, kv_bytes):
    shape = {**DEEPSEEK, "heads": h, "kv_bytes": kv_bytes, "absorbed": curve["dtype"].endswith("_absorbed")}
    seconds = latent.latent_prefill_seconds(b, s, p, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*latent.latent_prefill_work(b, s, p, **shape))


def decode(curve, b, n, h, kv_bytes):
    shape = {"heads": h, "kv_rank": 512, "rope": 64, "kv_bytes": kv_bytes}
    seconds = latent.latent_decode_seconds(b, n, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*latent.latent_decode_work(b, n, **shape))


def bmm(curve, t, h, rows, weight_bytes):
    shape = {"heads": h, "rows": rows, "columns": 640 - rows, "weight_bytes": weight_bytes}
    seconds = latent.latent_bmm_seconds(t, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*latent.latent_bmm_work(t, **shape))


def roof(flops, moved):
    return np.maximum(flops / RATES["peak_flops"], moved / RATES["bytes_per_s"])


def holds(small, large):
    """Finite, positive, over its roof; and non-decreasing from one to the other."""
    for seconds, floor in (small, large):
        assert np.isfinite(seconds)
        assert seconds > 0
        assert seconds >= floor * (1 - 1e-9)
    assert large[0] >= small[0] * (1 - 1e-9)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(PREFILL), sequences, tokens, past, heads, cache_bytes, st.integers(1, 5000))
def test_prefill_is_monotone_and_over_its_roof(curve, b, s, p, h, kv_bytes, more):
    base = prefill(curve, b, s, p, h, kv_bytes)
    holds(base, prefill(curve, b + more, s, p, h, kv_bytes))
    holds(base, prefill(curve, b, s + more, p, h, kv_bytes))
    holds(base, prefill(curve, b, s, p + more, h, kv_bytes))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(DECODE), sequences, contexts, heads, cache_bytes, st.integers(1, 5000))
def test_decode_is_monotone_and_over_its_roof(curve, b, n, h, kv_bytes, more):
    base = decode(curve, b, n, h, kv_bytes)
    holds(base, decode(curve, b + more, n, h, kv_bytes))
    holds(base, decode(curve, b, n + more, h, kv_bytes))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(BMM), tokens, heads, st.sampled_from([128, 192, 512]), cache_bytes, st.integers(1, 5000))
def test_absorption_is_monotone_and_over_its_roof(curve, t, h, rows, weight_bytes, more):
    base = bmm(curve, t, h, rows, weight_bytes)
    holds(base, bmm(curve, t + more, h, rows, weight_bytes))
    holds(base, bmm(curve, t, h + more, rows, weight_bytes))


def test_arrays_give_what_scalars_give():
    b, n, h = (
        np.array([[1.0], [64.0], [512.0]]),
        np.array([[1.0, 700.0, 65_000.0]]),
        np.array([[16.0], [32.0], [128.0]]),
    )
    for curve in DECODE:
        together = decode(curve, b, n, h, 2)[0]
        apart = [
            [decode(curve, float(b[i, 0]), float(n[0, j]), float(h[i, 0]), 2)[0] for j in range(3)] for i in range(3)
        ]
        np.testing.assert_allclose(together, apart, rtol=1e-12)
    for curve in PREFILL:
        together = prefill(curve, b, n, 300.0, h, 2)[0]
        assert together.shape == (3, 3)
        assert together[1, 2] == pytest.approx(prefill(curve, 64, 65_000, 300, 32, 2)[0])


def test_work_of_prefill_by_hand():
    # 2 sequences of 3 tokens after 4: 3*4 + (1+2+3) = 18 pairs a head, each (192 + 128) multiply-adds.
    shape = {**DEEPSEEK, "heads": 8, "kv_bytes": 2}
    flops, moved = latent.latent_prefill_work(2, 3, 4, **shape)
    assert flops == 2 * 2 * 8 * 18 * 320
    assert moved == 2 * (3 * 8 * 320 * 2 + 7 * 8 * 320 * 2 + 3 * 576 * 2)
    assert latent.latent_prefill_work(2, 3, 4, **shape, absorbed=True)[0] == 2 * 2 * 8 * 18 * (576 + 512)


def test_work_of_decode_reads_each_latent_once_for_all_heads():
    shape = {"kv_rank": 512, "rope": 64, "kv_bytes": 1}
    few, many = (latent.latent_decode_work(4, 1000, heads=h, **shape) for h in (16, 128))
    assert few[0] == 2 * 4 * 1000 * 16 * 1088
    assert many[0] == 8 * few[0]
    assert many[1] - few[1] == 4 * 112 * 1088 * 2  # queries and outputs only
    assert few[1] == 4 * (1000 * 576 + 16 * 1088 * 2)


def test_work_of_the_absorption():
    assert latent.latent_bmm_work(7, heads=16, rows=128, columns=512) == (
        2 * 16 * 7 * 128 * 512,
        16 * (128 * 512 * 2 + 7 * 640 * 2),
    )


def test_worked_value_of_decode():
    c = {"tile": 64, "block": 64, "reread": 0.5, "split": 0.1, "compute": 0.5, "memory": 0.5, "p": 1, "floor": 1e-5}
    c |= {"queries": 1, "sweep": 2e-6, "ramp": 1000, "serial": 1e-9}
    shape = {"heads": 128, "kv_rank": 512, "rope": 64, "kv_bytes": 2, "peak_flops": 1e15, "bytes_per_s": 1e12}
    compute = 2 * 10 * 1000 * 128 * 1088 / 0.5e15
    memory = 10 * (1000 * 576 * 2 * 1.5 + 128 * 1088 * 2) / 0.5e12
    expected = 1e-5 + compute + memory + 1e-6 + 2e-6 * 0.5
    assert latent.latent_decode_seconds(10, 1000, **shape, c=c) == pytest.approx(expected, rel=1e-12)


def test_absorbed_prefill_costs_its_flops():
    # 1,088 against 320 multiply-adds a pair: what SGLang's kernels measured in that form took, and MHA does not.
    curve = next(c for c in PREFILL if c["device"] == "h100-sxm-80gb" and c["dtype"] == "bf16_absorbed")
    shape = {**DEEPSEEK, "heads": 128, "kv_bytes": 2, **RATES, "c": curve["coefficients"]}
    ratio = latent.latent_prefill_seconds(8, 8192, 0, **shape, absorbed=True) / latent.latent_prefill_seconds(
        8, 8192, 0, **shape
    )
    assert ratio == pytest.approx(1088 / 320, rel=0.1)


@pytest.mark.parametrize(
    "curve", [c for c in PREFILL + DECODE if c["device"]], ids=lambda c: f"{c['device']}-{c['engine']}"
)
def test_left_out_shapes_are_within_the_issues_limit(curve):
    assert curve["left_out"] <= MLA_LIMIT
    assert curve["median"] <= MLA_LIMIT
    assert (
        curve.get("module", {"median": 0})["median"] <= MLA_LIMIT
    )  # the sum of a module's parts, nothing fitted to it


def test_left_out_shapes_of_the_absorption_but_for_the_known_misses():
    over = {}
    for curve in BMM:
        if curve["device"] and curve["left_out"] > MLA_LIMIT:
            over[curve["device"], curve["engine"], curve["dtype"]] = curve["left_out"]
    assert over.keys() <= BMM_MISSES.keys()
    assert all(error <= BMM_MISSES[key] for key, error in over.items())


def test_a_device_left_out_is_met_by_its_sister_but_for_the_workstation_card():
    # RTX PRO 6000 (sm_120) runs other kernels than the datacentre's Blackwell: 36 to 152 %, told in the curves.
    for curve in PREFILL + DECODE:
        if "sister" in curve and not curve["device"].startswith("rtx"):
            assert curve["sister"]["median"] <= DEVICE_LIMIT, curve
    assert sum("sister" in curve for curve in PREFILL + DECODE) >= 50


def test_coefficients_are_shares_and_seconds():
    for curve in PREFILL + DECODE:
        c = curve["coefficients"]
        assert 0 < c["compute"] <= 1
        assert 0 < c["memory"] <= 1
        assert 1e-6 <= c["floor"] <= 1e-4
        assert "host" not in c  # what a bench adds is not shipped
