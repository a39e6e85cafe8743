"""llama.cpp's curves out of few parameters: what calibrate_llama_cpp.py fits, and the entries that they give.

A backend's kernels are described by shares of the datasheet's rates. Matrix-vector kernels (decode) read weights at a
share of the bandwidth that depends on how a type is unpacked; matrix-matrix kernels (prompt) reach a share of the peak
that does too; experts a share of those, with rows padded to a tile; attention a share of each; every kernel a launch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FAMILIES = ("q4_k", "q4_0", "q8_0", "iq3_xxs", "mxfp4", "f16", "bf16")
NEUTRAL_GEMM = {"depth": 0.0, "split": 1e6, "tile": 0.0, "rows": 256.0, "quantise": 0.0, "row": 0.0}
NEUTRAL_EXPERTS = {
    **{"narrow": 0.0, "ramp": 0.0, "act": 0.7, "foreign": 0.0, "computed": 0.0, "adapt": 1e-9},
    **{"sort": 0.0, "sort_rows": 1.0, "plain": 1.0},
}  # fmt: skip
NEUTRAL_STREAM = {"fill": 0.0, "fill_bytes": 1.0}
NEUTRAL_SCAN = {"chunk": 1e-9, "width": 1e6, "cache_bytes": 1e6, "cache_gain": 1.0, "p": 2.0}
LOGITS_READ = {"passes": 2.0, "kernels": 1.0}  # llama-bench does not sample: logits are written, and fetched
NEUTRAL_PREFILL = {"keys": 0.0, "tail": 1.0, "write": 0.5, "mem": 0.7, "p": 8.0, "tile": 64, "pack": 0, "cache": 1}
NEUTRAL_DECODE = {
    **{"item": 0.0, "item1": 1.0, "serial": 1e6, "serial1": 1.0, "pad": 0.0, "regroup": 0.0, "crowd": 0.0},
    **{"q": 1.0, "cache": 1, "rows": 1, "group": 1e6, "split": 0.0, "knee": 1.0},
}  # fmt: skip

# Parameter: (first guess, deviation of its logarithm that the guess allows). What no row speaks for stays at the guess.
PRIORS: dict[str, tuple[float, float]] = {
    "launch": (4e-6, 0.7),
    **{f"read_{family}": (0.82, 0.15) for family in FAMILIES},
    "read_iq3_xxs": (0.7, 0.3),
    **{f"multiply_{family}": (0.3, 0.4) for family in FAMILIES},
    "norm": (0.6, 0.3),
    "expert_read": (0.95, 0.15),
    "expert_norm": (1.5, 0.4),
    "expert_read_bf16": (0.9, 0.5),
    "expert_multiply": (0.8, 0.4),
    "expert_multiply_bf16": (0.8, 0.4),
    "expert_pad": (24.0, 0.8),
    "attention_read": (0.75, 0.3),
    "attention_multiply": (0.1, 0.6),
    "prompt_attention": (0.12, 0.5),
    "prompt_softmax": (100.0, 0.5),
    "prompt_wide": (0.3, 0.5),
    "prompt_masked": (0.2, 0.5),
    "latent_read": (0.5, 0.5),
    "latent_multiply": (0.1, 0.6),
    "latent_prompt": (0.06, 0.6),
    "selected": (0.06, 0.6),
    "recurrent_read": (0.5, 0.5),
    "recurrent_multiply": (0.05, 0.8),
    "recurrent_launch": (2e-5, 0.8),
    "moe_launch": (2e-5, 0.7),
}
MOST = {"norm": 4.0, "prompt_masked": 1.0}  # shares stay under 1, these under their own


def start() -> dict[str, float]:
    """The first guesses."""
    return {name: prior for name, (prior, _) in PRIORS.items()}


def coefficients(made: Mapping[str, float]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every curve's coefficients by (kernel, dtype), of one set of parameters."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    launch, p = made["launch"], 1.0 + made["norm"]
    for family in FAMILIES:
        wide = "_bf16" if family == "bf16" else ""
        read, multiply = min(made[f"read_{family}"], 0.99), min(made[f"multiply_{family}"], 0.99)
        found["gemm", family] = {**NEUTRAL_GEMM, "launch": launch, "compute": multiply, "bandwidth": read, "p": p}
        found["experts", family] = {
            **NEUTRAL_EXPERTS,
            "compute": min(multiply * made[f"expert_multiply{wide}"], 0.99),
            "memory": min(read * made[f"expert_read{wide}"], 0.99),
            "p": 1.0 + made["expert_norm"],
            "pad": made["expert_pad"],
            "launch": made["moe_launch"],
        }
    for label in ("bf16", "fp8"):
        found["attention_prefill", label] = {
            **NEUTRAL_PREFILL,
            "eff": min(made["prompt_attention"], 0.99),
            "softmax": made["prompt_softmax"],
            "wide": made["prompt_wide"],
            "waste": min(made["prompt_masked"], 1.0),
            "floor": launch,
        }
        found["attention_decode", label] = {
            **NEUTRAL_DECODE,
            "mem": min(made["attention_read"], 0.99),
            "eff": min(made["attention_multiply"], 0.99),
            "wide": 0.0,
            "p": 2.0,
            "floor": 2 * launch,
        }
        found |= _latent(made, label)
    return found | _recurrent(made) | _small(made)


def _latent(made: Mapping[str, float], label: str) -> dict[tuple[str, str], dict[str, Any]]:
    """MLA, over all of its entries or over selected ones."""
    read, multiply = min(made["latent_read"], 0.99), min(made["latent_multiply"], 0.99)
    prompt, selected, launch = min(made["latent_prompt"], 0.99), min(made["selected"], 0.99), made["launch"]
    one = {"tile": 1.0, "p": 2.0, "floor": 2 * launch}
    return {
        ("latent_prefill", label): one | {"edge": 0.0, "units": 1.0, "waves": 8.0, "compute": prompt, "memory": read},
        ("latent_decode", label): one
        | {"block": 1.0, "reread": 0.0, "split": 0.0, "compute": multiply, "memory": read}
        | {"queries": 1.0, "sweep": 0.0, "ramp": 1.0, "serial": 0.0},
        ("latent_bmm", "bf16"): one | {"compute": multiply, "memory": read},
        ("sparse_prefill", label): {"tile": 1.0, "units": 1.0, "waves": 8.0, "pad": 0.0, "compute": selected}
        | {"index": selected, "select": 0.5, "row": 0.0, "floor": 2 * launch, "copies": 1.0, "gather": 0.5}
        | {"sequence": 0.0},
        ("sparse_decode", label): one
        | {
            "block": 1.0,
            "compute": multiply,
            "memory": read,
            "index": 0.5,
            "select": 0.5,
            "serial": 0.0,
            "queries": 1.0,
        },
    }


def _recurrent(made: Mapping[str, float]) -> dict[tuple[str, str], dict[str, Any]]:
    """Gated delta nets, Mamba-2 and their like share their numbers: few rows speak for each."""
    one = {"launch": made["recurrent_launch"], "bandwidth": min(made["recurrent_read"], 0.99)}
    scan = {**NEUTRAL_SCAN, **one, "compute": min(made["recurrent_multiply"], 0.99)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for label in ("gdn", "kda", "mamba2"):
        found["recurrent", f"{label}_prefill"] = scan
        found["recurrent", f"{label}_decode"] = {**NEUTRAL_STREAM, **one}
    for phase, window in (("prefill", 0.0), ("decode", 1.0)):
        conv = {**NEUTRAL_STREAM, "launch": made["launch"], "bandwidth": 0.5, "tile": 0.0, "window": window}
        found["recurrent", f"conv_{phase}"] = conv
    return found


def _small(made: Mapping[str, float]) -> dict[tuple[str, str], dict[str, Any]]:
    one = {**NEUTRAL_STREAM, **LOGITS_READ, "launch": made["launch"], "bandwidth": 0.7}
    return {("elementwise", "bf16"): one}


CUBLAS_BF16 = 0.75  # of the peak: curves/gemm.json, bf16 on NVIDIA's data-centre GPUs
CUDA_LAUNCH = 2.0e-6  # seconds: curves/elementwise.json, NVIDIA's pool
MEASURED_RUN = {"q4_k": "Q4_K", "iq3_xxs": "Q4_K", "q4_0": "Q4_0", "mxfp4": "Q4_0", "q8_0": "Q8_0"}
COPY_OF_DATASHEET = 0.8  # what a copy moves of a CPU's datasheet rate (STREAM on servers; ours is unknown)


def carried(made: Mapping[str, float]) -> dict[str, float]:
    """For devices other than the rows': experts read as dense weights are. That they seem to be read faster there (its
    cache, and files whose mix is a guess), and much slower in BF16 (which its Vulkan driver lacks), is its own."""
    alike = {"expert_read": 1.0, "expert_read_bf16": 1.0, "expert_multiply_bf16": made["expert_multiply"]}
    return dict(made) | alike


def cuda_parameters(made: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """NVIDIA's: as both backends together, but for launches, timed there, and the units. The rows' device reaches
    little of its peak in any type; what a type reaches of BF16's share is carried over to the share that cuBLAS reaches
    in BF16."""
    found, rocm = dict(made[""]) | {"launch": CUDA_LAUNCH}, made["rocm"]
    for family in FAMILIES:
        share = min(rocm[f"multiply_{family}"] / rocm["multiply_bf16"], 1.0) if family != "f16" else 1.0
        found[f"multiply_{family}"] = CUBLAS_BF16 * share
    return carried(found)


def metal_parameters(pooled: Mapping[str, float], runs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Apple's: as both backends together, but for the units. Their peak is that of plain ALUs, as a CPU's is, of which
    kernels reach more than of matrix units; the shares are those measured on CPUs, 16 bits as Q8_0."""
    found = dict(pooled)
    for family in FAMILIES:
        found[f"multiply_{family}"] = runs[MEASURED_RUN.get(family, "Q8_0")]["multiply_share"]
    return carried(found)


def cpu_parameters(pooled: Mapping[str, float], runs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of CPUs: shares that benchmarks/llama_cpp_cpu.py measured, of the rate of a copy and of the peak in 16 bits."""
    found = dict(pooled)
    for family in FAMILIES:
        run = runs[MEASURED_RUN.get(family, "F16")]
        found[f"read_{family}"] = min(run["read_share"] * COPY_OF_DATASHEET, 0.95)
        found[f"multiply_{family}"] = run["multiply_share"]
    prompt = {"prompt_attention": 0.5 * found["multiply_f16"], "expert_pad": 1.0, "prompt_softmax": 100.0}
    return carried(found) | prompt


def rounded(value: float) -> float:
    """Four digits, as the files have them."""
    return value if value == 0 else round(value, 3 - math.floor(math.log10(abs(value))))
