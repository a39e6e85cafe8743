"""Write docs/timing_kernels.md out of the curves' own residuals.

python benchmarks/kernel_table.py
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
CURVES = ROOT / "src/inferwise/timing/curves"
OUT = ROOT / "docs/timing_kernels.md"
# Limits of the issue that asked for them, by kernel and format [percent].
LIMITS = {
    ("gemm", "bf16"): 8, ("gemm", "fp8"): 12, ("gemm", "fp8_block"): 12, ("gemm", "nvfp4"): 15,
    ("attention_prefill", ""): 12, ("attention_decode", ""): 10, ("latent_prefill", ""): 15, ("latent_decode", ""): 15,
    ("experts", ""): 15, ("collectives", "all_reduce"): 12,
}  # fmt: skip
DEVICE_LIMIT = 20  # percent, of a device left out entirely
KERNELS = (
    "gemm", "quantize", "attention_prefill", "attention_decode", "attention_encoder", "latent_prefill", "latent_decode",
    "latent_bmm", "sparse_prefill", "sparse_decode", "experts", "dispatch", "collectives", "recurrent", "elementwise",
)  # fmt: skip
HEAD = """# Kernels: how well the curves fit

Written by `benchmarks/kernel_table.py` from the curves' files (`src/inferwise/timing/curves/*.json`), which
`benchmarks/fit_<kernel>.py` write. Figures are median absolute percentage errors on **whole groups of shapes that the
fit did not see** ((m, n, k) of a GEMM, the whole shape elsewhere), by engine: vLLM / SGLang / TensorRT-LLM. Bold: over
the limit that the kernel has. Timings: {source}.

What the tables leave to know: they time one kernel again and again, so that small operands may sit in the second-level
cache; the shipped curves take weights from memory and never go under the roofline. `benchmarks/fit_*.py` say for each
table what it includes (conversions, cache writes, the host's time) and which kernel of several was taken.
"""


def cell(entry: dict, limit: int | None) -> str:
    value = 100 * entry["left_out"]
    return f"**{value:.1f}**" if limit is not None and value > limit else f"{value:.1f}"


def far(entry: dict) -> str:
    """The error of a device left out; bold over the limit."""
    value = 100 * entry["left_out"]
    return f"**{value:.0f} %**" if value > DEVICE_LIMIT else f"{value:.0f} %"


def section(kernel: str) -> list[str]:
    data = json.loads((CURVES / f"{kernel}.json").read_text(encoding="utf-8"))
    entries = [each for each in data["curves"] if each.get("device")]
    dtypes = list(dict.fromkeys(each["dtype"] for each in entries))
    devices = list(dict.fromkeys(each["device"] for each in entries))
    lines = [f"\n## {kernel}\n", f"{data['about']}\n"]
    limits = [LIMITS.get((kernel, name), LIMITS.get((kernel, ""))) for name in dtypes]
    heads = [f"{name} (≤ {limit} %)" if limit else name for name, limit in zip(dtypes, limits, strict=True)]
    lines += ["| device | " + " | ".join(heads) + " |", "|---" * (len(dtypes) + 1) + "|"]
    for device in devices:
        row = []
        for name, limit in zip(dtypes, limits, strict=True):
            own = {each["engine"]: each for each in entries if each["device"] == device and each["dtype"] == name}
            engines = [own[engine] for engine in ("vllm", "sglang", "tensorrt-llm") if engine in own]
            engines = engines or list(own.values())
            row.append(" / ".join(cell(each, limit) for each in engines) or "–")
        lines.append(f"| {device} | " + " | ".join(row) + " |")
    pools = [each for each in data["curves"] if not each.get("device") and not each.get("engine")]
    over = sum("**" in each for each in lines[-len(devices) :])
    cells = [each for each in entries if LIMITS.get((kernel, each["dtype"]), LIMITS.get((kernel, "")))]
    if cells:
        missed = sum(
            100 * each["left_out"] > LIMITS.get((kernel, each["dtype"]), LIMITS.get((kernel, ""))) for each in cells
        )
        lines.append(f"\nOver the limit: {missed} of {len(cells)} curves, on {over} of {len(devices)} devices.")
    if pools:
        text = [
            f"{each.get('architecture') or each.get('vendor') or 'any device'}"
            f"{', ' + each['link'] if each.get('link') else ''} {each['dtype']} {far(each)}"
            for each in pools
        ]
        lines.append("\nPools, each device left out in turn (at most 20 %, bold: over): " + "; ".join(text) + ".")
    return lines


def main() -> None:
    source = json.loads((CURVES / "gemm.json").read_text(encoding="utf-8"))["source"].rpartition(", systems")[0]
    lines = [HEAD.format(source=source)]
    for kernel in KERNELS:
        lines += section(kernel)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
