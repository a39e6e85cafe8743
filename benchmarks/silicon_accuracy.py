"""How near looked-up operators come to kernels that were left out of their tables, beside the fitted curves.

    PYTHONPATH=WHEEL_DIR python benchmarks/silicon_accuracy.py     # WHEEL_DIR: aiconfigurator-core 0.12.0, unpacked

Two ways of leaving out 20 % (by a hash): single shapes, whose neighbours stay; and whole groups of fixed sizes (n and k
of a GEMM; heads, head dimension and window; a model's experts; ranks), all of whose rows go. The curve's coefficients
are those that ship: their own fit left out other shapes, so they have seen most of these. Writes results/silicon.json.
"""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from inferwise.timing.silicon.entry import Entry, entries, entry_of
from inferwise.timing.silicon.grid import Ratios, grid, log_ratio
from inferwise.timing.silicon.look_up import KINDS, Kind
from inferwise.timing.silicon.wheel import root, version

DEVICES = ("h100-sxm-80gb", "b200-sxm-180gb")
OUT = Path(__file__).parent / "results/silicon.json"
MOST_GROUPS = 150  # of those that have rows left out
KERNELS = {
    "gemm": "Gemm",
    "attention_prefill": "PrefillAttention",
    "attention_decode": "DecodeAttention",
    "latent_prefill": "LatentPrefill",
    "latent_decode": "LatentDecode",
    "experts": "RoutedExperts",
    "collectives": "Collective",
}


def left_out(keys: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Rows whose key a hash takes."""
    _, which = np.unique(np.round(keys, 6), axis=0, return_inverse=True)
    taken = np.array([zlib.crc32(f"{n} left out".encode()) % 1000 < 1000 * share for n in range(which.max() + 1)])
    return np.asarray(taken[which.ravel()])


def guesses(found: Ratios, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, log-ratios) of rows left out, group by group, from the others."""
    train = Ratios(fixed=found.fixed[~out], varying=found.varying[~out], values=found.values[~out])
    groups = np.unique(found.fixed[out], axis=0)
    if len(groups) > MOST_GROUPS:
        groups = groups[np.sort(np.random.default_rng(0).choice(len(groups), MOST_GROUPS, replace=False))]
    rows, values = [], []
    for fixed in groups:
        mine = np.flatnonzero(out & np.all(np.abs(found.fixed - fixed) < 1e-6, axis=1))
        made = grid(train, fixed)
        rows.append(mine)
        values.append(np.zeros(len(mine)) if made is None else log_ratio(made, *found.varying[mine].T))
    return np.concatenate(rows), np.concatenate(values)


def scored(at: Entry, kind: Kind) -> dict[str, Any] | None:
    """Medians and 90th percentiles of errors: of the curve, and looked up."""
    began = time.perf_counter()
    found = kind.ratios(root(), at)
    if found is None:
        return None
    line: dict[str, Any] = {"rows": len(found.values), "read_s": round(time.perf_counter() - began, 3)}
    every = np.concatenate([found.fixed, found.varying], axis=1)
    for name, out in (("shapes", left_out(every)), ("groups", left_out(found.fixed))):
        if not out.any() or out.all():
            continue
        rows, values = guesses(found, out)
        curve, looked = np.abs(np.exp(-found.values[rows]) - 1), np.abs(np.exp(values - found.values[rows]) - 1)
        line[name] = {
            "fitted": [round(float(np.quantile(curve, q)), 4) for q in (0.5, 0.9)],
            "looked_up": [round(float(np.quantile(looked, q)), 4) for q in (0.5, 0.9)],
            "rows": len(rows),
        }
    return line


def main() -> None:
    """All curves of the two devices."""
    kinds = {kind.__name__: each for kind, each in KINDS.items()}
    lines = []
    for kernel, operator in KERNELS.items():
        for device, engine, dtype in sorted(entries(kernel)):
            at = entry_of(kernel, device, engine, dtype)
            found = scored(at, kinds[operator]) if device in DEVICES and at else None
            if found and at:
                line = {"kernel": kernel, "device": device, "engine": engine, "version": at.version, "dtype": dtype}
                lines.append({**line, **found})
                print(json.dumps(lines[-1]), flush=True)
    head = {"tables": version(), "measured": time.strftime("%Y-%m-%d"), "quantiles": [0.5, 0.9]}
    text = json.dumps(head)[:-1] + ', "curves": [\n' + ",\n".join(json.dumps(line) for line in lines) + "\n]}\n"
    OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
