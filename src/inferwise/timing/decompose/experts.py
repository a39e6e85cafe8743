"""A layer's routed experts as an operator: which are held here, in what format, and how tokens reach them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inferwise.memory.formatted import FormattedTensor
from inferwise.spec.blocks import Block, Stack, Weights
from inferwise.spec.ffn import Experts
from inferwise.spec.tensor import Component
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.small import Elementwise
from inferwise.timing.profiles import skew
from inferwise.units import ceil_div

ROUTING_PASSES = 4  # scores read, normalised, sorted and written: softmax or sigmoid, top-k, weights


def experts_in(block: Block) -> Experts | None:
    """The routed experts of a block, also where a family's own small parts hold them; None: there are none."""
    if isinstance(block, Experts) or not isinstance(block, Weights):
        return block if isinstance(block, Experts) else None
    mine = [t for t in block.parts if t.component is Component.EXPERTS and t.copies > 1 and len(t.shape) == 2]
    if not mine:
        return None
    width, hidden = mine[0].shape
    first, gated = mine[0], len(mine) > 2
    return Experts(hidden=hidden, count=first.copies, top_k=first.active or first.copies, width=width, gated=gated)


def routed(
    site: Site, stack: Stack, kind: int, block: Experts, layers: int, tensors: Iterable[FormattedTensor]
) -> Iterator[Operator]:
    """The experts of `layers` equal layers (the stack's kind), and the choice among them."""
    mine = [
        each
        for each in tensors
        if each.tensor.component is Component.EXPERTS
        and each.stack is stack
        and each.layers
        and stack.pattern[each.layers[0]] == kind
        and len(each.tensor.shape) == 2
        and each.tensor.copies > 1
    ]
    if not mine:
        return
    parallel = site.case.parallel
    held = ceil_div(block.count, parallel.ep)
    first = mine[0]
    run = site.runs(first.format.name, experts=True)
    width_share = 1.0 if first.pieces is None else min(first.pieces, first.tensor.units) / first.tensor.units
    # a layer's, on average: a GGUF mix stores some layers' matrices in one type and the others' in another
    of_kind = {each: sum(stack.pattern[number] == kind for number in each.layers or ()) for each in mine}
    size_bytes = sum(each.size_bytes / each.count * layer_count for each, layer_count in of_kind.items()) / layers
    yield RoutedExperts(
        **site.common("experts", "experts", layers, "experts", run.label, run.compute),
        hidden=float(block.expert_hidden or block.hidden),
        width=block.width * width_share,
        held=float(held),
        experts=float(block.count),
        top_k=float(block.top_k),
        gated=block.gated,
        expert_bytes=size_bytes / held,
        input_bytes=run.input_bytes,
        label=run.label,
        skew=skew(),
    )
    yield Elementwise(
        **site.common("routing", "router", layers, "elementwise", "bf16"),
        row_bytes=4.0 * ROUTING_PASSES * block.count,
    )
