"""What a device offers to operators: peaks by number format, with what a format that it lacks falls back to."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.errors import BadInput
from inferwise.spec.hardware import Accelerator

# Formats whose units do the work of one that a device lacks, the nearest first.
FALLBACK = {
    "bf16": ("fp16", "tf32", "fp32"),
    "fp16": ("bf16", "tf32", "fp32"),
    "tf32": ("fp32",),
    "fp8": ("bf16", "fp16", "fp32"),
    "int8": ("bf16", "fp16", "fp32"),
    "fp4": ("fp8", "bf16", "fp16", "fp32"),
    "fp32": ("bf16", "fp16"),
}


@dataclass(frozen=True, slots=True)
class Peak:
    """A device's dense peak in a number format [FLOP/s]; `format` is the one that really runs."""

    format: str
    flops: float


def peak(device: Accelerator, dtype: str) -> Peak:
    """The peak of a format, or of what it falls back to. Raises BadInput for a device without any."""
    for name in (dtype, *FALLBACK.get(dtype, ())):
        if device.dense_flops.get(name):
            return Peak(name, device.dense_flops[name])
    raise BadInput(
        f"no peak in {dtype} or what it falls back to is known of {device.name}",
        remedy="give dense_flops in a TOML file of your own (docs/hardware.md)",
    )


def memory_rate(device: Accelerator) -> float:
    """Datasheet bandwidth of the memory [bytes/s]. Raises BadInput where it is not known."""
    if not device.memory_bytes_per_s:
        raise BadInput(
            f"no memory bandwidth is known of {device.name}",
            remedy="give memory_bytes_per_s in a TOML file of your own (docs/hardware.md)",
        )
    return device.memory_bytes_per_s
