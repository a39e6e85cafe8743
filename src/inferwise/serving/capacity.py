"""How many sequences run at once: what the cache holds, and the engine's own limit."""

from __future__ import annotations

from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.state import device_state_bytes

# Engines that admit a request while its prompt fits, and grow it block by block (preempting where blocks run out):
# the cache then holds sequences at their mean length. The others reserve a sequence's whole length first
# (TensorRT-LLM's GUARANTEED_NO_EVICT; slots of llama.cpp).
GROWING = ("vllm", "sglang")


def running_limit(allocation: Allocation, input_tokens: int, output_tokens: int) -> float:
    """Most sequences that decode at once on one replica (0 where not one fits).

    input_tokens, output_tokens: of a request. A pool's concurrency is at the case's context, prompt and answer.
    """
    if not allocation.max_batch:
        return 0.0
    held, pool = float(allocation.max_batch), allocation.pool
    if pool is not None and pool.sequence_bytes:
        held = max(held, pool.max_concurrency)
    case = allocation.case
    if case.engine.name in GROWING:
        whole, mean = (_state_bytes(case, tokens) for tokens in (case.context, input_tokens + output_tokens // 2))
        held *= whole / mean if mean else 1.0
    return min([held, *_own(allocation)])


def _state_bytes(case: Case, tokens: int) -> int:
    """Of one sequence of so many tokens on the fullest device: windows and recurrences grow no further."""
    return device_state_bytes(case.model, max(tokens, 1), case.layout, case.parallel)


def _own(allocation: Allocation) -> list[float]:
    """The engine's own limit on running sequences, of all of its attention groups, where it has one."""
    groups = allocation.case.parallel.dp
    return [float(value) * groups for name, value, _ in allocation.settings if name == "max_num_seqs" and value]
