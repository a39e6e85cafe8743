"""Fit what engines add to their kernels (timing/calibration.json) to whole runs, and score it on folds left out.

    python benchmarks/calibrate.py MEASUREMENTS.csv [--skew 1.0]

Fitted: rows of the silicon sample's closed loops (vLLM, SGLang, TensorRT-LLM), by TPOT; each deployment (model, format,
device, engine, campaign) weighs as the root of its rows. The frozen column `fold` splits whole groups. Coefficients
are held near priors that say what physics would have them be (factors near 1), by a weight in the same units for all;
rows far off count less (their model or engine lacks something that no overhead should hide).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from inferwise.evidence.measurements import runs
from inferwise.evidence.predict import Timed, timed
from inferwise.evidence.run_case import question
from inferwise.serving.estimate import load_of, step_budget
from inferwise.serving.steady import POINTS, closed_loop
from inferwise.timing.deploy import waits
from inferwise.timing.forward import Forward, part_seconds
from inferwise.timing.profiles import Profile
from inferwise.timing.step import Step

OUT = Path(__file__).parents[1] / "src/inferwise/timing/calibration.json"
SOURCE = "aiconfigurator_silicon_sample"
ENGINES = ("vllm", "sglang", "tensorrt-llm")
# Which factor a part's kernels take.
GROUPS = {
    "projections": 0, "dense": 0, "head": 0, "quantise": 0, "router": 0, "encoder": 0, "experts": 1, "attention": 2,
    "recurrent": 2, "elementwise": 3, "sampling": 3, "communication": 3,
}  # fmt: skip
NAMES = ("linear", "experts", "attention", "small", "step_s", "layer_s", "share", "share_equal")
PRIOR = dict(zip(NAMES, (1.0, 1.0, 1.0, 1.0, 1e-4, 4e-6, 1.0, 0.8), strict=True))
# Deviations of their logarithms: how far each may reasonably be from its prior.
REACH = dict(zip(NAMES, (0.1, 0.2, 0.12, 0.15, 0.7, 0.7, 0.2, 0.3), strict=True))
# vLLM without async_scheduling (on since 0.14) prepares a step on the host after the last one has ended.
HOST_PRIOR_S, HOST_REACH = 1.5e-3, 0.5
# Seconds of a request outside the engine's steps, and the part of the others' prompts that its own waits for.
FIRST_PRIOR, FIRST_REACH = (0.02, 0.15, 0.7), (1.0, 1.0, 0.7)
HOLD = 0.015  # weight of the priors, per root of the rows
FAR = 0.1  # logarithm of an error beyond which a row counts less


@dataclass(frozen=True)
class Rows:
    """Runs as arrays: seconds of decode steps and of prompts beside them by factor group, and what multiplies them."""

    decode: np.ndarray
    beside: np.ndarray
    layers: np.ndarray
    batch: np.ndarray
    gaps: np.ndarray
    engine: np.ndarray
    waits: np.ndarray
    equal: np.ndarray
    tpot: np.ndarray
    ttft: np.ndarray
    alone: np.ndarray
    waiting: np.ndarray
    fold: np.ndarray
    weight: np.ndarray
    architecture: np.ndarray

    def take(self, index: np.ndarray) -> Rows:
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def grouped(forward: Forward, step: Step) -> np.ndarray:
    """Seconds of a step by factor group, all stages."""
    found = np.zeros(4)
    for stage in range(len(forward.stages)):
        for part, seconds in part_seconds(forward, step, stage).items():
            if part in GROUPS:
                found[GROUPS[part]] += float(np.asarray(seconds))
    return found


def features(one: Timed) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """(decode, beside, batch, alone) of a run, without a profile; alone: its prompt with no other request."""
    forward = replace(one.forward, profile=Profile(name="none"), factors=())
    load = load_of(one.question.case, one.question.workload, one.concurrency)
    budget = step_budget(one.question.case)
    batch = float(closed_loop(forward, load, budget, one.limit).running)
    decode = sum(
        grouped(forward, Step(decodes=batch, context=load.input + point * load.output)) for point in POINTS
    ) / len(POINTS)
    others = max(batch - 1.0, 0.0)
    chunks = max(1.0, load.input / max(1.0, budget - others))
    size = load.input / chunks
    mixed = Step(
        decodes=others,
        context=load.input + load.output / 2,
        prompts=1.0,
        prompt_tokens=size,
        past=(load.input - size) / 2,
    )
    parts = max(1.0, load.input / budget)
    own = Step(prompts=1.0, prompt_tokens=load.input / parts, past=(load.input - load.input / parts) / 2)
    return decode, chunks * (grouped(forward, mixed) - decode), batch, parts * grouped(forward, own)


def gather(path: Path) -> tuple[Rows, list[str]]:
    with path.open(newline="") as file:
        measured = {row["id"]: row for row in csv.DictReader(file)}
    made, columns, names = [], [], []
    for run in runs(path):
        truth = measured[run.id]["tpot_ms"]
        if run.source != SOURCE or run.protocol != "closed_loop" or not truth:
            continue
        one = timed(question(run))
        made.append(features(one))
        group = "|".join((run.model, run.weight_format, run.accelerator, run.engine, run.campaign))
        first = float(measured[run.id]["ttft_ms"] or "nan") / 1e3
        columns.append((group, one, float(truth) / 1e3, first, int(run.fold)))
        names.append(run.id)
    sizes = Counter(group for group, *_ in columns)
    weight = np.array([sizes[group] ** -0.5 for group, *_ in columns])
    loads = [one.question.workload for _, one, *_ in columns]
    return Rows(
        decode=np.array([each[0] for each in made]),
        beside=np.array([each[1] for each in made]),
        layers=np.array([float(sum(one.forward.layers)) for _, one, *_ in columns]),
        batch=np.array([each[2] for each in made]),
        gaps=np.array([max(load.output - 1.0, 1.0) for load in loads]),
        engine=np.array([ENGINES.index(one.question.case.engine.name) for _, one, *_ in columns]),
        waits=np.array([waits(one.question.case) for _, one, *_ in columns]),
        equal=np.array([load.equal_lengths for load in loads]),
        tpot=np.array([each[2] for each in columns]),
        ttft=np.array([each[3] for each in columns]),
        alone=np.array([each[3] for each in made]),
        waiting=np.array([one.concurrency / min(one.concurrency, one.limit) - 1.0 for _, one, *_ in columns]),
        fold=np.array([fold for *_, fold in columns]),
        weight=weight / weight.mean(),
        architecture=np.array([one.question.case.devices[0].architecture for _, one, *_ in columns]),
    ), names


def tpot(theta: np.ndarray, rows: Rows) -> np.ndarray:
    """Seconds of the closed form at coefficients theta (logarithms: NAMES of each engine, then the host's step)."""
    own = np.exp(theta[:-1].reshape(len(ENGINES), len(NAMES)))[rows.engine]
    factors, step, layer = own[:, :4], own[:, 4] + rows.waits * np.exp(theta[-1]), own[:, 5]
    share = np.where(rows.equal, own[:, 7], own[:, 6])
    decode = (rows.decode * factors).sum(1) + step + layer * rows.layers
    cost = np.maximum((rows.beside * factors).sum(1), 0)
    return decode + share * np.maximum(rows.batch - 1, 0) * cost / rows.gaps


def prior() -> tuple[np.ndarray, np.ndarray]:
    """(middle, reach) of the coefficients, as logarithms."""
    middle = [np.log(PRIOR[name]) for _ in ENGINES for name in NAMES]
    reach = [REACH[name] for _ in ENGINES for name in NAMES]
    return np.array([*middle, np.log(HOST_PRIOR_S)]), np.array([*reach, HOST_REACH])


def fitted(rows: Rows) -> np.ndarray:
    """Coefficients by least squares of logarithms; rows far off count less, by repeated weights (Cauchy's)."""
    middle, reach = prior()
    theta, trust = middle.copy(), np.ones(len(rows.tpot))
    hold = HOLD * np.sqrt(len(rows.tpot)) / reach
    for _ in range(6):

        def residual(x: np.ndarray, trust: np.ndarray = trust) -> np.ndarray:
            off = np.sqrt(trust) * rows.weight * np.log(tpot(x, rows) / rows.tpot)
            return np.concatenate([off, hold * (x - middle)])

        theta = least_squares(residual, theta, max_nfev=30).x
        off = np.log(tpot(theta, rows) / rows.tpot)
        trust = 1 / (1 + (off / FAR) ** 2)
    return theta


def profiles(theta: np.ndarray, first: np.ndarray, rows: Rows, error: np.ndarray | None) -> list[dict[str, object]]:
    """The fitted coefficients as profiles; the generic one is the mean of the engines'. error: out of fold."""
    own = np.exp(theta[:-1].reshape(len(ENGINES), len(NAMES)))
    found, waits_for = [], np.exp(first.reshape(len(ENGINES), 3))
    for number, engine in enumerate((*ENGINES, "")):
        queue = waits_for[number] if number < len(ENGINES) else np.exp(np.log(waits_for).mean(0))
        value = dict(zip(NAMES, own[number] if number < len(ENGINES) else np.exp(np.log(own).mean(0)), strict=True))
        mine = rows.engine == number
        entry = {
            **({"engine": engine} if engine else {}),
            "factors": {part: digits(value[NAMES[group]]) for part, group in GROUPS.items()},
            **{name: digits(value[name]) for name in ("step_s", "layer_s", "share", "share_equal")},
            **{name: digits(each) for name, each in zip(("request_s", "queue", "queue_equal"), queue, strict=True)},
            **({"architectures": sorted(set(rows.architecture[mine]))} if engine else {}),
            "runs": int(mine.sum()),
            "error": None if error is None or not mine.any() else digits(float(np.median(error[mine]))),
        }
        if engine == "vllm":
            entry["host_s"] = digits(float(np.exp(theta[-1])))
        found.append(entry)
    # whole runs gave the curves of llama.cpp: nothing is added twice
    return [*({"engine": engine, "runs": 0, "error": None} for engine in ("llama.cpp", "ollama", "mlx")), *found]


def ttft(first: np.ndarray, theta: np.ndarray, rows: Rows) -> np.ndarray:
    """Seconds to the first token: first holds logarithms of request_s, queue and queue_equal of each engine."""
    own, mine = (
        np.exp(theta[:-1].reshape(len(ENGINES), len(NAMES)))[rows.engine],
        np.exp(first.reshape(-1, 3))[rows.engine],
    )
    gap, cost = tpot(theta, rows), np.maximum((rows.beside * own[:, :4]).sum(1), 0)
    others = np.maximum(rows.batch - 1, 0)
    inside = mine[:, 0] + (rows.alone * own[:, :4]).sum(1) + 0.5 * gap * (others > 0)
    inside = inside + np.where(rows.equal, mine[:, 2], mine[:, 1]) * others * cost
    return inside + (inside + rows.gaps * gap) * rows.waiting


def first_fitted(theta: np.ndarray, rows: Rows) -> np.ndarray:
    """request_s, queue and queue_equal of each engine (logarithms), from the times to first tokens.

    Twice: what engines have in common at first, their geometric mean, is the prior of each the second time.
    """
    rows = rows.take(np.isfinite(rows.ttft) & (rows.waiting == 0))
    found = np.log(np.tile(FIRST_PRIOR, len(ENGINES)))
    for _ in range(2):
        middle = np.tile(found.reshape(len(ENGINES), -1).mean(0), len(ENGINES))
        hold = HOLD * np.sqrt(len(rows.ttft)) / np.tile(FIRST_REACH, len(ENGINES))

        def residual(x: np.ndarray, middle: np.ndarray = middle, hold: np.ndarray = hold) -> np.ndarray:
            return np.concatenate([rows.weight * np.log(ttft(x, theta, rows) / rows.ttft), hold * (x - middle)])

        found = least_squares(residual, middle, max_nfev=60, loss="soft_l1", f_scale=0.3).x
    return found


def digits(value: float) -> float:
    return float(f"{value:.4g}")


def report(name: str, predicted: np.ndarray, rows: Rows) -> np.ndarray:
    error = np.abs(predicted / rows.tpot - 1)
    folds = [error[rows.fold == fold] for fold in range(5)]
    print(f"{name}: median {np.median(error):.1%}, mean {error.mean():.1%}; folds", end=" ")
    print(", ".join(f"{np.median(each):.1%}/{each.mean():.1%}" for each in folds))
    return error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", type=Path)
    parser.add_argument("--skew", type=float, default=None)
    args = parser.parse_args()
    before = json.loads(OUT.read_text(encoding="utf-8"))
    skew = before["skew"] if args.skew is None else args.skew
    if skew != before["skew"]:  # operators are built with it
        OUT.write_text(json.dumps(before | {"skew": skew}, indent=1) + "\n", encoding="utf-8")
    rows, _ = gather(args.measurements)
    report("at the priors", tpot(prior()[0], rows), rows)
    without, later, folds = np.zeros(len(rows.tpot)), np.zeros(len(rows.tpot)), {}
    for fold in range(5):
        seen, left = rows.take(rows.fold != fold), rows.fold == fold
        theta = fitted(seen)
        first = first_fitted(theta, seen)
        without[left] = tpot(theta, rows.take(left))
        later[left] = ttft(first, theta, rows.take(left))
        folds[str(fold)] = profiles(theta, first, seen, None)
    error = report("out of fold", without, rows)
    off = np.abs(later / rows.ttft - 1)
    print(f"time to first token, out of fold: median {np.nanmedian(off):.1%}, mean {np.nanmean(off):.1%}")
    theta = fitted(rows)
    report("in sample", tpot(theta, rows), rows)
    data = {
        "source": f"TPOT of {len(rows.tpot)} closed loops of {SOURCE}, measured by others; benchmarks/calibrate.py",
        "fitted": datetime.date.today().isoformat(),
        "skew": skew,
        "out_of_fold": {"median": digits(float(np.median(error))), "mean": digits(float(error.mean()))},
        "profiles": profiles(theta, first_fitted(theta, rows), rows, error),
        "folds": folds,
    }
    OUT.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for entry in data["profiles"]:
        print(json.dumps(entry))


if __name__ == "__main__":
    main()
