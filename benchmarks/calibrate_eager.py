"""Fit what an eager engine's host adds to each layer of a step (transformers), and score it out of fold.

    python -m benchmarks.calibrate_eager MEASUREMENTS.csv   # after calibrate_static.py, into the same calibration.json

Rows: static batches and single streams of PyTorch engines without graphs in 16 and 32 bits (Yi-6B on an RTX 4090,
Mistral-7B and Llama-2-7B on an A100). Their kernels' time is a third of what was measured, and the rest is alike on
both devices: it is the host's. It is added to the kernels, which is too much where those take longer (large batches).
Quantised rows are left out: bitsandbytes' kernels are slow themselves.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from benchmarks.calibrate import OUT, digits

from inferwise.errors import BadInput
from inferwise.evidence.measurements import runs
from inferwise.evidence.predict import predicted, timed
from inferwise.evidence.run_case import question

ENGINE = "transformers"
WIDE = ("bf16", "fp16", "fp32")
NOT_EAGER = ("onnx",)  # a graph of its own


def gather(path: Path) -> np.ndarray:
    """[rows, 4]: measured seconds of a token of the batch, ours without the host, layers, fold."""
    with path.open(newline="") as file:
        measured = {row["id"]: row for row in csv.DictReader(file)}
    found = []
    for run in runs(path):
        row = measured[run.id]
        if not row["output_tok_s"] or run.weight_format not in WIDE or run.engine in NOT_EAGER:
            continue
        try:
            asked = question(run)
        except BadInput:
            continue
        if asked.case.engine.name == ENGINE:
            batch, layers = asked.workload.concurrency, len(asked.case.model.decoder.pattern)
            ours = predicted(timed(asked))["output_tok_s"]
            found.append((batch / float(row["output_tok_s"]), batch / ours, layers, int(run.fold)))
    return np.array(found)


def fitted(rows: np.ndarray) -> float:
    """Seconds of a layer: the median of what is missing."""
    return float(np.median((rows[:, 0] - rows[:, 1]) / rows[:, 2]))


def main() -> None:
    data = json.loads(OUT.read_text(encoding="utf-8"))
    for entries in (data["profiles"], *data["folds"].values()):
        entries[:] = [each for each in entries if each.get("engine") != ENGINE]
        entries.insert(0, {"engine": ENGINE})
    OUT.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    rows = gather(Path(sys.argv[1]))
    error = np.zeros(len(rows))
    for fold, entries in data["folds"].items():
        left = rows[:, 3] == int(fold)
        layer_s = fitted(rows[~left])
        entries[0] = {"engine": ENGINE, "layer_s": digits(layer_s), "runs": int((~left).sum()), "error": None}
        error[left] = np.abs((rows[left, 1] + layer_s * rows[left, 2]) / rows[left, 0] - 1)
    layer_s, told = fitted(rows), float(np.median(error))
    data["profiles"][0] = {"engine": ENGINE, "layer_s": digits(layer_s), "runs": len(rows), "error": digits(told)}
    OUT.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} runs, {1e6 * layer_s:.0f} us a layer; out of fold: median {told:.1%}, mean {error.mean():.1%}")


if __name__ == "__main__":
    main()
