"""llama.cpp's curves: every ggml type, backend and kind of device finds one, and each is physical."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest

from inferwise.catalog import models as catalog
from inferwise.catalog.accelerators import accelerator
from inferwise.catalog.engines import engine
from inferwise.catalog.hardware import hardware
from inferwise.memory.case import Case
from inferwise.memory.state import layout_in
from inferwise.read.resolve import from_catalog
from inferwise.spec.engine import Settings
from inferwise.spec.weight_formats import GGML_TYPES
from inferwise.timing.curves import GENERIC, MAKER, MEASURED, basis, choose
from inferwise.timing.deploy import forward, usual_backend
from inferwise.timing.kernels.experts import experts_seconds
from inferwise.timing.kernels.gemm import gemm_seconds
from inferwise.timing.operators.offload import OnHost
from inferwise.timing.step import Step

STRIX = accelerator("ryzen-ai-max-395")
BACKENDS = ("vulkan", "rocm", "cuda", "metal", "cpu")
SHARES = {"compute", "bandwidth", "memory", "mem", "eff", "act", "write", "index", "select", "gather", "waste"}
PHASES = {"mamba2_prefill": "gdn_prefill", "mamba2_decode": "gdn_decode"}  # nobody timed the former


@pytest.fixture(scope="module")
def content() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(files("inferwise.timing.curves").joinpath("llama_cpp.json").read_text())
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", sorted(set(GGML_TYPES) - {"nvfp4"}))  # which runs as int4: `execution`
def test_every_type_finds_a_curve_of_llama_cpp(dtype: str, backend: str) -> None:
    for kernel in ("gemm", "experts"):
        found = choose(kernel, STRIX, f"llama.cpp/{backend}", dtype)
        assert found.engine in (f"llama.cpp/{backend}", "llama.cpp")
        assert found.device == (STRIX.slug if backend != "cpu" else "")


def test_a_backend_has_its_own_curve_and_another_takes_that_of_both() -> None:
    vulkan, rocm = (choose("gemm", STRIX, f"llama.cpp/{name}", "q4_k") for name in ("vulkan", "rocm"))
    assert (vulkan.engine, rocm.engine) == ("llama.cpp/vulkan", "llama.cpp/rocm")
    assert vulkan.coefficients != rocm.coefficients
    assert basis(vulkan, STRIX) == MEASURED
    arc = accelerator("arc-b580")
    both = choose("gemm", arc, "llama.cpp/vulkan", "q4_k")
    assert (both.engine, basis(both, arc)) == ("llama.cpp", GENERIC)
    radeon = accelerator("rx-7900-xtx")
    assert basis(choose("gemm", radeon, "llama.cpp/rocm", "q4_k"), radeon) == MAKER


@pytest.mark.parametrize(("device", "backend"), [("m4-max", "metal"), ("rtx-4090", "cuda"), ("epyc-9654", "cpu")])
def test_a_maker_without_rows_has_its_backends_shares_and_says_so(device: str, backend: str) -> None:
    made = accelerator(device)
    found = choose("gemm", made, f"llama.cpp/{backend}", "q4_k")
    assert (found.engine, found.rows, basis(found, made)) == (f"llama.cpp/{backend}", 0, GENERIC)
    assert found.left_out >= 0.3


def test_other_devices_do_not_boast_the_rows_error() -> None:
    """No device was left out, so that nobody knows how far a curve carries."""
    for slug in ("rx-7900-xtx", "arc-b580"):
        found = choose("gemm", accelerator(slug), f"llama.cpp/{usual_backend(accelerator(slug))}", "q4_k")
        assert found.rows > 0
        assert found.left_out >= 0.3


def test_its_curves_have_the_coefficients_of_each_kernel_s_form(content: Mapping[str, Any]) -> None:
    """The same names as the kernel's own file has for the same phase: a form that changed leaves none behind."""
    for entry in content["curves"]:
        own = json.loads(files("inferwise.timing.curves").joinpath(f"{entry['kernel']}.json").read_text())["curves"]
        phase = PHASES.get(entry["dtype"], entry["dtype"])
        alike = [each for each in own if each["dtype"] == phase] or own
        assert set(entry["coefficients"]) == set(alike[0]["coefficients"]), (entry["kernel"], entry["dtype"])


def test_a_cpu_takes_no_gpu_s_curve() -> None:
    for name in ("epyc-9654", "xeon-platinum-8480", "raspberry-pi-5-8gb"):
        found = choose("gemm", accelerator(name), "llama.cpp/cpu", "q4_k")
        assert (found.engine, found.vendor) == ("llama.cpp/cpu", "")


def test_a_device_has_its_usual_backend() -> None:
    names = {"rtx-4090": "cuda", "m4-max": "metal", STRIX.slug: "rocm", "epyc-9654": "cpu", "arc-b580": "vulkan"}
    assert {name: usual_backend(accelerator(name)) for name in names} == names


def test_shares_are_shares_and_times_are_times(content: Mapping[str, Any]) -> None:
    for entry in content["curves"]:
        for name, value in entry["coefficients"].items():
            assert value >= 0, (entry["kernel"], name)
            if name in SHARES:
                assert value <= 1, (entry["kernel"], entry["dtype"], name)
        assert entry["coefficients"].get("launch", 0) < 1e-4


def test_residuals_stand_beside_every_curve(content: Mapping[str, Any]) -> None:
    assert {"fitted", "source", "scores"} <= set(content)
    for entry in content["curves"]:
        if entry["rows"]:
            assert 0 < entry["median"] <= entry["left_out"] * 1.5
            assert entry["left_out"] < 0.4


def test_the_scores_meet_the_targets(content: Mapping[str, Any]) -> None:
    """As calibrate_llama_cpp.py found them, out of fold; tests/serving/test_single_stream.py finds them again."""
    most = {"decode_tok_s": 0.10, "prompt_tok_s": 0.25}
    assert len(content["scores"]) == 6
    for score in content["scores"]:
        assert score["median"] <= most[score["metric"]], score


@pytest.mark.parametrize("backend", ["vulkan", "rocm"])
def test_a_token_costs_the_bytes_of_a_matrix_and_a_prompt_its_flops(backend: str) -> None:
    """4096 x 14336: at one row the memory decides (within 40 % of the bytes), at 512 the units do."""
    n, k = 14336.0, 4096.0
    for dtype, bits in (("q4_k", 4.5), ("q8_0", 8.5), ("bf16", 16.0)):
        c = choose("gemm", STRIX, f"llama.cpp/{backend}", dtype).coefficients
        size = n * k * bits / 8
        one, many = (
            float(gemm_seconds(m, n, k, size, 2.0, peak_flops=59.4e12, bytes_per_s=256e9, c=c)) for m in (1.0, 512.0)
        )
        assert size / 256e9 <= one <= 1.6 * size / 256e9
        flops = 2 * 512 * n * k / 59.4e12
        assert 1.5 * flops <= many <= 15 * flops


def test_more_tokens_hit_more_experts_and_never_take_less() -> None:
    c = choose("experts", STRIX, "llama.cpp/vulkan", "q4_k").coefficients
    sizes = {"hidden": 2048, "width": 768, "held": 128, "count": 128, "top_k": 8, "gated": True, "skew": 0.0}
    rates = {"expert_bytes": 2.65e6, "input_bytes": 2.0, "peak_flops": 59.4e12, "bytes_per_s": 256e9, "c": c}
    taken = [float(experts_seconds(m, **sizes, **rates)) for m in (1, 2, 8, 32, 128, 512, 2048)]
    assert taken == sorted(taken)
    assert taken[0] >= 8 * 2.65e6 / 256e9


def test_experts_on_the_host_run_at_its_memory_s_pace() -> None:
    """--n-cpu-moe: a token of Qwen3-30B-A3B reads 8 of 128 experts in each of 48 layers, by a CPU's kernels."""
    entry, llama_cpp = catalog.find("Qwen/Qwen3-30B-A3B"), engine("llama.cpp")
    assert entry is not None
    case = Case(
        model=from_catalog(entry),
        node=hardware("rtx-4090", 1),
        engine=llama_cpp,
        weights="gguf:Q4_K_M",
        layout=layout_in(llama_cpp.layout),
        settings=Settings(gpu_layers=99, cpu_moe_layers=48, fit=False),
        encoder=False,
    )
    (host,) = [each for each in forward(case).stages[0] if isinstance(each, OnHost)]
    assert (host.curve.engine, host.curve.dtype, host.count) == ("llama.cpp/cpu", "q4_k", 48)
    step = Step(decodes=1.0, context=512.0)
    least = float(host.done(step)[1]) / host.bytes_per_s
    assert least <= float(host.seconds(step)) <= 1.7 * least
