import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.kernels.quantize import quantize_seconds, quantize_work

CURVES = json.loads(files("inferwise.timing.curves").joinpath("quantize.json").read_text("utf-8"))["curves"]


def test_worked_value():
    c = {"launch": 2e-6, "passes": 2.0, "row": 500.0, "depth": 1e-10}
    found = quantize_seconds(100, 1500, bytes_per_s=1e12, c=c)
    assert found == pytest.approx(2e-6 + 1500e-10 + 2 * 2 * 100 * 2000 / 1e12, rel=1e-12)
    assert quantize_work(100, 1500) == (0.0, 450_000.0)


def test_never_under_the_memory():
    c = {"launch": 1e-9, "passes": 0.5, "row": 1.0, "depth": 0.0}
    assert quantize_seconds(1e5, 1e4, bytes_per_s=1e12, c=c) == pytest.approx(3e9 / 1e12)


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: "-".join((c["device"], c["architecture"], c["engine"])))
@settings(deadline=None, max_examples=25)
@given(m=st.integers(0, 2_000_000), k=st.integers(1, 200_000), more=st.integers(1, 5000))
def test_every_curve_is_finite_monotone_and_above_the_roofline(curve, m, k, more):
    rate = accelerator(curve["device"] or "h100-sxm-80gb").memory_bytes_per_s
    m3, k3 = np.array([m, m + more, m]), np.array([k, k, k + more])
    taken = quantize_seconds(m3, k3, bytes_per_s=rate, c=curve["coefficients"])
    assert np.isfinite(taken).all()
    assert (taken > 0).all()
    assert (taken >= quantize_work(m3, k3)[1] / rate).all()
    assert (taken[1:] >= taken[0]).all()
    assert taken[0] == quantize_seconds(m, k, bytes_per_s=rate, c=curve["coefficients"])


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: "-".join((c["device"], c["architecture"], c["engine"])))
def test_error_on_what_was_left_out(curve):
    assert curve["left_out"] <= (0.08 if curve["device"] else 0.20)
    assert curve["rows"] >= 1000


def test_dynamic_scales_cost_two_kernels_in_tensorrt_llm():
    launches = {(c["device"], c["engine"]): c["coefficients"]["launch"] for c in CURVES if c["device"]}
    for (device, engine), launch in launches.items():
        if engine == "vllm":
            assert launches[device, "tensorrt-llm"] > 2 * launch
