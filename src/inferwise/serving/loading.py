"""Cold start: weights from storage through the host to the devices."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.weights import weight_bytes
from inferwise.spec.hardware import Kind
from inferwise.timing.curves import choose

# Terms of a device's memory that are copied to it at the start.
LOADED = ("weights", "draft", "draft weights", "mtp", "projector", "lora")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Seconds of a cold start. read_s: the checkpoint off the storage; copy_s: from the host to the devices, all at
    once; warm_s: where the host has the files in memory already. note: what was assumed, and what is left out."""

    read_s: float
    copy_s: float
    size_bytes: int
    note: str

    @property
    def seconds(self) -> float:
        """Read and copied in turn: loaders fault a tensor in, then copy it."""
        return self.read_s + self.copy_s

    @property
    def warm_s(self) -> float:
        """From the page cache."""
        return self.copy_s


def loading(allocation: Allocation) -> Loading:
    """The cold start of an allocation.

    The files are read once, whatever the ranks: those of a machine read the same ones (vLLM and SGLang: every rank all
    of them, TensorRT-LLM and llama.cpp: each its part), and find in the page cache what another has faulted in. Each
    device takes its share over its own PCIe link; memory that it shares with the host needs no copy. Graph capture,
    compilation and warm-up come on top: they are not modelled, for no public measurement was found to fit them.
    """
    case = allocation.case
    size = weight_bytes(case.model, case.weights).total
    if case.draft is not None:
        size += weight_bytes(case.draft, case.draft_weights).total
    rate, name = storage(case)
    note = f"cold start off {name} at {rate / 1e9:.1f} GB/s, without graph capture, compilation and warm-up"
    return Loading(read_s=size / rate, copy_s=_copied(allocation), size_bytes=size, note=note)


def storage(case: Case) -> tuple[float, str]:
    """Bytes/s of what a case's weights are read from, and its name: the machine's own disk, else storage.toml's."""
    known = case.node.host.disk_bytes_per_s
    if known:
        return known, "the machine's disk"
    table = _presets()
    market = case.devices[0].market.value
    found = table.get(market, table["desktop"])
    return float(found["bytes_per_s"]), f"an assumed drive ({found['name']})"


def _copied(allocation: Allocation) -> float:
    """Seconds until the last device has its share."""
    slowest = 0.0
    for held in allocation.devices:
        device = held.device
        if device.kind in (Kind.CPU, Kind.UNIFIED) or not device.pcie_bytes_per_s:
            continue
        share = sum(held.size(name) for name in LOADED)
        efficiency = choose("transfer", device, allocation.case.engine.name, "pcie").coefficients["efficiency"]
        slowest = max(slowest, share / (device.pcie_bytes_per_s * efficiency))
    return slowest


@cache
def _presets() -> Mapping[str, Any]:
    return tomllib.loads(files("inferwise.serving").joinpath("storage.toml").read_text(encoding="utf-8"))
