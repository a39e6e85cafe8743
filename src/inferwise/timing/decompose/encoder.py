"""Image and audio towers, encoders of prompts (T5, BERT) and the cross-attention to what they give, as operators."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.memory.case import Case
from inferwise.memory.formatted import FormattedTensor
from inferwise.spec.attention import Attention
from inferwise.spec.blocks import Block, Layer, Stack
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component
from inferwise.spec.workload import Workload
from inferwise.timing.decompose.linear import gemms
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.attention import EncoderAttention
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.cross import CrossDecode, CrossPrefill
from inferwise.timing.operators.gemm import IMAGES, PROMPT, TOKENS, Gemm, Quantise
from inferwise.timing.operators.small import Collective, Elementwise
from inferwise.units import ceil_div

PACKAGE = "inferwise.timing"
PART = "encoder"
ACTIVATION_BYTES = 2
NORM_ROWS = 4  # a fused add and norm reads two rows and writes two


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """What a family's tower does with its patches: see encoders.toml."""

    merge: float
    window: int = 0
    full: tuple[int, ...] = ()
    clip: int = 0


@cache
def _families() -> Mapping[str, Any]:
    return tomllib.loads(files(PACKAGE).joinpath("encoders.toml").read_text(encoding="utf-8"))


def tower_of(model: Model) -> Tower:
    """The tower of a model: by its family, its projector's shape, or as most are."""
    found = _families().get(model.family, {})
    merge = found.get("merge") or _projected(model) or _families()["default"]["merge"]
    return Tower(
        merge=float(merge), window=found.get("window", 0), full=tuple(found.get("full", ())), clip=found.get("clip", 0)
    )


def patches_of(model: Model, workload: Workload) -> tuple[float, float]:
    """Patches that a request's images give the tower, and those of one of them; a clip where it hears (Whisper).

    Where the workload does not say them, they follow from the tokens that an image becomes.
    """
    facts = tower_of(model)
    if facts.clip:
        return float(max(1, workload.images) * facts.clip), float(facts.clip)
    each = float(workload.patches or workload.image_tokens * facts.merge)
    return workload.images * each, each


def _projected(model: Model) -> float | None:
    """Patches that the first matrix behind the tower reads at once: its columns over the tower's width."""
    for stack in model.stacks:
        if stack.component is Component.VISION and stack.kinds and (width := _width(stack.kinds[0])):
            for tensor in stack.outer:
                if tensor.linear and len(tensor.shape) == 2 and tensor.shape[1] > width:
                    return tensor.shape[1] / width if tensor.shape[1] % width == 0 else None
    return None


def runs(model: Model, stack: Stack) -> bool:
    """Whether a step's images run a tower: those of sound do only where there is none of vision."""
    vision = any(each.component is Component.VISION and each.pattern for each in model.stacks)
    return stack.component is not Component.AUDIO or not vision


def tower(site: Site, stack: Stack, tensors: Sequence[FormattedTensor], fused: bool) -> Iterator[Operator]:
    """A tower on one device: linear layers on its patches, what lies behind their merging on tokens, attention.

    Its matrices are dealt over the tensor-parallel ranks, as vLLM and SGLang deal them unless told otherwise.
    """
    model = site.case.model
    if not runs(model, stack):
        return
    facts = tower_of(model)
    inside = [each for each in tensors if each.layers is not None]
    around = [each for each in tensors if each.layers is None]
    yield from gemms(site, inside, _width(stack.kinds[0]) if stack.kinds else 0, fused)
    for made in gemms(site, around, 0, fused=False):  # one after another, though their parent is one
        if isinstance(made, Gemm | Quantise) and made.rows == IMAGES and _behind(made, stack):
            yield replace(made, share=1 / facts.merge)
        else:
            yield made
    for index, layer in enumerate(stack.kinds):
        places = [number for number, kind in enumerate(stack.pattern) if kind == index]
        full = sum(1 for number in places if not facts.window or number in facts.full)
        for window, count in ((0, full), (facts.window, len(places) - full)):
            if count:
                yield from _attention(site, layer, count, IMAGES, window)
        yield from _around(site, layer, len(places))


def notes(case: Case) -> tuple[str, ...]:
    """What a reader should know of a tower: one of convolutions has no operators that stand for it."""
    stacks = [each for each in case.model.stacks if each.component is Component.VISION and each.pattern]
    timed = any(heads_of(block)[0] for stack in stacks for layer in stack.kinds for block in layer.blocks)
    if case.encoder and stacks and not timed:
        return (f"the image tower of {case.model.family} is one of convolutions: its time is not counted",)
    return ()


def _behind(made: Gemm | Quantise, stack: Stack) -> bool:
    """Whether a matrix around the layers reads merged patches: its input is at least the tower's width."""
    width = _width(stack.kinds[0]) if stack.kinds else 0
    return bool(width) and made.k >= width


def prompt_attention(site: Site, stack: Stack, held: range) -> Iterator[Operator]:
    """Bidirectional attention of prompts: encoder-only models, and the encoder of an encoder-decoder."""
    for index, layer in enumerate(stack.kinds):
        count = sum(1 for number in held if stack.pattern[number] == index)
        if count:
            yield from _attention(site, layer, count, PROMPT, 0)


def _attention(site: Site, layer: Layer, count: int, rows: str, window: int) -> Iterator[Operator]:
    parallel = site.case.parallel
    ranks = parallel.attention_tp if rows == PROMPT else parallel.tp
    for block in layer.blocks:
        heads, kv_heads, head_dim = heads_of(block)
        if not heads:
            continue
        own = (block.window or 0) if isinstance(block, Attention) else 0
        part = "attention" if rows == PROMPT else PART
        yield EncoderAttention(
            **site.common("encoder attention", part, count, "attention_encoder", "bf16"),
            heads=float(ceil_div(heads, ranks)),
            kv_heads=float(ceil_div(kv_heads, ranks)),
            head_dim=float(head_dim),
            v_dim=float(head_dim),
            window=float(window or own),
            kv_bytes=2.0,
            share=1 / parallel.dp if rows == PROMPT else 1.0,
            rows=rows,
        )


def heads_of(block: Block) -> tuple[int, int, int]:
    """Heads, KV heads and their width of bidirectional attention, also where it is one plain qkv matrix; else zeros."""
    if isinstance(block, Attention):
        return (0, 0, 0) if block.causal else (block.heads, block.kv_heads, block.head_dim)
    for tensor in block.tensors():
        rows, columns = tensor.shape if len(tensor.shape) == 2 else (0, 0)
        if "qkv" in tensor.name and rows == 3 * columns and tensor.units > 1:
            return tensor.units, tensor.units, columns // tensor.units
    return 0, 0, 0


def _around(site: Site, layer: Layer, count: int) -> Iterator[Operator]:
    """A tower layer's norms, and the sums over ranks behind its attention and its MLP where its matrices are dealt."""
    width, ranks = _width(layer), site.case.parallel.tp
    row = float(width * ACTIVATION_BYTES)
    if not width:
        return
    yield Elementwise(
        **site.common("encoder norms", PART, 2 * count, "elementwise", "bf16"), row_bytes=NORM_ROWS * row, rows=IMAGES
    )
    if ranks > 1 and any(heads_of(block)[0] for block in layer.blocks):
        common = site.common("encoder all-reduce", PART, 2 * count, "collectives", "all_reduce")
        common["bytes_per_s"] = site.link_bytes_per_s
        yield Collective(**common, kind="all_reduce", ranks=float(ranks), row_bytes=row, rows=IMAGES)


def _width(layer: Layer) -> int:
    """The width of a tower's layer: that of its first norm."""
    return next((t.shape[0] for t in layer.tensors() if t.component is Component.NORM and t.shape), 0)


def crossed(site: Site, stack: Stack, held: range) -> Iterator[Operator]:
    """Cross-attention of a decoder's layers: over a clip's positions, or (0) over the prompt that an encoder read.

    Layers whose keys are those of images (Llama 3.2 Vision) are not timed: whether a decode has any is not known.
    """
    parallel = site.case.parallel
    for index, layer in enumerate(stack.kinds):
        count = sum(1 for number in held if stack.pattern[number] == index)
        for block in layer.blocks if count else ():
            if not isinstance(block, Attention) or not block.cross or block.fixed_tokens == 0:
                continue
            sizes: dict[str, Any] = {
                "heads": float(ceil_div(block.heads, parallel.attention_tp)),
                "kv_heads": float(ceil_div(block.kv_heads, parallel.attention_tp)),
                "head_dim": float(block.head_dim),
                "v_dim": float(block.v_dim or block.head_dim),
                "window": 0.0,
                "kv_bytes": site.kv_bytes,
                "share": 1 / parallel.dp,
                "span": float(block.fixed_tokens or 0),
            }
            for kind, phase in ((CrossPrefill, "prefill"), (CrossDecode, "decode")):
                common = site.common(
                    f"cross-attention, {phase}", "attention", count, f"attention_{phase}", site.kv_label
                )
                yield kind(**common, **sizes)


def cross_inputs(stack: Stack) -> dict[str, str]:
    """Matrices that give a cross-attention's keys and values, each with the rows that it works on: once a prompt."""
    found = {}
    for layer in stack.kinds:
        for block in layer.blocks:
            if isinstance(block, Attention) and block.cross:
                for name in block.names[1:3]:
                    found[f"{block.name}.{name}.weight"] = PROMPT if block.fixed_tokens is None else IMAGES
    return found


def source_gemms(site: Site, stack: Stack, tensors: Sequence[FormattedTensor], fused: bool) -> Iterator[Operator]:
    """The linear layers of a cross-attention's keys and values, on the rows of their source."""
    names = cross_inputs(stack)
    for each in tensors:
        for made in gemms(site, [each], site.case.model.hidden, fused):
            if isinstance(made, Gemm | Quantise) and made.rows == TOKENS:
                made = replace(made, rows=names[each.tensor.name])
            yield made
