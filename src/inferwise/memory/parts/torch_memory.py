"""What engines on PyTorch hold beside the parameters: the allocator's rounding, rotary tables, and the widest step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inferwise.memory.case import Case
from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.placement import TOWERS, Stage
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component
from inferwise.units import MIB, ceil_div, round_up

# PyTorch's caching allocator (c10/cuda/CUDACachingAllocator.cpp, 2.x): a request of 10 MiB or more has a segment of
# its own, a multiple of 2 MiB, and what it leaves is split off for others only where it is more than 1 MiB.
OWN_SEGMENT_BYTES = 10 * MIB
SEGMENT_STEP_BYTES = 2 * MIB
SPLIT_ABOVE_BYTES = MIB
EIGHT_BITS = ("fp8", "int8")  # formats whose kernels quantise activations as well
ELEMENT_BYTES = 2  # activations of 16-bit models; FP32 checkpoints are run in 16 bits

# Matrices that engines keep as one: those of a layer's attention, and the first two of an MLP.
FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "q_a_proj": "qkv_a_proj",
    "kv_a_proj_with_mqa": "qkv_a_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "w1": "gate_up_proj",
    "w3": "gate_up_proj",
}


def as_run(case: Case) -> Case:
    """The case as a server runs it: an FP32 checkpoint in 16 bits (vLLM 0.19, config/model.py _resolve_auto_dtype)."""
    model = case.model
    whole = case.weights is None and model.dtype in ("fp32", "fp64") and model.quantization is None
    if not whole:
        return case
    engine = replace(case.engine, notes=(*case.engine.notes, f"published in {model.dtype.upper()}, run in 16 bits"))
    return replace(case, weights="bf16", engine=engine)


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Weights of one device as a PyTorch engine loads them [bytes].

    stored: the tensors themselves. rounding: what the allocator adds. rotary: tables. padding: rows and columns that
    kernels need (vocabulary to 64 rows, MXFP4 experts to their tiles).
    """

    stored: int
    rounding: int
    rotary: int
    padding: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.stored + self.rounding + self.rotary + self.padding

    @property
    def how(self) -> str:
        """The sum, in words."""
        parts = (("tensors", self.stored), ("allocator", self.rounding), ("rotary", self.rotary), ("pad", self.padding))
        return " + ".join(f"{name} {size:,} B" for name, size in parts if size)


def loaded_weights(model: Model, stage: Stage, *, rotary: bool = True) -> LoadedWeights:
    """The weights of a stage's device as loaded."""
    sizes: Counter[tuple[int, tuple[int, ...] | None, str, str]] = Counter()
    padding = 0
    for each in stage.tensors:
        tensor, count = each.tensor, each.count
        size = each.size_bytes // count
        added = _padding(each)
        padding += added * count
        owner, _, name = tensor.name.removesuffix(".weight").rpartition(".")
        fused = FUSED.get(name, name) if tensor.linear else tensor.name
        sizes[id(each.stack), each.layers, owner, fused] += size + added
    rounding = sum(_rounding(size) * (1 if key[1] is None else len(key[1])) for key, size in sizes.items())
    tables = sum(table.size_bytes(ELEMENT_BYTES) for table in model.rotary) if rotary else 0
    return LoadedWeights(stage.weights.total, rounding, tables, padding)


def _rounding(size: int) -> int:
    """What the allocator adds to a tensor of so many bytes."""
    if size < OWN_SEGMENT_BYTES:
        return 0
    rest = -size % SEGMENT_STEP_BYTES
    return rest if rest <= SPLIT_ABOVE_BYTES else 0


def _padding(each: FormattedTensor) -> int:
    """Bytes that kernels' tiles add to one tensor on one device."""
    tensor = each.tensor
    if tensor.component in (Component.EMBEDDING, Component.HEAD) and len(tensor.shape) == 2:
        rows = tensor.units if each.pieces is None else each.pieces
        if (
            tensor.shape[0] == tensor.units
        ):  # a vocabulary; vLLM pads it to 64 rows (layers/vocab_parallel_embedding.py)
            return (round_up(rows, 64) - rows) * (each.size_bytes // rows if rows else 0)
    if tensor.component is Component.EXPERTS and each.format.name == "mxfp4" and len(tensor.shape) == 2:
        return _mxfp4_padding(each)
    return 0


def _mxfp4_padding(each: FormattedTensor) -> int:
    """Bytes that MXFP4 kernels add: width of an expert to 128, hidden to 256 (vLLM 0.19, quantization/mxfp4.py)."""
    tensor = each.tensor
    rows, columns = tensor.shape
    share = 1.0 if each.pieces is None else each.pieces / tensor.units
    down = "down" in tensor.name or tensor.name.endswith("w2.weight")
    width, hidden = (columns, rows) if down else (rows, columns)
    width = int(width * share)
    padded = round_up(width, 256 if "gate_up" in tensor.name else 128) * round_up(hidden, 256)
    size = each.size_bytes // each.count
    return size * padded // (width * hidden) - size if width and hidden else 0


def runtime_bytes(data: Mapping[str, Any], ranks: int) -> int:
    """What lies outside PyTorch on one device: context and libraries, once there are several ranks their
    communication, and a share for each peer. Constants are the engine's data.
    """
    shared = data["runtime_ranks_bytes"] if ranks > 1 else 0
    return int(data["runtime_bytes"] + shared + data["runtime_peer_bytes"] * (ranks - 1))


@dataclass(frozen=True, slots=True)
class StepShape:
    """The largest step that an engine prepares for: tokens, sequences (rows of logits), and ranks."""

    tokens: int
    sequences: int
    tp: int
    ep: int = 1


@dataclass(frozen=True, slots=True)
class ActivationPeak:
    """The widest moment of a step on one device [bytes]: what stays (`kept`) and the larger of layer and logits."""

    kept: int
    layer: int
    logits: int
    how: str

    @property
    def total(self) -> int:
        """The peak."""
        return self.kept + max(self.layer, self.logits)


def activation_peak(
    model: Model, stage: Stage, step: StepShape, *, logit_bytes: float, hidden_copies: float, moe_chunk: int
) -> ActivationPeak:
    """Activations of the largest step on a device of a stage.

    The layer: its gate, up and product over the tokens (a byte more an element where activations are quantised) and
    `hidden_copies` rows of the hidden width. The logits: `logit_bytes` a value of the sampler's warm-up, beside the
    hidden states. Kept throughout: workspaces of fused experts (two of tokens x experts a token x the wider of their
    widths; MXFP4 kernels keep none), and the encoder's output for as many tokens. Constants are the engine's data.
    """
    hidden = step.tokens * model.hidden * ELEMENT_BYTES
    widest = 0
    workspace = 0
    encoder = 0
    last = stage.layers.stop == len(model.decoder.pattern)
    for each in stage.tensors:
        tensor = each.tensor
        if each.component in TOWERS:
            encoder = hidden
        elif tensor.linear and each.stack is model.decoder and len(tensor.shape) == 2:
            if tensor.component is Component.EXPERTS:
                workspace = max(workspace, _workspace(model, each, step, moe_chunk))
            elif each.layers is not None:
                widest = max(widest, _product(model, each, step))
    logits = 0
    if last:
        logits = int(logit_bytes * step.sequences * round_up(model.vocab, 64)) + hidden
    layer = widest + int(hidden_copies * hidden)
    how = (
        f"{step.tokens:,} tokens, {step.sequences:,} sequences: workspaces of experts {workspace:,} B, encoder cache "
        f"{encoder:,} B; the larger of a layer, {layer:,} B, and the sampler, {logit_bytes} B x {step.sequences:,} x "
        f"{model.vocab:,} + hidden = {logits:,} B"
    )
    return ActivationPeak(workspace + encoder, layer, logits, how)


def _product(model: Model, each: FormattedTensor, step: StepShape) -> int:
    """Gate, up and their product for the tokens of a step, seen from an MLP's last matrix [hidden, width]."""
    tensor = each.tensor
    if tensor.component not in (Component.MLP, Component.SHARED_EXPERTS) or tensor.shape[0] != model.hidden:
        return 0
    quantised = 1 if each.format.name.startswith(EIGHT_BITS) else 0
    return step.tokens * _columns(each) * (3 * ELEMENT_BYTES + quantised)


def _workspace(model: Model, each: FormattedTensor, step: StepShape, chunk: int) -> int:
    """The two workspaces of fused experts (vLLM 0.19, layers/fused_moe/fused_moe.py TritonExperts.workspace_shapes)."""
    tensor = each.tensor
    if each.format.name == "mxfp4" or tensor.shape[0] != model.hidden:
        return 0
    rows = min(step.tokens, chunk) * (tensor.active or 1)
    width = _columns(each)
    return rows * ELEMENT_BYTES * (max(width, model.hidden) + max(2 * width, model.hidden))


def _columns(each: FormattedTensor) -> int:
    """Columns of a matrix that a device has of it."""
    tensor = each.tensor
    return ceil_div(tensor.shape[1] * (tensor.units if each.pieces is None else each.pieces), tensor.units)
