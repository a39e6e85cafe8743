"""Start-up logs of vLLM, SGLang and llama.cpp (also inside Ollama's and others' that print its lines)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from inferwise.errors import BadInput
from inferwise.evidence.logs import llama_cpp, sglang, vllm
from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.logs.lines import MAX_BYTES, MAX_KEPT, Line, kept_lines
from inferwise.read.ranges import LocalFile

READERS = {vllm.NAME: vllm.read, sglang.NAME: sglang.read, llama_cpp.NAME: llama_cpp.read}
SIGNS = {vllm.NAME: vllm.SIGNS, sglang.NAME: sglang.SIGNS, llama_cpp.NAME: llama_cpp.SIGNS}
KEYWORDS = tuple(dict.fromkeys((*vllm.KEYWORDS, *sglang.KEYWORDS, *llama_cpp.KEYWORDS)))


def read_log(path: str | Path) -> EngineLog:
    """What a log file says, of its first 64 MiB. Raises BadInput where it is no engine's log, WorldFailed."""
    file = LocalFile(Path(path).expanduser(), str(path))
    log = _read(file.chunks(0, MAX_BYTES), str(path))
    if (file.size or 0) > MAX_BYTES:
        log = replace(log, remarks=(*log.remarks, f"only the first {MAX_BYTES:,} of {file.size:,} bytes were read"))
    return log


def parse_log(text: str, source: str = "log") -> EngineLog:
    """What the text of a log says. Raises BadInput where it is no engine's."""
    return _read([text[:MAX_BYTES].encode("utf-8", "replace")], source)


def _read(chunks: Iterable[bytes], source: str) -> EngineLog:
    lines = list(kept_lines(chunks, KEYWORDS))
    counts = {engine: _signs(lines, signs) for engine, signs in SIGNS.items()}
    name = max(counts, key=lambda each: counts[each])
    if not counts[name]:
        raise BadInput(
            "no start-up log of vLLM, SGLang or llama.cpp: no line with 'LLM engine (v', 'KV cache size:', "
            "'ServerArgs(', 'Load weight end', 'loaded meta data with' or 'buffer size ='",
            where=source,
            remedy="give what the engine printed when it started",
        )
    log = replace(READERS[name](lines), source=source)
    if not log.terms and log.kv_tokens is None:
        raise BadInput(
            f"lines of {log.engine}, but none with a size (looked for: {'; '.join(log.unread)})"[:330],
            where=source,
            remedy="give the log from the start of the engine",
        )
    if len(lines) >= MAX_KEPT:
        log = replace(log, remarks=(*log.remarks, f"only the first {MAX_KEPT:,} lines that say something were read"))
    return log


def _signs(lines: Sequence[Line], signs: tuple[str, ...]) -> int:
    return sum(any(sign in line.text for sign in signs) for line in lines)
