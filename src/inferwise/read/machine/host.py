"""The host: its processor, memory, disk and system. Linux says it in /proc and /sys; elsewhere psutil, where it is."""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from inferwise.read.machine.files import entries, fields, plain, text, whole
from inferwise.read.machine.limits import memory_limit
from inferwise.read.machine.world import World
from inferwise.spec.machine import FoundHost
from inferwise.units import KIB


def host(world: World) -> tuple[FoundHost, list[str]]:
    """The host's facts, and remarks on what could not be read."""
    if world.system == "linux":
        found = _linux(world)
    elif world.system == "darwin":
        found = _darwin(world)
    else:
        found = _elsewhere()
    found = replace(found, disk_free_bytes=_disk(Path.cwd), home_free_bytes=_disk(Path.home))
    remarks = [] if found.memory_bytes else ["the host's memory could not be read: `pip install inferwise[detect]`"]
    if found.memory_limit_bytes is not None:
        remarks.append("this process runs under a memory limit (a container's or a service's): its memory is that")
    return found, remarks


def memory_of(content: str) -> tuple[int | None, int | None]:
    """Total and available bytes of a /proc/meminfo. Kernels before 3.14 give no MemAvailable: free and cached."""
    rows = fields(content)

    def size(key: str) -> int | None:
        value = whole(rows.get(key, "").removesuffix("kB"))
        return None if value is None else value * KIB

    available = size("MemAvailable")
    if available is None and (free := size("MemFree")) is not None:
        available = free + (size("Cached") or 0)
    return size("MemTotal"), available


def processor_of(content: str) -> tuple[str, int | None, int | None]:
    """Name, physical cores and sockets of a /proc/cpuinfo; x86 says which core and socket each processor is."""
    pairs: set[tuple[str, str]] = set()
    for block in content.split("\n\n"):
        rows = fields(block)
        if "core id" in rows:
            pairs.add((rows.get("physical id", "0"), rows["core id"]))
    rows = fields(content)
    name = plain(rows.get("model name") or rows.get("Model") or rows.get("Hardware") or "")
    return name, len(pairs) or None, len({socket for socket, _ in pairs}) or None


def board_of(world: World) -> str:
    """The maker's name of the board (Raspberry Pi, Jetson…), from its device tree."""
    return plain(text(world.at("proc/device-tree/model"), 256))


def _linux(world: World) -> FoundHost:
    total, available = memory_of(text(world.at("proc/meminfo")))
    if total is None and world.root == Path("/"):
        total, available = _sysconf(), available
    name, cores, sockets = processor_of(text(world.at("proc/cpuinfo"), 4 << 20))
    board = board_of(world)
    limit = memory_limit(world.root)
    limited = limit is not None and (total is None or limit.limit_bytes < total)
    if limit is not None and limited:
        total = limit.limit_bytes
        available = limit.free_bytes if available is None else min(available, limit.free_bytes)
    return FoundHost(
        cpu=name or board,
        cores=_cores(world) or cores,
        sockets=sockets,
        memory_bytes=total,
        available_bytes=available,
        memory_limit_bytes=limit.limit_bytes if limit is not None and limited else None,
        os=_release(world),
        board=board,
    )


def _cores(world: World) -> int | None:
    """Physical cores: sets of processors that share one."""
    processors = entries(world.at("sys/devices/system/cpu"), r"cpu[0-9]{1,5}")
    lists = {
        text(each / "topology/core_cpus_list") or text(each / "topology/thread_siblings_list") for each in processors
    }
    return len(lists - {""}) or None


def _release(world: World) -> str:
    rows = fields(text(world.at("etc/os-release")), "=")
    kernel = text(world.at("proc/sys/kernel/osrelease"), 256)
    return plain(
        ", ".join(part for part in (rows.get("PRETTY_NAME", "").strip("\"'"), f"Linux {kernel}".strip()) if part)
    )


def _sysconf() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _darwin(world: World) -> FoundHost:
    rows = fields(world.run(SYSCTL) or "")
    available = available_of(world.run(("vm_stat",)) or "")
    version = plain(world.run(("sw_vers", "-productVersion")) or "")
    return FoundHost(
        cpu=plain(rows.get("machdep.cpu.brand_string", "")),
        cores=whole(rows.get("hw.physicalcpu", "")),
        sockets=whole(rows.get("hw.packages", "")),
        memory_bytes=whole(rows.get("hw.memsize", "")),
        available_bytes=available,
        os=f"macOS {version}".strip(),
    )


SYSCTL = ("sysctl", "hw.memsize", "hw.physicalcpu", "hw.packages", "machdep.cpu.brand_string")


def available_of(content: str) -> int | None:
    """Available bytes of a macOS `vm_stat`: pages that are free, inactive or read ahead."""
    rows = fields(content)
    words = rows.get("Mach Virtual Memory Statistics", "").split()
    size = next((whole(word) for word in words if whole(word)), None)
    pages = [whole(rows.get(f"Pages {kind}", "").rstrip(".")) for kind in ("free", "inactive", "speculative")]
    return None if size is None or pages[0] is None else size * sum(page or 0 for page in pages)


def _elsewhere() -> FoundHost:
    import platform

    found = FoundHost(cpu=plain(platform.processor()), os=plain(platform.platform()), memory_bytes=_sysconf())
    try:
        psutil: Any = importlib.import_module("psutil")
    except ImportError:
        return found
    memory = psutil.virtual_memory()
    return replace(
        found,
        memory_bytes=int(memory.total),
        available_bytes=int(memory.available),
        cores=psutil.cpu_count(logical=False),
    )


def _disk(folder: Any) -> int | None:
    try:
        return shutil.disk_usage(folder()).free
    except (OSError, RuntimeError):
        return None  # the current folder was removed, or there is no home
