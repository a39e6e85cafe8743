"""Rows of llama-bench on a Ryzen AI MAX+ 395, for calibrate_llama_cpp.py: what was measured, and how far rates are."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferwise.evidence.measurements import Run, runs
from inferwise.evidence.run_case import Question, question

DEVICE = "ryzen-ai-max-395"
METRICS = ("prompt_tok_s", "decode_tok_s")
LONG_UBATCH = {"rocm": 2048, "vulkan": 512}  # kyuz0's benchmark/run_benchmarks.sh, runs at a depth


@dataclass(frozen=True)
class Measured:
    """A row with what was measured. cell: what rows are alike in, but for builds and backend."""

    run: Run
    asked: Question
    metric: str
    value: float

    @property
    def cell(self) -> tuple[str, ...]:
        run = self.run
        return run.source, run.model, run.weight_format, run.isl, run.osl, self.metric

    @property
    def fold(self) -> int:
        return int(self.run.fold)


def measured(folder: Path) -> list[Measured]:
    """All rows of llama.cpp on the device."""
    path = folder / "measurements.csv"
    with open(path, newline="") as file:
        values = {row["id"]: row for row in csv.DictReader(file)}
    found = []
    for run in runs(path):
        if run.protocol == "single_stream" and run.engine == "llama.cpp" and run.accelerator == DEVICE:
            metric = next(name for name in METRICS if values[run.id][name])
            found.append(Measured(run, question(run), metric, float(values[run.id][metric])))
    return found


def published(row: Measured) -> str:
    """The file's name, without parts."""
    return row.run.model_as_published.removesuffix(".gguf")


def best(rows: Iterable[Measured], *, by_backend: bool) -> list[Measured]:
    """The fastest row of each cell, of each backend or of all."""
    found: dict[tuple[str, ...], Measured] = {}
    for row in rows:
        key = (*row.cell, row.run.backend) if by_backend else row.cell
        if key not in found or row.value > found[key].value:
            found[key] = row
    return list(found.values())


def ubatch(row: Measured) -> float:
    """Tokens of a micro-batch: as the row says, or its source's script."""
    told = row.asked.case.settings.ubatch
    if told is None and row.run.source == "kyuz0_strix_halo" and row.asked.workload.prefix:
        return float(LONG_UBATCH[row.run.backend])
    return float(told or 512)


def errors(rows: Iterable[Measured], rates: Mapping[str, float]) -> list[float]:
    """Absolute percentage errors."""
    return [abs(rates[row.run.id] / row.value - 1) for row in rows]


def summary(rows: Sequence[Measured], rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """By source and metric, on the best build of a cell: median, mean, worst fold."""
    top = best(rows, by_backend=False)
    found = []
    for source in sorted({row.run.source for row in top}):
        for metric in METRICS:
            some = [row for row in top if row.run.source == source and row.metric == metric]
            folds = {fold: errors([r for r in some if r.fold == fold], rates) for fold in {row.fold for row in some}}
            missed = errors(some, rates)
            worst = max(folds, key=lambda fold: statistics.median(folds[fold]))
            found.append(
                {
                    "source": source,
                    "metric": metric,
                    "rows": len(some),
                    "median": round(statistics.median(missed), 4),
                    "mean": round(statistics.fmean(missed), 4),
                    "worst_fold": worst,
                    "worst_fold_median": round(statistics.median(folds[worst]), 4),
                }
            )
    return found
