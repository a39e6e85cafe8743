"""A real llama.cpp (the xllamacpp wheel, on the CPU) loads a model in a process of its own; what it logs, in numbers.

Run as a program it is that process: the model's path and the settings as JSON come in as arguments.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
LOG_INFO = 4  # below it llama.cpp's library says nothing; 5 adds a line for every tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings under the names of llama.cpp's own flags; the defaults are llama-server's but for `warmup` and `fit`."""

    context: int = 4096
    batch: int = 2048
    ubatch: int = 512
    parallel: int = 1
    kv_k: str = "f16"
    kv_v: str = "f16"
    flash_attn: str = "auto"
    kv_unified: bool = False
    swa_full: bool = False
    # An embedding server keeps an output for every token of a batch, as all servers did before `n_outputs_max`.
    embedding: bool = False
    repack: bool = True
    mmap: bool = True
    warmup: bool = False
    fit: bool = False  # llama-server's own is on; it may change what is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One KV cache: a model with sliding windows has two."""

    cells: int
    layers: int
    streams: int
    k_type: str
    k_mib: float
    v_type: str
    v_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLog:
    """What llama.cpp said while it loaded: MiB to two decimals, by the buffer's name where there are several.

    `outputs` is how many tokens of a batch it keeps logits for, `peak_bytes` the process's resident peak.
    """

    text: str
    file_mib: float
    model_mib: Mapping[str, float]
    kv_mib: tuple[float, ...]
    caches: tuple[Cache, ...]
    recurrent_mib: float
    output_mib: float
    compute_mib: Mapping[str, float]
    nodes: int
    splits: int
    context: int
    context_per_sequence: int
    batch: int
    ubatch: int
    sequences: int
    outputs: int
    flash_attn: bool
    kv_unified: bool
    peak_bytes: int

    @property
    def total_mib(self) -> float:
        """All the buffers together."""
        parts = (*self.model_mib.values(), *self.kv_mib, *self.compute_mib.values())
        return sum(parts) + self.recurrent_mib + self.output_mib


class LoadFailed(Exception):
    """llama.cpp did not load the model; the message ends with what it logged last."""


def load(path: Path, settings: Settings, *, timeout_s: float = 120) -> LoadLog:
    """Load the model in a process of its own and return its log, parsed; LoadFailed when it refuses."""
    ran = subprocess.run(
        [sys.executable, __file__, str(path), json.dumps(asdict(settings))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    text = ran.stderr.decode(errors="replace")
    if ran.returncode or not ran.stdout.strip():
        raise LoadFailed(f"exit {ran.returncode} with {settings}:\n" + "\n".join(text.splitlines()[-25:]))
    return parse(text, peak_bytes=int(ran.stdout))


def parse(text: str, *, peak_bytes: int) -> LoadLog:
    """The numbers of one load; KeyError names the line that the log lacks."""
    values = dict(re.findall(r"llama_context: (\w+)\s+= (\S+)$", text, re.MULTILINE))
    graph = re.search(r"graph: nodes = (\d+), splits = (\d+)", text)
    if graph is None:
        raise KeyError("graph: nodes = ")
    return LoadLog(
        text=text,
        file_mib=_file_mib(text),
        model_mib={name: float(mib) for name, mib in re.findall(_sized("model"), text)},
        kv_mib=tuple(float(mib) for _, mib in re.findall(_sized("KV"), text)),
        caches=_caches(text),
        recurrent_mib=sum((float(mib) for _, mib in re.findall(_sized("RS"), text)), 0.0),
        output_mib=_one(text, _sized(" output")),
        compute_mib={name: float(mib) for name, mib in re.findall(_sized("compute"), text)},
        nodes=int(graph[1]),
        splits=int(graph[2]),
        context=int(values["n_ctx"]),
        context_per_sequence=int(values["n_ctx_seq"]),
        batch=int(values["n_batch"]),
        ubatch=int(values["n_ubatch"]),
        sequences=int(values["n_seq_max"]),
        outputs=int(values["n_outputs_max"]),
        flash_attn=_flash(text, values["flash_attn"]),
        kv_unified=values["kv_unified"] == "true",
        peak_bytes=peak_bytes,
    )


def _sized(kind: str) -> str:
    return rf"(\S+) {kind} buffer size = +([\d.]+) MiB"


def _one(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise KeyError(pattern)
    return float(found[2])


def _file_mib(text: str) -> float:
    found = re.search(r"file size   = ([\d.]+) (MiB|GiB)", text)
    if found is None:
        raise KeyError("file size")
    return float(found[1]) * (1024 if found[2] == "GiB" else 1)


def _caches(text: str) -> tuple[Cache, ...]:
    pattern = (
        r"llama_kv_cache: size = +[\d.]+ MiB \( *(\d+) cells, +(\d+) layers, +\d+/(\d+) seqs\), "
        r"K \((\w+)\): +([\d.]+) MiB, V \((\w+)\): +([\d.]+) MiB"
    )
    return tuple(
        Cache(
            cells=int(cells),
            layers=int(layers),
            streams=int(streams),
            k_type=k_type,
            k_mib=float(k_mib),
            v_type=v_type,
            v_mib=float(v_mib),
        )
        for cells, layers, streams, k_type, k_mib, v_type, v_mib in re.findall(pattern, text)
    )


def _flash(text: str, asked: str) -> bool:
    """What `auto` came to is on a line of its own."""
    if asked != "auto":
        return asked == "enabled"
    return "Flash Attention enabled" in text or "Flash Attention was auto, set to enabled" in text


def _serve(path: str, settings: Settings) -> None:
    """Load as llama-server does, up to where it listens; then print this process's peak and leave at once."""
    import os
    import resource

    import xllamacpp as engine

    params = engine.CommonParams()
    params.model.path = path
    params.verbosity = LOG_INFO
    params.fit_params = settings.fit
    params.n_ctx, params.n_parallel = settings.context, settings.parallel
    params.n_batch, params.n_ubatch = settings.batch, settings.ubatch
    params.cache_type_k = engine.ggml_type[f"GGML_TYPE_{settings.kv_k.upper()}"]
    params.cache_type_v = engine.ggml_type[f"GGML_TYPE_{settings.kv_v.upper()}"]
    params.flash_attn_type = engine.llama_flash_attn_type(FLASH_ATTENTION[settings.flash_attn])
    params.kv_unified, params.swa_full = settings.kv_unified, settings.swa_full
    params.embedding, params.warmup = settings.embedding, settings.warmup
    params.no_extra_bufts = not settings.repack
    modes = engine.llama_load_mode
    params.load_mode = modes.LLAMA_LOAD_MODE_MMAP if settings.mmap else modes.LLAMA_LOAD_MODE_NONE
    server = engine.Server(params)
    scale = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale, flush=True)
    sys.stderr.flush()
    os._exit(0 if server.listening_address else 1)  # nothing to tidy, and its threads would take a second to stop


if __name__ == "__main__":
    _serve(sys.argv[1], Settings(**json.loads(sys.argv[2])))
