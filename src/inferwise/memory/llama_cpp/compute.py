"""llama.cpp's compute buffers: the worst graph that it reserves, through a model of its allocator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from inferwise.memory.llama_cpp.allocator import buffer_bytes
from inferwise.memory.llama_cpp.attention_graph import attention, latent_attention, linear, normed
from inferwise.memory.llama_cpp.ffn_graph import experts, mlp
from inferwise.memory.llama_cpp.graph import Graph
from inferwise.memory.llama_cpp.inputs import F32, Inputs, Shape
from inferwise.memory.llama_cpp.layers import Layers
from inferwise.memory.llama_cpp.recurrent_graph import gated_delta_net, mamba2
from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Block, Layer, Norms
from inferwise.spec.ffn import Experts, Mlp
from inferwise.spec.linear_attention import GatedDeltaNet
from inferwise.spec.recurrent import Mamba2

MODELLED = (Attention, LatentAttention, GatedDeltaNet, Mamba2, Mlp, Experts, Norms)


@dataclass(frozen=True, slots=True)
class Part:
    """The share of the graph that one backend runs.

    kinds: of its layers, as `shortened` gives them. embeds: whether it looks embeddings up (the host does); logits:
    whether the head is on it. alignment: of its buffers. copies: of its inputs, for pipelines over devices.
    """

    kinds: tuple[int, ...]
    embeds: bool
    logits: bool
    alignment: int
    copies: int = 1


def unmodelled(layers: Layers) -> tuple[str, ...]:
    """Kinds of blocks whose nodes we do not know: their buffers are estimated from tensors of the hidden width."""
    blocks = {type(block).__name__ for kind in layers.kinds for block in kind.blocks if not isinstance(block, MODELLED)}
    return tuple(sorted(blocks))


def shortened(pattern: tuple[int, ...]) -> tuple[int, ...]:
    """The fewest layers that need as much as all of them: each kind behind each that it follows, and the last ones."""
    seen: set[tuple[int, int]] = set()
    kept = list(pattern[:1])
    for before, kind in pairwise(pattern):
        if (before, kind) not in seen:
            seen.add((before, kind))
            if kept[-1] != before:
                kept.append(before)
            kept.append(kind)
    return (*kept, pattern[-1]) if len(pattern) > len(kept) else pattern


def mixer(graph: Graph, block: Block, source: int, inputs: Inputs) -> int:
    """The mixer of a layer; one that we do not model as four tensors of the hidden width."""
    if isinstance(block, Attention):
        return attention(graph, block, source, inputs)
    if isinstance(block, LatentAttention):
        return latent_attention(graph, block, source, inputs)
    if isinstance(block, GatedDeltaNet):
        return gated_delta_net(graph, block, source, inputs)
    if isinstance(block, Mamba2):
        return mamba2(graph, block, source, inputs)
    hidden, tokens = inputs.hidden, inputs.shape.tokens
    return linear(graph, linear(graph, source, 4 * hidden, tokens), hidden, tokens)


def layer(graph: Graph, kind: Layer, stream: int, inputs: Inputs, *, last: bool) -> int:
    """One layer: the residual stream behind it. last: whether only tokens with logits go on."""
    names = next((block.names for block in kind.blocks if isinstance(block, Norms)), ())
    blocks = [block for block in kind.blocks if not isinstance(block, Norms)]
    beside = None
    if len(blocks) > 2 and isinstance(blocks[-1], Mlp) and isinstance(blocks[-2], Experts):
        beside = blocks.pop()  # a shared expert that the config counts on its own (Granite)
    chosen = inputs.shape.outputs * inputs.hidden * F32
    for block in blocks:
        made = normed(graph, stream)
        rows = graph.sizes[stream] // (inputs.hidden * F32)
        if isinstance(block, Mlp):
            made = mlp(graph, block, made, rows, inputs.shape)
        elif isinstance(block, Experts):
            shared = beside if isinstance(beside, Mlp) else None
            made = experts(graph, block, made, rows, inputs.shape, shared)
        else:
            made = mixer(graph, block, made, inputs)
            if last:
                made = graph.op(chosen, made, inputs.out_ids)
                stream = graph.op(chosen, stream, inputs.out_ids)
        if len(names) == 4:  # norms behind both halves (Gemma)
            made = normed(graph, made)
        stream = graph.either(made, stream)
    return stream


@lru_cache(maxsize=512)
def part_bytes(layers: Layers, shape: Shape, part: Part) -> int:
    """The compute buffer of one backend [bytes]."""
    graph = Graph()
    inputs = Inputs(graph, shape, layers.hidden, copies=part.copies)
    stream = inputs.embedding() if part.embeds else inputs.handed_over()
    if part.embeds and not part.kinds:
        for kind in layers.kinds:
            for block in kind.blocks:
                inputs.masks_of(block)
    for place, number in enumerate(part.kinds):
        last = part.logits and place == len(part.kinds) - 1
        stream = layer(graph, layers.kinds[number], stream, inputs, last=last)
    if part.logits:
        stream = linear(graph, normed(graph, stream), layers.vocab, shape.outputs)
    graph.expand(stream)
    return buffer_bytes(graph, part.alignment)
