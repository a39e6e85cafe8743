"""Embedding models: prompts alone."""

from __future__ import annotations

import numpy as np
import pytest

from inferwise.catalog.hardware import hardware
from inferwise.memory.deploy import deployment
from inferwise.read.resolve import resolve
from inferwise.serving.embedding import embedding
from inferwise.serving.steady import Load
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, step_seconds
from inferwise.timing.step import Step


@pytest.fixture(scope="module")
def made() -> Forward:
    return forward(deployment(resolve("BAAI/bge-m3"), hardware("h100-sxm-80gb"), engine="vllm"))


def test_alone_the_latency_is_that_of_its_step(made: Forward) -> None:
    found = embedding(made, Load(input=512.0, output=0.0, concurrency=1.0), 8192.0)
    alone = float(step_seconds(made, Step(prompts=1.0, prompt_tokens=512.0)))
    assert float(found.ttft_s) == float(found.latency_s) == pytest.approx(alone)
    assert float(found.tpot_s) == 0
    assert float(found.request_per_s) == pytest.approx(1 / alone)


def test_texts_share_a_step_as_far_as_its_budget_goes(made: Forward) -> None:
    sixteen = embedding(made, Load(input=512.0, output=0.0, concurrency=16.0), 8192.0)
    more = embedding(made, Load(input=512.0, output=0.0, concurrency=64.0), 8192.0)
    assert float(sixteen.running) == float(more.running) == 16
    assert float(more.request_per_s) == pytest.approx(float(sixteen.request_per_s))
    assert float(more.latency_s) == pytest.approx(4 * float(sixteen.latency_s))
    one = embedding(made, Load(input=512.0, output=0.0, concurrency=1.0), 8192.0)
    assert float(sixteen.request_per_s) > 1.05 * float(one.request_per_s)


def test_concurrency_is_what_is_in_flight(made: Forward) -> None:
    loads = np.array([1.0, 3.0, 16.0, 100.0])
    found = embedding(made, Load(input=512.0, output=0.0, concurrency=loads), 8192.0, 32.0)
    assert np.asarray(found.request_per_s * found.latency_s) == pytest.approx(loads)  # Little's law
