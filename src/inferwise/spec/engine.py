"""An inference engine at one version, and the flags of it that bear on memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inferwise.errors import BadInput
from inferwise.spec.state import StateLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine at a version.

    version: as asked for. basis: the version of our table whose defaults these are. defaults: what the version sets
    where the user says nothing, by the names of `Settings`, and what its accounting needs. tested: the measurements
    that its accounting was held against; empty: none. notes: what was assumed of the version.
    """

    name: str
    version: str
    basis: str
    layout: StateLayout
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tested: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Flags of an engine that bear on memory; None: the version's default.

    gpu_memory_utilization: share of the device that the engine may take (vLLM; SGLang's mem_fraction_static;
    TensorRT-LLM's share of what is free). max_num_seqs, max_num_batched_tokens: sequences and tokens of a step.
    block_size: tokens of a KV block. graphs: whether steps are captured as CUDA graphs. async_scheduling: whether
    the host prepares a step while the last one runs. ubatch: llama.cpp's physical batch [tokens]. parallel_slots:
    its slots. flash_attention, mmap, repack, kv_unified, kv_offload: its switches. gpu_layers: layers on the
    devices (-ngl). cpu_moe_layers: layers whose experts stay on the host (--n-cpu-moe). override_tensors: (pattern,
    device) of -ot. split: layers or tensors over unequal devices (`layer`, `tensor`, `none`); tensor_split: their
    shares. offload_weight_bytes, offload_kv_bytes: what the user gives to host memory per device (vLLM's
    cpu_offload_gb; a KV tier). disk_kv_bytes: a KV tier on disk.
    fit: whether llama.cpp may place by itself (--fit). used_bytes: what others already take of each device.
    """

    gpu_memory_utilization: float | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int | None = None
    graphs: bool | None = None
    async_scheduling: bool | None = None
    ubatch: int | None = None
    parallel_slots: int | None = None
    flash_attention: bool | None = None
    mmap: bool | None = None
    repack: bool | None = None
    kv_unified: bool | None = None
    kv_offload: bool | None = None
    gpu_layers: int | None = None
    cpu_moe_layers: int | None = None
    override_tensors: tuple[tuple[str, str], ...] = ()
    split: str | None = None
    tensor_split: tuple[float, ...] = ()
    offload_weight_bytes: int = 0
    offload_kv_bytes: int = 0
    disk_kv_bytes: int = 0
    fit: bool | None = None
    used_bytes: int | None = None

    def __post_init__(self) -> None:
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise BadInput(f"gpu-memory-utilization is {share}", remedy="give a share of the device above 0, at most 1")
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "ubatch", "parallel_slots"):
            _whole(name, getattr(self, name), 1)
        for name in ("gpu_layers", "cpu_moe_layers", "used_bytes"):
            _whole(name, getattr(self, name), 0)
        for name in ("offload_weight_bytes", "offload_kv_bytes", "disk_kv_bytes"):
            _whole(name, getattr(self, name), 0)
        if self.split not in (None, "layer", "tensor", "none"):
            raise BadInput(f"split is {self.split[:40]!r}", remedy="give layer, tensor or none")
        if any(not 0 <= part < float("inf") for part in self.tensor_split) or (
            self.tensor_split and not sum(self.tensor_split)
        ):
            raise BadInput(f"tensor-split is {self.tensor_split}", remedy="give shares of 0 or more, not all 0")


def _whole(name: str, value: int | None, low: int) -> None:
    """Raises BadInput for what is no whole number from `low` to 2^50."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 2**50):
        raise BadInput(f"{name.replace('_', '-')} is {value!r}", remedy=f"give a whole number from {low}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Adapters that an engine keeps on the device: `slots` of `rank`, on every linear layer of the decoder."""

    slots: int
    rank: int = 16

    def __post_init__(self) -> None:
        _whole("lora slots", self.slots, 1)
        _whole("lora rank", self.rank, 1)
