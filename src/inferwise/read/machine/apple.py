"""Apple silicon: sysctl and system_profiler."""

from __future__ import annotations

import json
from typing import Any

from inferwise.read.machine.files import fields, plain, whole
from inferwise.read.machine.world import World, facts
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundDevice, FoundHost
from inferwise.units import GIB, MIB

PROFILER = ("system_profiler", "SPDisplaysDataType", "-json")
WIRED = ("sysctl", "iogpu.wired_limit_mb")


def devices(world: World, host: FoundHost) -> tuple[list[FoundDevice], list[str]]:
    """The GPU of Apple's chip; nothing on a Mac with an Intel processor."""
    if world.system != "darwin" or not host.cpu.startswith("Apple"):
        return [], []
    output = world.run(PROFILER)
    cores = cores_of(output or "")
    remarks = [] if cores else ["system_profiler does not say how many cores the GPU has"]
    wired = whole(fields(world.run(WIRED) or "").get("iogpu.wired_limit_mb", ""))
    limit = None if host.memory_bytes is None else gpu_limit_bytes(host.memory_bytes, wired, version_of(host.os))
    if limit is not None and not wired:
        remarks.append("what the GPU may take is macOS's default; `sudo sysctl iogpu.wired_limit_mb=...` changes it")
    free = host.available_bytes
    return [
        FoundDevice(
            name=host.cpu,
            vendor="Apple",
            kind=Kind.UNIFIED,
            memory_bytes=host.memory_bytes,
            gpu_limit_bytes=limit,
            used_bytes=None if limit is None or free is None else max(0, limit - free),
            index=0,
            driver=host.os,
            cores=cores,
            source="sysctl",
        )
    ], remarks


def gpu_limit_bytes(memory_bytes: int, wired_limit_mb: int | None = None, version: int = 0) -> int:
    """What the GPU may wire of a memory: the limit that was set, else the default share of this macOS.

    From macOS 26 on the catalog's rule (accelerators.json), before that names.toml's; both from llama.cpp's logs.

    >>> gpu_limit_bytes(16 * 2**30)  # llama.cpp logs recommendedMaxWorkingSetSize = 11453.25 MB
    11453246122
    """
    if wired_limit_mb:
        return min(wired_limit_mb * MIB, memory_bytes)
    shares = facts()["apple"]
    if version >= shares["catalog_from_version"]:
        from inferwise.catalog.accelerators import limits

        steps = limits()["macos"]["steps"]
        share = next((share for up_to, share in steps if memory_bytes <= up_to * GIB), steps[-1][1])
        return int(memory_bytes * share)
    part, of = shares["large_share"] if memory_bytes >= shares["large_from_gib"] * GIB else shares["small_share"]
    return memory_bytes * int(part) // int(of)


def version_of(system: str) -> int:
    """The version of a `macOS 15.3`; 0 where it is not known."""
    return whole(system.removeprefix("macOS").strip().partition(".")[0]) or 0


def cores_of(output: str) -> int | None:
    """GPU cores in the JSON of `system_profiler SPDisplaysDataType`; None where it says none."""
    try:
        data: Any = json.loads(output)
    except (ValueError, RecursionError):
        return None
    displays = data.get("SPDisplaysDataType") if isinstance(data, dict) else None
    for display in displays if isinstance(displays, list) else []:
        cores = whole(plain(str(display.get("sppci_cores", "")))) if isinstance(display, dict) else None
        if cores:
            return cores
    return None
