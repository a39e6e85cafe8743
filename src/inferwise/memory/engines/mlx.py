"""mlx-lm on a Mac: weights, caches that grow by 256 tokens, and a prompt's chunk, in what the GPU may wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import MAX_BATCH, Case
from inferwise.memory.dealing import check_dealing
from inferwise.memory.parts.cells import Cells, stage_cells
from inferwise.memory.parts.live_tensors import Moment, moments, widest
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.parts.runs import check
from inferwise.memory.parts.speculation import draft_states
from inferwise.memory.parts.tiers import refuse_offload
from inferwise.memory.placement import Stage, stages
from inferwise.memory.search import largest
from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS, Model
from inferwise.units import human_bytes, round_up

QUANTISED = {"int8": 8, "int4": 4}


@dataclass(frozen=True, slots=True)
class Held:
    """A device of a stage: what it holds whatever the load, its cells, and what a chunk of a prompt takes.

    kv_share: of a cache's bytes with its scales to those without. score_heads: heads whose scores a chunk lays out.
    """

    fixed: tuple[Term, ...]
    cells: Cells
    draft: Cells
    moments: tuple[Moment, ...]
    chunk: int
    step: int
    kv_share: float
    score_heads: int
    logits_bytes: int
    element_bytes: int
    score_copies: int

    @property
    def fixed_bytes(self) -> int:
        """What it holds whatever the load."""
        return sum(term.size_bytes for term in self.fixed)

    def kv_bytes(self, context: int) -> int:
        """The cache of one sequence in steps of 256 tokens; windows hold a chunk more while a prompt is read."""
        grown = round_up(context, self.step)
        windows = self.cells.window_bytes(grown, min(self.chunk, context) - 1)
        return int((self.cells.full_bytes(grown) + windows) * self.kv_share) + self.cells.sequence

    def draft_bytes(self, context: int) -> int:
        """The draft's cache of one sequence."""
        grown = round_up(context, self.step)
        return self.draft.full_bytes(grown) + self.draft.window_bytes(grown, self.chunk) + self.draft.sequence

    def activation_bytes(self, context: int) -> int:
        """The widest moment of a chunk, or of a step, which copies half of a layer's cache to make it longer."""
        chunk = min(self.chunk, context)
        wide = widest(self.moments, chunk, self.element_bytes).size_bytes(chunk, self.element_bytes)
        scores = self.score_heads * chunk * context * self.element_bytes * self.score_copies
        copied = int(round_up(context, self.step) * self.cells.largest // 2 * self.kv_share)
        return max(wide + scores, copied) + self.logits_bytes

    def sequence_bytes(self, context: int) -> int:
        """All that one sequence takes."""
        return self.kv_bytes(context) + self.draft_bytes(context) + self.activation_bytes(context)


def allocate(case: Case) -> Allocation:
    """What mlx-lm needs for a batch whose whole context is read as a prompt; memory grows with use.

    Raises BadInput for what MLX or the device cannot run. The limit is the GPU's working set (the wired limit that
    generate.py sets). Several devices hold a run of layers each.
    """
    check(case)
    refuse_offload(case, "its memory is the device's", kv=True)
    windowed = any(state.window for kind in case.model.decoder.kinds for state in kind.state())
    if case.layout.kv in QUANTISED and windowed:
        raise BadInput(
            f"mlx does not quantise rotating caches (kv {case.layout.kv}, {case.model.name})", remedy="take kv bf16"
        )
    check_dealing(case.model, case.parallel, case.weights)
    flags = _flags(case)
    case = _dealt(case)
    held = [
        _held(case, stage, flags[0][1])
        for stage in stages(case.model, case.weights, case.parallel, encoder=case.encoder)
    ]
    each = [held[index // case.parallel.tp] for index in range(len(case.devices))]
    rooms: dict[Held, int] = {}
    for device, mine in zip(case.devices, each, strict=True):
        room = device.capacity_bytes - case.used_bytes(device) - mine.fixed_bytes
        rooms[mine] = min(room, rooms.get(mine, room))

    def sequences(context: int) -> int:
        return max(min(room // max(mine.sequence_bytes(context), 1) for mine, room in rooms.items()), 0)

    longest = largest(lambda context: sequences(context) >= case.batch, MAX_TOKENS)
    devices = tuple(_device(case, device, mine) for device, mine in zip(case.devices, each, strict=True))
    fullest = min(rooms, key=rooms.__getitem__)
    return Allocation(
        case=case,
        devices=devices,
        pool=_pool(case, fullest),
        problems=tuple(_problems(devices)),
        max_batch=min(sequences(case.context), MAX_BATCH),
        max_context=None if longest == MAX_TOKENS else longest,
        settings=flags,
        notes=tuple(_notes(case, fullest)),
    )


def _flags(case: Case) -> tuple[tuple[str, Any, str], ...]:
    """prefill_step_size, as given or the version's; then what the load gives."""
    given = case.settings.max_num_batched_tokens
    chunk = given or case.engine.defaults["max_num_batched_tokens"]
    origin = "given" if given else f"default of mlx-lm {case.engine.basis} (prefill_step_size)"
    return (
        ("max_num_batched_tokens", chunk, origin),
        ("context", case.context, "given: all of it a prompt"),
        ("batch", case.batch, "given"),
    )


def _dealt(case: Case) -> Case:
    """The case with a stage a device where no degrees were given, and weights in MLX's own groups."""
    if case.parallel.devices == 1 and len(case.devices) > 1:
        count = min(len(case.devices), len(case.model.decoder.pattern))
        case = replace(case, parallel=Parallel(pp=count), node=replace(case.node, devices=case.devices[:count]))
    if case.weights in QUANTISED:
        case = replace(case, weights=f"mlx_int{QUANTISED[case.weights]}")
    return case


def _held(case: Case, stage: Stage, chunk: int) -> Held:
    """What a device of a stage holds whatever the load, and the parts of the rest."""
    data, model = case.engine.defaults, case.model
    last = stage.layers.stop == len(model.decoder.pattern)
    fixed = [Term("weights", stage.weights.total, stage.weights.basis)]
    if case.draft is not None and last:
        draft = stages(case.draft, case.draft_weights, Parallel())[0]
        fixed.append(Term("draft weights", draft.weights.total, draft.weights.basis))
    if case.lora is not None:
        size = lora_bytes(model, stage.tensors, case.lora)
        fixed.append(Term("lora", size, f"{case.lora.slots} adapters of rank {case.lora.rank}, 16 bits"))
    fixed.append(Term("runtime", data["runtime_bytes"], "Metal, Python (assumed)"))
    bits = QUANTISED.get(case.layout.kv)
    drafts = draft_states(replace(case, mtp=False)) if last else ()
    return Held(
        fixed=tuple(fixed),
        cells=stage_cells(model, case.layout, case.parallel, stage.layers),
        draft=stage_cells(model, case.layout, case.parallel, range(0), drafts),
        moments=moments(model, data),
        chunk=chunk,
        step=data["cache_step"],
        kv_share=1 + data["kv_group_bytes"] * 8 / (data["kv_group"] * bits) if bits else 1.0,
        score_heads=_score_heads(model, data["fused_heads"]),
        logits_bytes=model.vocab * data["logit_bytes"] if last else 0,
        element_bytes=data["element_bytes"],
        score_copies=data["score_copies"],
    )


def _score_heads(model: Model, fused: list[int]) -> int:
    """Heads of the layer whose scores are laid out for a chunk; 0 where the fused kernel takes all."""
    heads = 0
    for layer in model.decoder.kinds:
        for block in layer.blocks:
            if isinstance(block, LatentAttention) or (isinstance(block, Attention) and block.head_dim not in fused):
                heads = max(heads, block.heads)
    return heads


def _device(case: Case, device: Accelerator, held: Held) -> DeviceMemory:
    """A device: its terms."""
    batch, context, cells = case.batch, case.context, held.cells
    grown = round_up(context, held.step)
    how = f"{batch:,} x {grown:,} tokens x {cells.full_token:,.0f} B (steps of {held.step}), windows, states"
    terms = [*held.fixed, Term("kv", batch * held.kv_bytes(context), how)]
    if held.draft_bytes(context):
        terms.append(Term("draft kv", batch * held.draft_bytes(context), "the draft's cache"))
    moment = widest(held.moments, min(held.chunk, context), held.element_bytes)
    how = f"a chunk of {min(held.chunk, context):,} tokens x {moment.elements:,} elements ({moment.where})"
    if held.score_heads:
        how += f", and the scores of {held.score_heads} heads, which no fused kernel takes"
    terms.append(Term("activations", batch * held.activation_bytes(context), how))
    used = case.used_bytes(device)
    if used:
        terms.append(Term("others", used, "what other programs already take"))
    return DeviceMemory(device=device, terms=tuple(terms))


def _pool(case: Case, held: Held) -> Pool:
    """The cache as it is at the context: blocks are the steps that it grows by."""
    grown = round_up(case.context, held.step)
    one = int(held.cells.full_bytes(grown) * held.kv_share)
    return Pool(
        size_bytes=case.batch * one,
        block_tokens=held.step,
        block_bytes=int(held.cells.full_bytes(held.step) * held.kv_share),
        tokens=case.batch * grown if held.cells.full else 0,
        sequence_bytes=one,
    )


def _problems(devices: tuple[DeviceMemory, ...]) -> list[str]:
    """Why it does not fit the working set."""
    short = {each.device.slug: each for each in devices if each.free_bytes < 0}
    return [
        f"{each.device.name}: {human_bytes(-each.free_bytes)} more than the GPU may wire "
        f"({human_bytes(each.capacity_bytes)})"
        for each in short.values()
    ]


def _notes(case: Case, held: Held) -> list[str]:
    """What the reader should know."""
    notes = list(case.engine.notes)
    device = case.devices[0]
    weights = sum(term.size_bytes for term in held.fixed if term.name == "weights")
    if weights > case.engine.defaults["warns_above"] * device.capacity_bytes:
        notes.append("weights take so much of the working set that mlx-lm warns: it will be slow")
    if device.gpu_limit_bytes is None:
        notes.append(f"what the GPU of {device.name} may wire is not known: its whole memory is taken")
    return notes
