"""Seconds of sparse latent attention (DSA: DeepSeek-V3.2, arXiv:2512.02556; GLM-5), on one device.

An indexer of few light heads scores every earlier token in FP8, the `topk` best are selected, and absorbed attention
(MQA over latents of kv_rank + rope) reads only these. Projections, the indexer's among them, are GEMMs apart.

Shapes are scalars or arrays; heads are this device's, the indexer's are whole on each. index_heads 0: a layer that
takes over the selection of an earlier one (GLM-5.2). `c` holds the coefficients of a curve (curves/sparse_*.json):
compute, memory, index and select, shares of the datasheet's peaks; floor [s], the launches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Shape = Any  # a float or an array of floats

ACTIVATION_BYTES = 2  # queries and outputs
INDEX_BYTES = 1 + 4 / 128  # an FP8 element of the indexer's keys, with a float32 scale to 128
SCORE_BYTES = 4  # scores are float32


def sparse_prefill_work(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    kv_rank: Shape,
    rope: Shape,
    index_heads: Shape,
    index_dim: Shape,
    topk: Shape,
    kv_bytes: Shape,
) -> tuple[Any, Any]:
    """(FLOPs, bytes) of indexer and attention of `tokens` new ones after `past`, in each sequence.

    Bytes: queries and outputs, the indexer's queries, and each latent and index key once.
    """
    attention = 2 * heads * (2 * kv_rank + rope) * _selected(tokens, past, topk)
    index = 2 * index_heads * index_dim * tokens * (past + (tokens + 1) / 2)
    queries = tokens * (heads * (2 * kv_rank + rope) * ACTIVATION_BYTES + index_heads * index_dim)
    cache = (past + tokens) * ((kv_rank + rope) * kv_bytes + (index_heads > 0) * index_dim * INDEX_BYTES)
    return sequences * (attention + index), sequences * (queries + cache)


def sparse_prefill_seconds(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    kv_rank: Shape,
    rope: Shape,
    index_heads: Shape,
    index_dim: Shape,
    topk: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
) -> Any:
    """Seconds of indexer, selection and attention, one after another.

    Attention: a block takes a token's heads, `tile` at a time; `units` blocks run at once (joined smoothly, by the
    norm `waves`); `pad` is the share of the topk that is worked through although fewer tokens are there. Selection:
    `row` [s] a token that has more than topk before it, and its scores at `select` of the bandwidth. A sequence's
    index keys are collected from their pages at `gather` of it, `sequence` [s] each. Queries and outputs are moved
    `copies` times (concatenated, padded, transposed).
    """
    shape = {"heads": heads, "kv_rank": kv_rank, "rope": rope, "topk": topk, "kv_bytes": kv_bytes}
    flops, moved = sparse_prefill_work(sequences, tokens, past, index_heads=index_heads, index_dim=index_dim, **shape)
    some = np.maximum(tokens, 1)
    read = _selected(some, past, topk) / some
    block = 2 * (2 * kv_rank + rope) * c["tile"] * (read + c["pad"] * (topk - read))
    blocks = sequences * tokens * np.maximum(heads / c["tile"], 1)
    attention = block * _norm(c["waves"], blocks, c["units"]) / (c["compute"] * peak_flops)
    pairs = sequences * tokens * (past + (tokens + 1) / 2)
    index = 2 * index_heads * index_dim * pairs / (c["index"] * peak_flops)
    long = sequences * np.clip(past + tokens - topk, 0, tokens)
    select = long * c["row"] + pairs * SCORE_BYTES / (c["select"] * bytes_per_s)
    gather = sequences * (past + tokens) * index_dim * INDEX_BYTES / (c["gather"] * bytes_per_s)
    indexer = index + (index_heads > 0) * (select + gather + sequences * c["sequence"])
    queries = sequences * tokens * heads * (2 * kv_rank + rope) * ACTIVATION_BYTES
    timed = c["floor"] + attention + indexer + c["copies"] * queries / bytes_per_s
    return np.maximum(timed, np.maximum(flops / peak_flops, moved / bytes_per_s))


def sparse_decode_work(
    sequences: Shape,
    context: Shape,
    *,
    heads: Shape,
    kv_rank: Shape,
    rope: Shape,
    index_heads: Shape,
    index_dim: Shape,
    topk: Shape,
    kv_bytes: Shape,
) -> tuple[Any, Any]:
    """(FLOPs, bytes) of one token of each sequence: all index keys, and the latents of the selected."""
    read = np.minimum(context, topk)
    flops = 2 * heads * (2 * kv_rank + rope) * read + 2 * index_heads * index_dim * context
    cache = read * (kv_rank + rope) * kv_bytes + (index_heads > 0) * context * index_dim * INDEX_BYTES
    queries = heads * (2 * kv_rank + rope) * ACTIVATION_BYTES + index_heads * index_dim
    return sequences * flops, sequences * (cache + queries)


def sparse_decode_seconds(
    sequences: Shape,
    context: Shape,
    *,
    heads: Shape,
    kv_rank: Shape,
    rope: Shape,
    index_heads: Shape,
    index_dim: Shape,
    topk: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
) -> Any:
    """Seconds of indexer, selection and absorbed attention of one token of each sequence.

    Heads come in tiles of `tile`; a context counts `block` tokens at least; `index` and `select` of the bandwidth are
    reached on index keys and on their scores; a row takes `serial` [s] a token of its context at least. Queries and
    outputs are moved `queries` times.
    """
    shape = {"heads": heads, "kv_rank": kv_rank, "rope": rope, "topk": topk, "kv_bytes": kv_bytes}
    flops, moved = sparse_decode_work(sequences, context, index_heads=index_heads, index_dim=index_dim, **shape)
    read = np.maximum(np.minimum(context, topk), c["block"])
    queries = c["queries"] * heads * (2 * kv_rank + rope) * ACTIVATION_BYTES
    cache = read * (kv_rank + rope) * kv_bytes
    compute = 2 * sequences * read * np.maximum(heads, c["tile"]) * (2 * kv_rank + rope) / (c["compute"] * peak_flops)
    attention = _norm(c["p"], compute, sequences * (cache + queries) / (c["memory"] * bytes_per_s))
    keys = index_dim * INDEX_BYTES / c["index"] + SCORE_BYTES / c["select"]
    scan = _norm(c["p"], sequences * context * keys / bytes_per_s, context * c["serial"])
    timed = c["floor"] + attention + (index_heads > 0) * scan
    return np.maximum(timed, np.maximum(flops / peak_flops, moved / bytes_per_s))


def _selected(tokens: Shape, past: Shape, topk: Shape) -> Any:
    """Pairs of a sequence's new tokens with those that each selects: all before it, at most topk."""
    return _below(past + tokens, topk) - _below(past, topk)


def _below(tokens: Shape, topk: Shape) -> Any:
    """Sum of min(i, topk) over i = 1..tokens, continued to fractions."""
    few = np.minimum(tokens, topk)
    return few * (few + 1) / 2 + topk * (tokens - few)


def _norm(p: Any, *terms: Any) -> Any:
    """p-norm of terms, scaled by the greatest, so that no power over- or underflows."""
    most = terms[0]
    for term in terms[1:]:
        most = np.maximum(most, term)
    return most * sum((term / np.maximum(most, 1e-30)) ** p for term in terms) ** (1 / p)
