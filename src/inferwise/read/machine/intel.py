"""Intel devices on Linux, from the files of i915 and xe. Used memory is not told there."""

from __future__ import annotations

from pathlib import Path

from inferwise.read.machine.files import entries, number, plain, text
from inferwise.read.machine.world import World, facts
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundDevice, FoundHost

VENDOR = 0x8086


def devices(world: World, host: FoundHost) -> tuple[list[FoundDevice], list[str]]:
    """Cards with memory of their own, and graphics in a processor (named as the processor; the host's memory)."""
    found: list[FoundDevice] = []
    remarks: list[str] = []
    for card in entries(world.at("sys/class/drm"), r"card[0-9]{1,4}"):
        device = card / "device"
        if number(device / "vendor", 16) != VENDOR:
            continue
        ids = f"{(number(device / 'device', 16) or 0):04x}"
        memory, known = memory_of(card), facts()["intel"]["cards"].get(ids)
        own = memory is not None or known is not None
        if own and memory is None:
            remarks.append(f"{known}: its driver gives no memory (xe does, i915 of the mainline kernel does not)")
        found.append(
            FoundDevice(
                name=known or (f"Intel device 8086:{ids}" if own else host.cpu or "Intel graphics"),
                vendor="Intel",
                kind=Kind.GPU if own else Kind.UNIFIED,
                memory_bytes=memory,
                index=len(found),
                driver=_driver(device),
                source="sysfs",
            )
        )
    return found, remarks


def memory_of(card: Path) -> int | None:
    """The card's own memory: xe gives it by tile, i915's out-of-tree driver at once."""
    tiles = entries(card / "device", r"tile[0-9]{1,2}")
    sizes = [number(t / "physical_vram_size_bytes") or number(t / "memory/physical_vram_size_bytes") for t in tiles]
    whole_card = number(card / "lmem_total_bytes") or number(card / "device/lmem_total_bytes")
    return sum(size or 0 for size in sizes) or whole_card or None


def _driver(device: Path) -> str:
    rows = dict(line.partition("=")[::2] for line in text(device / "uevent", 4096).splitlines())
    return plain(rows.get("DRIVER", ""))
