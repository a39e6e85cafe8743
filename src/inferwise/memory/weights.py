"""Bytes of a model's weights by component and format: asked for, stored, by its quantisation, or by its dtype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.gguf_mixes import find_mix, gguf_tensors, mix_names
from inferwise.memory.same import Same
from inferwise.memory.stored_names import model_modules, stored_component
from inferwise.spec.blocks import Stack
from inferwise.spec.model import Model
from inferwise.spec.precision import DTYPE_ALIASES
from inferwise.spec.quantization import Quantization
from inferwise.spec.stored import Stored
from inferwise.spec.tensor import Component, Tensor
from inferwise.spec.weight_formats import ALIASES, CONVERSIONS, DENSE, WeightFormat, unknown_format

SIXTEEN_BITS = ("bf16", "fp16")
TOWERS = (Component.VISION, Component.AUDIO)
ENDS = (Component.EMBEDDING, Component.HEAD)
# What a mix and a conversion both could mean is the conversion; `gguf:` before the name asks for the mix.
GGUF = "gguf:"


@dataclass(frozen=True, slots=True)
class WeightTerm:
    """A component's weights in one format. elements: values of the model (of the container, from a header)."""

    component: Component
    format: str
    elements: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Bytes of weights; terms add up to `total`.

    beside: what the checkpoint stores and engines leave out unless told otherwise: MTP layers, a second copy of a tied
    head. basis: where the formats come from. exact: whether every byte is known rather than estimated.
    """

    terms: tuple[WeightTerm, ...]
    beside: tuple[WeightTerm, ...] = ()
    basis: str
    exact: bool = True
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """What an engine loads [bytes]."""
        return sum(term.size_bytes for term in self.terms)

    @property
    def stored_total(self) -> int:
        """What the checkpoint stores [bytes]."""
        return self.total + sum(term.size_bytes for term in self.beside)

    def by_component(self) -> dict[Component, int]:
        """Bytes by component; they add up to `total`."""
        sizes: Counter[Component] = Counter()
        for term in self.terms:
            sizes[term.component] += term.size_bytes
        return {part: sizes[part] for part in Component if sizes[part]}

    def by_format(self) -> dict[str, int]:
        """Bytes by format, the largest first; they add up to `total`."""
        sizes: Counter[str] = Counter()
        for term in self.terms:
            sizes[term.format] += term.size_bytes
        return dict(sizes.most_common())

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "total_bytes": self.total,
            "stored_bytes": self.stored_total,
            "basis": self.basis,
            "exact": self.exact,
            "by_component": {part.value: size for part, size in self.by_component().items()},
            "by_format": self.by_format(),
            "notes": list(self.notes),
        }


def weight_bytes(model: Model, weights: str | None = None) -> WeightBytes:
    """Bytes of a model's weights, undivided.

    weights: a format to convert them to (`fp8`, `int4`, `Q4_K_M`, ...). None: as published, which is exact where a
    header was read, else follows the config's quantisation, else its dtype. Raises UnknownName for a format, BadInput
    for a quantisation whose size the config does not tell.
    """
    return _weight_bytes(Same(model), weights)


@lru_cache(maxsize=64)
def _weight_bytes(same: Same, weights: str | None) -> WeightBytes:
    """See `weight_bytes`."""
    model = same.model
    if not weights and model.stored is not None:
        return stored_bytes(model, model.stored)
    basis, exact, notes = description(model, weights)
    return weights_of(formatted_tensors(model, weights), basis, exact=exact, notes=notes)


def description(model: Model, weights: str | None) -> tuple[str, bool, tuple[str, ...]]:
    """Where the formats come from, whether that is exact, and what to know about it."""
    if weights:
        mix = None if conversion(weights) else find_mix(weights.lower().removeprefix(GGUF))
        towers = mix is not None and any(stack.component in TOWERS for stack in model.stacks)
        notes = ("towers are in the projector file, taken as F16",) if towers else ()
        if mix is None:
            return f"converted to {weights.lower()}", True, ()
        if mix.estimated:
            return f"converted to {mix.name}", False, ("unsloth's mix differs from model to model: an estimate", *notes)
        return f"converted to {mix.name}", True, notes
    if model.quantization is not None:
        return f"quantization_config: {model.quantization.method}", True, ()
    return f"dtype of the config: {model.dtype}", True, ()


def weights_of(
    tensors: Iterable[FormattedTensor], basis: str, *, exact: bool = True, notes: tuple[str, ...] = ()
) -> WeightBytes:
    """The sum of tensors; MTP layers stand beside it."""
    sizes: Counter[tuple[Component, str]] = Counter()
    elements: Counter[tuple[Component, str]] = Counter()
    for each in tensors:
        key = each.component, each.format.name
        sizes[key] += each.size_bytes
        elements[key] += each.tensor.elements * each.count
    terms = tuple(WeightTerm(*key, elements[key], sizes[key]) for key in sorted(sizes))
    return WeightBytes(
        terms=tuple(term for term in terms if term.component is not Component.MTP),
        beside=tuple(term for term in terms if term.component is Component.MTP),
        basis=basis,
        exact=exact,
        notes=notes,
    )


def formatted_tensors(model: Model, weights: str | None = None) -> Iterator[FormattedTensor]:
    """Every tensor with its format: asked for, else by the config's quantisation, else by its dtype."""
    if weights:
        made = conversion(weights)
        if made is not None:
            return converted(model, made)
        mix = find_mix(weights.lower().removeprefix(GGUF))
        if mix is None:
            raise unknown_format(weights, [*DENSE, *CONVERSIONS, *ALIASES, *mix_names()])
        return gguf_tensors(model, mix)
    if model.quantization is not None:
        return quantised(model, model.quantization)
    return converted(model, DENSE.get(model.dtype) or CONVERSIONS.get(model.dtype, DENSE["bf16"]))


def conversion(name: str) -> WeightFormat | None:
    """The format that a name asks for outside GGUF, None where it is none."""
    lowered = name.lower()
    lowered = ALIASES.get(lowered, lowered)
    return CONVERSIONS.get(lowered) or DENSE.get(DTYPE_ALIASES.get(lowered, ""))


def base_format(model: Model) -> WeightFormat:
    """The 16-bit format of what a conversion leaves alone."""
    return DENSE[model.dtype if model.dtype in SIXTEEN_BITS else "bf16"]


def unconverted(tensor: Tensor, base: WeightFormat) -> WeightFormat:
    """The format of a tensor that stays as it was: selection biases and other buffers are F32."""
    return DENSE["fp32"] if tensor.buffer else base


def converted(model: Model, made: WeightFormat) -> Iterator[FormattedTensor]:
    """All tensors in a dense format, or the linear weights of layers in a quantised one and the rest in 16 bits."""
    own = model.quantization
    if own is not None and own.default is not None and made.name in own.default.name:
        return quantised(model, own)  # it is published so: `fp8` is its own FP8, blocks and all
    whole = made.name in DENSE
    base = made if whole else base_format(model)
    return (
        FormattedTensor(stack, tensor, made if not whole and convertible(stack, tensor, layers, made) else kept, layers)
        for stack, tensor, layers in each_tensor(model)
        for kept in (unconverted(tensor, base),)
    )


def convertible(stack: Stack, tensor: Tensor, layers: tuple[int, ...] | None, made: WeightFormat) -> bool:
    """Whether a conversion takes a tensor: a linear weight of a text layer that is no router and no single row.

    MLX's take the embedding and the head as well.
    """
    if stack.component in TOWERS:
        return False
    if tensor.component in ENDS and len(tensor.shape) == 2 and made.name.startswith("mlx_"):
        return True
    if not tensor.linear or layers is None:
        return False
    return tensor.component is not Component.ROUTER and min(tensor.shape) > 1


def quantised(model: Model, own: Quantization) -> Iterator[FormattedTensor]:
    """All tensors as the config's quantisation has them. Raises BadInput where the config does not tell sizes."""
    if own.unsized:
        raise BadInput(
            f"weights quantised by '{own.method[:40]}' cannot be counted from the config ({own.unsized})",
            where=model.name,
            remedy="give the checkpoint's safetensors headers (a model folder or Hub id), or a format by --weights",
        )
    base = base_format(model)
    for stack, tensor, layers in each_tensor(model):
        kept = unconverted(tensor, base)
        outside = own.layers_only and (layers is None or stack.role not in ("decoder", "mtp"))
        if outside or not (tensor.linear or tensor.component is Component.EMBEDDING):
            yield FormattedTensor(stack, tensor, kept, layers)
            continue
        component = stack.component if stack.component in TOWERS else tensor.component
        groups: dict[WeightFormat, list[int]] = {}
        for index in (layers or (0,)) if own.by_layer else (layers or (0,))[:1]:
            made = own.format_of(module_name(model, stack, tensor, None if layers is None else index), component)
            groups.setdefault(made or kept, []).append(index)
        if len(groups) == 1:
            yield FormattedTensor(stack, tensor, next(iter(groups)), layers)
        else:
            for made, indices in groups.items():
                yield FormattedTensor(stack, tensor, made, tuple(indices))


def module_name(model: Model, stack: Stack, tensor: Tensor, layer: int | None) -> str:
    """A tensor's module by its full name in the checkpoint; MTP layers that follow the decoder's count on."""
    own = tensor.name.removesuffix(".weight").replace("*", "0")
    if layer is None:
        return own
    if stack is not model.decoder and stack.prefix == model.decoder.prefix:
        layer += len(model.decoder.pattern)
    return f"{stack.prefix}.{layer}.{own}"


def each_tensor(model: Model) -> Iterator[tuple[Stack, Tensor, tuple[int, ...] | None]]:
    """Every tensor of every stack with the layers that have one each (None: it stands around them)."""
    for stack in model.stacks:
        for tensor in stack.outer:
            yield stack, tensor, None
        for number, layer in enumerate(stack.kinds):
            layers = tuple(index for index, kind in enumerate(stack.pattern) if kind == number)
            for tensor in layer.tensors():
                yield stack, tensor, layers


def stored_bytes(model: Model, stored: Stored) -> WeightBytes:
    """What the headers of a checkpoint say, exact to the byte."""
    sizes: Counter[tuple[Component, str]] = Counter()
    elements: Counter[tuple[Component, str]] = Counter()
    second = Counter[tuple[Component, str]]()
    known, layers = model_modules(model), len(model.decoder.pattern)
    for tensor in stored.tensors:
        component = stored_component(tensor.name, known, layers)
        key = component, tensor.format
        if component is Component.HEAD and model.tied:
            second[key] += tensor.size_bytes
            continue
        sizes[key] += tensor.size_bytes
        elements[key] += prod(tensor.shape)
    terms = [WeightTerm(*key, elements[key], sizes[key]) for key in sorted(sizes)]
    extra = [WeightTerm(*key, 0, second[key]) for key in sorted(second)]
    return WeightBytes(
        terms=tuple(term for term in terms if term.component is not Component.MTP),
        beside=(*(term for term in terms if term.component is Component.MTP), *extra),
        basis=f"header of {stored.source}",
    )
