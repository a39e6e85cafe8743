"""The nodes of MLPs and mixtures of experts in llama.cpp's graphs (src/llama-graph.cpp, build_ffn, build_moe_ffn)."""

from __future__ import annotations

from inferwise.memory.llama_cpp.attention_graph import linear
from inferwise.memory.llama_cpp.graph import Graph
from inferwise.memory.llama_cpp.inputs import F32, I32, Shape
from inferwise.spec.ffn import Experts, Mlp


def activated(graph: Graph, gate: int | None, up: int, *, fused: bool) -> int:
    """gate x up by one operator with memory of its own, in older builds by two in place; without a gate, in place."""
    if gate is None:
        return graph.same(up)
    if fused:
        return graph.op(graph.sizes[up], gate, up)
    return graph.same(graph.same(gate), up)


def mlp(graph: Graph, block: Mlp, source: int, tokens: int, shape: Shape) -> int:
    """A dense MLP."""
    gate = linear(graph, source, block.width, tokens, bias=block.bias) if block.gated else None
    up = linear(graph, source, block.width, tokens, bias=block.bias)
    down_bias = block.bias if block.down_bias is None else block.down_bias
    made = activated(graph, gate, up, fused=shape.fused_glu)
    return linear(graph, made, block.out or block.hidden, tokens, bias=down_bias)


def experts(graph: Graph, block: Experts, source: int, tokens: int, shape: Shape, beside: Mlp | None = None) -> int:
    """A mixture of experts: router, chosen experts one after the other, their weighted sum, shared experts."""
    used, hidden = block.top_k, block.expert_hidden or block.hidden
    probabilities = graph.same(linear(graph, source, block.count, tokens, bias=block.router_bias))
    chosen_by = probabilities
    if block.correction:
        chosen_by = graph.op(block.count * tokens * F32, probabilities)
    order = graph.op(block.count * tokens * I32, chosen_by)
    chosen = graph.view(order, used * tokens * I32)
    weights = graph.op(used * tokens * F32, graph.view(probabilities), chosen)
    total = graph.same(graph.op(tokens * F32, graph.view(weights)))
    weights = graph.view(graph.same(graph.view(weights), total))
    graph.expand(weights)
    rows = graph.view(source)
    gate = routed(graph, rows, chosen, used * block.width * tokens, bias=block.bias) if block.gated else None
    up = routed(graph, rows, chosen, used * block.width * tokens, bias=block.bias)
    made = activated(graph, gate, up, fused=shape.fused_glu)
    down = routed(graph, made, chosen, used * hidden * tokens, bias=block.bias)
    weighted = graph.same(down, weights)
    graph.expand(weighted)
    out = summed(graph, weighted, used, hidden * tokens * F32)
    graph.expand(out)
    shared = beside
    if block.shared_width:
        shared = Mlp(hidden=block.hidden, width=block.shared_width, gated=block.gated, bias=block.shared_bias)
    if shared is None:
        return out
    other = mlp(graph, shared, source, tokens, shape)
    if block.shared_gate:
        other = graph.same(other, graph.same(linear(graph, source, 1, tokens)))
    return graph.either(out, other)


def routed(graph: Graph, source: int, chosen: int, elements: int, *, bias: bool) -> int:
    """A product with the chosen experts' matrices."""
    made = graph.op(elements * F32, source, chosen)
    return graph.same(made, chosen) if bias else made


def summed(graph: Graph, weighted: int, used: int, size: int) -> int:
    """The sum of the chosen experts' outputs, one added after the other."""
    parts = [graph.view(weighted, size) for _ in range(used)]
    for part in parts:
        graph.expand(part)
    if used == 1:
        return graph.op(size, parts[0])
    total = graph.op(size, parts[0], parts[1])
    for part in parts[2:]:
        total = graph.same(total, part)
    return total
