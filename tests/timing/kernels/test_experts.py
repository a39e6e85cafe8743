import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.kernels.experts import (
    distinct_experts,
    expert_load,
    experts_seconds,
    experts_work,
    grouped_seconds,
    grouped_work,
)

CURVES = json.loads(files("inferwise.timing.curves").joinpath("experts.json").read_text("utf-8"))["curves"]
NAMES = ["-".join((c["device"], c["architecture"], c["vendor"], c["engine"], c["dtype"])) for c in CURVES]
DEVICES = [curve for curve in CURVES if curve["device"]]
# Bytes a weight, bytes an element of the inputs, the formats whose peak counts.
FORMATS = {
    "bf16": (2, 2, ("bf16",)),
    "fp8": (1, 1, ("fp8", "bf16")),
    "fp8_block": (1 + 4 / 128**2, 1, ("fp8", "bf16")),
    "int4": (0.5625, 2, ("bf16",)),
    "nvfp4": (0.5625, 0.5625, ("fp4", "bf16")),
    "mxfp4": (0.53125, 2, ("bf16",)),
    "mxfp4_mxfp8": (0.53125, 1.03125, ("fp8", "bf16")),
}
PLAIN = {"compute": 0.5, "memory": 0.5, "p": 1.0, "pad": 2.0, "adapt": 6.0, "narrow": 24.0, "ramp": 1e5, "act": 0.25}
PLAIN |= {"foreign": 0.5, "computed": 0.25, "launch": 1e-5, "sort": 2e-5, "sort_rows": 50.0, "plain": 3.0}


def sizes(curve, *, tokens, hidden=4096, width=768, held=64, count=128, top_k=8, gated=True, skew=0.0):
    """Arguments of experts_seconds, and the device's rates."""
    device = accelerator(curve["device"] or "b200-sxm-180gb")
    weight, inputs, peaks = FORMATS[curve["dtype"]]
    shape = {"hidden": hidden, "width": width, "held": held, "count": count, "top_k": top_k, "gated": gated}
    shape |= {"expert_bytes": weight * (2.0 + gated) * hidden * width, "input_bytes": inputs, "skew": skew}
    peak = next(device.dense_flops[p] for p in peaks if p in device.dense_flops)
    return tokens, shape, {"peak_flops": peak, "bytes_per_s": device.memory_bytes_per_s}


def taken(curve, **case):
    tokens, shape, rates = sizes(curve, **case)
    return experts_seconds(tokens, **shape, **rates, c=curve["coefficients"])


@pytest.mark.parametrize(("tokens", "count", "top_k"), [(1, 8, 2), (3, 8, 2), (16, 64, 6), (64, 256, 8), (5, 4, 4)])
def test_distinct_experts_without_skew_is_the_exact_mean(tokens, count, top_k):
    exact = count * (1 - (1 - top_k / count) ** tokens)
    assert distinct_experts(tokens, count, top_k, 0.0) == pytest.approx(exact, rel=1e-6)


def test_distinct_experts_without_skew_against_draws():
    rng = np.random.default_rng(1)
    draws = [len({e for _ in range(24) for e in rng.choice(64, 6, replace=False)}) for _ in range(1500)]
    assert distinct_experts(24, 64, 6, 0.0) == pytest.approx(np.mean(draws), rel=5e-3)


@pytest.mark.parametrize("skew", [0.4, 0.7, 1.0])
@pytest.mark.parametrize("tokens", [4, 32, 256])
def test_distinct_experts_with_skew_against_draws(skew, tokens):
    """Popularities drawn from a gamma of that deviation, top_k of them without replacement (Gumbel's trick)."""
    rng, count, top_k, hit = np.random.default_rng(2), 128, 8, []
    for _ in range(60):
        popularity = rng.gamma(skew**-2, size=count) + 1e-300
        keys = np.log(popularity) + rng.gumbel(size=(tokens, count))
        hit.append(len(np.unique(np.argpartition(-keys, top_k, axis=1)[:, :top_k])))
    assert distinct_experts(tokens, count, top_k, skew) == pytest.approx(np.mean(hit), rel=0.05)


@settings(deadline=None, max_examples=100)
@given(
    tokens=st.floats(1, 1e6),
    more=st.floats(1, 2),
    count=st.integers(2, 512),
    top_k=st.integers(1, 32),
    skew=st.floats(0, 3),
    share=st.integers(1, 8),
)
def test_loads_are_possible_and_grow(tokens, more, count, top_k, skew, share):
    top_k, held = min(top_k, count), max(count // share, 1)
    few, many = (distinct_experts(tokens * m, count, top_k, skew) for m in (1, more))
    assert top_k * (1 - 1e-3) <= few <= many * (1 + 1e-12) <= count * (1 + 1e-9)
    assert few <= distinct_experts(tokens, count, top_k, 0.0) * (1 + 1e-6)
    rows, hit = expert_load(tokens, held=held, count=count, top_k=top_k, skew=skew)
    assert tokens * top_k * held / count * (1 - 1e-9) <= rows <= tokens * min(top_k, held) * (1 + 1e-9)
    assert 0 < hit <= min(held, rows) * (1 + 1e-9)


def test_the_only_device_gets_all():
    assert expert_load(10.0, held=64, count=64, top_k=4, skew=1.0)[0] == 40.0


@pytest.mark.parametrize("skew", [0.5, 0.94])
def test_the_busiest_device_against_draws(skew):
    rng, found = np.random.default_rng(3), []
    for _ in range(300):
        popularity = rng.gamma(skew**-2, size=256)
        found.append((popularity.reshape(8, 32).sum(axis=1) / popularity.sum()).max() * 1000 * 4)
    assert expert_load(1000, held=32, count=256, top_k=4, skew=skew)[0] == pytest.approx(np.mean(found), rel=0.05)


def test_work():
    flops, moved = grouped_work(10, 3, hidden=4, width=5, gated=True, expert_bytes=60, input_bytes=1)
    assert flops == 2 * 3 * 4 * 5 * 10
    assert moved == 3 * 60 + 10 * (4 * (1 + 2) + 2 * 5)
    assert grouped_work(10, 3, hidden=4, width=5, gated=False, expert_bytes=40, input_bytes=1)[0] == 2 * 2 * 4 * 5 * 10


def test_worked_value():
    # 30 rows here of 20 tokens x 2; 10 elsewhere, a quarter of them run too: 32.5, + 2 x 10 of padding and, by the
    # adapting tile, 32.5 x 60 / 92.5. Elsewhere's rows count half in what goes between the GEMMs.
    filled = 32.5 + 20 + 32.5 * 60 / 92.5
    compute = 2 * 3 * 100 * (76 + 24) * filled / (0.5 * 1e9)
    memory = (10 * 3e4 + 1e5) / (0.5 * 1e9)
    moved = 2 * (20 * 100 + 35 * (2 * 100 + 3 * 76)) / (0.25 * 1e9)
    case = {"tokens": 20, "top_k": 2, "hidden": 100, "width": 76, "expert_bytes": 3e4, "input_bytes": 2}
    found = grouped_seconds(30, 10, **case, gated=True, peak_flops=1e9, bytes_per_s=1e9, c=PLAIN, floor=False)
    assert found == pytest.approx(compute + memory + moved + 1e-5 + 2e-5 * 30 / 80, rel=1e-12)


def test_floor():
    fast = PLAIN | dict.fromkeys(("compute", "memory", "act"), 1e6)
    _, shape, rates = sizes({"device": "h100-sxm-80gb", "dtype": "bf16"}, tokens=0)
    for tokens in (1, 100_000):
        flops, moved = experts_work(tokens, **shape)
        floor = max(flops / rates["peak_flops"], moved / rates["bytes_per_s"])
        assert experts_seconds(tokens, **shape, **rates, c=fast) == pytest.approx(floor, rel=1e-3, abs=4e-5)
        assert experts_seconds(tokens, **shape, **rates, c=fast) >= floor


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@settings(deadline=None, max_examples=10)
@given(
    tokens=st.floats(1, 200_000),
    more=st.floats(0, 5000),
    model=st.sampled_from(((7168, 2048, 256, 8), (2880, 2880, 128, 4), (4096, 14_336, 8, 2), (2048, 768, 128, 8))),
    ranks=st.sampled_from((1, 2, 8)),
    gated=st.booleans(),
    skew=st.sampled_from((0.0, 0.5, 0.94)),
)
def test_every_curve_is_finite_monotone_and_above_the_roofline(curve, tokens, more, model, ranks, gated, skew):
    hidden, width, count, top_k = model
    case = {"hidden": hidden, "width": width, "held": count // ranks, "count": count, "top_k": top_k}
    case |= {"gated": gated, "skew": skew}
    found = taken(curve, tokens=np.array([tokens, tokens + more]), **case)
    assert np.isfinite(found).all()
    assert 0 < found[0] <= found[1] * (1 + 1e-12)
    assert taken(curve, tokens=tokens, **case | {"width": width + 64}) >= found[0]
    assert taken(curve, tokens=tokens, **case | {"hidden": hidden + 64}) >= found[0]
    _, shape, rates = sizes(curve, tokens=tokens, **case)
    flops, moved = experts_work(tokens, **shape)
    assert found[0] >= flops / rates["peak_flops"] * (1 - 1e-12)
    assert found[0] >= moved / rates["bytes_per_s"] * (1 - 1e-12)


def test_scalars_and_arrays_that_broadcast_agree():
    curve, tokens, width = DEVICES[0], np.array([[1.0, 64.0, 4096.0]]), np.array([[192.0], [1536.0]])
    table = taken(curve, tokens=tokens, width=width)
    assert table.shape == (2, 3)
    for i, j in np.ndindex(table.shape):
        assert table[i, j] == pytest.approx(taken(curve, tokens=tokens[0, j], width=width[i, 0]), rel=1e-12)


# Median error on shapes left out, above the 15 %, with the figure.
MISSES = {
    ("a100-sxm-80gb", "sglang", "bf16"): 0.155,
    ("h200-sxm-141gb", "vllm", "mxfp4"): 0.165,
    ("h200-sxm-141gb", "sglang", "bf16"): 0.16,
    ("b200-sxm-180gb", "tensorrt-llm", "mxfp4_mxfp8"): 0.17,
    ("gb200-186gb", "vllm", "mxfp4_mxfp8"): 0.155,
    ("gb200-186gb", "tensorrt-llm", "mxfp4_mxfp8"): 0.16,
    ("gb300-288gb", "tensorrt-llm", "mxfp4_mxfp8"): 0.17,
    ("l40s", "sglang", "bf16"): 0.18,
    ("l40s", "sglang", "mxfp4"): 0.165,
    ("rtx-pro-6000-blackwell-server", "sglang", "bf16"): 0.155,
}
# Devices left out whole, above the 20 %: architecture or maker's pool, format.
POOL_MISSES = {
    ("Ada", "NVIDIA", "bf16"): 0.24,
    ("Ampere", "NVIDIA", "bf16"): 0.29,
    ("Xe2", "Intel", "fp8"): 0.43,
    ("Ada", "NVIDIA", "int4"): 0.37,
    ("Ampere", "NVIDIA", "int4"): 0.35,
    ("Blackwell", "NVIDIA", "int4"): 0.3,
    ("", "NVIDIA", "int4"): 0.29,
    ("", "", "int4"): 0.29,
    ("Ada", "NVIDIA", "mxfp4"): 0.62,
    ("Blackwell", "NVIDIA", "mxfp4"): 0.24,
    ("Xe2", "Intel", "mxfp4"): 0.29,
    ("", "NVIDIA", "mxfp4"): 0.31,
    ("", "", "mxfp4"): 0.31,
    ("Blackwell", "NVIDIA", "mxfp4_mxfp8"): 0.21,
}


@pytest.mark.parametrize("curve", DEVICES, ids=[n for n, c in zip(NAMES, CURVES, strict=True) if c["device"]])
def test_error_on_shapes_left_out(curve):
    assert curve["left_out"] <= MISSES.get((curve["device"], curve["engine"], curve["dtype"]), 0.15)
    assert abs(curve["bias"]) < 0.03
    assert curve["rows"] >= 300


@pytest.mark.parametrize("curve", [c for c in CURVES if not c["device"]], ids=lambda c: c["architecture"] + c["dtype"])
def test_error_on_devices_left_out(curve):
    key = (curve["architecture"], curve["vendor"], curve["dtype"])
    assert curve["left_out"] <= POOL_MISSES.get(key, 0.20)


def test_every_exception_is_still_needed():
    found = {(c["device"], c["engine"], c["dtype"]): c["left_out"] for c in DEVICES}
    assert all(0.15 < found[key] <= limit < found[key] + 0.02 for key, limit in MISSES.items())
    pools = {(c["architecture"], c["vendor"], c["dtype"]): c["left_out"] for c in CURVES if not c["device"]}
    assert all(0.20 < pools[key] <= limit < pools[key] + 0.03 for key, limit in POOL_MISSES.items())


def test_tensorrt_llm_has_generated_kernels_for_nvfp4_on_blackwell():
    """CUTLASS took 0.50 ms for these experts of DeepSeek-R1 (TP 4, 64 tokens), the generated kernels 0.17 ms."""
    own = next(
        c for c in DEVICES if (c["device"], c["engine"], c["dtype"]) == ("b200-sxm-180gb", "tensorrt-llm", "nvfp4")
    )
    case = {"tokens": 64, "hidden": 7168, "width": 512, "held": 256, "count": 256, "top_k": 8, "skew": 0.94}
    assert taken(own, **case) == pytest.approx(0.17e-3, rel=0.2)
