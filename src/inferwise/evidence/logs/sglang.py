"""SGLang's start-up log: the line formats of 0.2 to 0.5.

Formats: sglang/srt/model_executor/model_runner.py, srt/mem_cache/memory_pool.py, srt/managers/scheduler.py. What it
prints as GB is GiB (get_available_gpu_memory divides by 1 << 30, the pools by 1024**3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.logs.lines import Line
from inferwise.evidence.logs.reading import COUNT, NUMBER, Reading, argument, count_of, share, size_of, switch, whole

NAME = "sglang"
ARGS = "ServerArgs("
LOADED = "Load weight end"
POOL = "KV Cache is allocated"
SIGNS = (ARGS, LOADED, "Load weight begin", POOL, "Memory pool end", "max_total_num_tokens=")
GRAPH = re.compile(rf"Capture ([\w ]{{0,40}})cuda graph end\..{{0,80}}?mem usage={NUMBER} GB", re.IGNORECASE)
KEYWORDS = (*SIGNS, "uda graph end", "UDA graph end", "Mamba Cache is allocated", "SWAKVPool mem usage", "device_name=")
WEIGHTS = re.compile(rf"mem usage={NUMBER} GB")
FREE = re.compile(rf"avail mem={NUMBER} GB")
KIND = re.compile(r"\bquant(?:ization)?=([\w.-]{1,40})")
DTYPE = re.compile(r"\bdtype[=:] ?(?:torch\.)?(\w{1,20})")
TOKENS = re.compile(rf"#tokens: {COUNT}")
HALVES = re.compile(rf"\b(?:KV|K|V) size: {NUMBER} ?GB")
STATES = re.compile(rf"\b(?:conv|ssm|intermediate)[a-z_]{{1,40}} size: {NUMBER} ?GB")
WINDOWED = re.compile(rf"SWAKVPool mem usage: {NUMBER} GB, swa size: {COUNT}, full size: {COUNT}")
VERSION = re.compile(r"sglang(?:==| version:? )v?(\d[\w.+-]{0,60})", re.IGNORECASE)
DEVICE = re.compile(r"device_name=([\w.-]{2,80}?)(?:,|\.json|$)")
# field, what the scheduler's last line calls it
LAST = (
    ("kv_tokens", re.compile(rf"max_total_num_tokens={COUNT}")),
    ("max_num_batched_tokens", re.compile(rf"chunked_prefill_size={COUNT}")),
    ("max_num_seqs", re.compile(rf"max_running_requests={COUNT}")),
    ("context", re.compile(rf"context_len={COUNT}")),
)


def read(lines: Sequence[Line]) -> EngineLog:
    """The last complete start in an SGLang log."""
    starts = [_start(part) for part in _starts(lines)]
    complete = [start for start in starts if start.has("kv_pool") or "kv_tokens" in start.facts]
    chosen = (complete or starts)[-1]
    chosen.facts["starts"] = len(starts)
    if len(starts) > 1:
        which = "the last complete one is read" if complete else "none is complete: the last is read"
        chosen.remarks.append(f"the log holds {len(starts)} starts: {which}")
    known, found = chosen.facts, chosen.has
    return chosen.log(
        {
            "version (SGLang prints none of its own)": "version" in known,
            "model ('server_args=ServerArgs(model_path=')": "model" in known,
            "mem_fraction_static": "utilization" in known,
            "weights ('Load weight end ... mem usage=')": found("weights"),
            "KV pool ('KV Cache is allocated ... size')": found("kv_pool"),
            "KV tokens ('max_total_num_tokens=')": "kv_tokens" in known,
            "graph memory ('Capture cuda graph end ... mem usage=')": found("graphs") or known.get("graphs") is False,
            "max_running_requests": "max_num_seqs" in known,
            "device name": any(device.name for device in chosen.devices.values()),
        }
    )


def _starts(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of each start: a new one begins with the server's arguments after another has loaded weights."""
    parts: list[list[Line]] = [[]]
    loaded = False
    for line in lines:
        if loaded and ARGS in line.text:
            parts.append([])
            loaded = False
        loaded = loaded or LOADED in line.text
        parts[-1].append(line)
    return parts


def _start(lines: Sequence[Line]) -> Reading:
    reading = Reading(NAME)
    pools: dict[str, list[tuple[int, int, int, int]]] = {}  # rank: (bytes, resolution, tokens, line) of each
    for line in lines:
        if ARGS in line.text:
            _arguments(reading, line.text)
        reading.fact("version", VERSION, line, str)
        _weights(reading, line)
        _recurrent(reading, line)
        _graphs(reading, line)
        _note_pool(pools.setdefault(line.rank, []), line)
        if "max_total_num_tokens=" in line.text and ARGS not in line.text:
            for field, pattern in LAST:
                reading.fact(field, pattern, line)
        if match := DEVICE.search(line.text):
            reading.device(line.rank, name=match[1].replace("_", " "))
    for rank, each in pools.items():
        for index, (size, resolution, tokens, number) in enumerate(each):
            reading.add("draft kv_pool" if index else "kv_pool", rank, (size, resolution), number)
            if not index and tokens:
                reading.facts.setdefault("kv_tokens", tokens)
    reading.terms = [term for term in reading.terms if term.size_bytes or term.name == "weights"]
    return reading


def _arguments(reading: Reading, text: str) -> None:
    facts = reading.facts
    known = {
        "tp": whole(argument(text, "tp_size")),
        "pp": whole(argument(text, "pp_size")),
        "dp": whole(argument(text, "dp_size")),
        "ep": whole(argument(text, "ep_size")),
        "context": whole(argument(text, "context_length")),
        "block_size": whole(argument(text, "page_size")),
        "max_num_batched_tokens": whole(argument(text, "chunked_prefill_size")),
        "max_num_seqs": whole(argument(text, "max_running_requests")),
        "utilization": share(argument(text, "mem_fraction_static")),
        "dp_attention": switch(argument(text, "enable_dp_attention")),
        "model": argument(text, "model_path"),
        "weights": argument(text, "quantization"),
        "kv_format": argument(text, "kv_cache_dtype"),
    }
    facts.update({name: value for name, value in known.items() if value is not None})
    graphs_off = switch(argument(text, "disable_cuda_graph"))
    if graphs_off is not None:
        facts["graphs"] = not graphs_off


def _weights(reading: Reading, line: Line) -> None:
    """Weights of a rank; the second load of a rank is its draft model's."""
    if "Load weight begin" in line.text and (match := FREE.search(line.text)):
        known = reading.devices.get(line.rank)
        if known is None or known.free_bytes is None:
            reading.device(line.rank, free_bytes=size_of(match[1], "GB")[0])
    if LOADED not in line.text:
        return
    rank = line.rank
    second = any((term.name, term.device) == ("weights", rank) for term in reading.terms)
    if not second:
        if match := DTYPE.search(line.text):
            reading.facts["dtype"] = match[1]
        if match := KIND.search(line.text):
            reading.facts.setdefault("weights", match[1])
    size = None
    if match := WEIGHTS.search(line.text):
        size = size_of(match[1], "GB")
    elif (match := FREE.search(line.text)) and (device := reading.devices.get(rank)) and device.free_bytes:
        free, resolution = size_of(match[1], "GB")  # older versions print what is free before and after
        size = device.free_bytes - free, 2 * resolution
    if size is not None:
        reading.add("draft weights" if second else "weights", rank, size, line.number)


def _note_pool(pools: list[tuple[int, int, int, int]], line: Line) -> None:
    """Note a pool. A windowed one follows the two that it is made of, and stands for them."""
    if match := WINDOWED.search(line.text):
        del pools[-2:]
        size, resolution = size_of(match[1], "GB")
        pools.append((size, resolution, count_of(match[3]), line.number))
    elif POOL in line.text:
        sizes = [size_of(number, "GB") for number in HALVES.findall(line.text)]
        tokens = TOKENS.search(line.text)
        if sizes:
            total, resolution = sum(size for size, _ in sizes), sum(step for _, step in sizes)
            pools.append((total, resolution, count_of(tokens[1]) if tokens else 0, line.number))


def _recurrent(reading: Reading, line: Line) -> None:
    if "Mamba Cache is allocated" in line.text and (found := STATES.findall(line.text)):
        sizes = [size_of(number, "GB") for number in found]
        total = sum(size for size, _ in sizes), sum(step for _, step in sizes)
        reading.add("recurrent", line.rank, total, line.number)


def _graphs(reading: Reading, line: Line) -> None:
    """Graphs of the model (each capture takes its own), and of a draft model."""
    if match := GRAPH.search(line.text):
        name = "draft graphs" if "draft" in match[1].lower() else "graphs"
        reading.add(name, line.rank, size_of(match[2], "GB"), line.number)
