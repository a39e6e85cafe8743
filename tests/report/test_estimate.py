"""What a reader sees of an estimate: every number stands in it, and the operators add up."""

from __future__ import annotations

import re

import pytest

import inferwise as iw
from inferwise.report.curve import curve_text, seconds
from inferwise.report.estimate import estimate_text, explain_text
from inferwise.report.terminal_chart import HEIGHT, chart
from inferwise.serving.basis import basis_shares, bound_shares, curve_error, merged, relief
from inferwise.serving.estimate import Estimate
from inferwise.serving.sweep_load import sweep

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture(scope="module")
def loaded() -> Estimate:
    return iw.estimate(LLAMA, "h100", concurrency=16)


def lines(text: str) -> dict[str, str]:
    """The text by the first word of its lines."""
    return {line.split()[0]: line for line in text.splitlines() if line.split()}


def test_every_number_is_told(loaded: Estimate) -> None:
    told = lines(estimate_text(loaded))
    assert seconds(loaded.ttft_s) in told["TTFT"]
    assert seconds(loaded.tpot_s) in told["TPOT"]
    assert f"{1 / loaded.tpot_s:,.4g} tok/s a user" in told["TPOT"]
    assert seconds(loaded.latency_s) in told["latency"]
    assert f"{loaded.output_tok_s:,.5g} tok/s" in told["output"]
    assert f"{loaded.total_tok_s:,.5g} tok/s" in told["total"]
    assert f"{loaded.mfu:.1%}" in told["MFU"]
    assert f"{loaded.mbu:.1%}" in told["MBU"]
    assert f"{loaded.power_w:,.4g} W" in told["power"]
    assert f"room for {int(loaded.limit):,} such requests at once" in told["memory"]
    assert loaded.bottleneck in told["bottleneck"]
    assert "16 requests in flight (closed_loop)" in estimate_text(loaded)


def test_what_waits_and_what_replicas_do_is_told() -> None:
    full = estimate_text(iw.estimate(LLAMA, "h100", concurrency=2000))
    assert re.search(r"[\d,]+ wait for room", full)
    four = iw.estimate(LLAMA, "h100", count=4, tp=1, concurrency=64)
    told = lines(estimate_text(four))
    assert "4 replicas on 4 devices" in told[f"{LLAMA}:"]
    assert f"{four.output_tok_s / 4:,.5g} a device" in told["output"]
    assert "on each of 4 replicas" in told["running"]


def test_what_it_stands_on_is_told() -> None:
    timed = iw.estimate(LLAMA, "h100")
    assert sum(basis_shares(timed.decode).values()) == pytest.approx(1)
    assert sum(bound_shares(timed.decode).values()) == pytest.approx(1)
    assert "from kernels timed on this device" in estimate_text(timed)
    error = curve_error(timed.decode)
    assert error is not None
    assert min(row.error for row in timed.decode if row.error is not None) <= error
    assert error <= max(row.error for row in timed.decode if row.error is not None)
    far = iw.estimate("meta-llama/Llama-3.2-1B-Instruct", "tpu-v5e")
    assert "measured" not in basis_shares(far.decode)
    assert "from kernels timed on other makers' devices" in estimate_text(far)


def test_what_the_device_lacks_is_told() -> None:
    """Ampere has no FP8 units: the weights are kept in FP8 and expanded."""
    text = estimate_text(iw.estimate(LLAMA, "a100-sxm-80gb", weights="fp8"))
    assert "note: A100 SXM4 80GB has no fp8: weights only, computed in bf16" in text


def test_relief_follows_what_is_read() -> None:
    short, long = (
        iw.estimate(LLAMA, "h100", input=size, output=64, batch=batch) for size, batch in ((128, 1), (30_000, 12))
    )
    assert relief(short.decode, "memory").startswith("weights in fewer bits")
    assert relief(long.decode, "memory").startswith("a KV cache in fewer bits")


def test_operators_of_each_stage_are_told_and_add_up() -> None:
    made = iw.estimate(LLAMA, "h100", pp=2, tp=2, concurrency=8)
    text = explain_text(made)
    assert text.count("stage 0: ") == text.count("stage 1: ") == 2
    decode, prompt = re.split(r"\n\na prompt of ", text)[:2]
    for part, rows in ((decode, made.decode), (prompt, made.prefill)):
        shares = [float(share) for share in re.findall(r" ([\d.]+)%  (?:compute|memory|launch|link|host)", part)]
        assert len(shares) == len(merged(rows))
        assert sum(shares) == pytest.approx(100, abs=0.06 * len(shares))
    assert "all-reduce" in text
    assert "point-to-point" in text


def test_equal_operators_are_told_once() -> None:
    made = iw.estimate("openai/gpt-oss-20b", "h100")
    once = merged(made.decode)
    keys = [(row.stage, row.name, str(row.shape), row.source) for row in once]
    assert len(set(keys)) == len(keys)
    assert sum(row.seconds for row in once) == pytest.approx(sum(row.seconds for row in made.decode))
    assert sum(row.flops for row in once) == pytest.approx(sum(row.flops for row in made.decode))
    assert sum(row.count for row in once) == sum(row.count for row in made.decode)


def test_the_curve_of_a_terminal(loaded: Estimate) -> None:
    points = sweep(loaded)
    text = curve_text(points)
    rows = [line for line in text.splitlines() if re.match(r" *(\* )?[\d,]+  +[\d.]+ \w*s ", line)]
    assert len(rows) == len(points)
    (asked,) = [line for line in rows if line.lstrip().startswith("*")]
    assert asked.split()[1] == "16"
    assert f"{loaded.output_tok_s:,.5g}" in asked
    drawn = text[text.index("TPOT [ms] against") :]
    assert drawn.count("*") == 1
    assert 1 < drawn.count("o") - drawn.split("\n")[0].count("o") < len(points)
    assert curve_text(()) == ""


def test_a_chart_keeps_to_its_box() -> None:
    drawn = chart([1.0, 10.0, 1e6], [5.0, 5.0, 5.0], [False, True, False])
    lines = drawn.splitlines()
    assert len(lines) == HEIGHT + 2
    assert max(map(len, lines)) < 90
    assert drawn.count("*") == 1
    assert drawn.isascii()
    assert chart([3.0], [4.0], [True]).count("*") == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [(2.5e-6, "2.5 us"), (0.00817, "8.17 ms"), (2.114, "2.11 s"), (601, "10 min"), (90_000, "25 h 0 min"), (None, "-")],
)
def test_durations(value: float | None, said: str) -> None:
    assert seconds(value) == said
