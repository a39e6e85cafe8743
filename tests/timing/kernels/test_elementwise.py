"""Elementwise kernels and sampling: invariants over every shipped curve, worked values, residuals under limits."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.curves import GENERIC, MEASURED, basis, choose
from inferwise.timing.kernels.elementwise import elementwise_seconds, sampling_seconds

CURVES = json.loads(files("inferwise.timing.curves").joinpath("elementwise.json").read_text("utf-8"))["curves"]
C = {"launch": 2e-6, "fill": 1e-6, "fill_bytes": 1e6, "bandwidth": 0.5, "passes": 6.0, "kernels": 3.0}
each_curve = pytest.mark.parametrize(
    "curve", CURVES, ids=lambda c: "-".join((c["device"], c["architecture"], c["vendor"], c["engine"]))
)


def rate(curve):
    return accelerator(curve["device"] or "h100-sxm-80gb").memory_bytes_per_s


def test_worked_values():
    assert elementwise_seconds(3e6, bytes_per_s=1e12, c=C) == pytest.approx(2e-6 + 0.75e-6 + 6e-6)
    one = 2e-6 + 1e-6 * 8e6 / 9e6 + 16e-6  # 6 passes over 10 x 100,000 x 4 bytes by 3 kernels: 8 MB each
    assert sampling_seconds(10, 100_000, bytes_per_s=1e12, c=C) == pytest.approx(3 * one)


def test_never_under_the_memory():
    c = C | {"launch": 1e-9, "fill": 1e-12, "bandwidth": 1.0}
    assert elementwise_seconds(1e12, bytes_per_s=1e12, c=c) >= 1.0


@each_curve
@settings(deadline=None, max_examples=25)
@given(size=st.integers(0, 10**11), more=st.integers(1, 10**9))
def test_every_curve_is_finite_monotone_and_above_the_roofline(curve, size, more):
    sizes = np.array([size, size + more], dtype=float)
    taken = elementwise_seconds(sizes, bytes_per_s=rate(curve), c=curve["coefficients"])
    assert np.isfinite(taken).all()
    assert (taken > 0).all()
    assert (taken >= sizes / rate(curve)).all()
    assert taken[1] >= taken[0]
    assert taken[0] == elementwise_seconds(size, bytes_per_s=rate(curve), c=curve["coefficients"])


@each_curve
@settings(deadline=None, max_examples=25)
@given(sequences=st.integers(1, 8192), vocabulary=st.integers(2, 300_000), more=st.integers(1, 1000))
def test_sampling_grows_and_reads_the_logits(curve, sequences, vocabulary, more):
    n, v = np.array([sequences, sequences + more, sequences]), np.array([vocabulary, vocabulary, vocabulary + more])
    taken = sampling_seconds(n, v, bytes_per_s=rate(curve), c=curve["coefficients"])
    assert np.isfinite(taken).all()
    assert (taken >= 4.0 * n * v / rate(curve)).all()
    assert (taken[1:] >= taken[0]).all()
    assert (taken >= curve["coefficients"]["kernels"] * curve["coefficients"]["launch"]).all()


@each_curve
def test_error_on_what_was_left_out(curve):
    # one engine's kernel within 9 %; all engines' on a device, and whole devices left out, within 20 %
    assert curve["left_out"] <= (0.09 if curve["engine"] else 0.20)
    assert curve["rows"] >= 1000


@pytest.mark.parametrize(
    ("slug", "engine", "expected"),
    [
        ("h200-sxm-141gb", "vllm", MEASURED),
        ("h200-sxm-141gb", "sglang", MEASURED),  # not its own kernel's: the device's pool of engines
        ("arc-pro-b60", "vllm", GENERIC),
    ],
)
def test_which_curve_speaks(slug, engine, expected):
    device = accelerator(slug)
    curve = choose("elementwise", device, engine, "bf16")
    assert basis(curve, device) == expected
    assert curve.engine == (engine if engine == "vllm" and expected == MEASURED else "")
