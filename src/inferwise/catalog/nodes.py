"""Machines that we know, and the names of devices and machines: one, several, or so many of one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import groupby
from typing import Any

from inferwise.catalog.accelerators import accelerator
from inferwise.catalog.lookup import fold, suggestions
from inferwise.errors import BadInput, UnknownName
from inferwise.spec.hardware import Accelerator, Host, Node
from inferwise.units import GB, GIB

MAX_DEVICES = 4096
MAX_TEXT = 1000  # characters of a text that names hardware
TIMES = re.compile(r"^\s*(\d{1,9})\s*[x×*]\s*(?=\S)", re.IGNORECASE)


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    groups = tomllib.loads(resources.files("inferwise.catalog").joinpath("nodes.toml").read_text("utf-8"))
    return {
        slug: {"source": group["source"], **row} for group in groups.values() for slug, row in group["nodes"].items()
    }


@cache
def _by_name() -> Mapping[str, str]:
    """The slug of each name: slugs and aliases, folded."""
    aliases = {fold(alias): slug for slug, row in _rows().items() for alias in row.get("aliases", ())}
    return aliases | {fold(slug): slug for slug in _rows()}


@cache
def _node(slug: str) -> Node:
    row = _rows()[slug]
    return Node(
        slug=slug,
        name=row.get("name", slug),
        devices=named_devices(row["devices"]),
        host=Host(
            memory_bytes=row["host"] * GIB if "host" in row else None,
            memory_bytes_per_s=row["host_gb_per_s"] * 1e9 if "host_gb_per_s" in row else None,
            disk_bytes=row["disk"] * GB if "disk" in row else None,
            disk_bytes_per_s=row["disk_gb_per_s"] * 1e9 if "disk_gb_per_s" in row else None,
            network_bytes_per_s=row["network_gbit_per_s"] * 1e9 / 8 if "network_gbit_per_s" in row else None,
        ),
        source=row["source"],
        notes=row.get("notes", ""),
    )


def nodes() -> Mapping[str, Node]:
    """Every machine by its slug, in the order of the data file."""
    return {slug: _node(slug) for slug in _rows()}


def node(name: str) -> Node:
    """The machine of this name. Raises UnknownName with the nearest ones."""
    found = find_node(name)
    if found is None:
        raise UnknownName("machine", name, suggestions=suggestions(name[:MAX_TEXT], _rows()))
    return found


def find_node(name: str) -> Node | None:
    """The machine of this name, or nothing."""
    slug = _by_name().get(fold(name[:MAX_TEXT]))
    return _node(slug) if slug else None


def named(text: str) -> Node:
    """The hardware of a text without a file."""
    times, rest = _times(text)
    machine = find_node(rest)
    if machine is not None:
        return machine if times == 1 else _machines(machine, times)
    try:
        return node_of(named_devices(text))
    except UnknownName as error:
        machines = [] if "+" in text else _near(rest)
        if not machines:
            raise
        near = [*machines, *(slug for slug in error.suggestions if slug not in machines)][:6]
        raise UnknownName("hardware", rest, suggestions=near, remedy="see `inferwise gpus`") from None


def _near(name: str) -> list[str]:
    """Machines that begin with a name, or are near to it and have its first word."""
    wanted, first = fold(name), fold(name).partition("-")[0]
    begun = [slug for slug in _rows() if slug.startswith(wanted)][:4]
    return begun or [slug for slug in suggestions(name, _rows(), 4) if slug.startswith(first)]


def node_of(devices: tuple[Accelerator, ...]) -> Node:
    """Devices in a machine that is not known."""
    runs = [(same[0], len(same)) for same in ([*run] for _, run in groupby(devices, key=lambda each: each.slug))]
    return Node(
        devices=devices,
        slug="+".join(f"{n}x{device.slug}" if n > 1 else device.slug for device, n in runs),
        name=" + ".join(f"{n} × {device.name}" if n > 1 else device.name for device, n in runs),
    )


def _machines(machine: Node, times: int) -> Node:
    if times * len(machine.devices) > MAX_DEVICES:
        raise BadInput(f"{times * len(machine.devices):,} devices", remedy=f"at most {MAX_DEVICES:,} are planned for")
    host = machine.host
    every = Host(
        memory_bytes=host.memory_bytes and host.memory_bytes * times,
        memory_bytes_per_s=host.memory_bytes_per_s and host.memory_bytes_per_s * times,
        disk_bytes=host.disk_bytes and host.disk_bytes * times,
        disk_bytes_per_s=host.disk_bytes_per_s and host.disk_bytes_per_s * times,
        network_bytes_per_s=host.network_bytes_per_s and host.network_bytes_per_s * times,
    )
    return Node(
        devices=machine.devices * times,
        host=every,
        slug=f"{times}x{machine.slug}",
        name=f"{times} × {machine.name}",
        source=machine.source,
        notes="; ".join(part for part in (f"host figures of all {times} together", machine.notes) if part),
    )


def _times(text: str) -> tuple[int, str]:
    """`2x rtx-3090` as 2 and the name."""
    match = TIMES.match(text)
    if match is None:
        return 1, text.strip()
    times = int(match[1])
    if not 1 <= times <= MAX_DEVICES:
        raise BadInput(f"{times:,} of a device", where=text.strip()[:80], remedy=f"give 1 to {MAX_DEVICES:,}")
    return times, text[match.end() :].strip()


def named_devices(text: str, own: Mapping[str, Accelerator] | None = None) -> tuple[Accelerator, ...]:
    """The devices of `2xrtx-3090+rtx-3060`, in order. `own`: devices beside the catalog's, by their exact names.

    Raises BadInput, UnknownName.
    """
    known = own or {}

    def some(part: str) -> tuple[Accelerator, ...]:
        times, name = _times(part)
        return (known[name] if name in known else accelerator(name),) * times

    parts = text.split("+")
    if len(parts) > 1:
        try:  # a plus sign may belong to a name: Ryzen AI Max+ 395
            return some(text)
        except UnknownName:
            pass
    devices: tuple[Accelerator, ...] = ()
    for part in parts:
        name = _times(part)[1]
        if not name:
            raise BadInput("an empty name beside '+'", where=text.strip()[:80], remedy="write rtx-3090+rtx-3060")
        if len(parts) > 1 and name not in known and find_node(name) is not None:
            what = f"'{name[:80]}' is a machine of its own"
            raise BadInput(what, where=text.strip()[:80], remedy="join devices with '+', not machines")
        devices += some(part)
        if len(devices) > MAX_DEVICES:
            raise BadInput("too many devices", where=text.strip()[:80], remedy=f"at most {MAX_DEVICES:,}")
    return devices
