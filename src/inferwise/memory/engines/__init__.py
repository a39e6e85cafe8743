"""What each engine allocates: one accounting an engine, all of the same form."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case

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
    return accounting(case)
