"""The nodes of recurrent mixers in llama.cpp's graphs (src/models: mamba-base, delta-net-base)."""

from __future__ import annotations

from inferwise.memory.llama_cpp.attention_graph import linear, normed
from inferwise.memory.llama_cpp.graph import EXTERNAL, Graph
from inferwise.memory.llama_cpp.inputs import F32, Inputs
from inferwise.spec.linear_attention import GatedDeltaNet
from inferwise.spec.recurrent import Mamba2


def loaded(graph: Graph, size: int, inputs: Inputs) -> int:
    """A cached state, `size` bytes a sequence, gathered for every slot; what idle ones have is moved in the cache."""
    made = graph.op(size * inputs.shape.slots, inputs.state_ids)
    graph.expand(made)
    graph.expand(graph.write(EXTERNAL, graph.view(made, 0)))
    return made


def convolved(graph: Graph, states: int, source: int, channels: int, inputs: Inputs) -> int:
    """States and inputs side by side; the last columns go back to the cache."""
    shape = inputs.shape
    columns = graph.sizes[states] // F32 + channels * shape.tokens
    both = graph.op(columns * F32, graph.view(states), graph.view(source, channels * inputs.shape.tokens * F32))
    graph.expand(graph.write(EXTERNAL, graph.view(both, graph.sizes[states])))
    return both


def gated_delta_net(graph: Graph, block: GatedDeltaNet, source: int, inputs: Inputs) -> int:
    """A gated delta net with its output projection."""
    tokens, sequences = inputs.shape.tokens, inputs.shape.slots
    keys, values = block.key_heads * block.key_dim, block.value_heads * block.value_dim
    channels = 2 * keys + values
    graph.expand(source)
    states = loaded(graph, channels * (block.kernel - 1) * F32, inputs)
    both = convolved(graph, states, linear(graph, source, channels, tokens), channels, inputs)
    size = block.value_heads * block.key_dim * block.value_dim * F32
    state = loaded(graph, size, inputs)
    size *= sequences
    mixed = graph.same(graph.op(channels * tokens * F32, both))
    spread = block.value_heads * block.key_dim * tokens * F32
    q, k = (graph.same(graph.same(graph.view(mixed, keys * tokens * F32))) for _ in range(2))
    if block.key_heads != block.value_heads:
        q, k = (graph.view(graph.op(spread, graph.view(each))) for each in (q, k))
    v = graph.view(mixed, values * tokens * F32)
    rates = linear(graph, source, 2 * block.value_heads, tokens)
    one = block.value_heads * tokens * F32
    decay = graph.same(graph.same(graph.same(graph.op(one, graph.view(rates, one)))))
    write = graph.same(graph.op(one, graph.view(rates, one)))
    out = graph.op(values * tokens * F32 + size, q, k, v, graph.view(decay), graph.view(write), graph.view(state))
    graph.expand(graph.write(EXTERNAL, graph.view(out, size)))
    result = normed(graph, graph.view(out, values * tokens * F32))
    gate = graph.same(graph.view(linear(graph, source, values, tokens)))
    return graph.view(linear(graph, graph.view(graph.same(result, gate)), block.hidden, tokens))


def mamba2(graph: Graph, block: Mamba2, source: int, inputs: Inputs) -> int:
    """State space duality with its output projection."""
    tokens, sequences, inner = inputs.shape.tokens, inputs.shape.slots, block.inner
    mixed = inner + 2 * block.groups * block.state_size
    states = loaded(graph, mixed * (block.kernel - 1) * F32, inputs)
    all_of = linear(graph, source, inner + mixed + block.heads, tokens, bias=block.bias)
    both = convolved(graph, states, all_of, mixed, inputs)
    size = inner * block.state_size * sequences * F32
    taken = graph.same(graph.op(mixed * tokens * F32, both))
    taken = graph.same(taken) if block.conv_bias else taken
    x = graph.view(taken, inner * tokens * F32)
    rest = [graph.view(taken, block.groups * block.state_size * tokens * F32) for _ in range(2)]
    one = block.heads * tokens * F32
    step = graph.same(graph.op(one, graph.view(all_of, one)))
    out = graph.op(inner * tokens * F32 + size, x, step, *rest, inputs.state_ids)
    graph.expand(out)
    idle = graph.op(size // sequences * (inputs.shape.slots - 1), inputs.state_ids)
    graph.expand(graph.write(EXTERNAL, graph.view(idle)))
    graph.expand(graph.write(EXTERNAL, graph.view(out, size)))
    y = graph.view(out, inner * tokens * F32)
    z = graph.op(inner * tokens * F32, graph.view(all_of, inner * tokens * F32))
    skipped = graph.op(inner * tokens * F32, x)
    y = graph.either(y, skipped)
    gated = graph.view(graph.op(inner * tokens * F32, z, y))
    gated = normed(graph, gated) if block.norm else gated
    return linear(graph, graph.view(gated), block.hidden, tokens, bias=block.out_bias or False)
