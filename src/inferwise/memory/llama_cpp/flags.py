"""A case in llama.cpp's own flags, each resolved: as given, else the build's default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.spec.hardware import Accelerator, Kind

CACHES = ("fp16", "bf16", "fp32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
DENSE_CACHES = ("fp16", "bf16", "fp32")
ALIGNMENTS = {"host": 64, "device": 128}  # ggml-cpu, ggml-cuda: buffer alignment [bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the accounting follows. build: the build's own traits, by the names of llama.cpp.toml."""

    ubatch: int
    batch: int
    slots: int
    flash: bool
    unified: bool
    kv: str
    index: str
    mmap: bool
    repack: bool
    kv_offload: bool
    gpu_layers: int
    cpu_moe: int
    overrides: tuple[tuple[str, str], ...]
    split: str
    shares: tuple[float, ...]
    fit: bool
    outputs: int
    build: Mapping[str, Any] = field(hash=False)


def flags_of(case: Case) -> Flags:
    """The flags of a case. Raises BadInput for a cache format that llama.cpp does not have."""
    build, settings = case.engine.defaults, case.settings
    kv = case.layout.kv
    if kv not in CACHES:
        raise BadInput(f"llama.cpp has no KV cache in {kv}", remedy=f"give one of {', '.join(CACHES)}")
    flash = bool(case.setting("flash_attention"))
    if kv not in DENSE_CACHES and not flash:
        raise BadInput(f"a V cache in {kv} needs flash attention", remedy="turn it on (-fa on), or give fp16")
    devices = offload_devices(case)
    if settings.tensor_split and len(settings.tensor_split) > max(1, len(devices)):
        raise BadInput(f"tensor-split has {len(settings.tensor_split)} shares", remedy=f"give {len(devices)}")
    slots = settings.parallel_slots or case.batch
    if slots > build["max_slots"]:
        raise BadInput(f"{slots} slots", remedy=f"llama.cpp has at most {build['max_slots']}")
    return Flags(
        ubatch=int(case.setting("ubatch")),
        batch=int(build["batch"]),
        slots=slots,
        flash=flash,
        unified=bool(case.setting("kv_unified")),
        kv=kv,
        index=case.layout.index if case.layout.index in CACHES else "fp16",
        mmap=bool(case.setting("mmap")),
        repack=bool(case.setting("repack")),
        kv_offload=bool(case.setting("kv_offload")),
        gpu_layers=int(case.setting("gpu_layers")) if devices else 0,
        cpu_moe=int(case.setting("cpu_moe_layers")),
        overrides=settings.override_tensors,
        split=split_of(case),
        shares=shares_of(case, devices),
        fit=bool(case.setting("fit")) and bool(devices),
        outputs=1 + case.speculative_tokens,
        build=build,
    )


def split_of(case: Case) -> str:
    """How devices share the model: as asked for; tensor parallelism is its split of tensors. Raises BadInput."""
    parallel = case.parallel
    for name in ("ep", "dp", "cp"):
        if getattr(parallel, name) > 1:
            raise BadInput(f"llama.cpp has no {name}", remedy="split layers or tensors over the devices (--split)")
    if case.settings.split is None and parallel.tp > 1:
        return "tensor"
    return str(case.setting("split"))


def offload_devices(case: Case) -> tuple[Accelerator, ...]:
    """The devices that take layers: none where the host is the device."""
    return tuple(device for device in case.devices if device.kind is not Kind.CPU)


def shares_of(case: Case, devices: tuple[Accelerator, ...]) -> tuple[float, ...]:
    """The shares of -ts, or each device's free memory."""
    if case.settings.tensor_split:
        given = case.settings.tensor_split
        return (*given, *[0.0] * (len(devices) - len(given)))
    return tuple(float(max(0, each.capacity_bytes - case.used_bytes(each))) for each in devices)
