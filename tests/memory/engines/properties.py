"""What holds of every engine's accounting; the tests of each engine call it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferwise.catalog.hardware import hardware
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.read.resolve import resolve

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "google/gemma-3-12b-it",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V2-Lite",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "state-spaces/mamba-2.8b-hf",
)


def case(engine: str, model: str, gpu: str, **asked: Any) -> Case:
    return deployment(resolve(model), hardware(gpu), engine=engine, **asked)


def held(engine: str, model: str, gpu: str, **asked: Any) -> Allocation:
    return allocate(case(engine, model, gpu, **asked))


def terms_add_up(found: Allocation) -> None:
    """Terms add up to what a device has, none is negative, and the flags used are told with their origins."""
    assert len(found.devices) == len(found.case.devices) or found.case.parallel.devices == 1
    for device in found.devices:
        assert sum(term.size_bytes for term in device.terms) + device.free_bytes == device.capacity_bytes
        assert all(term.size_bytes >= 0 for term in device.terms)
        assert device.size("weights") > 0
    assert all(name and origin for name, _, origin in found.settings)
    assert found.fits == (not found.problems)
    assert found.to_dict()["pool"] is not None


def limits_are_tight(found: Allocation) -> None:
    """The most sequences and the longest context that it tells hold, and one more does not."""
    asked = found.case
    if not found.max_batch or found.max_batch >= 2**20:
        return
    assert allocate(replace(asked, batch=found.max_batch)).fits == found.fits or found.case.batch > found.max_batch
    assert not allocate(replace(asked, batch=found.max_batch + 1)).fits
    if found.max_context and found.max_context < 2**30 and "pools of their own" not in " ".join(found.notes):
        assert allocate(replace(asked, context=found.max_context)).max_batch >= asked.batch
        step = 1024  # more than any block or step that a cache grows by
        assert allocate(replace(asked, context=found.max_context + step)).max_batch < asked.batch


def more_never_takes_less(asked: Case) -> None:
    """More sequences or a longer context never need less, nor let more in."""
    found = allocate(asked)
    longer = allocate(replace(asked, context=asked.context * 2))
    wider = allocate(replace(asked, batch=asked.batch * 2))
    assert longer.max_batch <= found.max_batch
    assert (wider.max_context is None) or (found.max_context is None) or wider.max_context <= found.max_context
    assert not wider.fits or found.fits
    assert not longer.fits or found.fits
