"""Any model on any hardware under any engine: an answer that hangs together, or a refusal in one line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog import models as catalog
from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.engines import NAMES
from inferwise.errors import InferwiseError
from inferwise.memory.fit import Fit
from inferwise.report.fit import explain_fit_text, fit_text

hardware = st.lists(st.sampled_from(sorted(accelerators())), min_size=1, max_size=3).map("+".join)
asked = st.fixed_dictionaries(
    {
        "engine": st.sampled_from([None, *NAMES]),
        "context": st.sampled_from([1, 4096, 131072, 10**7]),
        "batch": st.sampled_from([1, 7, 1000]),
    },
    optional={
        "weights": st.sampled_from(["fp8", "int4", "Q4_K_M", "bf16", "nvfp4", "mlx_int4", "nf4"]),
        "kv": st.sampled_from(["fp8", "q8_0", "int8"]),
        "tp": st.sampled_from([1, 2, 3, 8]),
        "pp": st.sampled_from([1, 2, 5]),
        "mtp": st.booleans(),
        "encoder": st.booleans(),
        "draft": st.sampled_from(["meta-llama/Llama-3.2-1B-Instruct", "Qwen/Qwen3-0.6B"]),
        "max_num_seqs": st.sampled_from([1, 4096]),
        "offload_weight_bytes": st.sampled_from([2**30, 2**36]),
        "gpu_layers": st.sampled_from([0, 1, 99]),
        "cpu_moe_layers": st.sampled_from([0, 99]),
        "split": st.sampled_from(["layer", "tensor"]),
        "fit": st.booleans(),
    },
)


@given(st.sampled_from(catalog.names()), hardware, asked)
@settings(deadline=None, max_examples=250)
def test_an_answer_hangs_together(model: str, gpu: str, values: dict[str, Any]) -> None:
    try:
        result = iw.fit(model, gpu, **values)
    except InferwiseError:
        return  # what cannot run is refused; the tests of each engine say what
    held = result.allocation
    for device in held.devices:
        assert device.total_bytes + device.free_bytes == device.capacity_bytes
        assert all(term.size_bytes >= 0 for term in device.terms)
        assert len({term.name for term in device.terms}) == len(device.terms)
    assert result.fits == (not held.problems) == (held.max_batch >= values["batch"])
    if result.fits:
        assert held.max_batch >= values["batch"]
        assert held.max_context is None or held.max_context >= values["context"]
        assert result.changes == ()
    assert all(change.allocation.fits for change in result.changes)
    told = result.to_dict()
    assert json.loads(json.dumps(told))["fits"] == result.fits
    assert explain_fit_text(result)
    assert ("fits" in fit_text(result).splitlines()[0]) or not result.fits
    assert "<table>" in result._repr_html_()


def test_the_lower_bound_is_one_on_the_devices_that_hold_everything() -> None:
    """Of engines that keep all of it on the devices, none holds more sequences than weights and state allow."""
    results: list[Fit] = [
        iw.fit(model, gpu, engine=engine)
        for model in ("meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-12b-it", "Qwen/Qwen3-30B-A3B")
        for gpu in ("h100", "h200")
        for engine in ("vllm", "sglang", "tensorrt-llm", "transformers")
    ]
    for result in results:
        assert result.fits
        assert result.max_batch <= result.lower_bound.max_batch
        assert result.allocation.fullest.total_bytes >= result.lower_bound.total_bytes
