"""Every buffer that llama.cpp logs, by device and on the host, for one placement, context and count of slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from inferwise.memory.llama_cpp.compute import Part, part_bytes, shortened
from inferwise.memory.llama_cpp.flags import ALIGNMENTS, DENSE_CACHES, Flags
from inferwise.memory.llama_cpp.inputs import Shape
from inferwise.memory.llama_cpp.kv_cells import Cells, cache_bytes, cells_for
from inferwise.memory.llama_cpp.layers import Layers, file_span
from inferwise.memory.llama_cpp.placement import HOST, PlacedWeights, Placement, place_weights
from inferwise.units import round_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of a model: `slots` sequences of `context` tokens; rough: compute buffers need not be exact."""

    layers: Layers
    flags: Flags
    context: int
    slots: int
    rough: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Bytes by use, on each device and on the host. cells: of the caches. dropped: mapped pages that are not needed
    once they were repacked.
    """

    devices: tuple[dict[str, int], ...]
    host: dict[str, int]
    cells: Cells
    dropped: int = 0

    def device_total(self, index: int) -> int:
        """Bytes on one device."""
        return sum(self.devices[index].values())


def cells_of(load: Load) -> Cells:
    """The caches' cells."""
    flags, build = load.flags, load.flags.build
    return cells_for(
        load.context,
        load.slots,
        min(flags.ubatch, flags.batch),
        unified=flags.unified,
        multiple=256 if flags.flash else int(build["context_multiple"]),
        windows=bool(build["kv_windows"]),
        absorbed=bool(build["absorbed_latent"]),
    )


def shape_of(load: Load, cells: Cells) -> Shape:
    """The micro-batch that is reserved: as many tokens as it may have."""
    flags, build = load.flags, load.flags.build
    total = round_up(load.context * load.slots, cells.multiple)
    tokens = min(total, flags.batch, flags.ubatch)
    windows = [state for states in load.layers.states for state in states if state.window is not None]
    rotated = bool(build["rotated_cache"]) and flags.kv not in DENSE_CACHES
    return Shape(
        tokens=tokens,
        sequences=cells.streams,
        slots=load.slots,
        outputs=load.slots * flags.outputs if build["outputs_of_slots"] else tokens,
        cells=cells.tokens,
        window_cells=cells.of(windows[0]) if windows else 0,
        windowed=bool(windows),
        flash=flags.flash,
        k_rotated=rotated,
        v_rotated=rotated,
        kv_cast=flags.kv == "fp32",
        mixed=bool(build["mixed_inputs"]),
        fused_glu=bool(build["fused_glu"]),
        half_mask=bool(build["half_mask"]),
        indexed_writes=bool(build["indexed_writes"]),
    )


def buffers(load: Load, where: Placement) -> Buffers:
    """All buffers of a placement."""
    layers, flags = load.layers, load.flags
    cells = cells_of(load)
    weights = place_weights(layers, where, flags.overrides)
    shape = shape_of(load, cells)
    devices = [{"weights": size} for size in weights.devices]
    host, dropped = host_weights(load, weights, where)
    _add_caches(devices, host, load, cells, where)
    copies = int(flags.build["pipeline_copies"]) if _pipelined(where, flags, weights) else 1
    for index, uses in enumerate(devices):
        # A layer's experts pass through the device that runs it (ggml-backend.cpp, offload_op).
        uses["compute"] = device_compute(load, shape, where, index, copies) + weights.streamed
    host["compute"] = host_compute(load, shape, where)
    host["output"] = load.slots * flags.outputs * layers.vocab * 4
    return Buffers(devices=tuple(devices), host=host, cells=cells, dropped=dropped)


def host_weights(load: Load, weights: PlacedWeights, where: Placement) -> tuple[dict[str, int], int]:
    """The host's weights, mapped from the file or read, copies repacked for the CPU, and mapped pages to drop.

    Beside a GPU nothing is repacked: its host buffers come first (llama-model.cpp make_cpu_buft_list).
    """
    flags, layers = load.flags, load.layers
    name = "mapped weights" if flags.mmap else "weights"
    computed = weights.host - layers.input
    if not flags.repack or computed <= 0 or where.runs:
        return {name: weights.host}, 0
    formats = tuple(flags.build["cpu_repacks"])
    matrices = sum(layers.matrices.get(each, 0) for each in formats)
    repacked = matrices * computed // max(1, layers.total - layers.input)
    if not repacked:
        return {name: weights.host}, 0
    kept = weights.host - repacked
    # What is mapped is one stretch of the file, from the first tensor that is used there to the last.
    dropped = max(0, file_span(layers, formats) - kept) if flags.mmap else 0
    if where.output == HOST and layers.tied_format in formats:
        repacked += layers.tied  # the head is the embedding, which stays as it is for look-ups
    return {name: kept, "repacked weights": repacked}, dropped


def _add_caches(
    devices: list[dict[str, int]], host: dict[str, int], load: Load, cells: Cells, where: Placement
) -> None:
    """Each layer's cache where the layer is, unless the KV stays on the host (-nkvo)."""
    layers, flags = load.layers, load.flags
    kept = cache_bytes(layers, cells, flags.kv, flags.index)
    runs = [(host, 0, where.host), *((uses, *run) for uses, run in zip(devices, where.runs, strict=True))]
    for uses, start, stop in runs:
        into = uses if flags.kv_offload else host
        for name, size in zip(("kv", "recurrent"), kept.of(layers, start, stop), strict=True):
            if size:
                into[name] = into.get(name, 0) + size
    if where.shares:
        for name in ("kv", "recurrent"):
            total = sum(uses.pop(name, 0) for uses in devices)
            for uses, share in zip(devices, where.shares, strict=True):
                if total:
                    uses[name] = int(total * share)


def _pipelined(where: Placement, flags: Flags, weights: PlacedWeights) -> bool:
    """Whether micro-batches run through several devices at once: all layers there, nothing on the host."""
    full = where.output != HOST and not where.host and not weights.streamed
    return len(where.runs) > 1 and full and not where.shares and flags.kv_offload


@lru_cache(maxsize=512)
def _kinds(layers: Layers, start: int, stop: int) -> tuple[int, ...]:
    """The layers of a run that its graph needs."""
    return shortened(layers.pattern[start:stop])


def device_compute(load: Load, shape: Shape, where: Placement, index: int, copies: int) -> int:
    """One device's compute buffer."""
    start, stop = (where.host, len(load.layers.pattern)) if where.shares else where.runs[index]
    logits = where.output == index or bool(where.shares)
    if start == stop and not logits:
        return 0
    part = Part(_kinds(load.layers, start, stop), False, logits, ALIGNMENTS["device"], copies)
    return compute(load, shape, part)


def host_compute(load: Load, shape: Shape, where: Placement) -> int:
    """The host's compute buffer: inputs, embeddings, and the layers that it runs."""
    part = Part(_kinds(load.layers, 0, where.host), True, where.output == HOST, ALIGNMENTS["host"])
    return compute(load, shape, part)


def compute(load: Load, shape: Shape, part: Part) -> int:
    """A backend's compute buffer; in a search by what its masks add to one context's.

    With flash attention only masks grow with the cells, and they lie below all else from beginning to end.
    """
    layers = load.layers
    if not load.rough or shape.kv_cast or not (shape.flash and shape.half_mask):
        return part_bytes(layers, shape, part)
    slots = shape.slots if layers.recurrent else 1
    small = replace(shape, cells=256, window_cells=256, slots=slots, sequences=slots, outputs=1)
    masks = 0
    for windowed, cells in ((False, shape.cells), (True, shape.window_cells)):
        if part.embeds and not part.kinds:
            kinds: Sequence[int] = range(len(layers.kinds))
        else:
            kinds = part.kinds
        if any(layers.windowed[kind] is (windowed and shape.windowed) for kind in kinds if layers.attends[kind]):
            masks += 2 * shape.tokens * (cells - 256) * part.copies if windowed <= shape.windowed else 0
    return part_bytes(layers, small, part) + masks
