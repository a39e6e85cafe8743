import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.kernels.dispatch import copies, dispatch_seconds, distinct_parts

CURVES = json.loads(files("inferwise.timing.curves").joinpath("dispatch.json").read_text("utf-8"))["curves"]
NAMES = ["-".join((c["device"], c["architecture"], c["vendor"], c["engine"], c["dtype"])) for c in CURVES]
PLAIN = {"latency_s": 1e-5, "growth": 0.5, "efficiency": 0.5, "p": 1.0, "merged": 0.0}
PLAIN |= {"network_latency_s": 3e-5, "network_bytes_per_s": 1e9}
# Whole shapes left out, by the 12 % for collectives; above it, with the figure.
MISSES = {
    ("h100-sxm-80gb", "vllm", "normal"): 0.18,
    ("gb300-288gb", "tensorrt-llm", "normal"): 0.15,
}


def taken(curve, tokens, **shape):
    shape = {"hidden": 7168, "top_k": 8, "ranks": 8, "nodes": 1, "element_bytes": 1.03} | shape
    link = accelerator(curve["device"] or "h100-sxm-80gb").link_bytes_per_s
    return dispatch_seconds(tokens, **shape, link_bytes_per_s=link, c=curve["coefficients"])


def test_distinct_parts_against_draws():
    draws = np.random.default_rng(0).integers(0, 4, (200_000, 6))
    drawn = np.mean([len(set(row)) for row in draws])
    assert distinct_parts(6, 4) == pytest.approx(drawn, rel=3e-3)
    assert distinct_parts(8, 1) == pytest.approx(1.0)
    assert distinct_parts(1, 64) == pytest.approx(1.0)


def test_copies():
    assert copies(8, 8, 1, 0.0) == (7.0, 0.0)
    assert copies(8, 16, 2, 0.0) == (7.5, 4.0)
    out, crossing = copies(8, 8, 1, 1.0)
    assert out == pytest.approx(8 * (1 - 0.875**8) * 0.875)
    assert crossing == 0.0
    assert copies(8, 16, 2, 1.0)[1] == pytest.approx(2 * (1 - 0.5**8) * 0.5)


def test_worked_value():
    # 100 tokens x 1000 elements x (2 + 2) bytes; 7.5 copies over 1e10 * 0.5, 4 of them over the network's 1e9
    found = dispatch_seconds(
        100, hidden=1000, top_k=8, ranks=16, nodes=2, element_bytes=2, link_bytes_per_s=1e10, c=PLAIN
    )
    assert found == pytest.approx(1e-5 * 8**0.5 + 3e-5 + 4e5 * 7.5 / 5e9 + 4e5 * 4 / 1e9, rel=1e-12)


def test_one_rank_sends_nothing():
    for curve in CURVES:
        assert taken(curve, 4096, ranks=1) == 0.0


def test_the_link_is_the_floor():
    c = PLAIN | {"latency_s": 1e-12, "efficiency": 5.0}
    found = dispatch_seconds(1e6, hidden=4096, top_k=8, ranks=8, nodes=1, element_bytes=2, link_bytes_per_s=1e11, c=c)
    assert found == pytest.approx(1e6 * 4096 * 4 * 7 / 1e11)


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@settings(deadline=None, max_examples=15)
@given(
    tokens=st.floats(0.01, 200_000),
    more=st.floats(0, 10_000),
    hidden=st.integers(128, 16_384),
    top_k=st.integers(1, 32),
    ranks=st.sampled_from((2, 4, 8, 16, 64, 72)),
    nodes=st.sampled_from((1, 2, 8)),
)
def test_every_curve_is_finite_monotone_and_above_the_link(curve, tokens, more, hidden, top_k, ranks, nodes):
    nodes = min(nodes, ranks)
    found = taken(curve, np.array([tokens, tokens + more]), hidden=hidden, top_k=top_k, ranks=ranks, nodes=nodes)
    assert np.isfinite(found).all()
    assert 0 < found[0] <= found[1]
    assert taken(curve, tokens, hidden=hidden + 64, top_k=top_k, ranks=ranks, nodes=nodes) >= found[0]
    assert taken(curve, tokens, hidden=hidden, top_k=top_k + 1, ranks=ranks, nodes=nodes) >= found[0]
    assert taken(curve, tokens, hidden=hidden, top_k=top_k, ranks=2 * ranks, nodes=nodes) >= found[0]
    link = accelerator(curve["device"] or "h100-sxm-80gb").link_bytes_per_s
    out, _ = copies(top_k, ranks, nodes, curve["coefficients"]["merged"])
    assert found[0] >= tokens * hidden * 3.03 * out / link * (1 - 1e-12)


def test_scalars_and_arrays_that_broadcast_agree():
    tokens, hidden = np.array([[1.0, 64.0, 4096.0]]), np.array([[2048.0], [7168.0]])
    table = taken(CURVES[0], tokens, hidden=hidden)
    assert table.shape == (2, 3)
    assert all(table[i, j] == taken(CURVES[0], tokens[0, j], hidden=hidden[i, 0]) for i in range(2) for j in range(3))


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
def test_error_on_what_was_left_out(curve):
    limit = MISSES.get((curve["device"], curve["engine"], curve["dtype"]), 0.12) if curve["device"] else 0.20
    assert curve["left_out"] <= limit


def test_a_wide_batch_goes_better_by_the_normal_kernels_on_hopper_and_a_small_one_by_low_latency():
    own = {c["dtype"]: c for c in CURVES if (c["device"], c["engine"]) == ("h200-sxm-141gb", "sglang")}
    assert taken(own["low_latency"], 16) < taken(own["normal"], 16)
    assert taken(own["normal"], 4096) < taken(own["low_latency"], 4096)


def test_nodes_cost():
    own = next(c for c in CURVES if (c["device"], c["dtype"]) == ("h100-sxm-80gb", "low_latency"))
    assert taken(own, 128, ranks=16, nodes=2) > 1.5 * taken(own, 128, ranks=16, nodes=1)
