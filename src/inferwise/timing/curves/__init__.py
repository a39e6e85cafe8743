"""Efficiency curves: coefficients of kernels that were fitted to measured operators, and which of them to take.

One file a kernel, `<kernel>.json`, written by `benchmarks/fit_<kernel>.py`. A curve belongs to a device or to an
architecture (then pooled over its devices), to an engine or to any, and to a number format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.spec.hardware import Accelerator

# How far a curve is from what it is used for, the nearest first.
MEASURED, SISTER, MAKER, GENERIC = "measured", "same architecture", "same maker", "any device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Coefficients of a kernel, with where they come from and how well they fit.

    rows: operators that they were fitted to. median: absolute percentage error on them; left_out: on groups of shapes
    (pooled curves: on whole devices) that the fit did not see. link: of what moves between devices, what joins them
    (NVLink stands for any link of the devices' own, PCIe for none); empty where a pool has both.
    """

    kernel: str
    device: str
    architecture: str
    vendor: str
    engine: str
    dtype: str
    coefficients: Mapping[str, float] = field(hash=False)
    rows: int
    median: float
    left_out: float
    link: str = ""

    @property
    def source(self) -> str:
        """For a reader: what was measured, by which engine, and the error on groups left out."""
        where = self.device or f"{self.architecture or self.vendor or 'all'} devices"
        error = f"{100 * self.left_out:.0f} % on shapes left out" if self.device else f"{100 * self.left_out:.0f} %"
        return f"{where}, {self.engine or 'all engines'}, {self.dtype}: {error}"


@cache
def curves(kernel: str) -> tuple[Curve, ...]:
    """All curves of a kernel: those of its own file, and those that whole runs of llama.cpp gave."""
    own = _file(kernel)["curves"]
    runs = [entry for entry in _file("llama_cpp")["curves"] if entry["kernel"] == kernel]
    return tuple(_curve(kernel, entry) for entry in (*own, *runs))


@cache
def _file(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return found


def _curve(kernel: str, entry: Mapping[str, Any]) -> Curve:
    return Curve(
        kernel=kernel,
        device=entry.get("device", ""),
        architecture=entry.get("architecture", ""),
        vendor=entry.get("vendor", ""),
        engine=entry.get("engine", ""),
        dtype=entry["dtype"],
        coefficients=entry["coefficients"],
        rows=entry["rows"],
        median=entry["median"],
        left_out=entry["left_out"],
        link=entry.get("link", "") or _link_of(entry.get("device", "")),
    )


def _link_of(slug: str) -> str:
    """What joins devices of a kind; empty for no device."""
    return ("PCIe" if _device(slug).link in NO_LINK else "NVLink") if slug else ""


@cache
def _by_dtype(kernel: str) -> dict[str, tuple[Curve, ...]]:
    found: dict[str, list[Curve]] = {}
    for curve in curves(kernel):
        found.setdefault(curve.dtype, []).append(curve)
    return {dtype: tuple(group) for dtype, group in found.items()}


# What a format is taken from where it was not timed, the nearest first.
NEAREST = {
    "fp8_channel": ("fp8", "fp8_block", "bf16"),
    "fp8_block": ("fp8", "bf16"),
    "fp8": ("fp8_block", "bf16"),
    "mxfp8": ("fp8_block", "fp8", "bf16"),
    "fp16": ("bf16",),
    "fp32": ("bf16",),
    "int8": ("fp8", "bf16"),
    "int8_wo": ("int4", "bf16"),
    "int4": ("mxfp4", "int8_wo", "bf16"),
    "mxfp4": ("int4", "bf16"),
    "mxfp4_mxfp8": ("nvfp4", "fp8_block", "fp8", "bf16"),
    "nvfp4": ("mxfp4_mxfp8", "fp8_block", "fp8", "bf16"),
    "fp8_fp8": ("fp8", "bf16"),
    # nobody timed the recurrence of Mamba-2 and its like: it is taken from the gated delta rule's
    "mamba2_prefill": ("gdn_prefill",),
    "mamba2_decode": ("gdn_decode",),
    # ggml's types by how a kernel unpacks them: blocks in superblocks, plain blocks of 32, lattices by table
    **dict.fromkeys(("q2_k", "q3_k", "q5_k", "q6_k", "q8_k"), ("q4_k", "bf16")),
    **dict.fromkeys(("q4_1", "q5_0", "q5_1", "iq4_nl", "q1_0", "q2_0", "tq1_0", "tq2_0"), ("q4_0", "bf16")),
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_s", "iq4_xs"), ("iq3_xxs", "bf16")),
    **dict.fromkeys(("q8_1", "i8", "i16", "i32"), ("q8_0", "bf16")),
    **dict.fromkeys(("q4_k", "q4_0", "q8_0", "iq3_xxs", "f16", "f32", "f64", "i64"), ("bf16",)),
}
NO_LINK = ("none", "", "PCIe")
RELATED = {"Blackwell Ultra": ("Blackwell",), "Blackwell": ("Blackwell Ultra",)}


@cache
def choose(kernel: str, device: Accelerator, engine: str, dtype: str, link: str = "") -> Curve:
    """The curve nearest to a device, an engine and a format. Raises KeyError for a kernel without any.

    A device that was timed speaks for itself; else the timed device of its architecture whose memory is nearest in
    bandwidth; else its maker's pool, else everyone's. The engine counts before another device, the format before all.
    link: of what moves between devices, what joins them (PCIe, or the name of their own): others' do not speak for it.
    """
    joined = link and ("PCIe" if link in NO_LINK else "NVLink")
    by_dtype, own = _by_dtype(kernel), engine.startswith(LLAMA_CPP)
    for alike in (
        True,
        False,
    ):  # llama.cpp's kernels and the servers' say little of each other: only where nothing else
        for name in (dtype, *NEAREST.get(dtype, ()), *by_dtype):
            found = [each for each in by_dtype.get(name, ()) if each.engine.startswith(LLAMA_CPP) is own or not alike]
            if joined:
                found = [each for each in found if each.link in ("", joined)] or found
            if found:
                return min(found, key=lambda curve: _distance(curve, device, engine))
    raise KeyError(kernel)


def _distance(curve: Curve, device: Accelerator, engine: str) -> tuple[float, ...]:
    """How far a curve is: by device, by engine, by bandwidth."""
    other_engine = _other_engine(curve, engine)
    if other_engine == OTHER_BACKEND:  # a GPU's kernels say nothing of a CPU's, whoever made both
        return 10, other_engine, 0.0
    if curve.device == device.slug:
        return 0, other_engine, 0.0
    measured = _device(curve.device) if curve.device else None
    if measured is not None:
        near = (measured.architecture == device.architecture, measured.architecture in related(device))
        if any(near):
            ratio = (measured.memory_bytes_per_s or 1.0) / (device.memory_bytes_per_s or 1.0)
            return (1 if near[0] else 2), other_engine, abs(math.log(ratio))
        return 9, other_engine, 0.0
    if curve.architecture:
        return (3 if curve.architecture == device.architecture else 8), other_engine, 0.0
    if curve.link and not curve.vendor:  # a pool of one kind of link, before a maker's that has both
        return 3.5, other_engine, 0.0
    if curve.vendor:
        return (4 if curve.vendor == device.vendor else 7), other_engine, 0.0
    return 5, other_engine, 0.0


LLAMA_CPP, OTHER_BACKEND = "llama.cpp", 3.0


def _other_engine(curve: Curve, engine: str) -> float:
    """How far a curve's engine is: itself, itself on any GPU ("llama.cpp" for "llama.cpp/cuda"), any, another, itself
    on another backend."""
    if curve.engine == engine:
        return 0.0
    name, _, backend = curve.engine.partition("/")
    if name and name == engine.partition("/")[0]:
        return OTHER_BACKEND if backend or engine.endswith("/cpu") else 0.5
    return 1.0 if not curve.engine else 2.0


def related(device: Accelerator) -> tuple[str, ...]:
    """Architectures whose devices speak for a device that has no timed one of its own."""
    return RELATED.get(device.architecture, ())


def _device(slug: str) -> Accelerator:
    from inferwise.catalog.accelerators import accelerator

    return accelerator(slug)


def basis(curve: Curve, device: Accelerator) -> str:
    """How near the measurements behind a curve are to a device."""
    if curve.device == device.slug:
        return MEASURED
    if curve.architecture and (curve.architecture == device.architecture or curve.architecture in related(device)):
        return SISTER
    return MAKER if curve.vendor == device.vendor else GENERIC
