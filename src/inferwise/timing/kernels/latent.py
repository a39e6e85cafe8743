"""Seconds of multi-head latent attention (MLA, DeepSeek-V2, arXiv:2405.04434), on one device.

Prefill decompresses the latents and runs as MHA (head dims nope + rope for queries and keys, v_dim for values); decode
absorbs the projections into the queries and runs as MQA: all heads read one latent of kv_rank + rope a token. The
projections that surround it are GEMMs; those of the absorption are `latent_bmm_seconds`.

Shapes are scalars or arrays, heads those of this device. `c` holds the coefficients of a curve (curves/latent_*.json):
compute and memory, shares of the datasheet's peaks; p, the norm that joins the two; floor [s], the launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Shape = Any  # a float or an array of floats

ACTIVATION_BYTES = 2  # queries, decompressed keys and values, and outputs are 16-bit, whatever the cache holds
FEW_HEADS, MANY_HEADS = 16, 64  # query tiles of Blackwell's decode kernels (FlashInfer's trtllm-gen): 16 heads, or 64


def latent_prefill_work(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    nope: Shape,
    rope: Shape,
    v_dim: Shape,
    kv_rank: Shape,
    kv_bytes: Shape,
    absorbed: bool = False,
) -> tuple[Any, Any]:
    """(FLOPs, bytes) of causal attention of `tokens` new ones after `past`, in each sequence.

    Bytes: queries and outputs; keys and values of all tokens (absorbed: their latents); the latents written.
    """
    score, value = _head_dims(nope, rope, v_dim, kv_rank, absorbed)
    pairs = tokens * (past + (tokens + 1) / 2)
    queries = tokens * heads * (score + value) * ACTIVATION_BYTES
    read = (kv_rank + rope) * kv_bytes if absorbed else heads * (score + value) * ACTIVATION_BYTES
    moved = queries + (past + tokens) * read + tokens * (kv_rank + rope) * kv_bytes
    return 2 * sequences * heads * (score + value) * pairs, sequences * moved


def latent_prefill_seconds(
    sequences: Shape,
    tokens: Shape,
    past: Shape,
    *,
    heads: Shape,
    nope: Shape,
    rope: Shape,
    v_dim: Shape,
    kv_rank: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
    absorbed: bool = False,
) -> Any:
    """Seconds of prefill attention. absorbed: MQA over the latents, as engines do where few tokens meet a long past.

    A block of `tile` queries of a head reads past + (tokens + edge) / 2 keys; `units` blocks run at once, so that fewer
    take as long as that many (joined smoothly, by the norm `waves`).
    """
    score, value = _head_dims(nope, rope, v_dim, kv_rank, absorbed)
    block = 2 * (score + value) * c["tile"] * (past + (tokens + c["edge"]) / 2)
    blocks = sequences * heads * np.maximum(tokens / c["tile"], 1)
    compute = block * _norm(c["waves"], blocks, c["units"]) / (c["compute"] * peak_flops)
    _, moved = latent_prefill_work(
        sequences,
        tokens,
        past,
        heads=heads,
        nope=nope,
        rope=rope,
        v_dim=v_dim,
        kv_rank=kv_rank,
        kv_bytes=kv_bytes,
        absorbed=absorbed,
    )
    return c["floor"] + _norm(c["p"], compute, moved / (c["memory"] * bytes_per_s))


def latent_decode_work(
    sequences: Shape, context: Shape, *, heads: Shape, kv_rank: Shape, rope: Shape, kv_bytes: Shape
) -> tuple[Any, Any]:
    """(FLOPs, bytes) of one token of each sequence against `context` latents, each read once for all heads."""
    flops = 2 * sequences * context * heads * (2 * kv_rank + rope)
    queries = heads * (2 * kv_rank + rope) * ACTIVATION_BYTES
    return flops, sequences * (context * (kv_rank + rope) * kv_bytes + queries)


def latent_decode_seconds(
    sequences: Shape,
    context: Shape,
    *,
    heads: Shape,
    kv_rank: Shape,
    rope: Shape,
    kv_bytes: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
) -> Any:
    """Seconds of absorbed decode attention.

    A context is worked through in blocks, and costs at least `block` tokens. Each further `tile` heads read the latents
    again, `reread` of them from memory (Blackwell, 17 to 63 heads: `split` of them). Queries and outputs are moved
    `queries` times (concatenated, transposed). Where a kernel leaves a sequence to one block of threads, it takes at
    least `serial` [s] a token; where it splits it, the reduction takes up to `sweep` [s], half of it at `ramp` tokens.
    """
    length = np.maximum(context, c["block"])
    between = (heads > FEW_HEADS) & (heads < MANY_HEADS)
    reads = 1 + c["reread"] * np.maximum(heads / c["tile"] - 1, 0) + c["split"] * between
    cache = length * (kv_rank + rope) * kv_bytes * reads
    queries = c["queries"] * heads * (2 * kv_rank + rope) * ACTIVATION_BYTES
    flops = 2 * length * np.maximum(heads, c["tile"]) * (2 * kv_rank + rope)
    compute = sequences * flops / (c["compute"] * peak_flops)
    memory = sequences * (cache + queries) / (c["memory"] * bytes_per_s)
    bound = _norm(c["p"], compute, memory, c["serial"] * length)
    return c["floor"] + bound + c["sweep"] * context / (context + c["ramp"])


def latent_bmm_work(
    tokens: Shape, *, heads: Shape, rows: Shape, columns: Shape, weight_bytes: Shape = 2
) -> tuple[Any, Any]:
    """(FLOPs, bytes) of `heads` products tokens x rows by rows x columns; activations in and out in 16 bits."""
    moved = heads * (rows * columns * weight_bytes + tokens * (rows + columns) * ACTIVATION_BYTES)
    return 2 * heads * tokens * rows * columns, moved


def latent_bmm_seconds(
    tokens: Shape,
    *,
    heads: Shape,
    rows: Shape,
    columns: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
    weight_bytes: Shape = 2,
) -> Any:
    """Seconds of the absorption's batch of GEMMs, a head each (queries: nope x kv_rank; outputs: kv_rank x v_dim)."""
    shape = {"heads": heads, "rows": rows, "columns": columns, "weight_bytes": weight_bytes}
    flops, moved = latent_bmm_work(tokens, **shape)
    timed = latent_bmm_cached_seconds(tokens, **shape, peak_flops=peak_flops, bytes_per_s=bytes_per_s, c=c)
    return np.maximum(timed, np.maximum(flops / peak_flops, moved / bytes_per_s))


def latent_bmm_cached_seconds(
    tokens: Shape,
    *,
    heads: Shape,
    rows: Shape,
    columns: Shape,
    peak_flops: Shape,
    bytes_per_s: Shape,
    c: Mapping[str, Any],
    weight_bytes: Shape = 2,
) -> Any:
    """As measured, in a loop: small weights stay in the L2 cache, so that `memory` may exceed 1."""
    _, moved = latent_bmm_work(tokens, heads=heads, rows=rows, columns=columns, weight_bytes=weight_bytes)
    flops = 2 * heads * np.maximum(tokens, c["tile"]) * rows * columns
    return c["floor"] + _norm(c["p"], flops / (c["compute"] * peak_flops), moved / (c["memory"] * bytes_per_s))


def _head_dims(nope: Shape, rope: Shape, v_dim: Shape, kv_rank: Shape, absorbed: bool) -> tuple[Any, Any]:
    """Of a query and key, and of a value."""
    return (kv_rank + rope, kv_rank) if absorbed else (nope + rope, v_dim)


def _norm(p: Any, *terms: Any) -> Any:
    """p-norm of terms, scaled by the greatest, so that no power over- or underflows."""
    most = terms[0]
    for term in terms[1:]:
        most = np.maximum(most, term)
    return most * sum((term / most) ** p for term in terms) ** (1 / p)
