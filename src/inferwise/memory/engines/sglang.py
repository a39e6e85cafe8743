"""SGLang: the pool is what is free after loading, less the share of what was free before that is kept for the rest."""

from __future__ import annotations

from dataclasses import replace

from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import Case
from inferwise.memory.dealing import check_dealing
from inferwise.memory.engines.sglang_flags import Flags, prefill_graph_bytes, resolve
from inferwise.memory.engines.sglang_pools import Held, Pools, kv_bytes, longest_in, pools_of, sequences_in, swa_ratio
from inferwise.memory.parts.cells import stage_cells
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.parts.runs import check
from inferwise.memory.parts.speculation import draft_stage, draft_states
from inferwise.memory.parts.tiers import tiers
from inferwise.memory.parts.torch_memory import StepShape, activation_peak, as_run, loaded_weights, runtime_bytes
from inferwise.memory.placement import Stage, stages
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS
from inferwise.spec.tensor import Component
from inferwise.units import ceil_div, human_bytes

TABLE_ENTRY_BYTES = 4  # an int32 a token of a request (mem_cache/memory_pool.py ReqToTokenPool)
UNBALANCED = 0.9  # a rank with less free than this share of another's is refused (model_runner.py)


def allocate(case: Case) -> Allocation:
    """What SGLang allocates for a case. Raises BadInput for what it or the device cannot run.

    Pool = free after loading - (1 - mem_fraction_static) x free before loading, both the least over the ranks
    (model_runner.py profile_max_num_token; kv_cache_configurator.py since 0.5.10). Activations, CUDA graphs and a
    draft model come out of the rest.
    """
    case = as_run(case)
    check(case)
    check_dealing(case.model, case.parallel, case.weights)
    case = _with_windows(case)
    flags = resolve(case)
    dealt = stages(case.model, case.weights, case.parallel, mtp=case.mtp, encoder=case.encoder)
    held = [_held(case, stage, flags) for stage in dealt]
    free_before = min(_free_before(case, device) for device in case.devices)
    loaded = max(each.loaded_bytes for each in held)
    budget = int(free_before - loaded - free_before * (1 - flags.fraction))
    each_pools = [pools_of(case, flags, each, budget) for each in held]
    fewest = min(range(len(held)), key=lambda index: each_pools[index].tokens)
    pools = each_pools[fewest]
    tp = case.parallel.tp
    devices = tuple(_device(case, device, held[index // tp], pools, flags) for index, device in enumerate(case.devices))
    outside = tiers(case, tp * sum(each.offloaded_bytes for each in held))
    made = _allocation(case, flags, held[fewest], pools, devices, budget)
    return replace(made, host=outside.host, disk=outside.disk, problems=made.problems + outside.problems)


def _with_windows(case: Case) -> Case:
    """The case with the layout of this version: all tokens of windowed layers where it has no pool for them."""
    data = case.engine.defaults
    if data["windows_pool"] and case.model.family not in data["windows_pool_not"]:
        return case
    return replace(case, layout=replace(case.layout, windows=False))


def _free_before(case: Case, device: Accelerator) -> int:
    """What is free on a device when the ranks have met and nothing is loaded."""
    return device.capacity_bytes - case.used_bytes(device) - runtime_bytes(case.engine.defaults, case.parallel.devices)


def _held(case: Case, stage: Stage, flags: Flags) -> Held:
    """What a device of a stage holds besides the pools."""
    data, parallel, model = case.engine.defaults, case.parallel, case.model
    last = stage.layers.stop == len(model.decoder.pattern)
    weights = loaded_weights(model, stage)
    mtp = stage.weights.by_component().get(Component.MTP, 0)  # the draft worker loads it, after the pool
    offloaded = min(case.settings.offload_weight_bytes, weights.stored - mtp)
    before = [Term("weights", weights.total - mtp - offloaded, weights.how)]
    if case.lora is not None:
        size = lora_bytes(model, stage.tensors, case.lora)
        before.append(Term("lora", size, f"{case.lora.slots} adapters a batch, rank {case.lora.rank}, 16 bits"))
    after = []
    draft = draft_stage(case) if last else None
    if draft is not None and case.draft is not None:
        loaded = loaded_weights(case.draft, draft)
        after.append(Term("draft weights", loaded.total, loaded.how))
    if mtp:
        after.append(Term("mtp weights", mtp, "loaded by the draft worker"))
    peak = activation_peak(
        model,
        stage,
        StepShape(flags.chunk, flags.graph_max, parallel.tp, parallel.ep),
        logit_bytes=data["logit_bytes"],
        hidden_copies=data["hidden_copies"],
        moe_chunk=data["moe_chunk_tokens"],
    )
    after.append(Term("activations", peak.total, peak.how))
    if flags.graphs:
        size = flags.graph_max * data["graph_bytes_per_sequence"] + prefill_graph_bytes(case, flags.chunk, flags.latent)
        how = f"the engine's own estimate: 2 MiB for each of {flags.graph_max} sequences, and its prefill graphs"
        after.append(Term("graphs", size, how))
    layers = stage.layers
    return Held(
        before=tuple(before),
        after=tuple(after),
        cells=stage_cells(model, case.layout, parallel, layers),
        draft=stage_cells(model, case.layout, parallel, range(0), draft_states(case) if last else ()),
        offloaded_bytes=offloaded,
    )


def _device(case: Case, device: Accelerator, held: Held, pools: Pools, flags: Flags) -> DeviceMemory:
    """A device: its terms."""
    cells = held.cells
    full, windows = kv_bytes(held, pools)
    terms = [*held.before, Term("kv pool", full, f"{pools.tokens:,} tokens x {cells.full_token:,.0f} B")]
    if cells.windows:
        how = f"{pools.window_tokens:,} tokens x {cells.window_token:,.0f} B in windowed layers"
        terms.append(Term("window pool", windows, how))
    if cells.sequence:
        size = (pools.slots + 1) * cells.sequence
        terms.append(Term("state slots", size, f"{pools.slots:,} and a spare x {cells.sequence:,} B"))
    if pools.drafted_bytes:
        terms.append(Term("drafted states", pools.drafted_bytes, "a state for each drafted token of a running request"))
    draft = held.draft.full_bytes(pools.tokens) + held.draft.window_bytes(pools.tokens, MAX_TOKENS)
    if draft:
        terms.append(Term("draft kv", draft, f"draft layers hold the same {pools.tokens:,} tokens"))
    length = (case.model.max_context or case.context) + case.engine.defaults["request_table_extra"]
    size = (pools.running + 1) * length * TABLE_ENTRY_BYTES if pools.running > 0 else 0
    terms.append(Term("request table", size, f"{pools.running + 1:,} requests x {length:,} x 4 B"))
    terms += held.after
    terms.append(
        Term(
            "non-torch",
            runtime_bytes(case.engine.defaults, case.parallel.devices),
            f"context, libraries and {case.parallel.devices} ranks",
        )
    )
    used = case.used_bytes(device)
    if used:
        terms.append(Term("others", used, "what other programs already take"))
    return DeviceMemory(device=device, terms=tuple(terms))


def _allocation(
    case: Case, flags: Flags, held: Held, pools: Pools, devices: tuple[DeviceMemory, ...], budget: int
) -> Allocation:
    """The whole: pool, what fits, and why not."""
    cells, page, dp = held.cells, flags.page, case.parallel.dp
    full, windows = kv_bytes(held, pools)
    starts = budget > 0 and pools.tokens > 0 and min(each.free_bytes for each in devices) >= 0
    most = sequences_in(case, flags, held, pools, case.context) * dp if starts else 0
    longest = longest_in(case, flags, held, pools, ceil_div(case.batch, dp)) if starts else 0
    whole = ceil_div(case.context, page) * page
    reported = int(page * (cells.full_token + swa_ratio(case, cells) * cells.window_token))
    pool = Pool(
        size_bytes=full + windows,
        block_tokens=page,
        block_bytes=reported,
        tokens=pools.tokens,
        sequence_bytes=cells.full_bytes(whole) + cells.window_bytes(whole, page),
    )
    return Allocation(
        case=case,
        devices=devices,
        pool=pool,
        problems=tuple(_problems(case, flags, pools, devices, budget, most)),
        max_batch=most,
        max_context=longest,
        settings=flags.origins,
        notes=tuple(_notes(case, flags, pools)),
    )


def _problems(
    case: Case, flags: Flags, pools: Pools, devices: tuple[DeviceMemory, ...], budget: int, most: int
) -> list[str]:
    """Why it does not start, or does not hold the batch."""
    problems = []
    free = [_free_before(case, device) for device in case.devices]
    if min(free) < UNBALANCED * max(free):
        problems.append(
            f"SGLang refuses devices of unequal memory: {human_bytes(min(free))} and {human_bytes(max(free))} free"
        )
    if budget <= 0 or pools.tokens <= 0:
        problems.append(
            f"weights leave {human_bytes(max(budget, 0))} of the static share ({flags.fraction:g} of what is free) "
            f"for the cache{f': {human_bytes(-budget)} are missing' if budget < 0 else ''}"
        )
    fullest = min(devices, key=lambda each: each.free_bytes)
    if fullest.free_bytes < 0:
        table = fullest.size("request table")
        lower = "lower the static share"
        if table > -fullest.free_bytes:
            lower = f"its request table takes {human_bytes(table)}: give max-num-seqs"
        problems.append(f"{fullest.device.name}: {human_bytes(-fullest.free_bytes)} more than it has; {lower}")
    if not problems and most < case.batch:
        held = f"{most:,} of {case.batch:,} sequences" if most else "not one sequence"
        problems.append(f"a pool of {pools.tokens:,} tokens holds {held} of {case.context:,} tokens")
    return problems


def _notes(case: Case, flags: Flags, pools: Pools) -> list[str]:
    """What the reader should know."""
    notes = list(case.engine.notes)
    running = pools.running * case.parallel.dp
    if case.batch > running > 0:
        notes.append(f"max_running_requests comes to {running:,}: at most so many run at once")
    if flags.sparse and any("Blackwell" in device.architecture for device in case.devices):
        notes.append(
            "SGLang keeps sparse-attention caches in FP8 on Blackwell unless told otherwise: give kv fp8 for it"
        )
    if not case.layout.windows:
        notes.append(f"SGLang {case.engine.basis} keeps every token of this model's windowed layers")
    return notes
