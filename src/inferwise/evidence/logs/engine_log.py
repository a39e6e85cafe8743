"""What an engine's start-up log says: the deployment as it ran, and its memory term by term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTerm:
    """One printed size.

    name: `weights`, `activations`, `non_torch`, `weights + non_torch` (where the log has only their sum), `graphs`,
    `graphs_estimate`, `kv_pool`, `kv`, `recurrent`, `compute`, `output`, `context` (caches together), `file` (the
    model's, as it lies on disk); with `draft ` before it for a draft model's. device: the rank or buffer that the
    line names (`TP0`, `CUDA0`, `CPU_Mapped`), empty for none.
    size_bytes: negative where the engine found less than nothing. resolution_bytes: one unit of the last digit.
    line: its number in the file, from 1.
    """

    name: str
    device: str
    size_bytes: int
    resolution_bytes: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDevice:
    """A device that the log names. label: as its buffers are called (`CUDA0`). total_bytes: None: not printed."""

    label: str
    name: str = ""
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLog:
    """One start of an engine; None or empty: the log does not say.

    model: as the log names it; model_name: a name that the file itself carries (GGUF's general.name). weights: its
    quantisation or file type. dtype: of the unquantised part. context: tokens of a sequence; of all slots together in
    llama.cpp, which says so by `kv_unified`. max_num_seqs: sequences of a step (SGLang's running requests, llama.cpp's
    slots). max_num_batched_tokens: tokens of a step (SGLang's chunk, llama.cpp's logical batch); ubatch: llama.cpp's
    physical one. utilization: share of the device (SGLang's mem_fraction_static). gpu_layers: layers on devices, of
    `layers`. kv_tokens: tokens that the cache holds on the rank with fewest. starts: starts or model loads that the
    log holds. unread: what was looked for and not found. remarks: what to know about the reading.
    """

    engine: str
    source: str = ""
    version: str | None = None
    model: str | None = None
    model_name: str | None = None
    weights: str | None = None
    dtype: str | None = None
    devices: tuple[LogDevice, ...] = ()
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    cp: int = 1
    context: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    ubatch: int | None = None
    utilization: float | None = None
    kv_format: str | None = None
    block_size: int | None = None
    graphs: bool | None = None
    flash_attention: bool | None = None
    kv_unified: bool | None = None
    dp_attention: bool | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    terms: tuple[LogTerm, ...] = ()
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    max_concurrency_context: int | None = None
    starts: int = 1
    unread: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def sizes(self, name: str) -> dict[str, tuple[int, int]]:
        """(bytes, resolution) of a term on each device or buffer that prints it."""
        found: dict[str, tuple[int, int]] = {}
        for term in self.terms:
            if term.name == name:
                size, resolution = found.get(term.device, (0, 0))
                found[term.device] = size + term.size_bytes, resolution + term.resolution_bytes
        return found

    def largest(self, name: str) -> tuple[int, int] | None:
        """(bytes, resolution) of a term on the rank that has most of it; None: not printed."""
        return max(self.sizes(name).values(), default=None)

    def smallest(self, name: str) -> tuple[int, int] | None:
        """(bytes, resolution) of a term on the rank that has least of it; None: not printed."""
        return min(self.sizes(name).values(), default=None)

    @property
    def total_bytes(self) -> int | None:
        """The memory of a device as its driver reports it: of the smallest that the log prints."""
        return min((each.total_bytes for each in self.devices if each.total_bytes), default=None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it (docs/json.md): settings that are not known are null."""
        plain = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("devices", "terms", "unread", "remarks")
        }
        return plain | {
            "devices": [
                {"label": d.label, "name": d.name, "total_bytes": d.total_bytes, "free_bytes": d.free_bytes}
                for d in self.devices
            ],
            "terms": [
                {
                    "name": t.name,
                    "device": t.device,
                    "size_bytes": t.size_bytes,
                    "resolution_bytes": t.resolution_bytes,
                    "line": t.line,
                }
                for t in self.terms
            ],
            "unread": list(self.unread),
            "remarks": list(self.remarks),
        }
