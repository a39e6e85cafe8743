"""Predictions of whole runs: out of fold, within the limits that we set; and blind to what was measured."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest

from inferwise.errors import BadInput
from inferwise.evidence.measurements import Run, run_of, runs
from inferwise.evidence.predict import predicted, timed
from inferwise.evidence.run_case import question

MEASURED = (
    "ttft_ms", "tpot_ms", "latency_ms", "output_tok_s", "total_tok_s", "req_s", "prompt_tok_s", "decode_tok_s",
    "energy_j_per_output_tok", "power_w",
)  # fmt: skip
SILICON, ARGONNE = "aiconfigurator_silicon_sample", "argonne_llm_inference_bench"


def rows_of(path: Path, **wanted: str) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[name] == value for name, value in wanted.items())]


def out_of_fold(run: Run) -> dict[str, float]:
    return predicted(timed(question(run), int(run.fold)))


def errors(rows: list[dict[str, str]], metric: str) -> dict[str, list[float]]:
    """Absolute percentage errors by fold; every row must have a prediction."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row[metric]:
            found[row["fold"]].append(abs(out_of_fold(run_of(row))[metric] / float(row[metric]) - 1))
    return found


def test_time_per_token_of_closed_loops(shared_data: Path) -> None:
    rows = rows_of(shared_data / "measurements.csv", source=SILICON, protocol="closed_loop")
    by_fold = errors(rows, "tpot_ms")
    off = [each for fold in by_fold.values() for each in fold]
    assert len(off) == 1490
    assert statistics.median(off) <= 0.11
    assert statistics.fmean(off) <= 0.17
    assert max(statistics.median(fold) for fold in by_fold.values()) <= 0.18  # 16 % as measured


def test_time_to_first_token_of_a_lone_request(shared_data: Path) -> None:
    rows = rows_of(shared_data / "measurements.csv", source=SILICON, protocol="closed_loop", concurrency="1")
    off = [each for fold in errors(rows, "ttft_ms").values() for each in fold]
    assert len(off) == 2
    assert statistics.median(off) <= 0.15


@pytest.mark.parametrize("engine", ["vllm", "tensorrt-llm"])
def test_static_batches_of_older_engines(shared_data: Path, engine: str) -> None:
    rows = rows_of(shared_data / "measurements.csv", source=ARGONNE, engine=engine)
    off = [each for fold in errors(rows[::3], "total_tok_s").values() for each in fold]
    assert len(off) > 100
    assert statistics.median(off) <= 0.25


def test_predictions_do_not_look_at_what_was_measured(shared_data: Path) -> None:
    seen: set[str] = set()
    for row in rows_of(shared_data / "measurements.csv"):
        key = row["source"] + row["protocol"] + row["engine"]
        if key in seen:
            continue
        seen.add(key)
        blank = run_of(row | dict.fromkeys(MEASURED, ""))
        try:
            found = out_of_fold(run_of(row))
        except BadInput as error:  # what is not predicted is so whatever was measured
            with pytest.raises(BadInput, match=re.escape(error.what[:40])):
                out_of_fold(blank)
            continue
        assert out_of_fold(blank) == found
    assert len(seen) > 20
    assert not {field.name for field in fields(Run)} & set(MEASURED)


OURS = {
    "id": "one", "fold": "0", "source": "ours", "protocol": "closed_loop", "engine": "vllm", "engine_version": "0.19.0",
    "model": "meta-llama/Llama-3.1-8B-Instruct", "weight_format": "native", "accelerator": "h100-sxm-80gb",
    "devices": "1", "tp": "1", "isl": "1024", "osl": "256", "concurrency": "16",
}  # fmt: skip
METRICS = {
    "closed_loop": {"ttft_ms", "tpot_ms", "latency_ms", "output_tok_s", "total_tok_s", "req_s"},
    "static_batch": {"ttft_ms", "tpot_ms", "latency_ms", "output_tok_s", "total_tok_s", "req_s"},
    "single_stream": {"prompt_tok_s", "decode_tok_s", "output_tok_s"},
}


@pytest.mark.parametrize("protocol", METRICS)
def test_a_protocol_has_its_metrics(tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "runs.csv"
    names = list(dict.fromkeys([*OURS, *(field.name for field in fields(Run)), "remarks"]))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(OURS | {"protocol": protocol})
    (run,) = runs(path)
    found = out_of_fold(run)
    assert set(found) == METRICS[protocol]
    assert all(value > 0 for value in found.values())


def test_more_requests_at_once_are_slower_each_and_faster_together() -> None:
    one, many = (out_of_fold(run_of(OURS | {"concurrency": each})) for each in ("1", "64"))
    assert one["tpot_ms"] < many["tpot_ms"]
    assert one["output_tok_s"] < many["output_tok_s"]
