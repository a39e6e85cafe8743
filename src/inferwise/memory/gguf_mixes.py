"""What llama.cpp's quantiser would make of a model: a ggml type for every tensor, by the rules of a mix."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from inferwise.memory.formatted import FormattedTensor
from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Layer, Stack
from inferwise.spec.ffn import Experts
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component, Tensor
from inferwise.spec.weight_formats import GGML, GGML_TYPES, WeightFormat

ALIASES = {
    "Q2_K_M": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q6_K_M": "Q6_K", "Q8": "Q8_0",
    "MXFP4": "MXFP4_MOE", "Q8_K_XL": "UD-Q8_K_XL", "Q6_K_XL": "UD-Q6_K_XL", "Q5_K_XL": "UD-Q5_K_XL",
    "Q4_K_XL": "UD-Q4_K_XL", "Q2_K_XL": "UD-Q2_K_XL",
}  # fmt: skip
# What takes the place of a type whose blocks do not divide a row.
FALLBACKS = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
    **dict.fromkeys(("q2_0", "q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
UNCONVERTED = ("altup", "laurel", "per_layer_model_projection")  # small: they stay in 16 bits
SEVENTY = ("llama", "qwen2", "nemotron-nas")  # families whose model of 80 layers llama.cpp calls 70B
TOWERS = (Component.VISION, Component.AUDIO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A mix as gguf_mixes.toml has it. experts, rest: types of experts (gate and up; down) and of all else there."""

    name: str
    base: str
    head: str = "q6_k"
    embedding: str = ""
    rules: Mapping[str, tuple[tuple[str, str], ...]]
    experts: tuple[str, str] | None = None
    rest: str = "q8_0"

    @property
    def estimated(self) -> bool:
        """Whether it is an estimate: unsloth chooses types model by model."""
        return self.name.startswith("UD-")


@cache
def tables() -> Mapping[str, Mapping[str, Any]]:
    """gguf_mixes.toml."""
    return tomllib.loads(resources.files("inferwise.memory").joinpath("gguf_mixes.toml").read_text("utf-8"))


def mix_names() -> list[str]:
    """Every mix that we know."""
    return list(tables())


def find_mix(name: str) -> Mix | None:
    """The mix of this name, in capitals or not; None where there is none."""
    key = name.upper().replace("UD_", "UD-")
    key = ALIASES.get(key, key)
    if key not in tables():
        return None
    entry = dict(tables()[key])
    entry = {**tables()[entry.pop("like")], **entry} if "like" in entry else entry
    rules = {
        kind: tuple((when, made) for when, made in each)
        for kind, each in entry.items()
        if isinstance(each, list) and kind != "experts"
    }
    plain = {kind: each for kind, each in entry.items() if isinstance(each, str)}
    experts = tuple(entry["experts"]) if "experts" in entry else None
    return Mix(name=key, rules=rules, experts=experts, **plain)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules ask of a model. layers: of the decoder; gqa: query heads for each KV head."""

    layers: int
    experts: int
    gqa: int
    seventy: bool
    tied: bool

    def holds(self, condition: str, index: int, count: int) -> bool:
        """Whether a rule's condition holds for the tensor number `index` of `count`."""
        eighth = count // 8
        match condition:
            case "more":
                return index < eighth or index >= 7 * count // 8 or (index - eighth) % 3 == 2
            case "eighth":
                return index < eighth
            case "sixteenth":
                return index < count // 16
            case "middle":
                return eighth <= index < 7 * count // 8
            case "two" | "four":
                return index < {"two": 2, "four": 4}[condition]
            case "gqa":
                return self.gqa >= 4
            case "gqa_or_moe":
                return self.gqa >= 4 or self.experts >= 4
            case "experts8":
                return self.experts == 8
        return True


def facts(model: Model) -> Facts:
    """The facts of a model's decoder."""
    blocks = [block for layer in model.decoder.kinds for block in layer.blocks]
    gqa = next((b.heads // b.kv_heads for b in blocks if isinstance(b, Attention)), 1)
    experts = max((b.count for b in blocks if isinstance(b, Experts)), default=0)
    layers = len(model.decoder.pattern)
    seventy = layers == 80 and gqa > 1 and model.family in SEVENTY
    return Facts(layers, experts, gqa, seventy, model.tied)


def role(tensor: Tensor) -> str:
    """What the rules call a layer's linear weight: v, k, q, output, gate, up, down, or nothing."""
    shape = tensor.shape
    return _role(tensor.name, tensor.component, len(shape) == 2 and shape[0] < shape[1])


@lru_cache(maxsize=4096)
def _role(name: str, component: Component, narrow: bool) -> str:
    leaf = name.removesuffix(".weight").rpartition(".")[2].lower()
    if component is Component.RECURRENT:
        return "v" if leaf.startswith("in_proj_qkv") else ""
    if component in (Component.MLP, Component.EXPERTS, Component.SHARED_EXPERTS):
        if leaf in ("gate_proj", "w1", "gate") or leaf.startswith("gate_up"):
            return "gate"
        if leaf.startswith(("up", "w3", "fc1", "c_fc", "fc_in", "dense_h_to")):
            return "up"
        return "down" if leaf.startswith(("down", "w2", "fc2", "fc_out", "c_proj", "dense_4h")) or narrow else "up"
    low_rank = leaf.endswith(("_a_proj", "_b_proj")) or "indexer" in name
    if component is not Component.ATTENTION or low_rank:
        return ""
    known = {"q_proj": "q", "wq": "q", "k_proj": "k", "wk": "k", "v_proj": "v", "wv": "v", "o_proj": "output",
             "out_proj": "output", "wo": "output", "dense": "output", "c_proj": "output"}  # fmt: skip
    fused = ("qkv", "query_key_value", "c_attn", "w_pack", "att_proj", "in_proj")
    return known.get(leaf) or ("v" if any(part in leaf for part in fused) else "")


def split(layer: Layer) -> Iterator[Tensor]:
    """A layer's tensors as GGUF files have them: an MLA up-projection as its key part, turned, and its value part."""
    latent = next((b for b in layer.blocks if isinstance(b, LatentAttention)), None)
    for tensor in layer.tensors():
        if latent and tensor.name.endswith("kv_b_proj.weight"):
            lead = tensor.name.removesuffix("kv_b_proj.weight")
            yield replace(tensor, name=f"{lead}k_b_proj.weight", shape=(latent.heads * latent.kv_rank, latent.nope))
            yield replace(tensor, name=f"{lead}v_b_proj.weight", shape=(latent.heads * latent.v_dim, latent.kv_rank))
        else:
            yield tensor


def fitting(name: str, shape: tuple[int, ...]) -> WeightFormat:
    """A type, or what takes its place where its blocks do not divide the rows of a shape."""
    columns = shape[-1]
    if columns % GGML_TYPES[name][0]:
        name = FALLBACKS.get(name, "f16")
        name = "f16" if columns % GGML_TYPES[name][0] else name
    return GGML[name]


def quantised(tensor: Tensor) -> bool:
    """Whether the quantiser converts a tensor; the others are F32: vectors, routers, convolutions."""
    return tensor.linear and tensor.component is not Component.ROUTER and min(tensor.shape) > 1


class Quantiser:
    """Goes through a decoder's tensors in order, counting them as the rules do."""

    def __init__(self, model: Model, mix: Mix) -> None:
        self.mix, self.facts = mix, facts(model)
        self.seen: Counter[str] = Counter()
        native = model.quantization
        self.native_experts = native is not None and native.experts_only and native.default is not None
        self.values = sum(
            count
            for layer, count in model.decoder.layer_counts()
            for tensor in layer.tensors()
            if quantised(tensor) and role(tensor) == "v"
        )

    def vocabulary(self, tensor: Tensor) -> WeightFormat:
        """The type of an embedding or a head."""
        mix = self.mix
        if GGML_TYPES[mix.base][0] == 1:
            return GGML[mix.base]
        if tensor.component is Component.HEAD or self.facts.tied:
            name = mix.head if tensor.shape[-1] % GGML_TYPES[mix.base][0] == 0 else "q8_0"
            return fitting(name, tensor.shape)
        return fitting(mix.embedding or mix.base, tensor.shape)

    def layer(self, tensor: Tensor, index: int) -> WeightFormat:
        """The type of a tensor of the layer `index`."""
        mix = self.mix
        if not quantised(tensor):
            return GGML["f32"]
        if any(word in tensor.name for word in UNCONVERTED):
            return GGML["bf16"]
        kind = role(tensor)
        if tensor.component is Component.EXPERTS and self.native_experts:
            return GGML["mxfp4"]  # llama.cpp keeps experts that were published so
        if mix.experts and self.facts.experts > 1:
            if tensor.component is Component.EXPERTS:
                return fitting(mix.experts[kind == "down"], tensor.shape)
            return fitting(mix.rest, tensor.shape)
        if GGML_TYPES[mix.base][0] == 1:
            return GGML[mix.base]
        return fitting(self.ruled(kind, index), tensor.shape)

    def ruled(self, kind: str, index: int) -> str:
        """The type that the mix's rules give to a kind of tensor."""
        counted = kind == "v" or (kind == "down" and self.mix.base.startswith(("iq1", "iq2")))
        place = self.seen[kind] if counted else index
        count = self.values if kind == "v" else self.facts.layers
        self.seen[kind] += 1
        rules = self.mix.rules.get(kind, ())
        name = next((made for when, made in rules if self.facts.holds(when, place, count)), self.mix.base)
        # llama.cpp: these heads are few in a 70B model, so more bits cost next to nothing.
        return "q5_k" if kind == "v" and self.facts.seventy and name in ("q3_k", "q4_k") else name


def gguf_tensors(model: Model, mix: Mix) -> Iterator[FormattedTensor]:
    """The tensors of a model as a GGUF file of this mix has them; towers as the projector file beside it, in F16."""
    quantiser = Quantiser(model, mix)
    for stack in model.stacks:
        if stack.component in TOWERS:
            yield from tower(stack)
        elif stack is model.decoder:
            yield from decoder(stack, quantiser)
        else:
            yield from beside(stack, quantiser)


def tower(stack: Stack) -> Iterator[FormattedTensor]:
    """A vision or audio tower: F16, its vectors F32."""
    for tensor in stack.outer:
        yield FormattedTensor(stack, tensor, GGML["f16" if len(tensor.shape) > 1 else "f32"])
    for number, layer in enumerate(stack.kinds):
        layers = tuple(index for index, kind in enumerate(stack.pattern) if kind == number)
        for tensor in layer.tensors():
            yield FormattedTensor(stack, tensor, GGML["f16" if len(tensor.shape) > 1 else "f32"], layers)


def outer(stack: Stack, quantiser: Quantiser) -> Iterator[FormattedTensor]:
    """The tensors around a stack's layers."""
    for tensor in stack.outer:
        made = GGML["f32"]
        if any(word in tensor.name for word in UNCONVERTED):
            made = GGML["bf16"]
        elif len(tensor.shape) == 2 and (tensor.linear or tensor.units > 1):  # position tables have one unit
            whole = tensor.component in (Component.EMBEDDING, Component.HEAD)
            made = quantiser.vocabulary(tensor) if whole else fitting(quantiser.mix.base, tensor.shape)
        yield FormattedTensor(stack, tensor, made)


def decoder(stack: Stack, quantiser: Quantiser) -> Iterator[FormattedTensor]:
    """The decoder, layer by layer: equal tensors of one type together."""
    yield from outer(stack, quantiser)
    kinds = [tuple(split(layer)) for layer in stack.kinds]
    by_rule = [[(n, tensor) for n, tensor in enumerate(tensors) if quantised(tensor)] for tensors in kinds]
    groups: dict[tuple[int, int, str], tuple[WeightFormat, list[int]]] = {}
    for kind, tensors in enumerate(kinds):
        layers = [index for index, each in enumerate(stack.pattern) if each == kind]
        groups |= {(kind, n, ""): (GGML["f32"], layers) for n, tensor in enumerate(tensors) if not quantised(tensor)}
    for index, kind in enumerate(stack.pattern):
        for number, tensor in by_rule[kind]:
            made = quantiser.layer(tensor, index)
            groups.setdefault((kind, number, made.name), (made, []))[1].append(index)
    for (kind, number, _), (made, layers) in groups.items():
        yield FormattedTensor(stack, kinds[kind][number], made, tuple(layers))


def beside(stack: Stack, quantiser: Quantiser) -> Iterator[FormattedTensor]:
    """An encoder or MTP layers: the mix's base type for linear weights."""
    yield from outer(stack, quantiser)
    for number, layer in enumerate(stack.kinds):
        layers = tuple(index for index, kind in enumerate(stack.pattern) if kind == number)
        for tensor in split(layer):
            made = fitting(quantiser.mix.base, tensor.shape) if quantised(tensor) else GGML["f32"]
            yield FormattedTensor(stack, tensor, made, layers)
