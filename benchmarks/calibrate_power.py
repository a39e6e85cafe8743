"""Fit what devices draw at a utilisation (serving/power.json) to measured power; score it out of fold.

    python benchmarks/calibrate_power.py MEASUREMENTS.csv

Rows: the ML.ENERGY leaderboard's (vLLM on H100 and B200), power as a share of the devices' limits. Shares follow a
power law in the utilisation that the timing model gives; a line fits no better than a constant.
"""

from __future__ import annotations

import csv
import datetime
import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from inferwise.evidence.measurements import runs
from inferwise.evidence.predict import timed
from inferwise.evidence.run_case import question
from inferwise.serving.power import FILE
from inferwise.timing.step import Step
from inferwise.timing.table import table, utilisation

SOURCE = "mlenergy_leaderboard"
# Not measured there: what a device draws with nothing to do, as a share of its limit (nvidia-smi shows 60 to 140 W of
# 700 to 1,000 W on Hopper and Blackwell with a model loaded).
IDLE = 0.12


def gather(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(utilisations [rows, 2: MFU and MBU], measured shares, folds)."""
    with path.open(newline="") as file:
        measured = {row["id"]: row for row in csv.DictReader(file)}
    found = []
    for run in runs(path):
        row = measured[run.id]
        if run.source != SOURCE or not row["power_w"] or not row["tpot_ms"]:
            continue
        asked = question(run)
        one, load = timed(asked), asked.workload
        rows = table(one.forward, Step(decodes=one.concurrency, context=load.prompt + load.output / 2))
        limit = asked.replicas * sum(device.power_w or 0.0 for device in one.forward.case.devices)
        spent = utilisation(one.forward, rows, sum(each.seconds for each in rows))
        found.append((*spent, float(row["power_w"]) / limit, int(run.fold)))
    data = np.array(found)
    return data[:, :2], data[:, 2], data[:, 3]


def share(x: np.ndarray, used: np.ndarray) -> np.ndarray:
    return np.exp(x[0]) * (used[:, 1] + np.exp(x[2]) * used[:, 0]) ** x[1]


def fitted(used: np.ndarray, truth: np.ndarray) -> np.ndarray:
    start = np.array([np.log(0.8), 0.3, 0.0])
    return least_squares(lambda x: np.log(share(x, used) / truth), start, loss="soft_l1", f_scale=0.1).x


def main() -> None:
    used, truth, fold = gather(Path(sys.argv[1]))
    without = np.zeros(len(truth))
    for number in range(5):
        without[fold == number] = share(fitted(used[fold != number], truth[fold != number]), used[fold == number])
    error = np.abs(without / truth - 1)
    x = fitted(used, truth)
    print(f"{len(truth)} runs, out of fold: median {np.median(error):.1%}, mean {error.mean():.1%}")
    data = {
        "source": f"power of {len(truth)} steady batches of {SOURCE} (H100, B200), benchmarks/calibrate_power.py",
        "fitted": datetime.date.today().isoformat(),
        "idle": IDLE,
        "scale": round(float(np.exp(x[0])), 4),
        "exponent": round(float(x[1]), 4),
        "compute": round(float(np.exp(x[2])), 4),
        "out_of_fold": {"median": round(float(np.median(error)), 4), "mean": round(float(error.mean()), 4)},
    }
    FILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
