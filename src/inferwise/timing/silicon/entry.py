"""The entry of a curve's file: the version it was fitted to, and what its bench added to the kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.catalog.accelerators import accelerator
from inferwise.spec.hardware import Accelerator
from inferwise.timing.curves import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What was fitted to one table. bench: host's time, L2's gain and the timer's, which a step does not have."""

    kernel: str
    device: Accelerator
    engine: str
    version: str
    dtype: str
    kernel_source: str
    coefficients: Mapping[str, float] = field(hash=False)
    bench: Mapping[str, float] = field(hash=False)
    gain: float
    fitted_on: str


@cache
def entries(kernel: str) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
    """Those of single devices in a kernel's file, by device, engine and format."""
    text = files("inferwise.timing.curves").joinpath(f"{kernel}.json").read_text(encoding="utf-8")
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for each in json.loads(text)["curves"]:
        if each.get("device") and each.get("version"):
            found.setdefault((each["device"], each["engine"], each["dtype"]), each)
    return found


def entry(curve: Curve) -> Entry | None:
    """The entry of a device's own curve; None for a pooled one, and for one fitted to other tables."""
    return entry_of(curve.kernel, curve.device, curve.engine, curve.dtype) if curve.device else None


@cache
def entry_of(kernel: str, device: str, engine: str, dtype: str) -> Entry | None:
    """The entry of a kernel on a device, by engine and format."""
    found = entries(kernel).get((device, engine, dtype)) if kernel in KERNELS else None
    if found is None:
        return None
    return Entry(
        kernel=kernel,
        device=accelerator(device),
        engine=engine,
        version=found["version"],
        dtype=dtype,
        kernel_source=found.get("kernel_source", ""),
        coefficients=found["coefficients"],
        bench=found.get("bench", {}),
        gain=found.get("cache_gain", 1.0),
        fitted_on=found.get("fitted_on", ""),
    )


KERNELS = (
    "gemm",
    "attention_prefill",
    "attention_decode",
    "latent_prefill",
    "latent_decode",
    "experts",
    "collectives",
)
