"""What an engine does with the memory of a deployment: terms per device, the KV pool, and the room in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.memory.case import Case
from inferwise.spec.hardware import Accelerator


@dataclass(frozen=True, slots=True)
class Term:
    """One use of memory. name: short (`weights`, `kv`, `activations`, `graphs`, ...). how: formula and inputs."""

    name: str
    size_bytes: int
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """One device: its uses and what is left; they add up to `capacity_bytes` (free is negative where it overflows)."""

    device: Accelerator
    terms: tuple[Term, ...]

    @property
    def capacity_bytes(self) -> int:
        """What a program can see of the device."""
        return self.device.capacity_bytes

    @property
    def total_bytes(self) -> int:
        """The sum of the terms."""
        return sum(term.size_bytes for term in self.terms)

    @property
    def free_bytes(self) -> int:
        """What is left; negative: what is missing."""
        return self.capacity_bytes - self.total_bytes

    def size(self, name: str) -> int:
        """Bytes of the terms of this name."""
        return sum(term.size_bytes for term in self.terms if term.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The cache of the device that has least room for it.

    size_bytes: what the engine sets aside (vLLM, SGLang, TensorRT-LLM take all that is left; llama.cpp what the
    context needs). block_tokens: tokens of a block. block_bytes: of a block in all layers of the device. tokens: as the
    engine reports them in its log. sequence_bytes: what one sequence of the case's context takes, in whole blocks.
    """

    size_bytes: int
    block_tokens: int
    block_bytes: int
    tokens: int
    sequence_bytes: int

    @property
    def blocks(self) -> int:
        """Whole blocks in the pool."""
        return self.size_bytes // self.block_bytes if self.block_bytes else 0

    @property
    def max_concurrency(self) -> float:
        """Sequences of the case's context that the pool holds (vLLM logs it so)."""
        return self.size_bytes / self.sequence_bytes if self.sequence_bytes else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What an engine allocates for a case.

    devices: in order of ranks. host, disk: what lies outside the devices. pool: the cache. problems: why it does not
    run; empty where it does. max_batch: most sequences at the context; max_context: longest context of the batch
    (None: memory does not limit it); 0 where not one. settings: each flag that the accounting used, with its origin.
    notes: assumptions, and what the reader should know.
    """

    case: Case
    devices: tuple[DeviceMemory, ...]
    host: tuple[Term, ...] = ()
    disk: tuple[Term, ...] = ()
    pool: Pool | None = None
    problems: tuple[str, ...] = ()
    max_batch: int
    max_context: int | None
    settings: tuple[tuple[str, Any, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the engine starts and holds the whole batch at the context."""
        return not self.problems

    @property
    def fullest(self) -> DeviceMemory:
        """The device with the least left."""
        return min(self.devices, key=lambda device: device.free_bytes)

    @property
    def host_bytes(self) -> int:
        """What it takes of the host's memory."""
        return sum(term.size_bytes for term in self.host)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it (docs/json.md)."""
        engine, pool = self.case.engine, self.pool
        return {
            "engine": engine.name,
            "engine_version": engine.version,
            "defaults_of": engine.basis,
            "tested": engine.tested or "no measurement has tested this accounting",
            "fits": self.fits,
            "problems": list(self.problems),
            "devices": [
                {
                    "device": each.device.slug,
                    "capacity_bytes": each.capacity_bytes,
                    "terms": {term.name: term.size_bytes for term in each.terms},
                    "total_bytes": each.total_bytes,
                    "free_bytes": each.free_bytes,
                }
                for each in self.devices
            ],
            "host_bytes": {term.name: term.size_bytes for term in self.host},
            "disk_bytes": {term.name: term.size_bytes for term in self.disk},
            "pool": None
            if pool is None
            else {
                "size_bytes": pool.size_bytes,
                "block_tokens": pool.block_tokens,
                "block_bytes": pool.block_bytes,
                "blocks": pool.blocks,
                "tokens": pool.tokens,
                "sequence_bytes": pool.sequence_bytes,
                "max_concurrency": pool.max_concurrency if pool.sequence_bytes else None,
            },
            "max_batch": self.max_batch,
            "max_context": self.max_context,
            "settings": {name: {"value": value, "from": origin} for name, value, origin in self.settings},
            "notes": list(self.notes),
        }
