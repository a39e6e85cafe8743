"""Fit the profiles of older engines, and of engines on other makers' devices, to static batches; score them.

    python -m benchmarks.calibrate_static MEASUREMENTS.csv      # after calibrate.py, into the same calibration.json

Each entry below is fitted to the latency of its own rows: factors on the kernels, seconds of a step, a layer and a
sequence. Groups are whole deployments (the frozen column `fold`).
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.calibrate import FAR, GROUPS, OUT, digits, grouped
from scipy.optimize import least_squares

from inferwise.catalog.engines import number
from inferwise.errors import BadInput
from inferwise.evidence.measurements import runs
from inferwise.evidence.predict import Timed, timed
from inferwise.evidence.run_case import question
from inferwise.serving.estimate import load_of, step_budget
from inferwise.serving.steady import POINTS
from inferwise.timing.profiles import Profile
from inferwise.timing.step import Step

# Narrow ones first: the first that holds is taken. Mid-2024 engines (Argonne) and AMD's vLLM images of 2025.
ENTRIES = (
    {"engine": "vllm", "vendor": "AMD", "architecture": "CDNA2", "until": "0.5.5"},
    {"engine": "vllm", "vendor": "AMD", "architecture": "CDNA3", "until": "0.5.5"},
    {"engine": "vllm", "vendor": "AMD"},
    {"engine": "vllm", "vendor": "NVIDIA", "until": "0.6.6"},
    {"engine": "tensorrt-llm", "vendor": "NVIDIA", "until": "0.11.0"},
)
SOURCES = ("argonne_llm_inference_bench", "amd_rocm_vllm_docker")
NAMES = ("linear", "experts", "attention", "small", "step_s", "layer_s", "sequence_s")
PRIOR = dict(zip(NAMES, (1.0, 1.0, 1.0, 1.0, 1.5e-3, 4e-6, 3e-5), strict=True))
REACH = dict(zip(NAMES, (0.4, 0.5, 0.5, 0.4, 1.0, 1.0, 1.0), strict=True))
HOLD = 0.01
# What static batches do not show: as the engine's general entry has it.
OF_ENGINE = ("share", "share_equal", "request_s", "queue", "queue_equal")


@dataclass(frozen=True)
class Rows:
    read: np.ndarray
    decode: np.ndarray
    gaps: np.ndarray
    layers: np.ndarray
    batch: np.ndarray
    latency: np.ndarray
    fold: np.ndarray

    def take(self, index: np.ndarray) -> Rows:
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def features(one: Timed) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """(read, decode, gaps, layers, batch) of a static batch, without a profile."""
    forward = replace(one.forward, profile=Profile(name="none"), factors=())
    load = load_of(one.question.case, one.question.workload, one.concurrency)
    batch = one.concurrency
    decode = sum(
        grouped(forward, Step(decodes=batch, context=load.input + point * load.output)) for point in POINTS
    ) / len(POINTS)
    chunks = max(1.0, batch * load.input / step_budget(one.question.case))
    parallel = max(1.0, batch / chunks)
    size = batch * load.input / chunks / parallel
    read = chunks * grouped(forward, Step(prompts=parallel, prompt_tokens=size, past=(load.input - size) / 2))
    return read, decode, max(load.output - 1.0, 0.0), float(sum(forward.layers)), batch


def latency(theta: np.ndarray, rows: Rows) -> np.ndarray:
    value = np.exp(theta)
    step = value[4] + value[5] * rows.layers + value[6] * rows.batch
    return rows.read @ value[:4] + step + rows.gaps * (rows.decode @ value[:4] + step)


def fitted(rows: Rows) -> np.ndarray:
    middle = np.log([PRIOR[name] for name in NAMES])
    hold = HOLD * np.sqrt(len(rows.latency)) / np.array([REACH[name] for name in NAMES])
    theta, trust = middle.copy(), np.ones(len(rows.latency))
    for _ in range(6):

        def residual(x: np.ndarray, trust: np.ndarray = trust) -> np.ndarray:
            return np.concatenate([np.sqrt(trust) * np.log(latency(x, rows) / rows.latency), hold * (x - middle)])

        theta = least_squares(residual, theta, max_nfev=40).x
        off = np.log(latency(theta, rows) / rows.latency)
        trust = 1 / (1 + (off / (2 * FAR)) ** 2)
    return theta


def entry(
    selector: dict[str, str], general: dict[str, float], theta: np.ndarray, runs_: int, error: float | None
) -> dict[str, object]:
    value = dict(zip(NAMES, np.exp(theta), strict=True))
    return {
        **selector,
        "factors": {part: digits(value[NAMES[group]]) for part, group in GROUPS.items()},
        **{name: digits(value[name]) for name in ("step_s", "layer_s", "sequence_s")},
        **{name: general[name] for name in OF_ENGINE},
        "runs": runs_,
        "error": error,
    }


def general_of(entries: list[dict], selector: dict[str, str]) -> dict[str, float]:
    """The engine's entry that has no other selector."""
    return next(each for each in entries if each.get("engine") == selector["engine"] and "vendor" not in each)


def selected(selector: dict[str, str], one: Timed) -> bool:
    case = one.question.case
    device = case.devices[0]
    own = {"engine": case.engine.name, "vendor": device.vendor, "architecture": device.architecture}
    if any(selector.get(name, value) != value for name, value in own.items()):
        return False
    until = selector.get("until")
    return until is None or number(case.engine.version) <= number(until)


def main() -> None:
    path = Path(sys.argv[1])
    with path.open(newline="") as file:
        measured = {row["id"]: row for row in csv.DictReader(file)}
    gathered: list[tuple[Timed, float, int]] = []
    for run in runs(path):
        truth = measured[run.id]["latency_ms"]
        if run.source not in SOURCES or run.protocol != "static_batch" or not truth:
            continue
        if run.engine not in ("vllm", "tensorrt-llm"):
            continue
        try:
            gathered.append((timed(question(run)), float(truth) / 1e3, int(run.fold)))
        except BadInput:
            continue
    data = json.loads(OUT.read_text(encoding="utf-8"))
    keep = [each for each in data["profiles"] if not any(selector.items() <= each.items() for selector in ENTRIES)]
    made, folds = [], {fold: [] for fold in data["folds"]}
    taken: set[int] = set()
    for selector in ENTRIES:
        mine = [index for index, (one, *_) in enumerate(gathered) if index not in taken and selected(selector, one)]
        taken.update(mine)
        rows = stacked([gathered[index] for index in mine])
        error = np.zeros(len(mine))
        for fold in range(5):
            seen, left = rows.take(rows.fold != fold), rows.take(rows.fold == fold)
            theta = fitted(seen)
            folds[str(fold)].append(
                entry(selector, general_of(data["folds"][str(fold)], selector), theta, len(seen.latency), None)
            )
            error[rows.fold == fold] = np.abs(latency(theta, left) / left.latency - 1)
        theta = fitted(rows)
        own = np.abs(latency(theta, rows) / rows.latency - 1)
        print(selector, len(mine), f"out of fold {np.median(error):.1%}, mean {error.mean():.1%};", end=" ")
        print(f"in sample {np.median(own):.1%};", np.round(np.exp(theta), 6))
        seen_all = all((rows.fold != fold).any() for fold in set(rows.fold))  # else some were predicted by the priors
        told = digits(float(np.median(error))) if seen_all else None
        made.append(entry(selector, general_of(data["profiles"], selector), theta, len(mine), told))
    data["profiles"] = [*made, *keep]
    for fold, entries in folds.items():
        rest = [each for each in data["folds"][fold] if not any(s.items() <= each.items() for s in ENTRIES)]
        data["folds"][fold] = [*entries, *rest]
    OUT.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def stacked(gathered: list[tuple[Timed, float, int]]) -> Rows:
    found = [features(one) for one, *_ in gathered]
    columns = [np.array([each[number_] for each in found]) for number_ in range(5)]
    return Rows(*columns, np.array([each[1] for each in gathered]), np.array([each[2] for each in gathered]))


if __name__ == "__main__":
    main()
