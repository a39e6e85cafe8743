"""AMD devices on Linux: amdgpu's files under /sys/class/drm, and what the compute driver (KFD) adds. No package needed.

Kernel documentation: gpu/amdgpu/driver-misc (mem_info_*, product_name, unique_id, gpu_metrics).
"""

from __future__ import annotations

from pathlib import Path

from inferwise.read.machine.files import entries, fields, number, plain, raw, text, whole
from inferwise.read.machine.world import World, facts
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundDevice, FoundHost

VENDOR = 0x1002
IDS = "usr/share/libdrm/amdgpu.ids"


def devices(world: World, host: FoundHost) -> tuple[list[FoundDevice], list[str]]:
    """The devices that amdgpu drives, in the order of their cards."""
    found: list[FoundDevice] = []
    remarks: list[str] = []
    cards = [card for card in entries(world.at("sys/class/drm"), r"card[0-9]{1,4}") if _is_amd(card)]
    nodes = _kfd(world) if cards else {}
    driver = plain(text(world.at("sys/module/amdgpu/version"), 64)) if cards else ""
    for card in cards:
        device = card / "device"
        vram = number(device / "mem_info_vram_total")
        if not vram:
            remarks.append(f"AMD device {card.name}: amdgpu gives no memory for it (another driver, or a container)")
            continue
        node = nodes.get(_render_minor(device), {})
        apu = _is_apu(device, host, vram)
        reach = vram + (number(device / "mem_info_gtt_total") or 0) if apu else vram
        found.append(
            FoundDevice(
                name=_apu_name(host) if apu else _name(world, device),
                vendor="AMD",
                kind=Kind.UNIFIED if apu else Kind.GPU,
                memory_bytes=reach,
                gpu_limit_bytes=reach if apu else None,
                used_bytes=_shared_used(device, host, vram) if apu else number(device / "mem_info_vram_used"),
                index=len(found),
                uuid=plain(text(device / "unique_id", 64)),
                driver=driver or "amdgpu",
                architecture=_architecture(node),
                cores=_compute_units(node),
                source="amdgpu sysfs",
            )
        )
        if not node:
            remarks.append(f"{found[-1].name}: ROCm's kernel driver (KFD) does not list it; Vulkan engines may use it")
    return found, remarks


def _is_amd(card: Path) -> bool:
    return number(card / "device/vendor", 16) == VENDOR


def _shared_used(device: Path, host: FoundHost, vram: int) -> int:
    """Of what an APU reaches (its carve-out and, through the GTT, pages of the host's), the bytes it cannot get now.

    Pages of the GTT must be free in the host as well.
    """
    gtt = number(device / "mem_info_gtt_total") or 0
    vram_free = max(0, vram - (number(device / "mem_info_vram_used") or 0))
    gtt_free = max(0, gtt - (number(device / "mem_info_gtt_used") or 0))
    return vram + gtt - vram_free - min(gtt_free, gtt_free if host.available_bytes is None else host.available_bytes)


def _is_apu(device: Path, host: FoundHost, vram: int) -> bool:
    """Whether the GPU is part of the processor.

    gpu_metrics begins with its size (2 bytes) and its format: 1 for cards, 2 and 3 for APUs (the kernel's
    kgd_pp_interface.h). Without it: a processor that names its graphics, and a carve-out below the GTT.
    """
    header = raw(device / "gpu_metrics", 4)
    if len(header) == 4 and header[2] in (1, 2, 3):
        return header[2] > 1
    return "radeon" in host.cpu.lower() and vram < (number(device / "mem_info_gtt_total") or 0)


def _apu_name(host: FoundHost) -> str:
    return host.cpu or "AMD APU"


def _name(world: World, device: Path) -> str:
    """The board's own name, else what libdrm calls this device and revision."""
    if named := plain(text(device / "product_name", 256)):
        return named if named.lower().startswith("amd") else f"AMD {named}"
    ids = f"{(number(device / 'device', 16) or 0):04x}:{(number(device / 'revision', 16) or 0):02x}"
    return name_of(text(world.at(IDS)), ids) or facts()["amd"]["cards"].get(ids) or f"AMD device 1002:{ids}"


def name_of(content: str, ids: str) -> str:
    """The name of a `device:revision` in an amdgpu.ids (`744C,<tab>C8,<tab>AMD Radeon RX 7900 XTX`), or nothing."""
    for line in content.splitlines():
        cells = [cell.strip() for cell in line.split(",", 2)]
        if len(cells) == 3 and f"{cells[0]}:{cells[1]}".lower() == ids:
            return plain(cells[2])
    return ""


def _render_minor(device: Path) -> int:
    """The number of the device's render node, by which KFD names it."""
    minors = entries(device / "drm", r"renderD[0-9]{1,4}")
    return int(minors[0].name.removeprefix("renderD")) if minors else -1


def _kfd(world: World) -> dict[int, dict[str, str]]:
    """The compute driver's GPUs by render node."""
    found: dict[int, dict[str, str]] = {}
    for node in entries(world.at("sys/class/kfd/kfd/topology/nodes"), r"[0-9]{1,4}"):
        rows = fields(text(node / "properties"), " ")
        minor = whole(rows.get("drm_render_minor", ""))
        if minor and whole(rows.get("simd_count", "")):
            found[minor] = rows
    return found


def _architecture(node: dict[str, str]) -> str:
    """`gfx1100` of gfx_target_version 110000: major, minor and stepping, two digits each, the last two in hex."""
    version = whole(node.get("gfx_target_version", "")) or 0
    return f"gfx{version // 10_000}{version // 100 % 100:x}{version % 100:x}" if version else ""


def _compute_units(node: dict[str, str]) -> int | None:
    each = whole(node.get("simd_per_cu", ""))
    return (whole(node.get("simd_count", "")) or 0) // each or None if each else None
