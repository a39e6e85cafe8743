"""What to change so that it fits: for each lever the smallest step that does, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.engines import choices
from inferwise.catalog.engines import engine as engine_of
from inferwise.errors import InferwiseError
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.dealing import ONE_PROCESS, default_parallel
from inferwise.memory.engines import allocate
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.units import GIB, ceil_div

MAX_COUNT = 64
Step = tuple[str, Case]


@dataclass(frozen=True, slots=True)
class Change:
    """A change that makes it fit. lever: what is turned; flags: what to type; allocation: what it gives."""

    lever: str
    flags: str
    allocation: Allocation

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        fullest = self.allocation.fullest
        return {
            "lever": self.lever,
            "flags": self.flags,
            "total_bytes": fullest.total_bytes,
            "free_bytes": fullest.free_bytes,
            "host_bytes": self.allocation.host_bytes,
            "max_batch": self.allocation.max_batch,
            "max_context": self.allocation.max_context,
        }


def changes(case: Case, allocation: Allocation) -> tuple[Change, ...]:
    """For each lever the smallest step that makes the case fit; pairs of formats and context where none does alone."""
    levers = {
        "kv format": _kv(case),
        "weight format": _weights(case),
        "context": _context(case, allocation),
        "batch": _batch(case, allocation),
        "limits": _limits(case, allocation),
        "offload": _offload(case, allocation),
        "devices": _devices(case),
        "device": _bigger(case),
        "engine": _engine(case),
    }
    found = [change for lever, steps in levers.items() if (change := _first(lever, steps)) is not None]
    if not any(change.lever in ("kv format", "weight format", "context", "limits") for change in found):
        both = ((f"{w} {k}", two) for k, one in _kv(case) for w, two in _weights(one))
        shorter = ((f"{w} --context {n}", two) for w, one in _weights(case) for n, two in _halved(one))
        for lever, steps in (("weight and kv format", both), ("weight format and context", shorter)):
            pair = _first(lever, steps)
            if pair is not None:
                found.append(pair)
                break
    return tuple(found)


def _first(lever: str, steps: Iterable[Step]) -> Change | None:
    """The first step of a lever that fits; steps that the engine or the device refuses are passed over."""
    for flags, case in steps:
        try:
            allocation = allocate(case)
        except InferwiseError:
            continue
        if allocation.fits:
            return Change(lever, flags, allocation)
    return None


def _weights(case: Case) -> Iterator[Step]:
    """Formats below the present one, the widest first."""
    offered = choices(case.engine.name, "smaller_weights")
    present = case.weights.lower() if case.weights else ""
    lowered = [name.lower() for name in offered]
    start = lowered.index(present) + 1 if present in lowered else 0
    for name in offered[start:]:
        yield f"--weights {name}", replace(case, weights=name)


def _kv(case: Case) -> Iterator[Step]:
    """Formats of the cache below the present one."""
    offered = choices(case.engine.name, "smaller_kv")
    start = offered.index(case.layout.kv) + 1 if case.layout.kv in offered else 0
    for name in offered[start:]:
        yield f"--kv {name}", replace(case, layout=replace(case.layout, kv=name))


def _context(case: Case, allocation: Allocation) -> Iterator[Step]:
    """The longest context that fits, in whole pages of 256 tokens where there is room for one."""
    longest = allocation.max_context or 0
    longest = longest // 256 * 256 or longest
    if 0 < longest < case.context:
        yield f"--context {longest}", replace(case, context=longest)


def _halved(case: Case) -> Iterator[tuple[int, Case]]:
    """The context halved, and halved again, down to 1,024 tokens."""
    tokens = case.context // 2
    while tokens >= 1024:
        yield tokens, replace(case, context=tokens)
        tokens //= 2


def _batch(case: Case, allocation: Allocation) -> Iterator[Step]:
    if 0 < allocation.max_batch < case.batch:
        yield f"--batch {allocation.max_batch}", replace(case, batch=allocation.max_batch)


def _limits(case: Case, allocation: Allocation) -> Iterator[Step]:
    """Smaller steps have smaller activations; a larger share leaves less to others."""
    if case.engine.name in ONE_PROCESS:
        return
    own = {name: value for name, value, _ in allocation.settings}
    free = min(1 - case.used_bytes(each) / each.capacity_bytes for each in case.devices)
    share = int(free * 100) / 100
    if 0 < share < own.get("gpu_memory_utilization", 0):  # others hold a part of what it wants
        settings = replace(case.settings, gpu_memory_utilization=share)
        yield f"--gpu-memory-utilization {share:g}", replace(case, settings=settings)
    if case.batch > own.get("max_num_seqs", case.batch):
        yield f"--max-num-seqs {case.batch}", replace(case, settings=replace(case.settings, max_num_seqs=case.batch))
    tried: dict[str, Any] = {}
    words = ""
    for name, values in (
        ("max_num_seqs", (256, 64, 16)),
        ("max_num_batched_tokens", (2048,)),
        ("gpu_memory_utilization", (0.95,)),
    ):
        present = own.get(name)
        for value in values:
            if present is None or (value < present) == (name == "gpu_memory_utilization"):
                continue
            tried[name] = value
            flag = f"--{name.replace('_', '-')} {value}"
            yield f"{words}{flag}", replace(case, settings=replace(case.settings, **tried))
        if name in tried:
            words += f"--{name.replace('_', '-')} {tried[name]} "


def _offload(case: Case, allocation: Allocation) -> Iterator[Step]:
    """Weights left in the host's memory: layers by llama.cpp, gigabytes by vLLM; no more than the host has."""
    if case.engine.name in ("llama.cpp", "ollama"):
        layers = len(case.model.decoder.pattern)
        experts = any(part.value == "experts" for part in case.model.components())
        if experts:
            for count in sorted({ceil_div(layers * part, 8) for part in range(1, 9)}):
                yield f"--n-cpu-moe {count}", replace(case, settings=replace(case.settings, cpu_moe_layers=count))
        for count in sorted({layers * part // 8 for part in range(8)}, reverse=True):
            yield f"-ngl {count}", replace(case, settings=replace(case.settings, gpu_layers=count))
    elif case.engine.name == "vllm":
        weights = max(device.size("weights") for device in allocation.devices)
        for part in (8, 4, 2):
            size = ceil_div(weights // part, GIB) * GIB + case.settings.offload_weight_bytes
            if size < weights:
                settings = replace(case.settings, offload_weight_bytes=size)
                yield f"--offload {size // GIB}", replace(case, settings=settings)


def _devices(case: Case) -> Iterator[Step]:
    """More devices of the same kind."""
    count = len(case.devices)
    device = case.devices[0]
    if not case.node.uniform or device.kind in (Kind.CPU, Kind.UNIFIED):
        return
    count = count * 2 if count & (count - 1) == 0 else 1 << count.bit_length()
    while count <= MAX_COUNT:
        more = _on(case, device, count)
        yield f"--count {count}{_degrees(more)}", more
        count *= 2


def _degrees(case: Case) -> str:
    """The degrees to type: all that are not 1, as others may have been given before."""
    names = ("tp", "pp", "ep", "dp", "cp")
    return "".join(f" --{name} {getattr(case.parallel, name)}" for name in names if getattr(case.parallel, name) > 1)


def _bigger(case: Case) -> Iterator[Step]:
    """The smallest device of the same maker that holds it, as many as there are now."""
    own = case.devices[0]
    known = sorted(accelerators().values(), key=lambda device: device.capacity_bytes)
    for device in known:
        if device.vendor == own.vendor and device.kind is own.kind and device.capacity_bytes > own.capacity_bytes:
            yield f"--gpu {device.slug}", _on(case, device, len(case.devices))


def _engine(case: Case) -> Iterator[Step]:
    """llama.cpp with GGUF weights, for an engine that keeps all on the devices; experts and layers on a known host."""
    newest = engine_of(case.engine.name)
    plain = case.settings == Settings(used_bytes=case.settings.used_bytes) and case.parallel == Parallel()
    plain = plain and case.layout == newest.layout and case.engine.version == newest.version  # nothing else was typed
    if case.engine.name in ONE_PROCESS or case.draft is not None or case.lora is not None or not plain:
        return
    made = engine_of("llama.cpp")
    alone = case.node.host.memory_bytes is None
    settings = replace(case.settings, fit=False if alone else None)
    for weights in ("Q8_0", "Q4_K_M"):
        flags = f"--engine llama.cpp --weights {weights}{' --no-fit' if alone else ''}"
        yield (
            flags,
            replace(case, engine=made, layout=made.layout, parallel=Parallel(), weights=weights, settings=settings),
        )


def _on(case: Case, device: Accelerator, count: int) -> Case:
    """The case on so many of a device; degrees as the engine usually deals them."""
    same = count == len(case.devices)
    parallel = case.parallel if same else default_parallel(case.model, case.engine.name, count, case.weights)
    return replace(case, node=replace(case.node, devices=(device,) * count), parallel=parallel)
