"""What the accounting needs of a model, counted once: bytes of weights by layer, KV values, recurrent states."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.llama_cpp.gguf_names import gguf_name
from inferwise.memory.weights import GGUF, TOWERS, conversion, description, formatted_tensors
from inferwise.spec.attention import LatentAttention
from inferwise.spec.blocks import Block, Layer, Stack
from inferwise.spec.model import Model
from inferwise.spec.state import State, StateKind
from inferwise.spec.tensor import Component
from inferwise.spec.weight_formats import DENSE

BLOCK = re.compile(r"blk\.(\d{1,6})\.(.+)")
EXPERT = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")  # what --n-cpu-moe moves (common/arg.cpp)
INPUT = ("token_embd", "per_layer_token_embd", "token_types", "position_embd", "pos_embd")
BATCHED = ("attn_k_b", "attn_v_b")  # products by head, which no CPU repacks
MEMO: dict[tuple[int, str | None], tuple[Model, Layers]] = {}
MEMO_SIZE = 16
MULTIPLIED = ("layer", "experts", "output")


@dataclass(frozen=True, slots=True)
class Piece:
    """Tensors of one name: of a layer (None: around the layers), all of its experts together."""

    layer: int | None
    name: str
    size_bytes: int
    format: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """A model as llama.cpp loads it; compared by identity.

    kinds, pattern: of its layers. states: of each kind; attends, windowed: whether it has a KV cache, and one of a
    window; heads_values: of K and V a token where a latent is brought up to its heads. experts: bytes of each layer's
    routed experts. dense_until, experts_until: sums up to a layer, without and in routed experts; kinds_until: how many
    layers of each kind. matrices: bytes by format of what a CPU multiplies by. input, output: bytes in front of the
    layers and behind them; tied, tied_format: of an embedding that is the head as well. widest: values of a
    layer's largest matrix. projector, mtp: bytes beside the model. pieces: every tensor. source: of the formats.
    """

    hidden: int
    vocab: int
    kinds: tuple[Layer, ...]
    pattern: tuple[int, ...]
    states: tuple[tuple[State, ...], ...]
    heads_values: tuple[int, ...]
    attends: tuple[bool, ...]
    windowed: tuple[bool, ...]
    experts: tuple[int, ...]
    dense_until: tuple[int, ...]
    experts_until: tuple[int, ...]
    kinds_until: tuple[tuple[int, ...], ...]
    matrices: Mapping[str, int]
    input: int
    output: int
    tied: int
    tied_format: str
    widest: int
    projector: int
    mtp: int
    pieces: tuple[Piece, ...]
    source: str
    notes: tuple[str, ...]

    @property
    def recurrent(self) -> bool:
        """Whether a layer keeps a state of constant size."""
        return any(state.constant for states in self.states for state in states)

    @property
    def total_layers(self) -> int:
        """Bytes of all layers."""
        return self.dense_until[-1] + self.experts_until[-1]

    @property
    def total(self) -> int:
        """All but projector and MTP layers, a tied embedding once."""
        return self.input + self.output + self.total_layers


def layers_of(model: Model, weights: str | None) -> Layers:
    """A model's layers in a format (None: as its GGUF file has them, else BF16); kept for the last few models.

    Raises BadInput for a format that llama.cpp cannot run.
    """
    key = id(model), weights
    if key not in MEMO:
        if len(MEMO) >= MEMO_SIZE:
            MEMO.pop(next(iter(MEMO)))
        MEMO[key] = model, _counted(model, weights)  # the model is kept, so that its id stays its own
    return MEMO[key][1]


def _counted(model: Model, weights: str | None) -> Layers:
    """Counts the tensors."""
    stored = model.stored if weights is None and model.stored is not None and model.stored.gguf else None
    name, notes = runnable(model, weights)
    if stored is not None:
        pieces = tuple(_stored(model))
        source = f"header of {stored.source}"
    else:
        pieces = tuple(_computed(replace(model, stored=None), name))
        source, _, more = description(model, name)
        notes = (*notes, *more)
    count = len(model.decoder.pattern)
    sums: Counter[tuple[str, int]] = Counter()
    matrices: Counter[str] = Counter()  # bytes by format of what a CPU multiplies by: the tensors behind the embedding
    for piece in pieces:
        part = place(piece, count)
        sums[part, piece.layer or 0] += piece.size_bytes
        if part in MULTIPLIED and piece.name not in BATCHED:
            matrices[piece.format] += piece.size_bytes
    experts = tuple(sums["experts", index] for index in range(count))
    own_head = any(piece.layer is None and piece.name == "output" for piece in pieces)
    embedding = next((piece for piece in pieces if piece.layer is None and piece.name == "token_embd"), None)
    tied = None if own_head else embedding
    return Layers(
        hidden=model.hidden,
        vocab=model.vocab,
        **_kinds(model.decoder),
        experts=experts,
        dense_until=(0, *accumulate(sums["layer", index] for index in range(count))),
        experts_until=(0, *accumulate(experts)),
        matrices=matrices,
        input=sums["input", 0],
        output=sums["output", 0],
        tied=tied.size_bytes if tied else 0,
        tied_format=tied.format if tied else "",
        projector=sums["projector", 0],
        mtp=sum(size for (where, _), size in sums.items() if where == "mtp"),
        pieces=pieces,
        source=source,
        notes=notes,
    )


def _kinds(decoder: Stack) -> dict[str, Any]:
    """The fields of Layers that follow the kinds of layers."""
    kinds, pattern = decoder.kinds, decoder.pattern
    states = tuple(kind.state() for kind in kinds)
    linears = (prod(tensor.shape) for kind in kinds for tensor in kind.tensors() if tensor.linear)
    return {
        "kinds": kinds,
        "pattern": pattern,
        "kinds_until": tuple((0, *accumulate(kind == number for kind in pattern)) for number in range(len(kinds))),
        "states": states,
        "attends": tuple(any(not state.constant for state in each) for each in states),
        "windowed": tuple(any(state.window is not None for state in each) for each in states),
        "heads_values": tuple(sum(map(_unabsorbed, kind.blocks)) for kind in kinds),
        "widest": max(linears, default=0),
    }


def _unabsorbed(block: Block) -> int:
    """Values of K and V a token of a latent attention's heads."""
    return block.heads * (block.nope + block.rope + block.v_dim) if isinstance(block, LatentAttention) else 0


def place(piece: Piece, count: int) -> str:
    """Which part of a model of so many layers a piece belongs to."""
    if piece.name.startswith(("mm.", "v.", "a.")):
        return "projector"
    if piece.layer is None:
        return "input" if piece.name in INPUT else "output"
    if piece.layer >= count:
        return "mtp"
    return _part(piece.name)


@lru_cache(maxsize=4096)
def _part(name: str) -> str:
    """Which part of a layer a tensor belongs to."""
    return "experts" if EXPERT.search(name) else "layer"


def runnable(model: Model, weights: str | None) -> tuple[str, tuple[str, ...]]:
    """The format by the name that `formatted_tensors` knows, and what to say of it. Raises BadInput."""
    if weights is None:
        if model.stored is not None and model.stored.gguf:
            return "bf16", ()
        kept = model.quantization is not None and model.quantization.experts_only
        text = "MXFP4 experts, the rest in BF16" if kept else "BF16"
        return "gguf:BF16", (f"no GGUF format was asked for: as converted from the checkpoint, {text}",)
    made = conversion(weights)
    if weights.lower().startswith(GGUF) or made is None:
        return weights, ()
    if made.name in DENSE:
        return {"fp16": "gguf:F16", "bf16": "gguf:BF16", "fp32": "gguf:F32"}.get(made.name, "gguf:BF16"), ()
    raise BadInput(
        f"llama.cpp has no weights in {weights[:40]}",
        remedy="give a GGUF format, such as Q8_0, Q4_K_M or MXFP4_MOE, or a .gguf file",
    )


def _stored(model: Model) -> Iterator[Piece]:
    """The tensors of a GGUF file."""
    assert model.stored is not None
    for tensor in model.stored.tensors:
        found = BLOCK.fullmatch(tensor.name)
        name = found[2] if found else tensor.name
        name = name.removesuffix(".weight")
        yield Piece(int(found[1]) if found else None, name, tensor.size_bytes, tensor.format)


def _computed(model: Model, weights: str) -> Iterator[Piece]:
    """The tensors of a model by formula, as a GGUF file would have them."""
    count = len(model.decoder.pattern)
    for each in formatted_tensors(model, weights):
        if each.stack.component in TOWERS or each.component in TOWERS:
            yield Piece(None, "mm.", each.size_bytes, each.format.name)
            continue
        if each.component is Component.MTP:
            yield Piece(count, "mtp", each.size_bytes, each.format.name)
            continue
        size, name, made = each.size_bytes // each.count, stored_name(each), each.format.name
        for layer in each.layers or (None,):
            yield Piece(layer, name, size, made)


def stored_name(each: FormattedTensor) -> str:
    """The name that GGUF gives a tensor, without layer and `.weight`."""
    if each.layers is None and each.component is Component.EMBEDDING:
        return "token_embd"
    if each.layers is None and each.component is Component.HEAD:
        return "output"
    return gguf_name(each.tensor)


@lru_cache(maxsize=64)
def file_span(layers: Layers, formats: tuple[str, ...]) -> int:
    """Bytes of the file from the first tensor that a CPU does not repack to the last."""
    first = end = offset = 0
    for piece in layers.pieces:
        if piece.name in (*INPUT, *BATCHED) or piece.format not in formats:
            first = offset if not end else first
            end = offset + piece.size_bytes
        offset += piece.size_bytes
    return end - first


def constant_bytes(states: tuple[State, ...]) -> int:
    """Bytes of one slot's recurrent state in a layer: both parts in F32 (llama-memory-recurrent.cpp)."""
    return sum(4 * state.elements for state in states if state.constant)


def unknown_states(layers: Layers) -> bool:
    """Whether a kind of layer keeps what llama.cpp's caches have no place for that we know."""
    known = (StateKind.KV, StateKind.LATENT, StateKind.INDEX, StateKind.RECURRENT, StateKind.CONVOLUTION)
    return any(state.kind not in known or state.ratio != 1 for states in layers.states for state in states)
