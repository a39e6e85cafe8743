"""From a device as an engine's log names it to one of the catalog."""

from __future__ import annotations

from dataclasses import replace

from inferwise.catalog.accelerators import accelerators
from inferwise.errors import BadInput
from inferwise.evidence.logs.engine_log import LogDevice
from inferwise.read.machine.match import matching, matching_host
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.spec.machine import FoundDevice, FoundHost


def device_of(seen: LogDevice, source: str) -> Accelerator:
    """The catalog's device of that name, else one that has the memory which the log tells, and no more is known of it.

    Its capacity is what the log's driver reports. Raises BadInput where the log gives neither a name nor a size.
    """
    slug = _slug(seen)
    if slug is not None:
        return sized(accelerators()[slug], seen)
    if seen.total_bytes is None:
        named = f"its '{seen.name[:60]}' is not in the catalog, and it" if seen.name else "it"
        raise BadInput(
            f"the log does not tell the device: {named} gives no memory of it",
            where=source,
            remedy="say which it is by --gpu (see `inferwise gpus`)",
        )
    return Accelerator(
        slug="cpu" if seen.label == "CPU" else "log",
        name=seen.name or "the log's device",
        memory_bytes=seen.total_bytes,
        reported_bytes=seen.total_bytes,
        cuda_bytes=seen.total_bytes,
        kind=Kind.CPU if seen.label == "CPU" else Kind.GPU,
        source=f"the log {source}",
        notes="not in the catalog by this name: its memory is the log's, nothing else is known",
    )


def _slug(seen: LogDevice) -> str | None:
    if not seen.name:
        return None
    if seen.label == "CPU":
        return matching_host(FoundHost(cpu=seen.name, memory_bytes=seen.total_bytes))
    kinds = (Kind.GPU, Kind.UNIFIED)
    found = (matching(FoundDevice(name=seen.name, kind=kind, memory_bytes=seen.total_bytes)) for kind in kinds)
    return next((slug for slug in found if slug is not None), None)


def sized(device: Accelerator, seen: LogDevice) -> Accelerator:
    """A device with the capacity that the log's driver reports to programs."""
    if not seen.total_bytes:
        return device
    limit = seen.total_bytes if device.gpu_limit_bytes else None
    return replace(device, reported_bytes=seen.total_bytes, cuda_bytes=seen.total_bytes, gpu_limit_bytes=limit)
