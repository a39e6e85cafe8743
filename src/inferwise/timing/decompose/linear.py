"""Linear layers out of a stage's tensors: those of one input are one GEMM where the engine fuses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.placement import MIXERS, TOWERS
from inferwise.spec.tensor import Component
from inferwise.timing.curves import Curve, choose
from inferwise.timing.decompose.site import Site
from inferwise.timing.engine_facts import facts
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.gemm import IMAGES, LOGITS, PROMPT, TOKENS, Gemm, Quantise

# Modules whose input is what ranks deal among them: their columns are divided, not their rows.
OUTPUTS = frozenset(
    [
        "o_proj",
        "out_proj",
        "down_proj",
        "dense",
        "wo",
        "w2",
        "c_proj",
        "o",
        "out",
        "down",
        "fc2",
        "dense_4h_to_h",
        "proj",
        "wo_b",
        "attn_out",
        "ff_out",
    ]
)
# Keys and values out of MLA's latent: run for prompts, absorbed into the queries for decodes (see `mixers`), and by a
# sparse index always.
EXPANSION = "kv_b_proj"


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor's share as a GEMM: rows n, columns k, bytes as stored."""

    tensor: FormattedTensor
    parent: str
    module: str
    n: float
    k: float
    size_bytes: float
    output: bool


def gemms(site: Site, tensors: Iterable[FormattedTensor], hidden: int, fused: bool = True) -> Iterator[Operator]:
    """The linear layers of one device, with how often a step runs each.

    fused: projections of one input are one GEMM (vLLM, SGLang and TensorRT-LLM: qkv, gate and up, the latents of MLA).
    """
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts(tensors, hidden):
        each = part.tensor
        alone = part.output or not fused or each.tensor.component is Component.ROUTER
        key = (each.stack.prefix, each.layers, part.parent, part.k, each.format.name, part.module if alone else "")
        groups.setdefault(key, []).append(part)
    for group in groups.values():
        made, run = _gemm(site, group), site.runs(group[0].tensor.format.name)
        if run.quantised and run.label in facts(site.engine).get("fused_conversions", ()):
            plain = choose("gemm", site.device, site.engine, "bf16")
            yield replace(made, curve=launched(unconverted(made.curve), plain.coefficients["launch"]))
            continue
        yield replace(made, curve=unconverted(made.curve))
        if run.quantised:
            yield from _conversion(site, made)


@cache
def unconverted(curve: Curve) -> Curve:
    """A GEMM's curve without the conversion of its input, which is an operator of its own."""
    if not curve.coefficients["quantise"]:
        return curve
    return replace(curve, coefficients={**curve.coefficients, "quantise": 0.0})


@cache
def launched(curve: Curve, launch: float) -> Curve:
    """A GEMM's curve with the launch of one whose input is converted already: by the kernel before it."""
    return replace(curve, coefficients={**curve.coefficients, "launch": min(launch, curve.coefficients["launch"])})


def _conversion(site: Site, made: Gemm) -> Iterator[Operator]:
    """The conversion of a GEMM's input: by its own curve where that holds it, else by the conversion's kernel."""
    common = site.common(f"{made.name} input", "quantise", made.count, "quantize", made.label)
    if made.curve.coefficients["quantise"]:
        common |= {"curve": made.curve, "basis": made.basis}
    yield Quantise(**common, k=made.k, rows=made.rows, share=made.share)


def parts(tensors: Iterable[FormattedTensor], hidden: int) -> Iterator[Part]:
    """Tensors that are multiplied with; embeddings, experts, and what has kernels of its own are not among them."""
    tensors = list(tensors)
    expanded = not any("indexer" in each.tensor.name for each in tensors)
    for each in tensors:
        tensor = each.tensor
        routed = tensor.component is Component.EXPERTS and tensor.copies > 1  # not what latent experts stand between
        if routed or tensor.component is Component.EMBEDDING or len(tensor.shape) != 2 or tensor.buffer:
            continue
        rows, columns = tensor.shape
        if not tensor.linear and columns != hidden:
            continue
        parent, _, module = tensor.name.removesuffix(".weight").rpartition(".")
        if module == EXPANSION and not expanded:
            continue
        output = rows == hidden and (columns != hidden or module in OUTPUTS)
        share = 1.0 if each.pieces is None else min(each.pieces, tensor.units) / tensor.units
        n, k = (rows, columns * share) if output else (rows * share, columns)
        yield Part(each, parent, module, n, k, each.size_bytes / each.count, output)


def _gemm(site: Site, group: list[Part]) -> Gemm:
    """One GEMM of tensors that share their input."""
    first = group[0].tensor
    component, parallel = first.tensor.component, site.case.parallel
    run = site.runs(first.format.name)
    of_tower = first.component in TOWERS
    name = "+".join(dict.fromkeys(part.module for part in group)) or first.tensor.name
    share = 1 / parallel.dp if component in MIXERS else 1.0
    at_end = component is Component.HEAD
    return Gemm(
        **site.common(name, _part(first), first.count, "gemm", run.label, run.compute),
        n=sum(part.n for part in group),
        k=group[0].k,
        weight_bytes=sum(part.size_bytes for part in group),
        input_bytes=run.input_bytes,
        label=run.label,
        rows=IMAGES if of_tower else LOGITS if at_end else PROMPT if group[0].module == EXPANSION else TOKENS,
        share=share,
    )


def _part(each: FormattedTensor) -> str:
    """What `explain` counts it under."""
    component = each.component
    if component in TOWERS:
        return "encoder"
    if component in MIXERS:
        return "projections"
    return {Component.HEAD: "head", Component.ROUTER: "router", Component.SHARED_EXPERTS: "dense"}.get(
        component, "dense"
    )
