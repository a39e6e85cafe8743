"""The nodes of attention in llama.cpp's graphs (src/llama-graph.cpp, build_attn; src/models)."""

from __future__ import annotations

from inferwise.memory.llama_cpp.graph import EXTERNAL, Graph
from inferwise.memory.llama_cpp.inputs import F16, F32, CacheInputs, Inputs
from inferwise.spec.attention import Attention, LatentAttention


def linear(graph: Graph, source: int, width: int, tokens: int, *, bias: bool = False) -> int:
    """A matrix product, and its bias added in place."""
    made = graph.op(width * tokens * F32, source)
    return graph.same(made) if bias else made


def normed(graph: Graph, source: int, *, bias: bool = False) -> int:
    """A norm, its scale, and its bias."""
    made = graph.same(graph.same(source))
    return graph.same(made) if bias else made


def rotated(graph: Graph, source: int, rotation: int | None) -> int:
    """Values for a quantised cache: rotated within a head."""
    if rotation is None:
        return source
    return graph.view(graph.op(graph.sizes[source], rotation, graph.view(source)))


def attention(graph: Graph, block: Attention, source: int, inputs: Inputs) -> int:
    """Softmax attention with its output projection."""
    tokens, v_dim = inputs.shape.tokens, block.v_dim or block.head_dim
    cache = inputs.cache(block.window, block.head_dim, v_dim, block.kv_heads * v_dim)
    wide = block.heads * block.head_dim
    full = linear(graph, source, wide * (2 if block.gated else 1), tokens, bias=block.q_bias)
    q = graph.view(full, wide * tokens * F32)
    q = normed(graph, q, bias=block.qk_norm_bias) if block.qk_norm else q
    q = rotated(graph, graph.same(q, inputs.positions), cache.k_rotation)
    k = v = None
    if block.keeps:
        k = graph.view(linear(graph, source, block.kv_heads * block.head_dim, tokens, bias=block.k_bias))
        k = normed(graph, k, bias=block.qk_norm_bias) if block.qk_norm else k
        k = rotated(graph, graph.same(k, inputs.positions), cache.k_rotation)
        v = graph.view(linear(graph, source, block.kv_heads * v_dim, tokens, bias=block.v_bias))
        v = rotated(graph, v, cache.v_rotation)
    keys_first = inputs.shape.windowed or not inputs.shape.indexed_writes
    for each in (q, k, v) if keys_first else (q, v, k):
        if each is not None:
            graph.expand(each)
    for each, indices in ((k, cache.k_indices), (v, cache.v_indices)):
        if each is not None:
            graph.expand(graph.write(EXTERNAL, graph.view(each), *(() if indices is None else (indices,))))
    kv_values = block.kv_heads * block.head_dim, block.kv_heads * v_dim
    mixed = attended(graph, q, (block.heads, v_dim), kv_values, cache, inputs)
    if block.gated:
        gate = graph.op(wide * tokens * F32, graph.view(full, wide * tokens * F32))
        mixed = graph.same(mixed, graph.same(gate))
    return linear(graph, mixed, block.out or block.hidden, tokens, bias=block.o_bias)


def attended(
    graph: Graph, q: int, heads: tuple[int, int], kv_values: tuple[int, int], cache: CacheInputs, inputs: Inputs
) -> int:
    """Queries over the cache. heads: their number, and the width of a value; kv_values: of K and of V in a cell."""
    tokens = inputs.shape.tokens
    wide = heads[0] * heads[1] * tokens * F32
    rows = graph.view(graph.view(q))
    if inputs.shape.flash:
        cast = [graph.op(size, inputs.positions) for size in inputs.cast_bytes(cache, kv_values)]
        mixed = graph.view(graph.op(wide, rows, *cast, cache.mask))
    else:
        scores = graph.same(graph.op(cache.cells * tokens * heads[0] * F32, rows), cache.mask)
        mixed = graph.op(wide, graph.view(graph.op(wide, scores)))
    graph.expand(mixed)
    return rotated(graph, mixed, cache.v_rotation)


def latent_attention(graph: Graph, block: LatentAttention, source: int, inputs: Inputs) -> int:
    """Attention over a latent: queries absorbed into its width, values projected up behind it."""
    tokens, cached = inputs.shape.tokens, block.kv_rank + block.rope
    cache = inputs.cache(block.window, 0, 0, block.kv_rank)
    q = source
    if block.q_rank is not None:
        q = normed(graph, linear(graph, source, block.q_rank, tokens))
    q = linear(graph, q, block.heads * (block.nope + block.rope), tokens)
    nope = graph.view(graph.view(q, block.heads * block.nope * tokens * F32))
    absorbed = graph.op(block.heads * block.kv_rank * tokens * F32, nope)
    rope_bytes = block.heads * block.rope * tokens * F32
    turned = graph.op(rope_bytes, graph.view(q, rope_bytes), inputs.positions)
    q = graph.op(block.heads * cached * tokens * F32, graph.view(absorbed), turned)
    down = linear(graph, source, cached, tokens)
    latent = normed(graph, graph.view(down, block.kv_rank * tokens * F32))
    key_rope = graph.op(block.rope * tokens * F32, graph.view(down, block.rope * tokens * F32), inputs.positions)
    k = graph.op(cached * tokens * F32, graph.view(latent), key_rope)
    graph.expand(q)
    graph.expand(k)
    graph.expand(graph.write(EXTERNAL, graph.view(k), *(() if cache.k_indices is None else (cache.k_indices,))))
    mixed = latent_attended(graph, q, block, cache, inputs)
    return linear(graph, mixed, block.hidden, tokens)


def latent_attended(graph: Graph, q: int, block: LatentAttention, cache: CacheInputs, inputs: Inputs) -> int:
    """Queries over the latent, and its values brought up to the heads' width."""
    tokens = inputs.shape.tokens
    compressed = block.heads * block.kv_rank * tokens * F32
    wide = block.heads * block.v_dim * tokens * F32
    rows = graph.view(graph.view(q))
    if inputs.shape.flash:
        mixed = graph.view(graph.op(compressed, rows, cache.mask))
    else:
        values = graph.op(cache.cells * block.kv_rank * F16 * streams(inputs), inputs.positions)
        graph.expand(values)
        scores = graph.same(graph.op(cache.cells * tokens * block.heads * F32, rows), cache.mask)
        mixed = graph.op(compressed, values, scores)
    up = graph.op(wide, mixed)
    made = graph.op(wide, graph.view(up))
    graph.expand(made)
    return made


def streams(inputs: Inputs) -> int:
    """Caches of their own that the micro-batch's sequences have."""
    return inputs.shape.sequences
