"""Prefill and decode workers: Little's law, the slower side's rate, and what a single request takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.hardware import hardware
from inferwise.memory.ask import ask
from inferwise.memory.case import Case
from inferwise.serving.disaggregated import disaggregated, lone_seconds, queue_seconds
from inferwise.serving.steady import Load, decode_seconds, prefill_seconds
from inferwise.serving.transfer import between_workers, transfer_seconds
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LITE = "deepseek-ai/DeepSeek-V2-Lite"
BUDGET = 8192.0
COUNTS = st.tuples(st.integers(1, 6), st.integers(1, 6))


def case(model: str = LLAMA, gpu: str = "h100-sxm-80gb", count: int = 1, **degrees: int) -> Case:
    return ask(model, gpu, count, engine="tensorrt-llm", context=4096, batch=1, **degrees)


@pytest.fixture(scope="module")
def llama() -> Forward:
    return forward(case())


def load(concurrency: float, prompt: float = 2048.0, output: float = 256.0) -> Load:
    return Load(input=prompt, output=output, concurrency=concurrency)


def test_one_request_meets_no_other_however_many_workers_there_are(llama: Forward) -> None:
    made = disaggregated(llama, llama, load(1.0), (1, 1), BUDGET, transfer_s=0.25)
    alone = prefill_seconds(llama, 1.0, load(1.0), BUDGET)
    assert made.ttft_s == pytest.approx(llama.profile.request_s + alone + 0.25)
    assert made.tpot_s == pytest.approx(decode_seconds(llama, 1.0, load(1.0)), rel=0.02)
    assert made.latency_s == pytest.approx(made.ttft_s + 255 * made.tpot_s)
    many = disaggregated(llama, llama, load(1.0), (3, 1), BUDGET, transfer_s=0.25)
    assert many.ttft_s == pytest.approx(made.ttft_s)


@settings(deadline=None, max_examples=60)
@given(workers=COUNTS, concurrency=st.integers(1, 400), prompt=st.integers(64, 16000), output=st.integers(2, 2000))
def test_rates_obey_little_and_the_prefill_side(
    llama: Forward, workers: tuple[int, int], concurrency: int, prompt: int, output: int
) -> None:
    asked = load(float(concurrency), float(prompt), float(output))
    made = disaggregated(llama, llama, asked, workers, BUDGET)
    assert made.request_per_s * made.latency_s == pytest.approx(concurrency)
    assert made.running <= max(concurrency / workers[1], 1.0) + 1e-9
    many = max(1.0, BUDGET / prompt)
    each = prefill_seconds(llama, many, asked, max(BUDGET, many * prompt)) / many
    # The burst of the first round is waited for by some of the requests, never by fewer than a worker can serve.
    assert made.request_per_s <= 1.15 * workers[0] / each
    alone = lone_seconds(llama, asked, BUDGET)
    assert made.ttft_s >= llama.profile.request_s + alone - 1e-9


@settings(deadline=None, max_examples=40)
@given(workers=COUNTS, concurrency=st.integers(2, 300), side=st.integers(0, 1))
def test_more_workers_serve_no_fewer_requests(
    llama: Forward, workers: tuple[int, int], concurrency: int, side: int
) -> None:
    more = (workers[0] + (side == 0), workers[1] + (side == 1))
    few, many = (disaggregated(llama, llama, load(float(concurrency)), each, BUDGET) for each in (workers, more))
    assert many.request_per_s >= few.request_per_s * 0.99
    if side == 0:
        assert many.ttft_s <= few.ttft_s * 1.01
    else:
        assert many.tpot_s <= few.tpot_s * 1.01


def test_prompts_beside_no_answers_leave_their_time_between_tokens_alone(llama: Forward) -> None:
    long, short = (disaggregated(llama, llama, load(8.0, prompt), (8, 1), BUDGET) for prompt in (4000.0, 3900.0))
    assert long.tpot_s == pytest.approx(short.tpot_s, rel=0.02)
    assert long.tpot_s == pytest.approx(decode_seconds(llama, long.running, load(8.0, 4000.0)))


def test_seats_of_the_decode_side_hold_requests_back(llama: Forward) -> None:
    free = disaggregated(llama, llama, load(64.0), (4, 1), BUDGET)
    held = disaggregated(llama, llama, load(64.0), (4, 1), BUDGET, limit=8.0)
    assert held.running <= 8.0
    assert held.tpot_s < free.tpot_s
    assert held.ttft_s > 4 * free.ttft_s
    assert held.request_per_s < free.request_per_s
    assert held.request_per_s == pytest.approx(8.0 / (255 * held.tpot_s), rel=0.05)


def test_arrays_give_what_scalars_do(llama: Forward) -> None:
    sizes = np.array([1.0, 7.0, 90.0])
    made = disaggregated(llama, llama, load(sizes), (2, 1), BUDGET, limit=32.0)  # type: ignore[arg-type]
    for number, size in enumerate(sizes):
        one = disaggregated(llama, llama, load(float(size)), (2, 1), BUDGET, limit=32.0)
        for name in ("ttft_s", "tpot_s", "latency_s", "request_per_s", "running"):
            assert np.asarray(getattr(made, name))[number] == pytest.approx(float(getattr(one, name)))


def test_a_queue_is_that_of_md1_where_it_is_short_and_the_loop_itself_where_it_is_long() -> None:
    assert queue_seconds(0.1, 5.0, 1.0) == 0.0
    rho = 0.1 * 50 / 1000
    assert queue_seconds(0.1, 1000.0, 50.0) == pytest.approx(0.1 * rho / 2, rel=0.05)
    assert queue_seconds(0.1, 1.0, 1000.0) == pytest.approx(0.1 * 1000 - 1.0, rel=0.01)
    waits = queue_seconds(0.1, 5.0, np.arange(1.0, 300.0))
    assert np.all(np.diff(waits) > 0)


def test_a_lone_prompt_lies_whole_on_one_attention_group() -> None:
    dealt, cut = (forward(case(LITE, count=4, tp=4, ep=4, dp=dp)) for dp in (4, 1))
    one = load(1.0, 4096.0)
    assert lone_seconds(cut, one, BUDGET) == prefill_seconds(cut, 1.0, one, BUDGET)
    mean, full = prefill_seconds(dealt, 1.0, one, BUDGET), prefill_seconds(dealt, 4.0, one, 4 * BUDGET)
    assert 1.05 * mean < lone_seconds(dealt, one, BUDGET) < full


def test_state_crosses_the_network_of_the_machines_that_such_devices_stand_in() -> None:
    h100 = case()
    assert between_workers(h100) == 3200e9 / 8 / 8
    assert transfer_seconds(h100, h100, 1000) == pytest.approx(131072 * 1000 / 50e9, rel=0.02)
    halved = case(count=2, tp=2)
    assert transfer_seconds(halved, halved, 4096) == pytest.approx(transfer_seconds(h100, h100, 4096) / 2)
    assert transfer_seconds(halved, h100, 4096) == transfer_seconds(h100, h100, 4096)
    rack = case(gpu="gb200-186gb")
    assert between_workers(rack) == rack.devices[0].link_bytes_per_s
    own = replace(h100, node=hardware("p5.4xlarge"))
    assert between_workers(own) == 100e9 / 8
    assert between_workers(case(gpu="rtx-4090")) == hardware("rtx-4090").devices[0].pcie_bytes_per_s
