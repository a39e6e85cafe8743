"""NVIDIA devices: NVML (nvidia-ml-py, the `detect` extra), or else what nvidia-smi prints."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable
from typing import Any

from inferwise.read.machine.command import have
from inferwise.read.machine.files import plain, text, whole
from inferwise.read.machine.world import World, facts
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundDevice
from inferwise.units import MIB

QUERY = ("index", "name", "uuid", "driver_version", "memory.total", "memory.used", "memory.free")  # in every driver
SMI = ("nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits")
MAX_DEVICES = 1024
Found = tuple[list[FoundDevice], list[str]]


def package() -> Any:
    """The pynvml module, or None where it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def devices(world: World, load: Callable[[], Any] = package) -> Found:
    """The devices of NVIDIA's driver; nothing where there is no sign of one."""
    command = have(SMI[0])
    if not (command or world.at("proc/driver/nvidia").is_dir() or world.at("dev/nvidiactl").exists()):
        return [], []
    nvml = load()
    found, remarks = from_nvml(nvml) if nvml is not None else (None, [])
    if found is not None:
        return found, remarks
    output = world.run(SMI) if command else None
    if output is not None:
        found, remarks = from_smi(output)
        return found, remarks
    reason = "; ".join(remarks) or ("nvidia-smi gives no answer" if command else "there is no nvidia-smi")
    extra = "" if nvml is not None else "; `pip install inferwise[detect]` asks the driver itself"
    return [], [f"there are signs of an NVIDIA driver, but it tells of no device: {reason}{extra}"]


def from_nvml(nvml: Any) -> tuple[list[FoundDevice] | None, list[str]]:
    """What NVML knows; None where it cannot be loaded or started (no driver, another version, no permission)."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return None, [f"NVML cannot be started: {plain(str(error))}"]
    try:
        driver = _said(_ask(nvml, "nvmlSystemGetDriverVersion"))
        count = _ask(nvml, "nvmlDeviceGetCount")
        found: list[FoundDevice] = []
        remarks: list[str] = []
        for index in range(min(count or 0, MAX_DEVICES)):
            handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index)
            if handle is None:
                remarks.append(f"NVIDIA device {index} gives no answer: it may have fallen off the bus")
                continue
            found += _parts(nvml, handle, index, driver) or [_device(nvml, handle, index, driver)]
        return found, remarks + _unread(found)
    finally:
        _ask(nvml, "nvmlShutdown")


def from_smi(output: str) -> Found:
    """The devices of `nvidia-smi --query-gpu` (csv, no header, no units: MiB); odd lines are told, never fatal."""
    found: list[FoundDevice] = []
    remarks: list[str] = []
    for line in output.splitlines()[:MAX_DEVICES]:
        if not line.strip():
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
        except csv.Error:
            cells = []
        if len(cells) != len(QUERY) or whole(cells[0]) is None:
            remarks.append(f"nvidia-smi says: {plain(line, 80)}")
            continue
        index, name, uuid, driver = whole(cells[0]), plain(cells[1]), plain(cells[2]), plain(cells[3])
        total, used, free = (None if (size := whole(cell)) is None else size * MIB for cell in cells[4:])
        kept = total - used - free if total is not None and used is not None and free is not None else 0
        found.append(
            FoundDevice(
                name=name,
                vendor="NVIDIA",
                kind=_kind(name, total),
                memory_bytes=total,
                reserved_bytes=kept if 0 <= kept < (total or 0) else 0,
                used_bytes=used,
                index=index,
                uuid=uuid,
                driver=driver,
                source="nvidia-smi",
            )
        )
    return found, remarks[:4] + _unread(found)


def jetson(world: World, board: str) -> list[FoundDevice]:
    """The GPU of a Jetson, whose driver need not come with NVML: the board says what it is."""
    named = board.lower()
    if "nvidia" not in named and "jetson" not in named:
        return []
    if not any(word in named for word in facts()["nvidia"]["unified"]) and "jetson" not in named:
        return []
    driver = text(world.at("sys/module/nvidia/version"), 64)
    return [FoundDevice(name=board, vendor="NVIDIA", kind=Kind.UNIFIED, driver=plain(driver), source="device tree")]


def _kind(name: str, total: int | None) -> Kind:
    """A device without a figure of its own, of a kind that has the host's memory."""
    words = name.lower().replace("-", " ").split()
    return Kind.UNIFIED if not total and any(word in words for word in facts()["nvidia"]["unified"]) else Kind.GPU


def _unread(found: list[FoundDevice]) -> list[str]:
    return [f"{each.name}: its driver gives no memory" for each in found if not each.memory_bytes and not each.unified]


def _device(nvml: Any, handle: Any, index: int, driver: str) -> FoundDevice:
    name = _said(_ask(nvml, "nvmlDeviceGetName", handle))
    total, kept, used = _memory(nvml, handle)
    return FoundDevice(
        name=name or "NVIDIA device",
        vendor="NVIDIA",
        kind=_kind(name, total),
        memory_bytes=total,
        reserved_bytes=kept,
        used_bytes=used,
        index=index,
        uuid=_said(_ask(nvml, "nvmlDeviceGetUUID", handle)),
        driver=driver,
        source="NVML",
    )


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int, int | None]:
    """Total, reserved and used; before driver 510 the used bytes held the reserved ones."""
    version = getattr(nvml, "nvmlMemory_v2", None)
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle, version) if version else None
    memory = memory or _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    if memory is None or not memory.total:
        return None, 0, None
    return int(memory.total), int(getattr(memory, "reserved", 0)), int(memory.used)


def _parts(nvml: Any, handle: Any, index: int, driver: str) -> list[FoundDevice]:
    """The MIG instances of a device that is split: programs get one of them, never the whole."""
    mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return []
    count = _ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    handles = (_ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, part) for part in range(min(count, 64)))
    return [_device(nvml, part, index, driver) for part in handles if part is not None]


def _ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """One call; None where the driver or the package does not have it, or refuses."""
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError, TypeError, ValueError):
        return None


def _said(value: Any) -> str:
    """A driver's text; packages before 11.510 gave bytes."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return plain(value) if isinstance(value, str) else ""
