"""SGLang's flags: as given, else what a version computes from the device's class, the ranks and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inferwise.memory.case import Case
from inferwise.memory.placement import TOWERS
from inferwise.spec.state import StateKind
from inferwise.units import GIB, MIB

Origins = tuple[tuple[str, Any, str], ...]
PREFILL_SIZES = (  # captured sizes of a prefill: up to, from, step (srt/server_args.py, prefill graph batch sizes)
    (32, 4, 4),
    (256, 48, 16),
    (512, 288, 32),
    (1024, 576, 64),
    (4096, 1280, 256),
)
PREFILL_STEP = 512


@dataclass(frozen=True, slots=True)
class Flags:
    """What bears on memory. fraction: mem_fraction_static. chunk: chunked_prefill_size [tokens]. graph_max: sequences
    of the largest decode graph. page: tokens of a page. running: max_running_requests where given."""

    fraction: float
    chunk: int
    graph_max: int
    graphs: bool
    page: int
    running: int | None
    latent: bool
    sparse: bool
    origins: Origins


def resolve(case: Case) -> Flags:
    """The flags of a case (srt/server_args.py of the version)."""
    data, given = case.engine.defaults, case.settings
    smallest_mib = min(device.capacity_bytes for device in case.devices) / MIB
    row = next(each for each in data["classes"] if smallest_mib < each["below_mib"])
    of_class = f"SGLang {case.engine.basis} for devices below {row['below_mib']:,.0f} MiB"
    kinds = {state.kind for layer in case.model.decoder.kinds for state in layer.state()}
    latent, sparse = StateKind.LATENT in kinds, StateKind.INDEX in kinds
    chunk = given.max_num_batched_tokens or row["chunk"]
    graph_max = row["graph_max_tp4"] if case.parallel.tp >= 4 else row["graph_max"]
    graphs = data["graphs"] if given.graphs is None else given.graphs
    page, page_from = _page(case, sparse)
    fraction, fraction_from = _fraction(case, row, chunk, graph_max, latent)
    origins: Origins = (
        ("gpu_memory_utilization", fraction, fraction_from),
        ("max_num_batched_tokens", chunk, "given" if given.max_num_batched_tokens else of_class),
        ("graph_sequences", graph_max if graphs else 0, of_class),
        ("graphs", graphs, "given" if given.graphs is not None else f"default of SGLang {case.engine.basis}"),
        ("block_size", page, page_from),
    )
    if given.max_num_seqs:
        origins += (("max_num_seqs", given.max_num_seqs, "given"),)
    return Flags(fraction, chunk, graph_max, graphs, page, given.max_num_seqs, latent, sparse, origins)


def _page(case: Case, sparse: bool) -> tuple[int, str]:
    """Tokens of a page, and why."""
    data = case.engine.defaults
    if case.settings.block_size:
        return case.settings.block_size, "given"
    nvidia = [device for device in case.devices if device.vendor == "NVIDIA"]
    if sparse and nvidia:
        return data["block_size_sparse"], "sparse attention kernels"
    if data["block_size_blackwell"] > 1 and any("Blackwell" in device.architecture for device in nvidia):
        return data["block_size_blackwell"], "default kernels on Blackwell"
    return data["block_size"], f"default of SGLang {case.engine.basis}"


def _fraction(case: Case, row: Mapping[str, Any], chunk: int, graph_max: int, latent: bool) -> tuple[float, str]:
    """mem_fraction_static, and how it came about."""
    data, given = case.engine.defaults, case.settings.gpu_memory_utilization
    if given is not None:
        return given, "given"
    ranks = case.parallel.devices
    if data["fraction_rule"] == "ranks":
        fraction = next(share for least, share in data["fraction_by_ranks"] if case.parallel.tp >= least)
        return fraction, f"SGLang {case.engine.basis} at tp {case.parallel.tp}"
    total = min(device.capacity_bytes for device in case.devices)
    if data["fraction_rule"] == "reserve":
        reserve = (row["reserve_gib"] + row["reserve_gib_per_rank"] * ranks) * GIB
        reserve += data["dp_reserve_bytes"] if case.parallel.dp > 1 else 0
    else:
        reserve = reserved_mib(case, chunk, graph_max, latent, total / MIB) * MIB
    if case.draft is not None:
        reserve += data["standalone_reserve_bytes"]
    elif case.mtp and case.speculative_tokens:
        reserve += data["draft_reserve_bytes"]
    fraction = round((total - reserve) / total, 3) * _vlm_factor(case)
    fraction = round(min(max(fraction, 0.0), 1.0), 3)
    return fraction, f"SGLang {case.engine.basis}: 1 - {reserve / GIB:.2f} GiB kept for activations and graphs"


def reserved_mib(case: Case, chunk: int, graph_max: int, latent: bool, total_mib: float) -> float:
    """What SGLang since 0.5.3 keeps out of the static part, by chunk, graphs and ranks [MiB]."""
    data, dp = case.engine.defaults, case.parallel.dp
    kept: float = data["reserve_base_mib"] + data["reserve_mib_per_token"] * max(chunk, data["reserve_tokens_least"])
    kept += data["reserve_mib_per_rank"] * case.parallel.devices
    kept += data["reserve_mib_per_sequence"] * graph_max
    if dp > 1:
        more = data["reserve_dp_more_mib"] if graph_max > data["reserve_dp_more_above"] else 0
        kept += graph_max * dp * (data["reserve_dp_mib"] + more)
    kept += prefill_graph_bytes(case, chunk, latent) / MIB
    return max(kept, data["reserve_least_mib"]) if total_mib > data["reserve_least_above_mib"] else kept


def prefill_graph_bytes(case: Case, chunk: int, latent: bool) -> int:
    """What the captured prefills take outside PyTorch by the engine's own estimate; 0 in versions without them.

    Off for models with an encoder and under context parallelism, as the version's compatibility rules say.
    """
    data = case.engine.defaults
    size: int = data["prefill_graph_bytes"]
    towers = case.encoder and any(stack.component in TOWERS for stack in case.model.stacks)
    if not size or towers or case.parallel.cp > 1:
        return 0
    return int(data["prefill_graph_latent_bytes"]) if latent else size * prefill_sizes(chunk)


def prefill_sizes(chunk: int) -> int:
    """How many prefill sizes up to `chunk` tokens are captured."""
    count = sum(len(range(first, min(last, chunk) + 1, step)) for last, first, step in PREFILL_SIZES)
    return count + len(range(4608, chunk + 1, PREFILL_STEP))


def _vlm_factor(case: Case) -> float:
    """What a vision tower takes off the fraction: by its layers x width^2 against ViT-L/14's (0.8 to 1.05 of 0.95)."""
    tower = next((stack for stack in case.model.stacks if stack.role == "vision"), None)
    if tower is None or not case.encoder:
        return 1.0
    data = case.engine.defaults
    width = min((t.shape[-1] for layer in tower.kinds for t in layer.tensors() if t.linear), default=0)
    score = len(tower.pattern) * width**2 / data["vlm_baseline"]
    step = min(max(1 - data["vlm_step"] * (score - 1), data["vlm_least"]), data["vlm_most"])
    return float(data["vlm_factor"] * step)


def running_most(case: Case, flags: Flags, tokens: int, context_length: int) -> int:
    """max_running_requests of one replica of attention (resolve_max_num_reqs: 512 contexts, in 2,048 .. 4,096)."""
    if flags.running:
        return min(flags.running // case.parallel.dp, tokens // 2)
    return min(max(min(tokens * 512 // context_length, 4096), 2048), tokens // 2)
