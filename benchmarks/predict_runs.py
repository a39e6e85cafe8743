"""Predict every run of a file of measurements, each by profiles that were fitted without its fold.

    python benchmarks/predict_runs.py MEASUREMENTS.csv OUT.csv [--source NAME] [--shipped]

OUT has the columns that the measurements' scorer reads: id, status, and each metric of the protocol. The measured
columns are never looked at. --shipped: by the profiles as they ship, fitted to all folds.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

from inferwise.errors import BadInput
from inferwise.evidence.measurements import Run, runs
from inferwise.evidence.predict import predicted, timed
from inferwise.evidence.run_case import question
from inferwise.evidence.run_names import Unpredicted

METRICS = (
    "ttft_ms", "tpot_ms", "latency_ms", "output_tok_s", "total_tok_s", "req_s", "prompt_tok_s", "decode_tok_s",
    "energy_j_per_output_tok", "power_w",
)  # fmt: skip


def answer(run: Run, shipped: bool) -> dict[str, object]:
    """A row of OUT."""
    try:
        found = predicted(timed(question(run), None if shipped else int(run.fold)))
    except Unpredicted as error:
        return {"id": run.id, "status": error.status}
    except BadInput as error:
        return {"id": run.id, "status": f"unsupported: {error.what[:100]}"}
    if not all(math.isfinite(value) for value in found.values()):
        raise ArithmeticError(f"{run.id}: {found}")
    return {"id": run.id, "status": "ok"} | {name: f"{value:.6g}" for name, value in found.items() if name in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default="")
    parser.add_argument("--shipped", action="store_true")
    args = parser.parse_args()
    start, count = time.process_time(), 0
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "status", *METRICS])
        writer.writeheader()
        for run in runs(args.measurements):
            if args.source in ("", run.source):
                writer.writerow(answer(run, args.shipped))
                count += 1
    spent = time.process_time() - start
    print(f"{count} runs, {spent:.1f} s of CPU, {1e3 * spent / max(count, 1):.2f} ms each")


if __name__ == "__main__":
    main()
