"""All operators of one device of a pipeline stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.placement import MIXERS, TOWERS, Stage
from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Block, Layer, Shared, Stack
from inferwise.spec.ffn import Experts, Mlp
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component, Tensor
from inferwise.timing.curves import NO_LINK
from inferwise.timing.decompose.encoder import cross_inputs, crossed, prompt_attention, source_gemms, tower
from inferwise.timing.decompose.experts import experts_in, routed
from inferwise.timing.decompose.linear import gemms
from inferwise.timing.decompose.lora import adapters
from inferwise.timing.decompose.mixers import mixer
from inferwise.timing.decompose.site import Site
from inferwise.timing.decompose.stored import as_stored
from inferwise.timing.engine_facts import facts
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import Dispatch
from inferwise.timing.operators.gemm import LOGITS, TOKENS
from inferwise.timing.operators.passes import ANSWERS, DECODES, PROMPTS, passes
from inferwise.timing.operators.small import Collective, Elementwise, Sampling

LIBRARY = "nccl"  # whose collectives run where an engine's own do not
ACTIVATION_BYTES = 2  # of an element between layers: 16 bits
# Rows read and written, in units of a row: a fused add and norm reads two and writes two; an activation reads a
# product's two halves and writes one; the rotary embedding reads and writes q and k.
NORM_ROWS, GATED_ROWS, PLAIN_ROWS, ROTARY_ROWS = 4, 3, 2, 2
FFN = (Component.MLP, Component.EXPERTS, Component.SHARED_EXPERTS)


def operators(site: Site, stage: Stage, *, fused: bool = True) -> tuple[Operator, ...]:
    """What one device runs of a stage in a step of the model itself; each with how often."""
    stage = as_stored(site.case.model, site.case.weights, stage)
    found: list[Operator] = []
    for stack in {id(each.stack): each.stack for each in stage.tensors}.values():
        tensors = [each for each in stage.tensors if each.stack is stack]
        if stack.component in TOWERS:
            found += tower(site, stack, tensors, fused)
        elif stack.role != "mtp":
            found += _stack(site, stage, stack, tensors, fused)
    found += _ends(site, stage)
    return merged(found)


def _stack(
    site: Site, stage: Stage, stack: Stack, tensors: Sequence[FormattedTensor], fused: bool
) -> Iterator[Operator]:
    """The decoder on this stage; an encoder of prompts, which decodes pass by, and the decoder behind it."""
    model = site.case.model
    decoder = stack is model.decoder
    cross = cross_inputs(stack)
    sources = [each for each in tensors if each.tensor.name in cross]
    own = [each for each in tensors if each.tensor.name not in cross]
    held = stage.layers if decoder else range(len(stack.pattern))
    found = [*gemms(site, _repeated(stack, own), model.hidden, fused)]
    found += layers(site, stack, stage if decoder else None, own)
    found += prompt_attention(site, stack, held)
    if not generates(model):
        yield from found
    elif not decoder:
        yield from (passes(each, (1.0, PROMPTS)) for each in found)
    else:
        found += adapters(site, own)
        behind = any(each.role == "encoder" and each.component is None for each in model.stacks)
        yield from (passes(each, (1.0, ANSWERS)) for each in found) if behind else found
        yield from crossed(site, stack, held)
        yield from source_gemms(site, stack, sources, fused)


def merged(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Equal operators once, with the sum of their counts, in the order of the first of each."""
    alike = Counter((operator.name, operator.part) for operator in operators)
    counts: dict[Operator, float] = {}
    for operator in operators:  # those of a name of their own are equal to no other
        one = operator if alike[operator.name, operator.part] == 1 else replace(operator, count=1.0)
        counts[one] = counts.get(one, 0.0) + operator.count
    return tuple(one if one.count == count else replace(one, count=count) for one, count in counts.items())


def _repeated(stack: Stack, tensors: Sequence[FormattedTensor]) -> Iterator[FormattedTensor]:
    """Tensors, each with the layers that run it: a block that layers share has its tensors in the first of them."""
    shared = [
        (
            index,
            {tensor.name for block in layer.blocks if isinstance(block, Shared) for tensor in block.block.tensors()},
        )
        for index, layer in enumerate(stack.kinds)
    ]
    if not any(names for _, names in shared):
        yield from tensors
        return
    for each in tensors:
        layers = each.layers or ()
        more = [
            number
            for number, kind in enumerate(stack.pattern)
            if number not in layers and any(index == kind and each.tensor.name in names for index, names in shared)
        ]
        yield each
        if more and layers:
            yield replace(each, layers=tuple(more))


def layers(site: Site, stack: Stack, stage: Stage | None, tensors: Sequence[FormattedTensor]) -> Iterator[Operator]:
    """Mixers, experts, elementwise kernels and collectives of a stack's layers on this stage."""
    held = range(len(stack.pattern)) if stage is None else stage.layers
    for index, layer in enumerate(stack.kinds):
        count = sum(1 for number in held if stack.pattern[number] == index)
        if not count:
            continue
        for block in layer.blocks:
            yield from mixer(site, block, count)
            if (experts := experts_in(block)) is not None:
                yield from routed(site, stack, index, experts, count, tensors)
        yield from _small(site, layer, count)
        yield from _joins(site, layer, count)


def _small(site: Site, layer: Layer, count: int) -> Iterator[Operator]:
    """Norms, rotary embedding with the write to the cache, and activations of a layer."""
    model, parallel = site.case.model, site.case.parallel
    tensors = _all_tensors(layer)
    norms = sum(1 for t in tensors if t.component is Component.NORM and t.shape == (model.hidden,))
    if norms:
        row = float(NORM_ROWS * model.hidden * ACTIVATION_BYTES)
        common = site.common("norms", "elementwise", count * norms, "elementwise", "bf16")
        yield Elementwise(**common, row_bytes=row, share=1 / parallel.dp)
    for block in layer.blocks:
        inner = block.block if isinstance(block, Shared) else block
        if isinstance(inner, Attention) and inner.causal:
            width = (inner.heads + inner.kv_heads) * inner.head_dim / parallel.attention_tp
            yield Elementwise(
                **site.common("rotary and cache", "elementwise", count, "elementwise", "bf16"),
                row_bytes=ROTARY_ROWS * width * ACTIVATION_BYTES,
                share=1 / parallel.dp,
            )
    width, rows = 0.0, GATED_ROWS if _gated(layer) else PLAIN_ROWS
    for tensor in tensors:
        dense = tensor.component in (Component.MLP, Component.SHARED_EXPERTS) and tensor.linear
        if dense and tensor.shape[0] == model.hidden and tensor.shape[1] > 1:  # a last matrix: its input is activated
            width += tensor.shape[1] / parallel.tp
    if width:
        yield Elementwise(
            **site.common("activation", "elementwise", count, "elementwise", "bf16"),
            row_bytes=rows * width * ACTIVATION_BYTES,
        )


def _gated(layer: Layer) -> bool:
    """Whether a layer's MLP multiplies two halves (what is no MLP of ours is taken to)."""
    found = [block.gated for block in layer.blocks if isinstance(block, Mlp | Experts)]
    return all(found)


def _joins(site: Site, layer: Layer, count: int) -> Iterator[Operator]:
    """What the ranks of a layer exchange: sums after the mixer and after the MLP, or tokens with the experts' ranks."""
    model, parallel = site.case.model, site.case.parallel
    components = {tensor.component for tensor in _all_tensors(layer)}
    mixers = sum(1 for block in layer.blocks if any(s for s in block.state()))
    row = float(model.hidden * ACTIVATION_BYTES)
    if parallel.attention_tp > 1 and (mixers or components & set(MIXERS)):
        yield _collective(site, "all_reduce", count, parallel.attention_tp, row, share=1 / parallel.dp)
    if parallel.cp > 1:
        yield from _context(site, layer, count)
    if parallel.tp == 1 or not components & set(FFN):
        return
    if parallel.dp == 1:
        yield _collective(site, "all_reduce", count, parallel.tp, row)
    elif Component.EXPERTS in components and parallel.ep > 1 and facts(site.engine).get("dispatches"):
        block = next(found for found in map(experts_in, layer.blocks) if found is not None)
        yield Dispatch(
            **_linked(site, "dispatch and combine", count, "dispatch", "low_latency"),
            hidden=float(block.expert_hidden or block.hidden),
            top_k=float(block.top_k),
            ranks=float(parallel.ep),
        )
    else:  # every rank gathers all tokens, and keeps its share of the sums
        yield _collective(site, "all_gather", count, parallel.tp, row)
        yield _collective(site, "reduce_scatter", count, parallel.tp, row)


def _all_tensors(layer: Layer) -> tuple[Tensor, ...]:
    """The weights that a layer runs, those that it shares with others too."""
    shared = (tensor for block in layer.blocks if isinstance(block, Shared) for tensor in block.block.tensors())
    return (*layer.tensors(), *shared)


def _context(site: Site, layer: Layer, count: int) -> Iterator[Operator]:
    """Decode context parallelism: queries of the ranks that share a cache are gathered, partial outputs summed.

    (vLLM 0.24, attention/ops/dcp: all-gather of q, then of the log-sums, reduce-scatter of the outputs.)
    """
    parallel = site.case.parallel
    groups = parallel.attention_tp // parallel.cp
    for block in layer.blocks:
        queried, given = _query_widths(block)
        for kind, width in (("all_gather", queried), ("reduce_scatter", given)):
            if width:
                row = float(width / groups * ACTIVATION_BYTES)
                made = _collective(site, kind, count, parallel.cp, row, share=1 / parallel.dp)
                yield passes(made, (1.0, DECODES))


def _query_widths(block: Block) -> tuple[int, int]:
    """Values of a token's queries, and of its outputs, over all heads of a block whose cache is dealt by tokens."""
    if isinstance(block, LatentAttention):
        return block.heads * (block.kv_rank + block.rope), block.heads * block.kv_rank
    if isinstance(block, Attention) and block.causal and not block.cross:
        return block.heads * block.head_dim, block.heads * (block.v_dim or block.head_dim)
    return 0, 0


def _linked(site: Site, name: str, count: float, kernel: str, dtype: str) -> dict[str, Any]:
    made = site.common(name, "communication", count, kernel, dtype, link=site.link or "PCIe")
    return made | {"bytes_per_s": site.link_bytes_per_s}


def _collective(
    site: Site, kind: str, count: float, ranks: int, row_bytes: float, rows: str = TOKENS, share: float = 1.0
) -> Collective:
    name = kind.replace("_", "-")
    most = facts(site.engine).get("custom_all_reduce_pcie_ranks", ranks)
    if site.link in NO_LINK and kind == "all_reduce" and ranks > most:
        site = replace(site, engine=LIBRARY)
    return Collective(
        **_linked(site, name, count, "collectives", kind),
        kind=kind,
        ranks=float(ranks),
        row_bytes=row_bytes,
        rows=rows,
        share=share,
    )


def _ends(site: Site, stage: Stage) -> Iterator[Operator]:
    """The embedding's rows at the first stage; norm, logits and sampling at the last; the hand-over between stages."""
    model, parallel = site.case.model, site.case.parallel
    row = float(model.hidden * ACTIVATION_BYTES)
    first, last = stage.layers.start == 0, stage.layers.stop == len(model.decoder.pattern)
    if first:
        common = site.common("embedding", "elementwise", 1, "elementwise", "bf16")
        yield Elementwise(**common, row_bytes=2 * row, share=1 / parallel.dp)
        if parallel.tp > 1:
            yield _collective(site, "all_reduce", 1, parallel.tp, row)
    if not last:
        yield _collective(site, "point_to_point", 1, 2, row / parallel.tp)
        return
    if not generates(model):
        return
    yield from head(site, stage)


def head(site: Site, stage: Stage) -> Iterator[Operator]:
    """Logits by a tied head, their gathering, and the choice of a token; an untied head is among the tensors."""
    model, parallel = site.case.model, site.case.parallel
    yield from _tied_head(site, stage)
    if parallel.tp > 1:
        gathered = float(model.vocab * ACTIVATION_BYTES)
        yield _collective(site, "all_gather", 1, parallel.tp, gathered, rows=LOGITS)
    common = site.common("sampling", "sampling", 1, "elementwise", "bf16")
    yield Sampling(**common, vocabulary=float(model.vocab), share=1 / parallel.dp)


def _tied_head(site: Site, stage: Stage) -> Iterator[Operator]:
    """The head where it is the embedding matrix."""
    for each in stage.tensors:
        if (
            each.component is Component.EMBEDDING
            and site.case.model.tied
            and each.tensor.shape[0] == site.case.model.vocab
        ):
            as_head = replace(each.tensor, component=Component.HEAD, linear=True)
            yield from gemms(site, [replace(each, tensor=as_head)], site.case.model.hidden)
            return


def generates(model: Model) -> bool:
    """Whether the model gives tokens (an encoder-only model gives embeddings: prefill alone)."""
    return model.decoder.role == "decoder"
