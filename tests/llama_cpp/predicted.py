"""What inferwise says of a load, in the same terms as llama.cpp's log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.llama_cpp.engine import Settings

from inferwise.catalog.engines import engine
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.engines.llama_cpp import allocate
from inferwise.spec.engine import Settings as EngineSettings
from inferwise.spec.hardware import Accelerator, Kind, Node
from inferwise.spec.model import Model
from inferwise.units import MIB

BUILD = "b11549"  # of xllamacpp 2026.10.11549
MACHINE = Accelerator(slug="cpu", name="CPU", memory_bytes=2**44, kind=Kind.CPU, vendor="")
FORMATS = {"f16": "fp16", "f32": "fp32", "bf16": "bf16"}


def predict(model: Model, settings: Settings, **more: Any) -> Allocation:
    """The allocation of a load on the CPU. A server's context is that of all its slots together.

    Settings that inferwise has no flag for (embedding servers, whole windows, -b) are traits of a build to it.
    """
    build = engine("llama.cpp", BUILD)
    traits = {"batch": settings.batch}
    if settings.swa_full:
        traits["kv_windows"] = False
    if settings.embedding:
        traits["outputs_of_slots"] = False
    case = Case(
        model=model,
        node=Node(devices=(MACHINE,)),
        engine=replace(build, defaults={**build.defaults, **traits}),
        context=settings.context // settings.parallel,
        batch=settings.parallel,
        layout=replace(build.layout, kv=FORMATS.get(settings.kv_k, settings.kv_k)),
        settings=EngineSettings(
            ubatch=settings.ubatch,
            flash_attention=settings.flash_attn != "off",
            kv_unified=settings.kv_unified,
            repack=settings.repack,
            mmap=settings.mmap,
        ),
        **more,
    )
    return allocate(case)


def mib(made: Allocation, *names: str) -> float:
    """MiB of the terms of these names on the CPU, with mapped pages that may be dropped, as the log has them."""
    dropped = sum(term.size_bytes for term in made.disk if term.name in names)
    return (dropped + sum(made.devices[0].size(name) for name in names)) / MIB
