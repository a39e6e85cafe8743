"""vLLM's start-up log: the line formats of its V0 engine (0.4 to 0.8) and its V1 engine (0.7 to 0.33).

Formats: vllm/worker/worker.py, vllm/v1/worker/gpu_worker.py and gpu_model_runner.py, vllm/v1/core/kv_cache_utils.py,
vllm/utils/mem_utils.py, vllm/v1/engine/core.py. All sizes are GiB, also those printed as GB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.logs.lines import Line
from inferwise.evidence.logs.reading import COUNT, NUMBER, Reading, argument, count_of, share, size_of, switch, whole

NAME = "vllm"
INIT = "LLM engine (v"
# A line of any other engine has none of these.
SIGNS = (INIT, "vLLM API server version", "# GPU blocks:", "# CUDA blocks:", "vLLM instance can use", "KV cache size: ")
UNIT = r" ?(GiB|GB|bytes)"
# term, what a line must hold, the figure in it
SIZES: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (name, keyword, re.compile(pattern))
    for name, keyword, pattern in (
        ("weights", "odel loading took", rf"odel loading took {NUMBER}{UNIT}"),
        ("weights", "oading model weights took", rf"oading model weights took {NUMBER}{UNIT}"),
        ("weights", "weights take", rf"weights take {NUMBER}{UNIT}"),
        ("weights", "weights memory:", rf"weights memory: {NUMBER}{UNIT}"),
        ("weights", "for weight,", rf"{NUMBER}{UNIT} for weight,"),
        ("weights + non_torch", "for consumed memory", rf"{NUMBER}{UNIT} for consumed memory"),
        ("weights + non_torch", "total consumed", rf"total consumed \([a-z_ ]{{1,40}}\): {NUMBER}{UNIT}"),
        ("activations", "activation peak memory takes", rf"activation peak memory takes {NUMBER}{UNIT}"),
        ("activations", "torch peak memory increase:", rf"torch peak memory increase: {NUMBER}{UNIT}"),
        ("activations", "for peak activation", rf"{NUMBER}{UNIT} for peak activation"),
        ("non_torch", "non_torch_memory takes", rf"non_torch_memory takes {NUMBER}{UNIT}"),
        ("non_torch", "non-torch forward increase", rf"non-torch forward increase memory: {NUMBER}{UNIT}"),
        ("non_torch", "for non-torch memory", rf"{NUMBER}{UNIT} for non-torch memory"),
        ("graphs", "Graph capturing finished", rf"Graph capturing finished in {NUMBER} secs?, took {NUMBER}{UNIT}"),
        ("graphs", "for CUDAGraph memory", rf"{NUMBER}{UNIT} for CUDAGraph memory"),
        ("graphs_estimate", "Estimated CUDA graph memory", rf"Estimated CUDA graph memory: {NUMBER}{UNIT}"),
        ("kv_pool", "Available KV cache memory:", rf"Available KV cache memory: {NUMBER}{UNIT}"),
        ("kv_pool", "reserved for KV Cache is", rf"reserved for KV Cache is {NUMBER}{UNIT}"),
        ("kv_pool", "kv cache memory in use is", rf"kv cache memory in use is {NUMBER}{UNIT}"),
    )
)
KEYWORDS = (
    *SIGNS,
    *dict.fromkeys(keyword for _, keyword, _ in SIZES),
    "non-default args",
    "args: Namespace(",
    "max_num_batched_tokens=",
    "Using max model len",
    "Maximum concurrency for",
    "total_gpu_memory (",
    "Free memory on device",
    "device_name=",
)
VERSION = re.compile(r"(?:LLM engine \(v|API server version:? )(\d[\w.+-]{0,60})")
TOKENS = re.compile(rf"KV cache size: {COUNT} tokens")
BLOCKS = re.compile(rf"# (?:GPU|CUDA) blocks: {COUNT}")
CONCURRENCY = re.compile(rf"Maximum concurrency for {COUNT} tokens per request: {NUMBER}x")
BATCHED = re.compile(rf"max_num_batched_tokens={COUNT}")
MAX_LEN = re.compile(rf"Using max model len {COUNT}")
TOTAL = re.compile(rf"total_gpu_memory \({NUMBER} ?(GiB)\)")
FREE = re.compile(rf"Free memory on device (?:\w{{1,10}}:\d{{1,3}} )?\({NUMBER}/{NUMBER} ?(GiB)\)")
SHARE = re.compile(r"(?:gpu_memory_utilization \(|GPU memory utilization is \()(\d\.\d{1,9})")
DEVICE = re.compile(r"device_name=([\w.-]{2,80}?)(?:,|\.json|$)")
# field, flag, how it is read
FLAGS = (
    ("max_num_seqs", "max_num_seqs", whole),
    ("max_num_batched_tokens", "max_num_batched_tokens", whole),
    ("block_size", "block_size", whole),
    ("utilization", "gpu_memory_utilization", share),
    ("context", "max_model_len", whole),
)
DEFAULT_BLOCK = 16  # tokens of a block where the V0 log gives blocks and no size of one


def read(lines: Sequence[Line]) -> EngineLog:
    """The last complete start in a vLLM log."""
    starts = [_start(part) for part in _starts(lines)]
    complete = [start for start in starts if "kv_tokens" in start.facts or start.has("kv_pool")]
    chosen = (complete or starts)[-1]
    chosen.facts["starts"] = len(starts)
    if len(starts) > 1:
        which = "the last complete one is read" if complete else "none is complete: the last is read"
        chosen.remarks.append(f"the log holds {len(starts)} starts: {which}")
    found = chosen.has
    known = chosen.facts
    return chosen.log(
        {
            "version ('LLM engine (v...)')": "version" in known,
            "model ('... with config: model=...')": "model" in known,
            "weights ('Model loading took')": found("weights") or found("weights + non_torch"),
            "activation peak (printed at debug level only by most versions)": found("activations"),
            "non-torch memory (printed at debug level only by most versions)": found("non_torch")
            or found("weights + non_torch"),
            "graph memory ('Graph capturing finished')": found("graphs") or known.get("graphs") is False,
            "KV pool ('Available KV cache memory')": found("kv_pool"),
            "KV tokens ('KV cache size')": "kv_tokens" in known,
            "device memory ('Free memory on device')": any(d.total_bytes for d in chosen.devices.values()),
            "device name": any(d.name for d in chosen.devices.values()),
            "gpu_memory_utilization": "utilization" in known,
            "max_num_seqs": "max_num_seqs" in known,
        }
    )


def _starts(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of each start: a new one begins where an engine initialises after another has measured its memory."""
    parts: list[list[Line]] = [[]]
    measured = False
    for line in lines:
        if measured and (INIT in line.text or "API server version" in line.text):
            parts.append([])
            measured = False
        measured = measured or any(keyword in line.text for _, keyword, _ in SIZES)
        parts[-1].append(line)
    return parts


def _start(lines: Sequence[Line]) -> Reading:
    reading = Reading(NAME)
    for line in lines:
        _settings(reading, line)
        _sizes(reading, line)
        _pool(reading, line)
        _device(reading, line)
    if any(term.name == "kv_pool" and term.size_bytes <= 0 for term in reading.terms):
        reading.remarks.append("no room was left for the KV pool: the engine did not start")
    return reading


def _settings(reading: Reading, line: Line) -> None:
    text, facts = line.text, reading.facts
    reading.fact("version", VERSION, line, str)
    reading.fact("max_num_batched_tokens", BATCHED, line)
    reading.fact("context", MAX_LEN, line)
    if match := SHARE.search(text):
        facts.setdefault("utilization", share(match[1]) or None)
    if "non-default args" in text or "args: Namespace(" in text:
        for field, flag, read_value in FLAGS:
            if (value := read_value(argument(text, flag))) is not None:
                facts[field] = value
        if model := argument(text, "model") or argument(text, "model_tag"):
            facts.setdefault("model", model)
        if switch(argument(text, "enable_expert_parallel")):
            facts["ep"] = 0  # all ranks: set below, once they are known
    if INIT in text and "config" in text:
        _config(facts, text)
    if "ep" in facts:
        facts["ep"] = facts.get("tp", 1) * facts.get("dp", 1)


def _config(facts: dict[str, object], text: str) -> None:
    """The engine's own line: `Initializing a V1 LLM engine (v0.19.0) with config: model='...', ...`."""
    for field, name in (("tp", "tensor"), ("pp", "pipeline"), ("dp", "data"), ("cp", "decode_context")):
        flag = f"{name}_parallel_size"
        if value := whole(argument(text, flag)):
            facts[field] = value
    if value := whole(argument(text, "max_seq_len")):
        facts["context"] = value
    if model := argument(text, "model"):
        facts["model"] = model
    if dtype := argument(text, "dtype"):
        facts["dtype"] = dtype.removeprefix("torch.")
    if quantization := argument(text, "quantization"):
        facts["weights"] = quantization
    facts["kv_format"] = argument(text, "kv_cache_dtype") or "auto"
    eager = switch(argument(text, "enforce_eager"))
    if eager is not None:
        facts["graphs"] = not eager


def _sizes(reading: Reading, line: Line) -> None:
    for name, keyword, pattern in SIZES:
        if keyword in line.text and (match := pattern.search(line.text)):
            *_, number, unit = match.groups()
            reading.put(name, line.rank, size_of(number, unit), line.number)


def _pool(reading: Reading, line: Line) -> None:
    """Tokens of the cache; of several ranks the least. V0 prints blocks."""
    facts, tokens = reading.facts, None
    if match := TOKENS.search(line.text):
        tokens = count_of(match[1])
    elif match := BLOCKS.search(line.text):
        tokens = count_of(match[1]) * (facts.get("block_size") or DEFAULT_BLOCK)
    if tokens is not None:
        facts["kv_tokens"] = min(tokens, facts.get("kv_tokens", tokens))
    if match := CONCURRENCY.search(line.text):
        facts["max_concurrency_context"] = count_of(match[1])
        facts["max_concurrency"] = min(float(match[2]), facts.get("max_concurrency", float(match[2])))


def _device(reading: Reading, line: Line) -> None:
    if match := TOTAL.search(line.text):
        reading.device(line.rank, total_bytes=size_of(match[1], match[2])[0])
    if match := FREE.search(line.text):
        free, total = size_of(match[1], match[3])[0], size_of(match[2], match[3])[0]
        reading.device(line.rank, total_bytes=total, free_bytes=free)
    if match := DEVICE.search(line.text):
        reading.device(line.rank, name=match[1].replace("_", " "))
