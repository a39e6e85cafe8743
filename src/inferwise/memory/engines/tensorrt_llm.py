"""TensorRT-LLM: the pool is a share of what is free once the model is loaded (1.x: and once a full step has run)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferwise.errors import BadInput
from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import Case
from inferwise.memory.dealing import check_dealing
from inferwise.memory.engines.tensorrt_pools import (
    Flags,
    Pools,
    block_bytes,
    longest_in,
    pools_of,
    sequence_bytes,
    sequences_in,
    tokens_of,
)
from inferwise.memory.parts.cells import Cells, stage_cells
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.parts.runs import check
from inferwise.memory.parts.speculation import draft_stage, draft_states
from inferwise.memory.parts.tiers import refuse_offload, tiers
from inferwise.memory.parts.torch_memory import StepShape, activation_peak, loaded_weights
from inferwise.memory.placement import Stage, stages
from inferwise.memory.search import largest
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import ceil_div, human_bytes

FLAGS = ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "block_size", "graphs")


@dataclass(frozen=True, slots=True)
class Held:
    """A device of a stage: what it holds when the pool is sized, what it takes after, and its cells."""

    before: tuple[Term, ...]
    after: tuple[Term, ...]
    cells: Cells

    @property
    def before_bytes(self) -> int:
        """What is taken when the pool is sized."""
        return sum(term.size_bytes for term in self.before)


def allocate(case: Case) -> Allocation:
    """What TensorRT-LLM allocates for a case. Raises BadInput for what it or the device cannot run.

    Pool = free_gpu_memory_fraction x (device - peak); the peak of 1.x is that of a step of max_num_tokens, PyTorch's
    and what lies outside it (KvCacheCreator._cal_max_memory), that of the C++ runtime what the engine has loaded.
    """
    check(case)
    if case.parallel.dp not in (1, case.parallel.tp):
        raise BadInput(f"dp {case.parallel.dp} with tp {case.parallel.tp}", remedy="its attention DP is dp = tp, or 1")
    refuse_offload(case, "its engines hold all weights on the device")
    check_dealing(case.model, case.parallel, case.weights)
    data = case.engine.defaults
    if not data["windows_pool"]:
        case = replace(case, layout=replace(case.layout, windows=False))
    flags = resolve(case)
    held = [
        _held(case, stage, flags)
        for stage in stages(case.model, case.weights, case.parallel, mtp=case.mtp, encoder=case.encoder)
    ]
    tp = case.parallel.tp
    sized = [_size(case, device, held[index // tp], flags) for index, device in enumerate(case.devices)]
    pools = [pools_of(flags, held[index // tp].cells, size) for index, size in enumerate(sized)]
    poorest = min(range(len(pools)), key=lambda index: tokens_of(flags, held[index // tp].cells, pools[index]))
    made, outside = _allocation(case, flags, held, pools, poorest, sized), tiers(case)
    return replace(made, host=outside.host, disk=outside.disk, problems=made.problems + outside.problems)


def resolve(case: Case) -> Flags:
    """The flags: as given, else the version's defaults."""
    data, given = case.engine.defaults, case.settings
    origin = f"default of TensorRT-LLM {case.engine.basis}"
    values = {name: data[name] if getattr(given, name) is None else getattr(given, name) for name in FLAGS}
    if not values["max_num_batched_tokens"]:  # of old builds: padded batches of the longest input
        values["max_num_batched_tokens"] = values["max_num_seqs"] * data["max_num_tokens_by_input"]
    return Flags(
        fraction=float(values["gpu_memory_utilization"]),
        sequences=values["max_num_seqs"],
        tokens=values["max_num_batched_tokens"],
        block=values["block_size"],
        graphs=bool(values["graphs"]),
        length=case.context,
        origins=tuple((name, values[name], origin if getattr(given, name) is None else "given") for name in FLAGS),
    )


def _held(case: Case, stage: Stage, flags: Flags) -> Held:
    """What a device of a stage holds besides the pool."""
    data, parallel, model = case.engine.defaults, case.parallel, case.model
    last = stage.layers.stop == len(model.decoder.pattern)
    weights = loaded_weights(model, stage)
    before = [Term("weights", weights.total, weights.how)]
    draft = draft_stage(case) if last else None
    if draft is not None and case.draft is not None:
        loaded = loaded_weights(case.draft, draft)
        before.append(Term("draft weights", loaded.total, loaded.how))
    if case.lora is not None:
        size = lora_bytes(model, stage.tensors, case.lora)
        before.append(Term("lora", size, f"{case.lora.slots} adapters of rank {case.lora.rank}, 16 bits"))
    cells = stage_cells(model, case.layout, parallel, stage.layers, draft_states(case) if last else ())
    if cells.sequence and not data["state_in_pool"]:
        size = flags.sequences * cells.sequence
        before.append(Term("state slots", size, f"{flags.sequences:,} sequences x {cells.sequence:,} B"))
    longest = model.max_context or case.context  # a step of profiling has prompts as long as may be
    rows = min(flags.sequences, ceil_div(flags.tokens, longest))
    step = StepShape(flags.tokens, rows, parallel.tp, parallel.ep)
    peak = activation_peak(
        model,
        stage,
        step,
        logit_bytes=data["logit_bytes"],
        hidden_copies=data["hidden_copies"],
        moe_chunk=data["moe_chunk_tokens"],
    )
    before.append(Term("activations", peak.total, peak.how))
    graphs = data["graph_sizes"] * data["graph_bytes_per_size"] if flags.graphs else 0
    if graphs:
        before.append(Term("graphs", graphs, f"{data['graph_sizes']} batch sizes, 8 MiB each (assumed)"))
    before.append(_outside(case))
    after = []
    if data["after_pool_bytes"]:
        after.append(Term("runtime buffers", data["after_pool_bytes"], "C++ runtime, made after the pool; fitted"))
    return Held(tuple(before), tuple(after), cells)


def _outside(case: Case) -> Term:
    """Context, libraries, NCCL, and the buffers of the all-reduce kernels of a tensor-parallel group."""
    data, tp = case.engine.defaults, case.parallel.tp
    size = data["runtime_bytes"] + (data["runtime_ranks_bytes"] if case.parallel.devices > 1 else 0)
    workspace = 0
    if tp > 1:
        message = data["allreduce_bytes_two"] if tp == 2 else data["allreduce_bytes"]
        workspace = message * tp * data["allreduce_copies"]
    return Term("non-torch", int(size + workspace), f"context and NCCL (assumed); all-reduce workspace {workspace:,} B")


def _size(case: Case, device: Accelerator, held: Held, flags: Flags) -> int:
    """Bytes of a device's pool; negative: what is missing."""
    free = device.capacity_bytes - case.used_bytes(device) - held.before_bytes
    return int(flags.fraction * free) if free > 0 else free


def _allocation(
    case: Case, flags: Flags, held: list[Held], pools: list[Pools], poorest: int, sized: list[int]
) -> Allocation:
    """The whole: the device with the fewest tokens, what fits, and why not."""
    tp, dp = case.parallel.tp, case.parallel.dp
    cells, mine = held[poorest // tp].cells, pools[poorest]
    in_pool = cells.sequence if case.engine.defaults["state_in_pool"] else 0
    devices = tuple(_device(case, device, held[index // tp], pools[index]) for index, device in enumerate(case.devices))
    starts = all(size > 0 for size in sized) and all(each.free_bytes >= 0 for each in devices)
    most = sequences_in(flags, cells, mine, case.context, in_pool) if starts else 0
    rows = ceil_div(case.batch, dp)
    longest = longest_in(flags, cells, mine, rows, in_pool) if starts else 0
    if starts and cells.windows:  # the pools of windows are dealt by the length

        def holds(tokens: int) -> bool:
            longer = replace(flags, length=tokens)
            pools = pools_of(longer, cells, sized[poorest])
            return sequences_in(longer, cells, pools, tokens, in_pool) >= rows

        longest = largest(holds, MAX_TOKENS)
        longest = None if longest == MAX_TOKENS else longest
    if cells.sequence and not in_pool:  # slots for max_batch_size
        most = min(most, flags.sequences)
        longest = longest if ceil_div(case.batch, dp) <= flags.sequences else 0
    return Allocation(
        case=case,
        devices=devices,
        pool=_pool(case, flags, cells, mine, in_pool),
        problems=tuple(_problems(case, devices, sized, most * dp)),
        max_batch=most * dp,
        max_context=longest,
        settings=flags.origins,
        notes=tuple(_notes(case, flags, most * dp)),
    )


def _pool(case: Case, flags: Flags, cells: Cells, mine: Pools, in_pool: int) -> Pool:
    """The pool of the full layers where there are windows beside them, else all of it."""
    tokens = tokens_of(flags, cells, mine)
    if cells.full:
        each = block_bytes(flags, cells)
        size = mine.blocks * each
        sequence = ceil_div(case.context, flags.block) * each + in_pool
    else:
        each = sum(block for _, block, _ in mine.windows)
        size, sequence = mine.size_bytes, sequence_bytes(flags, cells, case.context, in_pool)
    return Pool(
        size_bytes=size,
        block_tokens=flags.block,
        block_bytes=each,
        tokens=0 if tokens == MAX_TOKENS else tokens,
        sequence_bytes=sequence,
    )


def _notes(case: Case, flags: Flags, most: int) -> list[str]:
    """What the reader should know."""
    notes, running = list(case.engine.notes), flags.sequences * case.parallel.dp
    if min(most, case.batch) > running:
        notes.append(f"max_batch_size is {flags.sequences:,}: at most {running:,} sequences run at once")
    if any(state.window for kind in case.model.decoder.kinds for state in kind.state()):
        if case.layout.windows:
            notes.append(
                "windowed layers have pools of their own; max_seq_len, which they are dealt by, is the context"
            )
        else:
            notes.append(f"TensorRT-LLM {case.engine.basis} keeps all tokens of windowed layers, unless told otherwise")
    return notes


def _device(case: Case, device: Accelerator, held: Held, pools: Pools) -> DeviceMemory:
    """A device: its terms."""
    terms = [*held.before]
    terms.append(Term("kv pool", pools.size_bytes, "the fraction of what the terms before it leave"))
    terms += held.after
    used = case.used_bytes(device)
    if used:
        terms.append(Term("others", used, "what other programs already take"))
    return DeviceMemory(device=device, terms=tuple(terms))


def _problems(case: Case, devices: tuple[DeviceMemory, ...], sized: list[int], most: int) -> list[str]:
    """Why it does not start, or does not hold the batch."""
    problems = []
    for each, size in {
        (each.device.slug, size): (each, size) for each, size in zip(devices, sized, strict=True)
    }.values():
        if size <= 0:
            problems.append(
                f"{each.device.name}: weights, activations and runtime leave nothing for the cache "
                f"({human_bytes(-size)} are missing)"
            )
        elif each.free_bytes < 0:
            problems.append(f"{each.device.name}: {human_bytes(-each.free_bytes)} more than the device has")
    if not problems and most < case.batch:
        held = f"{most:,} of {case.batch:,} sequences" if most else "not one sequence"
        problems.append(f"the pool holds {held} of {case.context:,} tokens")
    return problems
