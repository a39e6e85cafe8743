"""Sparse latent attention (DSA): invariants over every shipped curve, worked values, residuals under the limits."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.timing.kernels import sparse

PREFILL, DECODE = (
    json.loads(files("inferwise.timing.curves").joinpath(f"sparse_{name}.json").read_text("utf-8"))["curves"]
    for name in ("prefill", "decode")
)
DSA = {"kv_rank": 512, "rope": 64, "index_dim": 128, "topk": 2048}
RATES = {"peak_flops": 989.4e12, "bytes_per_s": 3.35e12}
LIMIT, DEVICE_LIMIT = 0.15, 0.20

sequences = st.integers(1, 1024)
tokens = st.integers(1, 65_536)
past = st.integers(0, 1_000_000)
heads = st.sampled_from([8, 16, 32, 64, 128])
index_heads = st.sampled_from([0, 32, 64])
cache_bytes = st.sampled_from([1, 2])


def prefill(curve, b, s, p, h, index, kv_bytes):
    shape = {**DSA, "heads": h, "index_heads": index, "kv_bytes": kv_bytes}
    seconds = sparse.sparse_prefill_seconds(b, s, p, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*sparse.sparse_prefill_work(b, s, p, **shape))


def decode(curve, b, n, h, index, kv_bytes):
    shape = {**DSA, "heads": h, "index_heads": index, "kv_bytes": kv_bytes}
    seconds = sparse.sparse_decode_seconds(b, n, **shape, **RATES, c=curve["coefficients"])
    return seconds, roof(*sparse.sparse_decode_work(b, n, **shape))


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
@given(st.sampled_from(PREFILL), sequences, tokens, past, heads, index_heads, cache_bytes, st.integers(1, 5000))
def test_prefill_is_monotone_and_over_its_roof(curve, b, s, p, h, index, kv_bytes, more):
    base = prefill(curve, b, s, p, h, index, kv_bytes)
    holds(base, prefill(curve, b + more, s, p, h, index, kv_bytes))
    holds(base, prefill(curve, b, s + more, p, h, index, kv_bytes))
    holds(base, prefill(curve, b, s, p + more, h, index, kv_bytes))
    holds(base, prefill(curve, b, s, p, h + more, index, kv_bytes))


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(DECODE), sequences, st.integers(1, 1_000_000), heads, index_heads, cache_bytes, st.integers(1, 5000)
)
def test_decode_is_monotone_and_over_its_roof(curve, b, n, h, index, kv_bytes, more):
    base = decode(curve, b, n, h, index, kv_bytes)
    holds(base, decode(curve, b + more, n, h, index, kv_bytes))
    holds(base, decode(curve, b, n + more, h, index, kv_bytes))
    holds(base, decode(curve, b, n, h + more, index, kv_bytes))


def test_arrays_give_what_scalars_give():
    b, n, index = np.array([[1.0], [64.0]]), np.array([[1.0, 2048.0, 65_000.0]]), np.array([[0.0], [64.0]])
    for curve in DECODE:
        together = decode(curve, b, n, 16, index, 1)[0]
        apart = [
            [decode(curve, float(b[i, 0]), float(n[0, j]), 16, float(index[i, 0]), 1)[0] for j in range(3)]
            for i in (0, 1)
        ]
        np.testing.assert_allclose(together, apart, rtol=1e-12)
    for curve in PREFILL:
        together = prefill(curve, b, n, 5000.0, 16, index, 1)[0]
        assert together[1, 2] == pytest.approx(prefill(curve, 64, 65_000, 5000, 16, 64, 1)[0], rel=1e-12)


def test_attention_reads_at_most_topk_tokens_but_the_indexer_all():
    shape = {**DSA, "heads": 16, "kv_bytes": 1}
    short, long = (sparse.sparse_decode_work(1, n, **shape, index_heads=0) for n in (2048, 200_000))
    assert short == long
    with_index = sparse.sparse_decode_work(1, 200_000, **shape, index_heads=64)
    assert with_index[0] - long[0] == 2 * 64 * 128 * 200_000
    assert with_index[1] - long[1] == 200_000 * 132 + 64 * 128  # FP8 keys with a scale each; the queries


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 200))
def test_pairs_selected_are_what_counting_gives(s, p, topk):
    shape = {**DSA, "topk": topk, "heads": 4, "index_heads": 0, "kv_bytes": 1}
    pairs = sum(min(p + i, topk) for i in range(1, s + 1))
    assert sparse.sparse_prefill_work(1, s, p, **shape)[0] == pytest.approx(2 * 4 * 1088 * pairs, rel=1e-12)


def test_worked_value_of_prefill():
    c = {"tile": 64, "units": 1, "waves": 1, "pad": 0.0, "compute": 0.5, "index": 0.25, "select": 0.1, "row": 1e-8}
    c |= {"floor": 1e-5, "copies": 2, "gather": 0.1, "sequence": 1e-6}
    shape = {**DSA, "heads": 128, "index_heads": 64, "kv_bytes": 1, "peak_flops": 1e15, "bytes_per_s": 1e12}
    pairs = 1000 * 10_000 + 1000 * 1001 / 2
    attention = 2 * 1088 * 64 * 2048 * (1000 * 2 + 1) / 0.5e15
    index = 2 * 64 * 128 * pairs / 0.25e15
    select = 1000 * 1e-8 + pairs * 4 / 0.1e12
    gather = 11_000 * 132 / 0.1e12 + 1e-6
    copies = 2 * 1000 * 128 * 1088 * 2 / 1e12
    expected = 1e-5 + attention + index + select + gather + copies
    assert sparse.sparse_prefill_seconds(1, 1000, 10_000, **shape, c=c) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "curve", DECODE, ids=lambda c: f"{c['device'] or c['architecture'] or c['vendor']}-{c['engine']}"
)
def test_sparse_attention_pays_at_long_contexts(curve):
    # Attention over 2,048 tokens stands still; what grows with the context is the indexer, at 132 bytes a token.
    near, far = (decode(curve, 32, n, 16, 0, 1)[0] for n in (2048, 131_072))
    assert far == pytest.approx(near)
    grown = decode(curve, 32, 131_072, 16, 64, 1)[0] - decode(curve, 32, 2048, 16, 64, 1)[0]
    assert grown >= 32 * (131_072 - 2048) * 132 / RATES["bytes_per_s"] * 0.9


@pytest.mark.parametrize(
    "curve", [c for c in PREFILL + DECODE if c["device"]], ids=lambda c: f"{c['device']}-{c['engine']}"
)
def test_left_out_shapes_are_within_the_limit(curve):
    assert curve["left_out"] <= LIMIT
    assert curve.get("sister", {"median": 0})["median"] <= DEVICE_LIMIT
