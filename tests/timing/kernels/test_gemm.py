import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.kernels.gemm import gemm_seconds, gemm_work

CURVES = json.loads(files("inferwise.timing.curves").joinpath("gemm.json").read_text("utf-8"))["curves"]
DEVICES = [curve for curve in CURVES if curve["device"]]
POOLS = [curve for curve in CURVES if not curve["device"]]
BYTES = {"bf16": (2, 2), "fp8": (1, 1), "fp8_block": (1, 1.03), "nvfp4": (0.5625, 0.5625), "int8": (1, 1)}
BYTES |= {"int8_wo": (1, 2), "int4": (0.516, 2)}
PEAK = {"fp8_block": "fp8", "nvfp4": "fp4", "int8_wo": "fp16", "int4": "fp16"}
SHARES, SECONDS = {"compute", "bandwidth"}, {"launch", "depth"}
PLAIN = {"launch": 1e-6, "compute": 0.5, "bandwidth": 0.5, "p": 1.0, "depth": 1e-10, "split": 1e3, "tile": 1.0}
PLAIN |= {"rows": 256.0, "quantise": 2.0, "row": 100.0}
sizes = st.integers(1, 200_000)
rows = st.integers(0, 2_000_000)


def seconds(curve, m, n, k):
    weight, inputs = BYTES[curve["dtype"]]
    device = accelerator(curve["device"] or "b200-sxm-180gb")
    peak = device.dense_flops.get(PEAK.get(curve["dtype"], curve["dtype"])) or device.dense_flops["bf16"]
    rates = {"peak_flops": peak, "bytes_per_s": device.memory_bytes_per_s}
    weights = weight * np.asarray(n, dtype=float) * k
    flops, moved = gemm_work(m, n, k, weights, inputs)
    floor = np.maximum(flops / peak, moved / device.memory_bytes_per_s)
    return gemm_seconds(m, n, k, weights, inputs, **rates, c=curve["coefficients"]), floor


def test_work_of_a_square_matrix():
    assert gemm_work(3, 5, 7, 70, 1) == (2 * 3 * 5 * 7, 3 * 7 + 70 + 2 * 3 * 5)


def test_worked_value():
    # compute 1e9/1e12/0.5 = 2 ms, memory 1e7/1e10/0.5 = 2 ms; a tile's loop 1e-10 * 1000 / 2 * 1.5; x of 0.5e6 + 1e5
    # elements, twice, 2 bytes each.
    weights = 1e7 - 500 * 1000 * 1 - 2 * 500 * 1000
    found = gemm_seconds(500, 1000, 1000, weights, 1, peak_flops=1e12, bytes_per_s=1e10, c=PLAIN | {"rows": 500.0})
    assert found == pytest.approx(1e-6 + 2e-3 + 2e-3 + 0.75e-7 + 2 * 2 * 500 * 1100 / 1e10, rel=1e-12)


def test_the_floor_holds_where_coefficients_would_beat_it():
    c = PLAIN | {"launch": 0.0, "compute": 1.0, "bandwidth": 1.0, "p": 40.0, "depth": 0.0, "quantise": 0.0}
    fast = gemm_seconds(8192, 8192, 8192, 2 * 8192**2, 2, peak_flops=1e15, bytes_per_s=1e12, c=c)
    assert fast >= 2 * 8192**3 / 1e15


@pytest.mark.parametrize(
    "curve", CURVES, ids=lambda c: "-".join((c["device"], c["architecture"], c["engine"], c["dtype"]))
)
@settings(deadline=None, max_examples=15)
@given(m=rows, n=sizes, k=sizes, more=st.integers(1, 5000))
def test_every_curve_is_finite_monotone_and_above_the_roofline(curve, m, n, k, more):
    m3, n3, k3 = (np.array([x, x, x, x]) for x in (m, n, k))
    m3[1], n3[2], k3[3] = m + more, n + more, k + more
    taken, floor = seconds(curve, m3, n3, k3)
    assert np.isfinite(taken).all()
    assert (taken > 0).all()
    assert (taken >= floor).all()
    assert (taken[1:] >= taken[0]).all()


def test_scalars_and_arrays_that_broadcast_agree():
    curve = DEVICES[0]
    m, n = np.array([[1.0, 64.0, 4096.0]]), np.array([[512.0], [28672.0]])
    table = seconds(curve, m, n, 4096)[0]
    assert table.shape == (2, 3)
    assert all(table[i, j] == seconds(curve, m[0, j], n[i, 0], 4096)[0] for i in range(2) for j in range(3))


@pytest.mark.parametrize(
    "curve", CURVES, ids=lambda c: "-".join((c["device"], c["architecture"], c["engine"], c["dtype"]))
)
def test_coefficients_are_physical(curve):
    c = curve["coefficients"]
    assert c.keys() == PLAIN.keys()
    assert all(0 < c[name] <= 1 for name in SHARES)
    assert all(0 < c[name] < 1e-4 for name in SECONDS)
    assert c["p"] >= 1
    assert curve["includes_quantize"] == (c["quantise"] > 0) == (c["row"] > 0)


# Median error on (m, n, k) left out, at most (issue 4), and what lies above it.
LIMITS = {"bf16": 0.08, "fp8": 0.12, "fp8_block": 0.12, "nvfp4": 0.15}
ABOVE = {
    # L40S, RTX PRO 6000: operands of the bench partly in L2; neighbouring m differ by 4 % and a seventh of them fall.
    ("l40s", "vllm", "bf16"): 0.09,
    ("l40s", "sglang", "bf16"): 0.10,
    ("l40s", "tensorrt-llm", "bf16"): 0.09,
    ("l40s", "vllm", "fp8"): 0.125,
    ("rtx-pro-6000-blackwell-server", "tensorrt-llm", "bf16"): 0.09,
    # Launched outside a graph: most rows are the host's 0.17 to 0.5 ms, which no shape explains.
    ("b200-sxm-180gb", "vllm", "fp8_block"): 0.15,
    ("b300-sxm-288gb", "vllm", "fp8_block"): 0.15,
    ("gb200-186gb", "vllm", "fp8_block"): 0.19,
    ("gb300-288gb", "vllm", "fp8_block"): 0.20,
}


@pytest.mark.parametrize("curve", DEVICES, ids=lambda c: "-".join((c["device"], c["engine"], c["dtype"])))
def test_error_on_shapes_left_out(curve):
    key = curve["device"], curve["engine"], curve["dtype"]
    limit = ABOVE.get(key, LIMITS.get(curve["dtype"], 0.15))
    assert curve["left_out"] <= limit
    assert key not in ABOVE or curve["left_out"] > LIMITS[curve["dtype"]]  # an exception that no longer is one goes
    assert curve["rows"] >= 1000


def test_kernels_that_show_beside_the_host_are_met():
    shown = {(c["device"], c["engine"], c["dtype"]): c["left_out_seen"] for c in DEVICES if "host" in c["bench"]}
    assert len(shown) >= 8
    above = {("h200-sxm-141gb", "vllm", "fp8_block"): 0.14}
    assert all(error <= above.get(key, 0.12) for key, error in shown.items())


# Left out one by one, devices are met within 20 % by the others of their pool, but for those alone in an architecture
# (L40S, B60), and but for a Blackwell pool of fp8 over engines, whose conversions take one kernel or two.
FAR = {
    ("Xe2", "", "bf16"): 0.22,
    ("Xe2", "", "fp8"): 0.40,
    ("Xe2", "vllm", "fp8"): 0.40,
    ("Ada", "", "fp8_block"): 0.35,
    ("Ada", "tensorrt-llm", "fp8_block"): 0.35,
    ("Ada", "vllm", "fp8"): 0.21,
    ("Blackwell", "", "fp8"): 0.25,
}


@pytest.mark.parametrize(
    "curve", POOLS, ids=lambda c: "-".join((c["architecture"], c["vendor"], c["engine"], c["dtype"]))
)
def test_error_on_devices_left_out(curve):
    key = curve["architecture"], curve["engine"], curve["dtype"]
    assert curve["left_out"] <= FAR.get(key, 0.20)
    assert key not in FAR or curve["left_out"] > 0.20


def test_every_measured_format_has_a_pool_of_its_maker_and_of_any_device():
    for dtype in {curve["dtype"] for curve in DEVICES}:
        kinds = {(c["architecture"], c["vendor"]) for c in POOLS if c["dtype"] == dtype and not c["engine"]}
        assert {("", "NVIDIA"), ("", "")} <= kinds
        measured = {(c["architecture"], c["vendor"]) for c in DEVICES if c["dtype"] == dtype}
        assert measured <= kinds
