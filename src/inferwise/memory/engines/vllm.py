"""vLLM: it takes a share of each device; what weights, the widest step and the runtime leave of it is the KV pool."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import Case
from inferwise.memory.dealing import check_dealing
from inferwise.memory.engines.vllm_limits import Limits, resolve
from inferwise.memory.parts.graphs import graph_bytes
from inferwise.memory.parts.lora import lora_bytes
from inferwise.memory.parts.paged import PageLayout, page_layout, paging_rules
from inferwise.memory.parts.runs import check
from inferwise.memory.parts.speculation import draft_stage, draft_states
from inferwise.memory.parts.tiers import tiers
from inferwise.memory.parts.torch_memory import StepShape, activation_peak, as_run, loaded_weights, runtime_bytes
from inferwise.memory.placement import Stage, stages
from inferwise.memory.search import largest_within
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS
from inferwise.spec.state import StateKind
from inferwise.units import ceil_div, human_bytes


@dataclass(frozen=True, slots=True)
class Rank:
    """One device: its uses, the pool that they leave, and the weights that it left on the host."""

    memory: DeviceMemory
    pool_bytes: int
    pages: PageLayout
    offloaded_bytes: int


def allocate(case: Case) -> Allocation:
    """What vLLM allocates for a case. Raises BadInput for what it or the device cannot run.

    Of each device: weights as loaded, the activation peak of a step of max_num_batched_tokens with the sampler's
    warm-up for max_num_seqs, what the runtime takes outside PyTorch (by ranks), and the KV pool: utilisation x the
    driver's memory less all of these (0.19: v1/worker/gpu_worker.py determine_available_memory). CUDA graphs come off
    the pool since 0.20 and lie beside it before. The rank with the fewest blocks counts for all.
    """
    case = as_run(case)
    check(case)
    check_dealing(case.model, case.parallel, case.weights)
    held = stages(case.model, case.weights, case.parallel, mtp=case.mtp, encoder=case.encoder)
    limits = resolve(case)
    return _allocation(case, limits, _ranks(case, held, limits), held)


def _ranks(case: Case, held: list[Stage], limits: Limits) -> list[Rank]:
    """Every device, those that are alike once."""
    tp = case.parallel.tp
    ranks = []
    for index, stage in enumerate(held):
        pages = _pages(case, stage, limits)
        fixed, offloaded = _fixed(case, stage, limits)
        known: dict[tuple[str, int, int], Rank] = {}
        for device in case.devices[index * tp : (index + 1) * tp]:
            like = (device.slug, device.capacity_bytes, case.used_bytes(device))
            if like not in known:
                memory, pool_bytes = _device(case, device, fixed, limits, pages)
                known[like] = Rank(memory, pool_bytes, pages, offloaded)
            ranks.append(known[like])
    return ranks


def _latent(case: Case) -> bool:
    """Whether the model keeps latents."""
    return any(s.kind is StateKind.LATENT for layer in case.model.decoder.kinds for s in layer.state())


def _pages(case: Case, stage: Stage, limits: Limits) -> PageLayout:
    """The paged cache of one device of a stage."""
    rules = paging_rules(
        case.engine.defaults,
        latent=_latent(case),
        block_size=case.settings.block_size or 0,
        max_num_batched_tokens=limits.tokens,
        speculative_tokens=case.speculative_tokens,
    )
    return page_layout(case.model, case.layout, case.parallel, stage.layers, rules, draft_states(case))


def _fixed(case: Case, stage: Stage, limits: Limits) -> tuple[list[Term], int]:
    """What a device of a stage holds besides the pool, and the weights that it leaves on the host."""
    data, parallel = case.engine.defaults, case.parallel
    last = stage.layers.stop == len(case.model.decoder.pattern)
    weights = loaded_weights(case.model, stage)
    offloaded = min(case.settings.offload_weight_bytes, weights.stored)
    terms = [Term("weights", weights.total - offloaded, weights.how)]
    draft = draft_stage(case) if last else None
    if draft is not None and case.draft is not None:
        loaded = loaded_weights(case.draft, draft)
        terms.append(Term("draft weights", loaded.total, loaded.how))
    if case.lora is not None:
        size = lora_bytes(case.model, stage.tensors, case.lora)
        terms.append(Term("lora", size, f"{case.lora.slots} slots of rank {case.lora.rank}, 16 bits"))
    peak = activation_peak(
        case.model,
        stage,
        StepShape(limits.tokens, limits.sequences, parallel.tp, parallel.ep),
        logit_bytes=data["sampler_bytes_per_logit"],
        hidden_copies=data["hidden_copies"],
        moe_chunk=data["moe_chunk_tokens"],
    )
    terms.append(Term("activations", peak.total, peak.how))
    ranks = parallel.devices
    terms.append(
        Term("non-torch", runtime_bytes(data, ranks), f"context, libraries and communication of {ranks} ranks")
    )
    size, how = graph_bytes(case, stage, limits.sequences, limits.tokens) if limits.graphs else (0, "off")
    terms.append(Term("graphs", size, how))
    return terms, offloaded


def _device(
    case: Case, device: Accelerator, fixed: list[Term], limits: Limits, pages: PageLayout
) -> tuple[DeviceMemory, int]:
    """A device: its terms, and what its share leaves for the pool (negative: what is missing)."""
    share = int(limits.utilization * device.capacity_bytes)
    inside = case.engine.defaults["graphs_in_pool"]
    terms = [term for term in fixed if term.name != "graphs"]
    graphs = sum(term.size_bytes for term in fixed if term.name == "graphs")
    slots = pages.slot_bytes * limits.sequences
    if slots:
        terms.append(Term("state slots", slots, f"{limits.sequences:,} sequences"))
    pool = share - sum(term.size_bytes for term in terms) - (graphs if inside else 0)
    how = f"{limits.utilization:g} x {device.capacity_bytes:,} B - the terms above"
    terms.append(Term("kv pool", max(pool, 0), how + (" and the graphs" if inside else "")))
    terms += [term for term in fixed if term.name == "graphs"]
    used = case.used_bytes(device)
    if used:
        terms.append(Term("others", used, "what other programs already take"))
    return DeviceMemory(device=device, terms=tuple(terms)), pool


def _allocation(case: Case, limits: Limits, ranks: list[Rank], held: list[Stage]) -> Allocation:
    """The whole: the rank with the fewest blocks, what fits, and why not."""
    poorest, dp = _poorest(ranks), case.parallel.dp
    pages, pool_bytes = poorest.pages, max(poorest.pool_bytes, 0)
    held_at_once = _most(case, ranks)
    most = min(held_at_once, limits.sequences * dp)
    longest = pages.longest(pool_bytes, ceil_div(case.batch, dp)) if poorest.pool_bytes > 0 else 0
    if limits.by_context:
        longest = _longest(case, held, longest)
    if not all(_starts(case, limits, rank) for rank in ranks):
        most, longest = 0, 0
    pool = Pool(
        size_bytes=pool_bytes,
        block_tokens=pages.block_tokens,
        block_bytes=pages.block_bytes,
        tokens=pages.tokens_logged(pool_bytes, case.context),
        sequence_bytes=pages.sequence_bytes(case.context),
    )
    notes = [*case.engine.notes, *pages.notes]
    if not case.engine.defaults["latent_cache"] and _latent(case):
        notes.append("this version keeps whole keys and values of MLA models: more than the latent that is counted")
    if any(device.architecture != "Hopper" for device in case.devices):
        notes.append("non-torch memory is that of H100s with NVLink: here it was not measured")
    if held_at_once > limits.sequences * dp:
        notes.append(f"the pool would hold {held_at_once:,} sequences; max_num_seqs lets {limits.sequences * dp:,} run")
    beside = tiers(case, sum(rank.offloaded_bytes for rank in ranks))
    return Allocation(
        case=case,
        devices=tuple(rank.memory for rank in ranks),
        host=beside.host,
        disk=beside.disk,
        pool=pool,
        problems=(*_problems(case, limits, ranks, pool, most), *beside.problems),
        max_batch=most,
        max_context=longest,
        settings=limits.origins,
        notes=tuple(dict.fromkeys(notes)),
    )


def _starts(case: Case, limits: Limits, rank: Rank) -> bool:
    """Whether a device has the engine's share free, and room for what lies outside of it."""
    memory = rank.memory
    share = int(limits.utilization * memory.capacity_bytes)
    return memory.free_bytes >= 0 and share <= memory.capacity_bytes - case.used_bytes(memory.device)


def _poorest(ranks: list[Rank]) -> Rank:
    """The rank with the fewest blocks; without paged layers, with the smallest pool."""
    return min(ranks, key=lambda rank: (rank.pool_bytes > 0, rank.pages.blocks_in(rank.pool_bytes), rank.pool_bytes))


def _most(case: Case, ranks: list[Rank]) -> int:
    """Most sequences of the context at once."""
    poorest = _poorest(ranks)
    if poorest.pool_bytes <= 0:
        return 0
    return poorest.pages.most(poorest.pool_bytes, case.context) * case.parallel.dp


def _longest(case: Case, held: list[Stage], bound: int | None) -> int:
    """Longest context where steps, and so activations, grow with it (V0 without chunked prefill)."""

    def room(tokens: int) -> int:
        longer = replace(case, context=tokens)
        return _most(longer, _ranks(longer, held, resolve(longer))) - case.batch

    chunked = case.engine.defaults["chunked_above"]
    if chunked > 0 and bound is not None and bound > chunked and room(chunked + 1) >= 0:
        return largest_within(lambda tokens: room(max(tokens, chunked + 1)), bound)
    high = chunked if chunked > 0 else MAX_TOKENS
    return largest_within(room, high)


def _problems(case: Case, limits: Limits, ranks: list[Rank], pool: Pool, most: int) -> list[str]:
    """Why it does not start, or does not hold the batch."""
    problems = []
    for rank in {id(rank): rank for rank in ranks}.values():
        memory = rank.memory
        share = int(limits.utilization * memory.capacity_bytes)
        used = case.used_bytes(memory.device)
        if rank.pool_bytes <= 0:
            problems.append(
                f"{memory.device.name}: weights, activations and runtime take {human_bytes(share - rank.pool_bytes)} "
                f"of the {human_bytes(share)} that vLLM may use: nothing is left for the cache"
            )
        if share > memory.capacity_bytes - used:
            problems.append(
                f"{memory.device.name}: vLLM wants {human_bytes(share)} free at its start, and others hold "
                f"{human_bytes(used)} of {human_bytes(memory.capacity_bytes)}"
            )
        elif memory.free_bytes < 0 < rank.pool_bytes:
            problems.append(f"{memory.device.name}: {human_bytes(-memory.free_bytes)} more than the device has")
    if not problems and most < case.batch and case.batch > limits.sequences * case.parallel.dp:
        problems.append(f"max_num_seqs {limits.sequences:,} lets no {case.batch:,} sequences run at once")
    elif not problems and most < case.batch:
        held = f"{most:,} of {case.batch:,} sequences" if most else "not one sequence"
        problems.append(
            f"a pool of {human_bytes(pool.size_bytes)} holds {held} of {case.context:,} tokens "
            f"({human_bytes(pool.sequence_bytes)} each)"
        )
    return problems
