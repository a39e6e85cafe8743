"""On the real package, where it is installed."""

from __future__ import annotations

from importlib import util
from typing import Any

import numpy as np
import pytest

import inferwise as iw
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.silicon import linear
from inferwise.timing.silicon.entry import entry
from inferwise.timing.silicon.look_up import LOOKED_UP, looked_up
from inferwise.timing.silicon.wheel import folder, read, root, version, version_note
from inferwise.timing.step import Step

pytestmark = pytest.mark.skipif(
    util.find_spec("aiconfigurator_core") is None, reason="the extra `silicon` (80 MB) is not installed"
)


def test_the_version_is_the_one_of_the_curves() -> None:
    assert version() == "0.12.0"
    assert version_note() == ""


def test_a_gemm_is_what_was_timed(operator: Any) -> None:
    common = operator("gemm", "vllm", "bf16")
    at = entry(common["curve"])
    assert at is not None
    where = folder(root(), at.device.slug, "gemm", at.engine, at.version)
    assert where is not None
    table = read(where / "gemm_perf.parquet", ("m", "n", "k"), [("gemm_dtype", "==", "bfloat16"), ("n", "==", 4096)])
    assert table is not None
    checked = 0
    for row in np.random.default_rng(1).permutation(len(table["m"]))[:40]:
        m, n, k = (float(table[name][row]) for name in ("m", "n", "k"))
        one = Gemm(**common, n=n, k=k, weight_bytes=2 * n * k, input_bytes=2.0, label="bf16")
        step = Step(decodes=m, context=1.0)
        flops, moved = one.work(step)
        least = max(flops / one.peak_flops, moved / one.bytes_per_s)
        bench = float(linear.benched(at, np.array([m]), np.array([n]), np.array([k]))[0])
        wanted = max(table["seconds"][row] * float(one.seconds(step)) / bench, least)
        assert float(looked_up(one).seconds(step)) == pytest.approx(wanted, rel=1e-6)
        checked += 1
    assert checked == 40


@pytest.mark.parametrize(
    ("model", "gpu", "given"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm-80gb", {"engine": "vllm"}),
        ("meta-llama/Llama-3.1-8B-Instruct", "b200-sxm-180gb", {"engine": "sglang", "weights": "fp8", "kv": "fp8"}),
        ("Qwen/Qwen3-30B-A3B", "h100-sxm-80gb", {"engine": "vllm", "count": 2, "tp": 2}),
        ("deepseek-ai/DeepSeek-V3", "b200-sxm-180gb", {"engine": "tensorrt-llm", "count": 8, "tp": 8}),
    ],
)
def test_an_estimate_stands_mostly_on_tables_and_near_the_fitted_one(
    model: str, gpu: str, given: dict[str, Any]
) -> None:
    fitted = iw.estimate(model, gpu, concurrency=16, **given)
    found = iw.estimate(model, gpu, concurrency=16, silicon=True, **given)
    share = sum(row.share for row in found.decode if row.basis == LOOKED_UP)
    assert share > 0.5
    assert found.tpot_s != fitted.tpot_s
    for name in ("tpot_s", "ttft_s"):
        assert 0.6 < getattr(found, name) / getattr(fitted, name) < 1.6
