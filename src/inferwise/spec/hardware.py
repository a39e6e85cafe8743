"""Devices, and the machines they stand in, as their datasheets and their drivers describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a device has its memory: its own; shared with the host's (Apple, APUs, Jetson, phones); the host's."""

    GPU = "gpu"
    UNIFIED = "unified"
    CPU = "cpu"
    ACCELERATOR = "accelerator"  # TPUs, NPUs on cards, wafers: memory of their own, no GPU


class Market(StrEnum):
    """Where a device is found."""

    DATACENTER = "datacenter"
    WORKSTATION = "workstation"
    DESKTOP = "desktop"
    LAPTOP = "laptop"
    MINI_PC = "mini-pc"
    EDGE = "edge"
    PHONE = "phone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device: dense peaks, SI units, never marketing sparsity. None: not published or not known.

    memory_bytes: by its datasheet. reported_bytes: what its driver gives programs, where known. gpu_limit_bytes: of a
    unified memory, the most that the GPU may take by default (macOS's working set, an APU's GTT).
    dense_flops: FLOP/s (integer formats: op/s) by format; a format the device lacks is absent. link_bytes_per_s: to
    its peers, each direction. pcie_bytes_per_s: to the host, each direction. rent_usd_per_hour: a preset's dated
    price, never today's. memory_sizes_bytes: every size it is sold with, where there are several. used_bytes: what a
    desktop or the system usually takes of it. confidence: of memory, bandwidth and power, as the source gives it.
    reported_by: who reports, and how sure that is. cuda_bytes: the total that cudaMemGetInfo gives a program, less
    than nvidia-smi's by what the driver keeps. gpu_limit_most_bytes: as far as a setting raises the GPU's limit.
    limit_rule: by which the catalog gives the GPU's limit (macos, gtt, ...).
    mended: which figures of the source were corrected, and why.
    """

    slug: str
    name: str
    memory_bytes: int
    reported_bytes: int | None = None
    reported_by: str = ""
    cuda_bytes: int | None = None
    vendor: str = ""
    architecture: str = ""
    kind: Kind = Kind.GPU
    market: Market = Market.DATACENTER
    year: int | None = None
    gpu_limit_bytes: int | None = None
    gpu_limit_most_bytes: int | None = None
    limit_rule: str = ""
    memory_bytes_per_s: float | None = None
    dense_flops: Mapping[str, float] = field(default_factory=dict, hash=False)
    power_w: float | None = None
    link: str = "none"
    link_bytes_per_s: float | None = None
    pcie_bytes_per_s: float | None = None
    max_per_node: int = 1
    price_usd: float | None = None
    price_kind: str = ""
    rent_usd_per_hour: float | None = None
    memory_sizes_bytes: tuple[int, ...] = ()
    used_bytes: int = 0
    confidence: str = ""
    source: str = ""
    notes: str = ""
    mended: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """By name: devices are keys of many small caches, and equal ones have equal names."""
        return hash(self.slug)

    @property
    def capacity_bytes(self) -> int:
        """What a program can see: the GPU's part of a unified memory, else by CUDA, the driver, the datasheet."""
        return self.gpu_limit_bytes or self.cuda_bytes or self.reported_bytes or self.memory_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What stands beside the devices of a machine. None: not known.

    network_bytes_per_s: to other machines, all adapters together, each direction.
    """

    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    disk_bytes: int | None = None
    disk_bytes_per_s: float | None = None
    network_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine, or several: its devices in order (they may differ), and the host."""

    devices: tuple[Accelerator, ...]
    host: Host = Host()
    slug: str = ""
    name: str = ""
    source: str = ""
    notes: str = ""

    @property
    def link(self) -> str:
        """What joins the devices: their own link where all have one, else the host's PCIe; empty for a single one."""
        if len(self.devices) < 2:
            return ""
        own = {device.link for device in self.devices}
        return own.pop() if len(own) == 1 and "none" not in own else "PCIe"

    @property
    def link_bytes_per_s(self) -> float | None:
        """Of that link, from the slowest device to its peers, each direction."""
        if not self.link:
            return None
        over_pcie = self.link == "PCIe"
        rates = [each.pcie_bytes_per_s if over_pcie else each.link_bytes_per_s for each in self.devices]
        known = [rate for rate in rates if rate is not None]
        return min(known) if len(known) == len(rates) else None

    @property
    def uniform(self) -> bool:
        """Whether all devices are of one kind."""
        return all(device == self.devices[0] for device in self.devices)
