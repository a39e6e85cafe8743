"""What llama_cpp.json holds, for calibrate_llama_cpp.py: each curve with whom it speaks for and how far off it is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.llama_cpp_curves import (
    carried,
    coefficients,
    cpu_parameters,
    cuda_parameters,
    metal_parameters,
    rounded,
)
from benchmarks.llama_cpp_rows import DEVICE, Measured, best, errors

BACKENDS = ("vulkan", "rocm")
OTHER = "other"  # devices of makers without rows
# Whose curves go where: each backend's to the device and to its maker's others, both together to all. No row is of an
# NVIDIA or Apple device: theirs go by their backend, since by their maker they would count as timed there.
PLACES = (
    *((backend, place) for backend in BACKENDS for place in ({"device": DEVICE}, {"vendor": "AMD"})),
    ("", {"device": DEVICE}),
    (OTHER, {}),
    ("cuda", {}),
    ("metal", {}),
    ("cpu", {}),
)
UNMEASURED = 0.3  # assumed of curves that are carried over to other kinds of device


def carried_over(
    made: Mapping[str, Mapping[str, float]], runs: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """With the parameters for other kinds of device. runs: what llama_cpp_cpu.py measured."""
    more = {
        OTHER: carried(made[""]),
        "cuda": cuda_parameters(made),
        "metal": metal_parameters(made[""], runs),
        "cpu": cpu_parameters(made[""], runs),
    }
    return {name: dict(each) for name, each in made.items()} | more


def residuals(
    rows: Sequence[Measured], inside: Mapping[str, float], outside: Mapping[str, float], *, own: bool
) -> dict[str, float]:
    """Of a curve that rows speak for; on other devices than theirs (not `own`), none of which was ever left out, an
    assumed error, and so where no row speaks (cuda, metal, cpu)."""
    if not rows:
        return {"rows": 0, "median": UNMEASURED, "left_out": UNMEASURED}
    missed = statistics.median(errors(rows, outside))
    return {
        "rows": len(rows),
        "median": rounded(statistics.median(errors(rows, inside))),
        "left_out": rounded(missed if own else max(missed, UNMEASURED)),
    }


def entries(
    made: Mapping[str, Mapping[str, float]],
    rows: Sequence[Measured],
    inside: Mapping[str, float],
    outside: Mapping[str, float],
) -> list[dict[str, Any]]:
    """What llama_cpp.json holds: each backend's curves on the device and for its maker, and both together for all."""
    fast = best(rows, by_backend=True)
    found = []
    for backend, place in PLACES:
        some = [row for row in fast if backend in ("", OTHER, row.run.backend)]
        for (kernel, dtype), c in coefficients(made[backend]).items():
            metric = "prompt_tok_s" if kernel.endswith("prefill") or dtype.endswith("_prefill") else "decode_tok_s"
            rated = [row for row in some if row.metric == metric or kernel in ("gemm", "experts")]
            rated = [row for row in rated if backend in ("", OTHER, *BACKENDS)]
            found.append(
                {
                    "kernel": kernel,
                    **{"device": "", "architecture": "", "vendor": ""},
                    **place,
                    "engine": "llama.cpp" if backend in ("", OTHER) else f"llama.cpp/{backend}",
                    "dtype": dtype,
                    "coefficients": {name: rounded(float(value)) for name, value in c.items()},
                    **residuals(rated, inside, outside, own="device" in place),
                }
            )
    return found
