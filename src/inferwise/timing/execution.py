"""How an engine runs a stored format on a device: what it computes in, and which curve speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from inferwise.spec.hardware import Accelerator
from inferwise.spec.weight_formats import GGML_TYPES
from inferwise.timing.rates import peak

SERVERS = ("vllm", "sglang", "tensorrt-llm")  # on Blackwell their MXFP4 experts take MXFP8 activations
WIDE = ("bf16", "fp16", "fp32", "fp64")
# Stored formats by the kernels that run them; what is not here starts with one of these names.
EIGHT_BIT_FLOATS = ("fp8", "mxfp8")
FOUR_BIT_FLOATS = ("nvfp4",)
ONLY_WEIGHTS_8 = ("bnb_int8", "mlx_int8", "int8_wo")
# Bytes of an activation in 4 bits with its scales: 16 values and one FP8 scale.
NVFP4_BYTES = 9 / 16


@dataclass(frozen=True, slots=True)
class Execution:
    """label: the curve's format. compute: whose peak counts. input_bytes: of an activation. quantised: whether
    activations are converted before each GEMM. note: what runs otherwise than its name says; empty: as named."""

    label: str
    compute: str
    input_bytes: float
    quantised: bool = False
    note: str = ""


@cache
def execution(stored: str, device: Accelerator, engine: str, *, experts: bool = False) -> Execution:
    """How weights stored as `stored` are run.

    Formats whose units a device lacks are run by 16-bit units on weights that are expanded on the way (Marlin in vLLM
    and SGLang: docs/features/quantization of vLLM 0.24), which the note says.
    """
    wide = peak(device, "bf16").format
    has = device.dense_flops
    if stored in WIDE:
        lacks = stored in ("bf16", "fp16") and wide != stored and not has.get(stored)
        return Execution(
            "bf16" if stored != "fp32" else "fp32",
            stored if has.get(stored) else wide,
            4.0 if stored in ("fp32", "fp64") else 2.0,
            note=f"{device.name} has no {stored}: runs in {wide}" if lacks else "",
        )
    if stored.startswith(EIGHT_BIT_FLOATS):
        if has.get("fp8"):
            label = "fp8_block" if stored.startswith(("fp8_block", "mxfp8")) else "fp8"
            return Execution(label, "fp8", 1.0, True)
        return Execution("int8_wo", wide, 2.0, note=f"{device.name} has no fp8: weights only, computed in {wide}")
    if stored.startswith(FOUR_BIT_FLOATS):
        if has.get("fp4") and engine != "llama.cpp":
            return Execution("nvfp4", "fp4", NVFP4_BYTES, True)
        return Execution("int4", wide, 2.0, note=f"{device.name} has no fp4: weights only, computed in {wide}")
    if stored.startswith("mxfp4"):
        if has.get("fp4") and engine in SERVERS and experts:
            return Execution("mxfp4_mxfp8", "fp8", 1.0, True)
        only = f"{device.name} has no fp4: mxfp4 weights only, computed in {wide}"
        return Execution("mxfp4", wide, 2.0, note="" if has.get("fp4") else only)
    if stored in GGML_TYPES or engine == "llama.cpp":
        return Execution(stored, wide, 2.0)
    if stored.startswith("int8") and has.get("int8"):
        return Execution("int8", "int8", 1.0, True)
    if stored.startswith(ONLY_WEIGHTS_8) or stored.startswith("int8"):
        return Execution("int8_wo", wide, 2.0)
    return Execution("int4", wide, 2.0)
