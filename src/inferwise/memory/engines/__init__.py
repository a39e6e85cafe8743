"""What each engine allocates: one accounting an engine, all of the same form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module

from inferwise.catalog.engines import choices
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.spec.engine import Settings

# The module of each engine's accounting; imported when asked for, which keeps the command quick.
ACCOUNTINGS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "tensorrt-llm": "tensorrt_llm",
    "llama.cpp": "llama_cpp",
    "ollama": "ollama",
    "mlx": "mlx",
    "transformers": "transformers",
}


def allocate(case: Case) -> Allocation:
    """What the case's engine allocates. Raises BadInput for what the engine or the device cannot run."""
    module = import_module(f"{__name__}.{ACCOUNTINGS[case.engine.name]}")
    accounting: Callable[[Case], Allocation] = module.allocate
    made = accounting(case)
    if made.problems and made.max_batch >= case.batch:  # it does not start, whatever the cache would hold
        made = replace(made, max_batch=0, max_context=0)
    idle = unread(case)
    return replace(made, notes=(*made.notes, *idle)) if idle else made


def unread(case: Case) -> list[str]:
    """A note for each flag that was given and that the engine's accounting does not read (`reads` in its file)."""
    read = {
        *choices(case.engine.name, "reads"),
        "used_bytes",
        "fit",
        "async_scheduling",
    }  # the last bears on time alone
    given = (field.name for field in fields(Settings) if getattr(case.settings, field.name) != field.default)
    return [f"{case.engine.name} has no {name.replace('_', '-')}: it is left out" for name in given if name not in read]
