"""What lies outside the devices: weights that the user leaves on the host, and tiers of the cache on host and disk."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.errors import BadInput
from inferwise.memory.allocation import Term
from inferwise.memory.case import Case
from inferwise.spec.hardware import Kind
from inferwise.units import human_bytes


@dataclass(frozen=True, slots=True)
class Tiers:
    """Uses of the host's memory and of its disk, and what does not fit there."""

    host: tuple[Term, ...]
    disk: tuple[Term, ...]
    problems: tuple[str, ...]


def tiers(case: Case, offloaded_bytes: int = 0) -> Tiers:
    """The tiers of a case; `offloaded_bytes` of weights in all, over its devices."""
    settings, host = case.settings, case.node.host
    shared = next((each for each in case.devices if each.kind in (Kind.CPU, Kind.UNIFIED)), None)
    if shared is not None and (offloaded_bytes or settings.offload_kv_bytes):
        raise BadInput(f"{shared.name} shares the host's memory", remedy="offload nothing: it is the same memory")
    above = [
        Term("offloaded weights", offloaded_bytes, "pinned; streamed over PCIe each step"),
        Term("kv tier", settings.offload_kv_bytes, "cache that leaves the devices"),
    ]
    below = [Term("kv tier", settings.disk_kv_bytes, "cache that leaves the host")]
    problems = []
    for name, terms, room in (("memory", above, host.memory_bytes), ("disk", below, host.disk_bytes)):
        taken = sum(term.size_bytes for term in terms)
        if room is not None and taken > room:
            problems.append(
                f"the host's {name} of {human_bytes(room)} does not hold the {human_bytes(taken)} left to it"
            )
    return Tiers(
        tuple(term for term in above if term.size_bytes),
        tuple(term for term in below if term.size_bytes),
        tuple(problems),
    )


def refuse_offload(case: Case, why: str, *, kv: bool = False) -> None:
    """Raises BadInput where weights (`kv`: or a cache) are to stay on the host, for an engine that leaves none."""
    settings = case.settings
    if settings.offload_weight_bytes or (kv and (settings.offload_kv_bytes or settings.disk_kv_bytes)):
        raise BadInput(f"{case.engine.name} leaves nothing on the host: {why}", remedy="take llama.cpp, or no offload")
