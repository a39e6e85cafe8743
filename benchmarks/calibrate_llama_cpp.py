"""Fit llama.cpp's curves to whole runs of llama-bench, and score them on folds left out.

    python -m benchmarks.calibrate_llama_cpp SHARED_DATA_DIR [--predictions FILE] [--as-fitted]

Rows: single_stream, llama.cpp on a Ryzen AI MAX+ 395 (lhl_strix_halo, kyuz0_strix_halo, kyuz0_strix_halo_depth). Of
rows alike in source, model, format, lengths and backend the fastest counts: builds of one backend differ by up to 2.7
times.
Parameters of both backends together are fitted first, then each backend's around those. Writes
src/inferwise/timing/curves/llama_cpp.json (all rows); FILE gets predictions of every row by coefficients that did not
see its fold; --as-fitted writes anew what was fitted before. Needs scipy; five minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.llama_cpp_curves import PRIORS, coefficients, rounded, start
from benchmarks.llama_cpp_entries import BACKENDS, carried_over, entries
from benchmarks.llama_cpp_rows import METRICS, Measured, best, measured, published, summary, ubatch
from scipy.optimize import least_squares

from inferwise.evidence.file_mix import sized
from inferwise.memory.case import Case
from inferwise.serving.single_stream import resized, single_stream
from inferwise.serving.steady import Load
from inferwise.timing.curves import NEAREST, Curve
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.profiles import Profile

ROOT = Path(__file__).parents[1]
OUT = ROOT / "src/inferwise/timing/curves/llama_cpp.json"
FOLDED = ROOT / "benchmarks/results/llama_cpp_folds.json"
CPU = ROOT / "benchmarks/results/llama_cpp_cpu.json"
FOLDS = 5
SECOND_BEST = 0.5  # weight of rows that another backend beats in the same cell
NOTHING = Profile(name="none")


@dataclass
class Group:
    """Rows of one deployment on one backend, timed together: its operators, each with the curve that it takes."""

    forward: Forward
    wanted: list[tuple[str, str]]
    load: Load
    ubatch: np.ndarray
    is_prompt: np.ndarray
    value: np.ndarray
    weight: np.ndarray
    fold: np.ndarray
    rows: list[Measured]


def groups(rows: Sequence[Measured]) -> list[Group]:
    """Rows by deployment and backend. A file whose size one source tells has it in all."""
    top = {row.run.id for row in best(rows, by_backend=False)}
    sizes = {published(row): row.asked.file_bytes for row in rows if row.asked.file_bytes}
    by: dict[tuple[Any, ...], list[Measured]] = defaultdict(list)
    cases: dict[tuple[Any, ...], Case] = {}
    for row in rows:
        run = row.run
        case, experts, rest = sized(row.asked, sizes.get(published(row)))
        by[run.source, run.model, run.weight_format, case.weights, experts, rest, run.backend].append(row)
        cases[run.source, run.model, run.weight_format, case.weights, experts, rest, run.backend] = case
    return [_group(rows, cases[key], key[-3], key[-2], top) for key, rows in by.items()]


def _group(rows: list[Measured], case: Case, experts: float, rest: float, top: set[str]) -> Group:
    made = resized(forward(case, backend=rows[0].run.backend), experts, rest)
    load = Load(
        input=np.array([float(row.asked.workload.input) for row in rows]),
        output=np.array([float(row.asked.workload.output) for row in rows]),
        concurrency=1.0,
        prefix=np.array([float(row.asked.workload.prefix) for row in rows]),
    )
    return Group(
        forward=replace(made, profile=NOTHING),
        wanted=[wanted(each) for each in made.stages[0]],
        load=load,
        ubatch=np.array([ubatch(row) for row in rows]),
        is_prompt=np.array([row.metric == "prompt_tok_s" for row in rows]),
        value=np.array([row.value for row in rows]),
        weight=np.array([1.0 if row.run.id in top else SECOND_BEST for row in rows]),
        fold=np.array([row.fold for row in rows]),
        rows=rows,
    )


def wanted(operator: Operator) -> tuple[str, str]:
    """Kernel and format of the curve that an operator takes."""
    kernel, have = operator.curve.kernel, coefficients(start())
    label = operator.label if isinstance(operator, Gemm | RoutedExperts) else operator.curve.dtype
    return next((kernel, name) for name in (label, *NEAREST.get(label, ()), "bf16") if (kernel, name) in have)


def predict(group: Group, made: Mapping[str, float]) -> np.ndarray:
    """Tokens/s of a group's rows by a set of parameters."""
    have = coefficients(made)
    operators = tuple(
        replace(each, curve=_curve(*want, have[want]))
        for each, want in zip(group.forward.stages[0], group.wanted, strict=True)
    )
    found = single_stream(replace(group.forward, stages=(operators,)), group.load, group.ubatch)
    return np.where(group.is_prompt, found.prompt_tok_s, found.decode_tok_s)


def _curve(kernel: str, dtype: str, c: Mapping[str, float]) -> Curve:
    return Curve(
        kernel=kernel, device="", architecture="", vendor="", engine="llama.cpp", dtype=dtype, coefficients=c,
        rows=0, median=0.0, left_out=0.0,
    )  # fmt: skip


def fit(all_groups: Sequence[Group], centre: Mapping[str, float], spread: float, skip: int | None) -> dict[str, float]:
    """Parameters that lie nearest to the rows outside the fold `skip`, held near `centre` where few rows speak."""
    names = list(PRIORS)
    deviations = np.array([PRIORS[name][1] * spread for name in names])
    middle = np.array([np.log(centre[name]) for name in names])
    chosen = [(group, group.fold != (-1 if skip is None else skip)) for group in all_groups]
    chosen = [(group, keep) for group, keep in chosen if keep.any()]
    shares = _cell_weights([group for group, _ in chosen])

    def misses(x: np.ndarray) -> np.ndarray:
        made = {name: float(np.exp(value)) for name, value in zip(names, x, strict=True)}
        parts = []
        for (group, keep), share in zip(chosen, shares, strict=True):
            error = np.log(predict(group, made) / group.value)
            size = error * np.sqrt(group.weight * share) / 0.1
            parts.append((np.sign(size) * np.sqrt(2 * (np.sqrt(1 + size**2) - 1)))[keep])  # soft L1
        return np.concatenate([*parts, (x - middle) / deviations])

    low, high = middle - 2.5, middle + 2.5
    found = least_squares(misses, middle, bounds=(low, high), max_nfev=12, x_scale=np.maximum(deviations, 0.05))
    return {name: float(np.exp(value)) for name, value in zip(names, found.x, strict=True)}


def _cell_weights(some: Sequence[Group]) -> list[np.ndarray]:
    """So that a deployment with many lengths does not outweigh one with few: its rows count as the root of them."""
    return [np.full(len(group.value), 3.0 / np.sqrt(len(group.value))) for group in some]


def fit_backends(all_groups: Sequence[Group], skip: int | None = None) -> dict[str, dict[str, float]]:
    """Parameters of both backends together ("") and of each."""
    pooled = fit(all_groups, start(), 1.0, skip)
    found = {"": pooled}
    for backend in BACKENDS:
        own = [group for group in all_groups if group.rows[0].run.backend == backend]
        found[backend] = fit(own, pooled, 0.7, skip)
    return found


def out_of_fold(
    all_groups: Sequence[Group], backends: Mapping[int, Mapping[str, Mapping[str, float]]]
) -> dict[str, float]:
    """Tokens/s of every row by the parameters that did not see its fold."""
    found = {}
    for group in all_groups:
        for fold in sorted(set(group.fold)):
            rates = predict(group, backends[fold][group.rows[0].run.backend])
            for row, rate in zip(group.rows, rates, strict=True):
                if row.fold == fold:
                    found[row.run.id] = float(rate)
    return found


def write(
    made: Mapping[str, Mapping[str, float]],
    rows: Sequence[Measured],
    inside: Mapping[str, float],
    outside: Mapping[str, float],
) -> None:
    """llama_cpp.json, with its residuals."""
    content = {
        "kernel": "llama_cpp",
        "about": "Curves of llama.cpp's kernels, fitted to whole runs of llama-bench: shares of the datasheet's rates. "
        "rows: best builds of a cell; median, left_out: absolute error of tokens/s, the latter on folds left out.",
        "source": "llama-bench on a Ryzen AI MAX+ 395: lhl/strix-halo-testing (July-August 2025, b5863-b6118), "
        "kyuz0/amd-strix-halo-toolboxes (2026, b9187-b9193 and later); written by benchmarks/calibrate_llama_cpp.py",
        "fitted": datetime.date.today().isoformat(),
        "scores": summary(rows, outside),
        "parameters": {b or "both": {k: rounded(v) for k, v in each.items()} for b, each in made.items()},
        "curves": entries(made, rows, inside, outside),
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n")


def as_fitted() -> list[dict[str, dict[str, float]]]:
    """What an earlier run fitted: without each fold, and on all rows."""
    folded = json.loads(FOLDED.read_text())
    every = json.loads(OUT.read_text())["parameters"]
    return [
        *(folded[str(fold)] for fold in range(FOLDS)),
        {"": every["both"]} | {name: every[name] for name in BACKENDS},
    ]


def main() -> None:
    """Fit, score and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--predictions", type=Path, help="out-of-fold predictions of every row, for score.py")
    parser.add_argument("--as-fitted", action="store_true", help="write anew what was fitted before")
    args = parser.parse_args()
    rows = measured(args.folder)
    fast, every = groups(best(rows, by_backend=True)), groups(rows)
    if args.as_fitted:
        *folded, made = as_fitted()
    else:
        with ProcessPoolExecutor(2) as pool:
            *folded, made = pool.map(partial(fit_backends, fast), [*range(FOLDS), None])
    outside = out_of_fold(every, dict(enumerate(folded)))
    inside = out_of_fold(every, dict.fromkeys(range(FOLDS), made))
    made = carried_over(made, json.loads(CPU.read_text())["runs"])
    FOLDED.write_text(json.dumps(dict(enumerate(folded)), indent=1) + "\n")
    write(made, rows, inside, outside)
    for line in summary(rows, outside):
        print(line)
    if args.predictions:
        with open(args.predictions, "w", newline="") as file:
            out = csv.writer(file)
            out.writerow(("id", "status", *METRICS))
            for row in rows:
                out.writerow((row.run.id, "ok", *(outside[row.run.id] if row.metric == m else "" for m in METRICS)))


if __name__ == "__main__":
    main()
