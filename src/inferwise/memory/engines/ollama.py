"""Ollama: llama.cpp's buffers, with its own defaults; it offloads as many layers as its estimate lets it."""

from __future__ import annotations

from dataclasses import replace

from inferwise.catalog.engines import engine as engine_of
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.engines import llama_cpp


def allocate(case: Case) -> Allocation:
    """What Ollama allocates. Raises BadInput for a format that llama.cpp cannot run."""
    own = case.engine
    made = llama_cpp.allocate(as_llama_cpp(case))
    notes = [
        f"Ollama {own.basis}: buffers as of llama.cpp {own.defaults['llama_cpp']}",
        f"its own context is {default_context(case)} tokens, its slots {own.defaults['parallel']}",
    ]
    settings = tuple(
        (name, value, "Ollama's estimate" if origin == "--fit" else origin) for name, value, origin in made.settings
    )
    return replace(made, case=case, settings=settings, notes=(*notes, *made.notes))


def as_llama_cpp(case: Case) -> Case:
    """The case with the defaults that its llama.cpp then follows."""
    return replace(case, engine=replace(case.engine, defaults=_defaults(case)))


def _defaults(case: Case) -> dict[str, object]:
    """llama.cpp's defaults of the build that it runs, with its own over them."""
    own = case.engine.defaults
    build = engine_of("llama.cpp", str(own["llama_cpp"])).defaults
    newest = engine_of("llama.cpp").defaults
    return {
        **build,
        "gpu_layers": newest["gpu_layers"],
        "fit": True,
        "fit_experts": False,  # it leaves whole layers on the host (Ollama, llm/server.go)
        "fit_margin_bytes": own["minimum_bytes"] + own["overhead_bytes"],
        "flash_attention": own["flash_attention"],
        "kv_unified": own["kv_unified"],
    }


def default_context(case: Case) -> int:
    """The context that it takes where the user says nothing: one length, or by the memory of all devices."""
    own = case.engine.defaults
    memory = sum(device.capacity_bytes for device in case.devices)
    found = int(own["context"])
    for least, context in own["context_by_memory"]:
        if memory >= least:
            found = int(context)
    return found
