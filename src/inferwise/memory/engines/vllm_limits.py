"""vLLM's flags for a case: as given, else what its version sets for this class of device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.memory.case import Case
from inferwise.spec.hardware import Kind

Origins = tuple[tuple[str, Any, str], ...]
CLASSES = {
    "small": "a device of less than 70 GiB",
    "large": "a device of 70 GiB or more",
    "huge": "a device of 160 GiB or more",
    "cpu": "CPUs",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The flags that bear on memory, with their origins. by_context: whether a step takes a whole prompt (V0)."""

    utilization: float
    sequences: int
    tokens: int
    graphs: bool
    by_context: bool
    origins: Origins


def resolve(case: Case) -> Limits:
    """The flags of a server (engine/arg_utils.py get_batch_defaults; before 0.8, config.py SchedulerConfig)."""
    defaults, given = case.engine.defaults, case.settings
    kind = device_class(case)
    of_version = f"default of {case.engine.name} {case.engine.basis}"
    of_class = f"{of_version} on {CLASSES[kind]}"
    ranks = case.parallel.devices if kind == "cpu" else 1
    found = {
        "gpu_memory_utilization": (defaults["gpu_memory_utilization"], of_version),
        "max_num_seqs": (_of_class(defaults, "max_num_seqs", kind) * ranks, of_class),
        "max_num_batched_tokens": _tokens(case, kind, of_class),
        "graphs": (defaults["graphs"], of_version),
    }
    for name in found:
        own = getattr(given, name)
        if own is not None:
            found[name] = own, "given"
    tokens = int(found["max_num_batched_tokens"][0])
    return Limits(
        utilization=float(found["gpu_memory_utilization"][0]),
        sequences=min(int(found["max_num_seqs"][0]), tokens),
        tokens=tokens,
        graphs=bool(found["graphs"][0]),
        by_context=defaults["chunked_above"] != 0 and given.max_num_batched_tokens is None,
        origins=tuple((name, value, origin) for name, (value, origin) in found.items()),
    )


def device_class(case: Case) -> str:
    """The class of a case's smallest device, by the version's bounds."""
    defaults = case.engine.defaults
    if any(device.kind is Kind.CPU for device in case.devices):
        return "cpu"
    smallest = min(device.capacity_bytes for device in case.devices)
    named_small = any(name in device.slug for device in case.devices for name in defaults["small_by_name"])
    if smallest < defaults["large_device_bytes"] or named_small:
        return "small"
    return "huge" if smallest >= defaults["huge_device_bytes"] else "large"


def _of_class(defaults: Any, name: str, kind: str) -> int:
    """A default by class; `huge` falls back to `large`, `large` to all."""
    chain = {"huge": ("_huge", "_large", ""), "large": ("_large", ""), "cpu": ("_cpu", ""), "small": ("",)}[kind]
    return int(next(defaults[name + suffix] for suffix in chain if name + suffix in defaults))


def _tokens(case: Case, kind: str, of_class: str) -> tuple[int, str]:
    """max_num_batched_tokens: without chunked prefill (V0) a step takes a whole prompt."""
    defaults = case.engine.defaults
    tokens = _of_class(defaults, "max_num_batched_tokens", kind)
    above = defaults["chunked_above"]
    if above == 0:
        return tokens, of_class
    if 0 < above < case.context:
        return int(defaults["max_num_batched_tokens_chunked"]), f"{of_class}, prompts chunked above {above:,} tokens"
    return max(case.context, tokens), f"{of_class}, whole prompts"
