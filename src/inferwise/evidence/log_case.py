"""From a log to the question that it answers: the same model, devices and flags, for our accounting to predict."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from inferwise.catalog import models as catalog
from inferwise.catalog.engines import engine
from inferwise.errors import BadInput, UnknownName
from inferwise.evidence.log_device import device_of, sized
from inferwise.evidence.logs import llama_cpp
from inferwise.evidence.logs.engine_log import EngineLog, LogDevice
from inferwise.memory.ask import node_named
from inferwise.memory.case import Case
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.weights import conversion
from inferwise.read.gguf.labels import LABEL
from inferwise.read.resolve import resolve
from inferwise.read.source import existing
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Engine, Settings
from inferwise.spec.hardware import Accelerator, Node
from inferwise.spec.model import Model
from inferwise.spec.precision import cache_format
from inferwise.spec.state import StateLayout

NUMBERS = re.compile(r"b?\d{1,9}(?:\.\d{1,9}){0,3}")
CACHED = re.compile(r"models--([\w.-]{1,96}?)--([\w.-]{1,96})(?:/|$)")  # huggingface_hub's cache
HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def case_of(log: EngineLog, *, model: str = "", gpu: str = "") -> Case:
    """The case of a log, with its own flags. model, gpu: the user's, where the log's cannot be found here.

    The batch is one sequence, as a start-up log tells of no load; in llama.cpp that of all its slots, whose caches
    are made at once. Raises BadInput, UnknownName, WorldFailed.
    """
    spec = resolve(model) if model else _model(log)
    made = _engine(log)
    slots = (log.max_num_seqs or 1) if log.engine == llama_cpp.NAME and not log.kv_unified else 1
    return Case(
        model=spec,
        node=Node(devices=_devices(log, gpu)),
        engine=made,
        parallel=_parallel(log),
        context=max(1, (log.context or log.max_concurrency_context or spec.max_context or 8192) // slots),
        batch=slots,
        weights=_weights(log, spec),
        layout=_layout(log, made, spec),
        settings=_settings(log),
    )


def _engine(log: EngineLog) -> Engine:
    """The engine at the log's version: the numbers of it, without what a development build adds."""
    match = NUMBERS.match(log.version or "")
    known = match is not None and match[0].strip("b0.") != ""  # 0.0.0.dev1 is no version
    return engine(log.engine, match[0] if match and known else None)


def _model(log: EngineLog) -> Model:
    """The model by what the log calls it: a path that is here, else a name of the catalog, else a Hub id."""
    named = log.model or ""
    if ("/" in named or "\\" in named) and existing(named) is not None:
        return resolve(named)
    for name in _names(log):
        if catalog.find(name) is not None:
            return resolve(name)
    if HUB_ID.fullmatch(named) and not named.startswith(".") and not named.lower().endswith(".gguf"):
        return resolve(named)
    raise BadInput(
        f"the log's model '{(named or log.model_name or 'not named')[:120]}' is not known here",
        where=log.source,
        remedy="say which it is by --model (a catalog name, a Hub id, a config.json or a GGUF file)",
    )


def _names(log: EngineLog) -> Iterator[str]:
    """What the model may be called in the catalog, best first."""
    for text in (log.model or "", log.model_name or ""):
        path = text.replace("\\", "/").rstrip("/")
        if match := CACHED.search(path):
            yield f"{match[1]}/{match[2]}"
        if path:
            yield path
            stem = re.sub(r"(?:-\d{5}-of-\d{5})?\.gguf$", "", PurePosixPath(path).name, flags=re.IGNORECASE)
            yield stem
            yield LABEL.sub("", stem).strip("-_. ")
            yield LABEL.sub("", stem).strip("-_. ").replace(" ", "-")


def _weights(log: EngineLog, model: Model) -> str | None:
    """The format to convert to: None where the model's own files or config say it."""
    if model.stored is not None or model.quantization is not None:
        return None
    if log.engine == llama_cpp.NAME:
        labels = LABEL.findall(PurePosixPath((log.model or "").replace("\\", "/")).name)
        for name in (*labels[-1:], *_mix_names(log.weights or "")):
            if find_mix(name.lower()) is not None or conversion(name) is not None:
                return str(name.lower())
        return None
    return log.weights if log.weights and conversion(log.weights) is not None else None


def _mix_names(file_type: str) -> Iterator[str]:
    """`Q4_K - Medium` is Q4_K_M, `IQ4_XS - 4.25 bpw` IQ4_XS, `all F32` F32."""
    kind, _, size = file_type.partition(" - ")
    kind = kind.strip().replace(" ", "_")
    if size[:1].isalpha():
        yield f"{kind}_{size[0].upper()}"
    if kind:
        yield kind


def _layout(log: EngineLog, made: Engine, model: Model) -> StateLayout:
    """The engine's layout with the log's cache format; `auto` is the model's dtype."""
    name = log.kv_format
    if name in (None, "auto"):
        if log.engine == llama_cpp.NAME:
            return made.layout
        name = log.dtype or model.dtype
    try:
        return replace(made.layout, kv=cache_format((name or "").split("/")[0]))
    except UnknownName:
        return made.layout


def _parallel(log: EngineLog) -> Parallel:
    """The degrees of one replica. Data parallelism of whole replicas is none of it."""
    inside = log.dp > 1 and (log.dp_attention or (log.engine == "vllm" and log.ep > 1))
    tp = log.tp * log.dp if inside and log.engine == "vllm" else log.tp
    return Parallel(tp=tp, pp=log.pp, ep=tp if log.ep > 1 else 1, dp=log.dp if inside else 1, cp=log.cp)


def _settings(log: EngineLog) -> Settings:
    """The log's flags; what it does not say is the version's default."""
    known: dict[str, Any] = {
        "gpu_memory_utilization": log.utilization,
        "max_num_seqs": log.max_num_seqs,
        "max_num_batched_tokens": log.max_num_batched_tokens,
        "block_size": log.block_size,
    }
    if log.engine == llama_cpp.NAME:
        known |= {
            "ubatch": log.ubatch,
            "parallel_slots": log.max_num_seqs,
            "max_num_seqs": None,
        }
    known = {name: value or None for name, value in known.items()}  # a printed 0 is no setting
    known |= {"graphs": log.graphs, "flash_attention": log.flash_attention, "kv_unified": log.kv_unified}
    if log.engine == llama_cpp.NAME:
        return Settings(**known, gpu_layers=log.gpu_layers, fit=False)  # the log shows what came of a fit
    return Settings(**known)


def _devices(log: EngineLog, gpu: str) -> tuple[Accelerator, ...]:
    """The devices of the ranks, with the memory that the log's driver reports."""
    if log.engine == llama_cpp.NAME:
        used = llama_cpp.used_devices(log)
        return tuple(sized(node_named(gpu).devices[0], each) if gpu else device_of(each, log.source) for each in used)
    named = next((each for each in log.devices if each.name), LogDevice(label=""))
    seen = replace(named, total_bytes=log.total_bytes)
    device = sized(node_named(gpu).devices[0], seen) if gpu else device_of(seen, log.source)
    return (device,) * _parallel(log).devices
