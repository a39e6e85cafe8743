"""The machine at hand as a Node: what `--gpu this` means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from inferwise.catalog.accelerators import accelerators
from inferwise.read.machine.match import matching, matching_host
from inferwise.spec.hardware import Accelerator, Host, Kind, Market, Node
from inferwise.spec.machine import FoundDevice, Machine

UNKNOWN = "not in the catalog: whether a model fits is known, how fast it runs is not"


def this_node(machine: Machine, known: Mapping[str, Accelerator] | None = None) -> Node:
    """The devices found, with the catalog's figures where it has them; without a GPU, the processor.

    Capacity and what is used now are the driver's. Graphics in a processor stand back where there is a card with
    memory of its own, or where neither their driver nor the catalog knows them. host.memory_bytes: what is available
    now; beside a unified memory or a CPU it is the same memory.
    """
    known = accelerators() if known is None else known
    cards = [each for each in machine.devices if not each.unified]
    notes = list(machine.remarks)
    devices: list[Accelerator] = []
    for each in cards or machine.devices:
        slug = matching(each, known)
        if slug is None and (each.usable_bytes is None or (each.vendor == "Intel" and each.unified)):
            notes.append(f"{each.name} is left out: neither its driver nor the catalog says what it holds")
            continue
        devices.append(_known(each, known[slug], machine.host.memory_bytes) if slug else _plain(each))
    left = [each.name for each in machine.devices if each.unified] if cards else []
    notes += [f"{name} is left out: it shares the host's memory" for name in left]
    host = machine.host
    return Node(
        devices=tuple(devices) or (_cpu(machine, known),),
        host=Host(memory_bytes=host.available_bytes or host.memory_bytes, disk_bytes=host.disk_free_bytes),
        slug="this",
        name="this machine",
        source="as found on it",
        notes="; ".join(notes),
    )


def _known(found: FoundDevice, entry: Accelerator, host_bytes: int | None) -> Accelerator:
    """A device of the catalog, with the capacity that its driver gives: less what the driver keeps from programs."""
    if found.usable_bytes is None:
        return replace(entry, notes=_joined(entry.notes, "its driver gives no memory: the datasheet's"))
    changed = replace(
        entry,
        reported_bytes=found.usable_bytes,
        reported_by=found.source,
        cuda_bytes=found.usable_bytes if found.reserved_bytes else None,
        used_bytes=found.used_bytes or 0,
        notes=_joined(entry.notes, _told(found)),
    )
    if not found.unified:
        return changed
    most = entry.gpu_limit_most_bytes and entry.gpu_limit_most_bytes / entry.memory_bytes * (host_bytes or 0)
    return replace(
        changed,
        memory_bytes=found.memory_bytes or entry.memory_bytes,
        gpu_limit_bytes=found.gpu_limit_bytes,
        gpu_limit_most_bytes=max(int(most), found.usable_bytes) if most else None,
    )


def _plain(found: FoundDevice) -> Accelerator:
    """A device that the catalog lacks."""
    usable = found.usable_bytes or 0
    return Accelerator(
        slug="this-gpu",
        name=found.name,
        vendor=found.vendor,
        architecture=found.architecture,
        kind=found.kind,
        market=Market.DESKTOP,
        memory_bytes=found.memory_bytes or usable,
        reported_bytes=usable,
        reported_by=found.source,
        cuda_bytes=usable if found.reserved_bytes else None,
        gpu_limit_bytes=found.gpu_limit_bytes,
        used_bytes=found.used_bytes or 0,
        source=found.source,
        notes=_joined(UNKNOWN, _told(found)),
    )


def _cpu(machine: Machine, known: Mapping[str, Accelerator]) -> Accelerator:
    """The processor, with the host's memory; what is not available now counts as used."""
    host = machine.host
    total = host.memory_bytes or 0
    slug = matching_host(host, known)
    entry = known[slug] if slug else Accelerator(slug="", name="", memory_bytes=0, market=Market.DESKTOP, notes=UNKNOWN)
    told = f"figures of the catalog's {slug}" if slug else ""
    told += f", one of {host.sockets} sockets" if slug and (host.sockets or 1) > 1 else ""
    return replace(
        entry,
        slug="this-cpu",
        name=host.cpu or host.board or "this CPU",
        kind=Kind.CPU,
        memory_bytes=total,
        reported_bytes=total,
        reported_by="the system",
        gpu_limit_bytes=None,
        gpu_limit_most_bytes=None,
        used_bytes=0 if host.available_bytes is None else max(0, total - host.available_bytes),
        notes=_joined(entry.notes, told),
    )


def _told(found: FoundDevice) -> str:
    return f"memory as {found.source} gives it now" + (f" (driver {found.driver})" if found.driver else "")


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
