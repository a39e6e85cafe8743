"""Recurrent mixers: invariants over every shipped curve, worked values, residuals under limits."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator, accelerators
from inferwise.timing.curves import choose
from inferwise.timing.kernels import recurrent

CURVES = json.loads(files("inferwise.timing.curves").joinpath("recurrent.json").read_text("utf-8"))["curves"]
SIZES = {"key_heads": 16, "value_heads": 32, "key_dim": 128, "value_dim": 128, "state_bytes": 4}
RATES = {"peak_flops": 989.4e12, "bytes_per_s": 3.35e12}
STREAM = {"launch": 2e-6, "fill": 1e-6, "fill_bytes": 1e6, "bandwidth": 0.5}
MEASURED_LIMIT, DEVICE_LIMIT = 0.15, 0.20
# What is missed. On data-centre Blackwell the convolution stays far under the memory's rate, elsewhere it does not, and
# the A100 was timed with older kernels; on Ada and RTX Blackwell a scan's intermediates outgrow L2 within what is
# served: none of it goes over to another architecture.
MISSES = {
    ("Ada", "", "conv_decode"): 0.22,
    ("Ampere", "", "conv_decode"): 0.68,
    ("Ada", "", "conv_prefill"): 0.43,
    ("Ampere", "", "conv_prefill"): 0.72,
    ("Blackwell", "", "conv_prefill"): 0.32,
    ("Hopper", "", "conv_prefill"): 0.23,
    ("NVIDIA", "", "conv_prefill"): 0.26,
    ("any", "", "conv_prefill"): 0.26,
    ("Ampere", "", "gdn_decode"): 0.38,
    ("l40s", "tensorrt-llm", "gdn_prefill"): 0.29,
    ("Ada", "", "gdn_prefill"): 0.35,
    ("Ada", "", "kda_prefill"): 0.61,
}

sequences = st.integers(1, 2048)
tokens = st.integers(1, 131_072)
heads = st.sampled_from([1, 2, 8, 16, 64, 128])
dims = st.sampled_from([1, 16, 64, 128, 256])
state_bytes = st.sampled_from([2, 4])
more = st.integers(1, 1000)


def of(*labels):
    found = [c for c in CURVES if c["dtype"] in labels]
    return pytest.mark.parametrize("curve", found, ids=lambda c: "-".join(key(c)))


def key(curve):
    return curve["device"] or curve["architecture"] or curve["vendor"] or "any", curve["engine"], curve["dtype"]


def holds(taken, flops, moved):
    """Finite, positive, over the roof, and not less than the first of them."""
    assert np.isfinite(taken).all()
    assert (taken > 0).all()
    assert (taken >= np.maximum(flops / RATES["peak_flops"], moved / RATES["bytes_per_s"]) * (1 - 1e-9)).all()
    assert (taken[1:] >= taken[0] * (1 - 1e-9)).all()


@of("gdn_prefill", "kda_prefill")
@settings(deadline=None, max_examples=25)
@given(n=sequences, t=tokens, h=heads, k=dims, v=dims, width=state_bytes, more=more)
def test_scans_are_finite_monotone_and_above_the_roofline(curve, n, t, h, k, v, width, more):
    grid = np.array([[n, t, h], [n + more, t, h], [n, t + more, h], [n, t, 2 * h]], dtype=float).T
    sizes = {"key_heads": grid[2], "value_heads": grid[2], "key_dim": k, "value_dim": v, "state_bytes": width}
    taken = recurrent.scan_seconds(grid[0], grid[1], **sizes, **RATES, c=curve["coefficients"])
    holds(taken, *recurrent.scan_work(grid[0], grid[1], **sizes))


@of("gdn_decode", "kda_decode")
@settings(deadline=None, max_examples=25)
@given(n=sequences, h=heads, k=dims, v=dims, width=state_bytes, more=more)
def test_steps_are_finite_monotone_and_above_the_roofline(curve, n, h, k, v, width, more):
    grid = np.array([[n, h], [n + more, h], [n, 2 * h]], dtype=float).T
    sizes = {"key_heads": grid[1], "value_heads": grid[1], "key_dim": k, "value_dim": v, "state_bytes": width}
    rate = RATES["bytes_per_s"]
    taken = recurrent.recurrent_step_seconds(grid[0], **sizes, bytes_per_s=rate, c=curve["coefficients"])
    holds(taken, 0.0, recurrent.recurrent_step_work(grid[0], **sizes)[1])


@of("conv_prefill", "conv_decode")
@settings(deadline=None, max_examples=25)
@given(n=sequences, t=tokens, channels=st.integers(1, 50_000), taps=st.integers(1, 8), more=more)
def test_convolutions_are_finite_monotone_and_above_the_roofline(curve, n, t, channels, taps, more):
    grid = np.array(
        [[n, t, channels], [n + more, t, channels], [n, t + more, channels], [n, t, channels + more]], dtype=float
    ).T
    c, rate = curve["coefficients"], RATES["bytes_per_s"]
    taken = recurrent.convolution_seconds(grid[1], grid[2], taps, bytes_per_s=rate, c=c, sequences=grid[0])
    holds(taken, 0.0, recurrent.convolution_work(grid[1], grid[2], taps, window=c["window"])[1])


def test_worked_work():
    # Qwen3-Next's layer: 32 states of 128 x 128; a token reads, corrects and asks each (6 FLOPs an element)
    flops, moved = recurrent.scan_work(2, 1000, **SIZES)
    assert flops == 6 * 2 * 1000 * 32 * 128 * 128
    assert moved == 2 * (1000 * 2 * 2 * (16 + 32) * 128 + 2 * 4 * 32 * 128 * 128)
    assert recurrent.recurrent_step_work(2, **SIZES) == recurrent.scan_work(2, 1, **SIZES)


def test_worked_scan():
    c = {"launch": 1e-5, "chunk": 2e-6, "width": 1e9, "compute": 0.5, "bandwidth": 0.5, "p": 1.0}
    c |= {"cache_bytes": 1.0, "cache_gain": 1.0}
    flops, moved = recurrent.scan_work(1, 6400, **SIZES)
    expected = 1e-5 + 100 * 2e-6 + flops / 0.5e15 + moved / 1e12
    found = recurrent.scan_seconds(1, 6400, **SIZES, peak_flops=1e15, bytes_per_s=2e12, c=c)
    assert found == pytest.approx(expected, rel=1e-6)
    # states beyond `width` take turns
    in_turns = recurrent.scan_seconds(1, 6400, **SIZES, peak_flops=1e30, bytes_per_s=1e30, c=c | {"width": 4.0})
    assert in_turns == pytest.approx(1e-5 + 8 * 100 * 2e-6, rel=1e-3)
    # what stays in L2 is read faster
    near = recurrent.scan_seconds(
        1, 6400, **SIZES, peak_flops=1e15, bytes_per_s=2e12, c=c | {"cache_bytes": 1e12, "cache_gain": 2.0}
    )
    assert near == pytest.approx(expected - moved / 2e12, rel=1e-6)


def test_worked_step_and_convolution():
    moved = recurrent.recurrent_step_work(64, **SIZES)[1]
    taken = recurrent.recurrent_step_seconds(64, **SIZES, bytes_per_s=2e12, c=STREAM)
    assert taken == pytest.approx(2e-6 + 1e-6 * moved / (moved + 1e6) + moved / 1e12)
    prompt = recurrent.convolution_seconds(1000, 8192, 4, bytes_per_s=2e12, c=STREAM | {"window": 0.0, "tile": 1.0})
    decode = recurrent.convolution_seconds(1000, 8192, 4, bytes_per_s=2e12, c=STREAM | {"window": 1.0, "tile": 0.0})
    size = 4 * 1000 * 8192
    assert prompt == pytest.approx(2e-6 + 1e-6 * size / (size + 1e6) + size / 1e12)
    assert decode == pytest.approx(2e-6 + 1e-6 * 4 * size / (4 * size + 1e6) + 4 * size / 1e12)
    tiled = recurrent.convolution_seconds(
        1000, 8192, 4, bytes_per_s=2e12, c=STREAM | {"window": 0.0, "tile": 500.0}, sequences=8
    )
    assert tiled == pytest.approx(2e-6 + 1e-6 * 4 * size / (4 * size + 1e6) + 4 * size / 1e12)


def test_work_bounds_what_was_not_given_sequences():
    c = next(c for c in CURVES if c["engine"] == "tensorrt-llm" and c["dtype"] == "conv_prefill")["coefficients"]
    alone = recurrent.convolution_seconds(4096, 8192, 4, bytes_per_s=3e12, c=c)
    assert recurrent.convolution_seconds(4096, 8192, 4, bytes_per_s=3e12, c=c, sequences=4096) > 10 * alone


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: "-".join(key(c)))
def test_error_on_what_was_left_out(curve):
    limit = MISSES.get(key(curve), MEASURED_LIMIT if curve["device"] else DEVICE_LIMIT)
    assert curve["left_out"] <= limit
    assert limit - curve["left_out"] < 0.02 or key(curve) not in MISSES  # a miss mended is one to take off the list


@pytest.mark.parametrize("name", ["gdn", "kda", "mamba2", "conv"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_every_device_has_a_curve_of_the_right_form(name, phase):
    for slug in accelerators():
        curve = choose("recurrent", accelerator(slug), "vllm", f"{name}_{phase}")
        assert curve.dtype == f"{'gdn' if name == 'mamba2' else name}_{phase}"
        assert ("chunk" in curve.coefficients) == (name != "conv" and phase == "prefill")
        assert curve.coefficients.get("window", float(phase == "decode")) == float(phase == "decode")


def test_states_of_16_bits_take_half_the_time():
    c = choose("recurrent", accelerator("h200-sxm-141gb"), "vllm", "gdn_decode").coefficients
    full = recurrent.recurrent_step_seconds(512, **SIZES, bytes_per_s=4.8e12, c=c)
    half = recurrent.recurrent_step_seconds(512, **SIZES | {"state_bytes": 2}, bytes_per_s=4.8e12, c=c)
    assert 0.48 * full < half < 0.55 * full
