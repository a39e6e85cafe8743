"""transformers' `generate`: weights, a cache that grows by copies, and the widest moment of an eager forward."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import MAX_BATCH, Case
from inferwise.memory.dealing import check_dealing
from inferwise.memory.parts.cells import Cells, stage_cells
from inferwise.memory.parts.live_tensors import Moment, moments, widest
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.parts.runs import check
from inferwise.memory.parts.speculation import draft_states
from inferwise.memory.parts.tiers import tiers
from inferwise.memory.parts.torch_memory import loaded_weights
from inferwise.memory.placement import Stage, stages
from inferwise.memory.search import largest
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import human_bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A device of a stage: what it holds whatever the load, its cells, and what a forward takes on it.

    offloaded_bytes: weights left on the host. logits_token: bytes of a row of logits, 0 where the head is elsewhere.
    all_logits: whether a prompt makes all rows.
    """

    fixed: tuple[Term, ...]
    cells: Cells
    draft: Cells
    moments: tuple[Moment, ...]
    element_bytes: int
    logits_token: int
    all_logits: bool
    offloaded_bytes: int

    @property
    def fixed_bytes(self) -> int:
        """What it holds whatever the load."""
        return sum(term.size_bytes for term in self.fixed)

    def kv_bytes(self, context: int) -> int:
        """The cache of one sequence."""
        return self.cells.full_bytes(context) + self.cells.sequence

    def draft_bytes(self, context: int) -> int:
        """The draft's cache of one sequence."""
        return self.draft.full_bytes(context) + self.draft.sequence

    def activation_bytes(self, context: int) -> int:
        """One sequence's widest moment: of its prompt, of all logits, or of a later step, which copies half a layer."""
        prompt = widest(self.moments, context, self.element_bytes).size_bytes(context, self.element_bytes)
        step = context * self.cells.largest // 2 + self.moments[0].elements * self.element_bytes
        if self.all_logits:
            return max(prompt, step, context * self.logits_token)
        return max(prompt, step) + self.logits_token

    def sequence_bytes(self, context: int) -> int:
        """All that one sequence takes."""
        return self.kv_bytes(context) + self.draft_bytes(context) + self.activation_bytes(context)


def allocate(case: Case) -> Allocation:
    """What `generate` needs for a static batch whose whole context is read as a prompt, at its widest moment.

    Raises BadInput for what transformers or the device cannot run. Several devices hold a run of layers each
    (`device_map="auto"`), unless tensor or pipeline degrees are given. Nothing is set aside: memory grows with use.
    """
    check(case)
    check_dealing(case.model, case.parallel, case.weights)
    case = _dealt(case)
    known = moments(case.model, case.engine.defaults)
    held = [
        _held(case, stage, known)
        for stage in stages(case.model, case.weights, case.parallel, mtp=False, encoder=case.encoder)
    ]
    each = [held[index // case.parallel.tp] for index in range(len(case.devices))]
    devices = tuple(
        _device(case, device, mine, case.batch, case.context) for device, mine in zip(case.devices, each, strict=True)
    )
    rooms: dict[Held, int] = {}
    for device, mine in zip(case.devices, each, strict=True):
        room = device.capacity_bytes - case.used_bytes(device) - mine.fixed_bytes - _runtime_bytes(case, device)
        rooms[mine] = min(room, rooms.get(mine, room))

    def sequences(context: int) -> int:  # all that the load takes is so much a sequence
        return max(min(room // max(mine.sequence_bytes(context), 1) for mine, room in rooms.items()), 0)

    outside = tiers(case, sum(mine.offloaded_bytes for mine in each))
    longest = largest(lambda context: sequences(context) >= case.batch, MAX_TOKENS)
    return Allocation(
        case=case,
        devices=devices,
        pool=_pool(case, min(rooms, key=rooms.__getitem__)),
        host=outside.host,
        disk=outside.disk,
        problems=(*_problems(devices), *outside.problems),
        max_batch=min(sequences(case.context), MAX_BATCH),
        max_context=None if longest == MAX_TOKENS else longest,
        settings=(("batch", case.batch, "given"), ("context", case.context, "given: all of it a prompt")),
        notes=tuple(_notes(case)),
    )


def _dealt(case: Case) -> Case:
    """The case with a stage a device where no degrees were given, and every token of windowed layers kept."""
    if case.parallel.devices == 1 and len(case.devices) > 1:
        stages_of = min(len(case.devices), len(case.model.decoder.pattern))
        case = replace(
            case,
            parallel=Parallel(pp=stages_of),
            node=replace(case.node, devices=case.devices[:stages_of]),
        )
    return replace(case, layout=replace(case.layout, windows=False))


def _held(case: Case, stage: Stage, known: tuple[Moment, ...]) -> Held:
    """What a device of a stage holds whatever the load."""
    model = case.model
    last = stage.layers.stop == len(model.decoder.pattern)
    weights = loaded_weights(model, stage, rotary=False)  # cosines and sines are made for each step
    offloaded = min(case.settings.offload_weight_bytes, weights.stored)
    fixed = [Term("weights", weights.total - offloaded, weights.how)]
    if case.draft is not None and last:
        draft = stages(case.draft, case.draft_weights, Parallel())[0]
        loaded = loaded_weights(case.draft, draft, rotary=False)
        fixed.append(Term("draft weights", loaded.total, loaded.how))
    if case.lora is not None:
        size = lora_bytes(model, stage.tensors, case.lora)
        fixed.append(Term("lora", size, f"{case.lora.slots} adapters of rank {case.lora.rank}, 16 bits"))
    cells = stage_cells(model, case.layout, case.parallel, stage.layers)
    own = stage_cells(
        model, case.layout, case.parallel, range(0), draft_states(replace(case, mtp=False)) if last else ()
    )
    data = case.engine.defaults
    whole = case.weights in ("fp32", "float32") or (not case.weights and model.dtype == "fp32")
    element = 4 if whole else data["element_bytes"]
    return Held(
        fixed=tuple(fixed),
        cells=cells,
        draft=own,
        moments=known,
        element_bytes=element,
        logits_token=model.vocab * (element + data["logit_extra_bytes"]) if last else 0,
        all_logits=data["all_logits"],
        offloaded_bytes=offloaded,
    )


def _load(held: Held, batch: int, context: int) -> list[Term]:
    """What the load takes of a device: the cache, and the widest moment beside it."""
    cells = held.cells
    kv = batch * held.kv_bytes(context)
    terms = [Term("kv", kv, f"{batch:,} x ({context:,} tokens x {cells.full_token:,.0f} B + {cells.sequence:,} B)")]
    if held.draft_bytes(context):
        terms.append(Term("draft kv", batch * held.draft_bytes(context), "the draft's cache"))
    moment = widest(held.moments, context, held.element_bytes)
    how = (
        f"the larger of a prompt's {moment.elements:,} elements a token ({moment.where}) and a step, which copies half "
        f"of a layer's cache; logits of {'all' if held.all_logits else 'the last'} tokens"
    )
    terms.append(Term("activations", batch * held.activation_bytes(context), how))
    return terms


def _runtime_bytes(case: Case, device: Accelerator) -> int:
    """Context and libraries of a device that is no CPU."""
    return 0 if device.kind is Kind.CPU else int(case.engine.defaults["runtime_bytes"])


def _device(case: Case, device: Accelerator, held: Held, batch: int, context: int) -> DeviceMemory:
    """A device: its terms."""
    terms = [*held.fixed, *_load(held, batch, context)]
    runtime = _runtime_bytes(case, device)
    if runtime:
        terms.append(Term("non-torch", runtime, "context and libraries (assumed)"))
    used = case.used_bytes(device)
    if used:
        terms.append(Term("others", used, "what other programs already take"))
    return DeviceMemory(device=device, terms=tuple(terms))


def _pool(case: Case, held: Held) -> Pool:
    """The cache as it is at the context: a token a block."""
    one = held.cells.full_bytes(case.context)
    return Pool(
        size_bytes=case.batch * one,
        block_tokens=1,
        block_bytes=int(held.cells.full_token),
        tokens=case.batch * case.context if held.cells.full else 0,
        sequence_bytes=one,
    )


def _problems(devices: tuple[DeviceMemory, ...]) -> list[str]:
    """Why it runs out of memory."""
    short = {each.device.slug: each for each in devices if each.free_bytes < 0}
    return [f"{each.device.name}: {human_bytes(-each.free_bytes)} more than the device has" for each in short.values()]


def _notes(case: Case) -> list[str]:
    """What the reader should know."""
    notes = list(case.engine.notes)
    if case.batch > 1:
        mask = 3 * case.batch * case.context**2
        notes.append(f"prompts of unequal length need a mask as well: up to {human_bytes(mask)} here")
    blocks = (block for layer in case.model.decoder.kinds for block in layer.blocks)
    if case.engine.defaults["windows_dropped"] and any(getattr(block, "window", None) for block in blocks):
        notes.append("windowed layers hold the whole prompt until the first answer token is made")
    notes.append("what the caching allocator cannot reuse of a growing cache comes on top: not modelled")
    return notes
