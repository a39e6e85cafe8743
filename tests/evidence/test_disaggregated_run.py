"""Predictions for prefill and decode workers, from a row to its metrics."""

from __future__ import annotations

from typing import Any

import pytest

from inferwise.evidence.disaggregated_run import sides
from inferwise.evidence.measurements import Run, run_of
from inferwise.evidence.predict import predicted, timed
from inferwise.evidence.run_case import question
from inferwise.evidence.run_names import Unpredicted

ROW: dict[str, Any] = {
    "id": "d",
    "protocol": "closed_loop_disagg",
    "engine": "tensorrt-llm",
    "engine_version": "1.2.0rc6",
    "model": "openai/gpt-oss-120b",
    "weight_format": "native",
    "accelerator": "gb200-186gb",
    "devices": "9",
    "tp": "P1/D4",
    "isl": "8192",
    "osl": "1024",
    "concurrency": "64",
    "remarks": "disagg; disagg prefill x1 bs1, decode x2 bs16; some day",
}


def metrics(**given: Any) -> dict[str, float]:
    row: dict[str | None, Any] = dict((ROW | given).items())
    return predicted(timed(question(run_of(row))))


def test_sides_are_runs_of_their_own() -> None:
    run = Run(id="d", protocol="closed_loop", engine="vllm", model="m", accelerator="a", tp="P2/D1", dp="P1/D8", pp="2")
    prefill, decode = sides(run)
    assert (prefill.tp, prefill.dp, prefill.pp, prefill.ep, prefill.devices) == ("2", "1", "2", "", "4")
    assert (decode.tp, decode.dp, decode.pp, decode.ep, decode.devices) == ("1", "8", "2", "", "16")


@pytest.mark.parametrize("degree", ["P2", "P2/D", "D2/P1", "P2/D1.5", "two", "P99999/D1"])
def test_sides_have_whole_degrees(degree: str) -> None:
    with pytest.raises(Unpredicted) as raised:
        metrics(tp=degree)
    assert raised.value.status == "missing-input"


def test_a_row_is_predicted_over_all_of_its_workers() -> None:
    found = metrics()
    assert found["req_s"] * found["latency_ms"] == pytest.approx(64e3)
    assert found["output_tok_s"] == pytest.approx(1024 * found["req_s"])
    assert found["latency_ms"] == pytest.approx(found["ttft_ms"] + 1023 * found["tpot_ms"])
    assert metrics(tp="P2/D4")["ttft_ms"] < found["ttft_ms"]
    more = metrics(remarks="disagg prefill x4 bs1, decode x2 bs16; some day")
    assert more["ttft_ms"] < found["ttft_ms"]
    assert more["tpot_ms"] >= found["tpot_ms"]  # prompts come faster: more of them decode at once


def test_prompts_elsewhere_leave_answers_alone() -> None:
    """At the same batch of one worker, answers come no slower than where it reads prompts as well."""
    apart = metrics(remarks="disagg prefill x16 bs1, decode x1 bs64; some day")
    together = metrics(protocol="closed_loop", tp="4", devices="4", remarks="")
    assert apart["tpot_ms"] < together["tpot_ms"]


def test_what_was_measured_is_not_looked_at() -> None:
    assert metrics() == metrics(ttft_ms="1", tpot_ms="2", latency_ms="3")
