"""llama.cpp: model, KV, compute and output buffers by device and on the host, where layers and experts lie, --fit."""

from __future__ import annotations

from typing import Any

from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.case import Case
from inferwise.memory.llama_cpp.beside import Beside, beside_the_model
from inferwise.memory.llama_cpp.buffers import Buffers, Load, buffers
from inferwise.memory.llama_cpp.compute import unmodelled
from inferwise.memory.llama_cpp.flags import Flags, flags_of, offload_devices
from inferwise.memory.llama_cpp.layers import Layers, layers_of, unknown_states
from inferwise.memory.llama_cpp.placement import Placement, placed
from inferwise.memory.llama_cpp.search import Room, fitted, max_context, max_slots
from inferwise.memory.parts.runs import check_vendor
from inferwise.read.gguf.architectures import ARCHITECTURES
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import gib, human_bytes

DROPPED = "pages of the file that were repacked: read once, and dropped where memory is short"
AVX2 = ("", "AMD", "Intel")
HOW = {
    "weights": "tensors of its layers, as GGUF has them",
    "mapped weights": "the file's tensors that the host keeps, as page cache",
    "repacked weights": "matrices in the CPU's own order, beside the file",
    "kv": "cells x (K row + V row) x layers",
    "recurrent": "state and convolution columns in F32 x slots",
    "compute": "worst micro-batch through ggml's graph allocator",
    "output": "slots x vocabulary x 4",
    "runtime": "the backend's own memory beside its buffers",
    "projector": "tensors of the projector file",
    "mtp": "tensors of the multi-token-prediction layers",
    "lora": "rank x (inputs + outputs) of each linear layer, F32",
    "draft": "weights, KV and compute buffer of the draft model",
    "used by others": "what other programs take",
}


def allocate(case: Case) -> Allocation:
    """What llama.cpp allocates. Raises BadInput for a format that it cannot run."""
    check_vendor(case)
    flags = flags_of(case)
    layers = layers_of(case.model, case.weights)
    load = Load(layers=layers, flags=flags, context=case.context, slots=flags.slots)
    beside = beside_the_model(case, flags)
    room = room_of(case, flags, beside)
    where = placement(case, load, room)
    made = buffers(load, where)
    problems = tuple(_problems(case, made, room))
    notes = _notes(case, layers, flags, where)
    if "repacked weights" in made.host and any(device.vendor not in AVX2 for device in case.devices):
        notes.append("which formats are repacked follows the processor: those of x86-64 with AVX2 are taken")
    partly = where.runs and (where.host or where.host_experts)
    if partly and _chosen(case, flags) and flags.build["fit_min_context"]:
        notes.append(_shorter(load, flags, room))
    longest = max_context(load, where, room, MAX_TOKENS) if flags.slots >= case.batch else 0
    slots = max_slots(load, where, room, int(flags.build["max_slots"]))
    devices, host = _terms(case, made, beside)
    return Allocation(
        case=case,
        devices=devices,
        host=host,
        disk=(Term("mapped weights", made.dropped, DROPPED),) if made.dropped else (),
        pool=_pool(load, made),
        problems=problems,
        max_batch=slots,
        max_context=longest,
        settings=_settings(case, flags, where),
        notes=tuple(notes),
    )


def room_of(case: Case, flags: Flags, beside: Beside) -> Room:
    """What each device has for the model's own buffers, and the host where its memory is known."""
    devices = offload_devices(case)
    rooms = [each.capacity_bytes - case.used_bytes(each) - beside.on(index) for index, each in enumerate(devices)]
    host = case.node.host.memory_bytes
    together = None
    if any(device.kind is Kind.UNIFIED for device in case.devices):  # the same memory: it has one limit for both
        host = None
        together = sum(_whole(each) - case.used_bytes(each) for each in devices)
        together -= sum(beside.on(index) for index in range(len(devices)))
    if not devices and case.devices:
        host = case.devices[0].capacity_bytes - case.used_bytes(case.devices[0]) - beside.on(0)
    return Room(devices=tuple(rooms), host=host, shared=together)


def _whole(device: Accelerator) -> int:
    """All memory of a machine whose GPU shares it: more than the GPU may take, where that is limited."""
    return device.memory_bytes if device.gpu_limit_bytes else device.capacity_bytes


def placement(case: Case, load: Load, room: Room) -> Placement:
    """Where layers lie: as asked for; what the user left open, --fit chooses."""
    flags = load.flags
    if _chosen(case, flags):
        return fitted(load, room.less(int(flags.build["fit_margin_bytes"])))
    return placed(
        len(load.layers.pattern),
        flags.gpu_layers,
        flags.shares if room.devices else (),
        flags.cpu_moe,
        split=flags.split,
        output_first=flags.build["output_first"],
    )


def _chosen(case: Case, flags: Flags) -> bool:
    """Whether --fit places the layers: it is on, and the user left all of that open."""
    settings = case.settings
    return flags.fit and settings.gpu_layers is None and settings.cpu_moe_layers is None and not flags.overrides


def _shorter(load: Load, flags: Flags, room: Room) -> str:
    """What --fit would do first where the context too were left open: shorten it, down to a minimum."""
    count, least = len(load.layers.pattern), int(flags.build["fit_min_context"])
    whole = placed(count, count + 1, flags.shares, 0, split=flags.split)
    longest = max_context(load, whole, room.less(int(flags.build["fit_margin_bytes"])), load.context) or 0
    if longest < least:
        return f"without -c, --fit would take a context of {least} and still leave layers or experts on the host"
    return f"without -c, --fit would keep every layer on the devices with a context of {longest}"


def _problems(case: Case, made: Buffers, room: Room) -> list[str]:
    found = []
    for index, size in enumerate(room.devices):
        over = made.device_total(index) - size
        if over > 0:
            name = offload_devices(case)[index].name
            found.append(f"{name} (device {index}) is short of {human_bytes(over)}")
    if room.host is not None and (over := sum(made.host.values()) - room.host) > 0:
        found.append(f"the host is short of {human_bytes(over)}")
    if room.shared is not None:
        taken = sum(made.device_total(index) for index in range(len(room.devices))) + sum(made.host.values())
        if taken > room.shared:
            found.append(f"GPU and host share a memory that is short of {human_bytes(taken - room.shared)}")
    slots = case.settings.parallel_slots
    if slots is not None and slots < case.batch:
        found.append(f"{slots} slots hold {slots} of {case.batch} sequences")
    return found


def _terms(case: Case, made: Buffers, beside: Beside) -> tuple[tuple[DeviceMemory, ...], tuple[Term, ...]]:
    """Terms of each device of the node, and of the host."""
    uses = list(made.devices)
    host = dict(made.host)
    if not uses and case.devices:
        uses, host = [host], {}
    found = []
    for index, device in enumerate(case.devices):
        terms = dict(uses[index]) if index < len(uses) else {}
        for name, size in beside.terms(index):
            terms[name] = terms.get(name, 0) + size
        terms["used by others"] = case.used_bytes(device)
        kept = tuple(Term(name, size, HOW.get(name, "")) for name, size in terms.items() if size)
        found.append(DeviceMemory(device=device, terms=kept))
    return tuple(found), tuple(Term(name, size, HOW.get(name, "")) for name, size in host.items() if size)


def _pool(load: Load, made: Buffers) -> Pool:
    """The caches of all devices: a cell a block, with its share of windows and states, which have fewer cells."""
    cells = made.cells
    total = sum(uses.get("kv", 0) + uses.get("recurrent", 0) for uses in (*made.devices, made.host))
    return Pool(
        size_bytes=total,
        block_tokens=1,
        block_bytes=total // cells.total,
        tokens=cells.total,
        sequence_bytes=total // load.slots,
    )


def _settings(case: Case, flags: Flags, where: Placement) -> tuple[tuple[str, Any, str], ...]:
    """Every flag with its origin."""
    default = f"default of {case.engine.basis}"
    names = ("ubatch", "flash_attention", "mmap", "repack", "kv_unified", "kv_offload", "fit")
    rows = [(name, case.setting(name), default if getattr(case.settings, name) is None else "given") for name in names]
    asked = case.settings.split is not None or case.parallel.tp > 1
    rows.append(("split", flags.split, "given" if asked else default))
    rows.append(("batch", flags.batch, default))
    rows.append(("parallel_slots", flags.slots, "given" if case.settings.parallel_slots else "the batch"))
    rows.append(("kv", flags.kv, "given" if case.layout.kv != case.engine.layout.kv else default))
    chosen = _chosen(case, flags)
    origins = {"gpu_layers": case.settings.gpu_layers, "cpu_moe_layers": case.settings.cpu_moe_layers}
    count = len(case.model.decoder.pattern)
    values = {"gpu_layers": where.gpu_layers(count), "cpu_moe_layers": where.host_experts}
    for name, given in origins.items():
        rows.append((name, values[name], "given" if given is not None else "--fit" if chosen else default))
    return tuple(rows)


def _architecture(case: Case) -> bool:
    """Whether GGUF files of the model's family are known to run."""
    family = case.model.family.removesuffix("_text")
    known = {str(model_type).removesuffix("_text") for model_type, *_ in ARCHITECTURES.values()}
    return family in known or family in case.engine.defaults["shared_architectures"]


def _notes(case: Case, layers: Layers, flags: Flags, where: Placement) -> list[str]:
    notes = [*case.engine.notes, *layers.notes]
    if not _architecture(case):
        notes.append(f"whether llama.cpp has an architecture for {case.model.family} was not checked")
    if unknown := unmodelled(layers):
        notes.append(f"compute buffer estimated: the graph of {', '.join(unknown)} is not modelled")
    if unknown_states(layers):
        notes.append("this model keeps state that llama.cpp's caches may lay out otherwise: KV by the model's formula")
    if flags.mmap:
        notes.append("mapped weights are page cache: the system may drop them, and reads them again")
    if flags.overrides or (where.runs and (where.host_experts or where.host)):
        notes.append("partial offload: compute buffers of split graphs are estimates that no measurement has tested")
    if case.encoder and layers.projector:
        notes.append("the projector's own compute buffer is not counted: it follows the largest image")
    if any(device.kind is Kind.UNIFIED for device in case.devices):
        limit = max(device.capacity_bytes for device in case.devices)
        notes.append(
            f"unified memory: the GPU may take {gib(limit):.1f} GiB of it; the host's share comes out of the rest"
        )
    vendors = {each.vendor for each in offload_devices(case)}
    if assumed := sorted(vendors & set(case.engine.defaults["runtime_assumed"])):
        notes.append(f"the backend's own memory on {', '.join(assumed)} is assumed: that of another engine")
    if others := sorted(vendors - set(case.engine.defaults["runtime_bytes"])):
        notes.append(f"the backend's own memory on {', '.join(others)} was not measured and is not counted")
    if case.node.host.memory_bytes is None and where.runs and (where.host_experts or where.host):
        notes.append("the host's memory is not known: --host-memory says whether it holds its part")
    return notes
