"""The lines of a log that say something: decoded, without colours and wrappings, bounded in number and length."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_BYTES = 64 * 2**20  # of a file; a start-up log is the beginning of a longer one
MAX_LINE = 32 * 2**10  # characters of a line: SGLang's ServerArgs takes some 10,000
MAX_KEPT = 200_000  # lines that hold a keyword

COLOUR = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
WRAPPED = ("log", "message", "msg", "text", "textPayload", "line", "body")
# (Worker_TP0 pid=7), (VllmWorker rank=1 pid=7), (RayWorkerWrapper pid=7, ip=10.0.0.1), (EngineCore_DP0 pid=7)
PROCESS = re.compile(r"\(([A-Za-z]\w{0,60})(?: rank=(\d{1,5}))?,? pid=(\d{1,9})")
# [2026-01-31 12:00:00 DP0 TP1 EP1], [gpu_id=0]
RANK = re.compile(r"\[[^\[\]]{0,40}?((?: ?\b(?:DP|PP|TP|EP|CP)\d{1,4}\b)+)\]|\[gpu(?:_id)?=(\d{1,4})\]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its number in the file, from 1, and what it says."""

    number: int
    text: str

    @property
    def rank(self) -> str:
        """The worker that wrote it (`TP0`, `rank 1`, `pid 7`), empty where it names none."""
        head = self.text[:300]
        found = ""
        for name, rank, pid in PROCESS.findall(head):
            found = _process(name, rank, pid) or found
        match = None if found else RANK.search(head)
        if match is None:
            return found
        return " ".join(match[1].split()) if match[1] else f"gpu {match[2]}"


def _process(name: str, rank: str, pid: str) -> str:
    if rank:
        return f"rank {rank}"
    kind, _, place = name.partition("_")
    if kind in ("Worker", "EngineCore"):
        return place if place[:2] in ("DP", "PP", "TP", "EP") else ""
    return f"pid {pid}" if "Worker" in name else ""


def kept_lines(chunks: Iterable[bytes], keywords: tuple[str, ...]) -> Iterator[Line]:
    """The lines that hold a keyword, at most MAX_KEPT."""
    kept = 0
    for number, raw in enumerate(_lines(chunks), 1):
        text = COLOUR.sub("", raw) if "\x1b" in raw else raw
        if not any(word in text for word in keywords):
            continue
        kept += 1
        if kept > MAX_KEPT:
            return
        yield Line(number, unwrapped(text).replace("\r", " ").strip())


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The text between newlines, cut at MAX_LINE; bytes that are no text become U+FFFD."""
    decoder: codecs.IncrementalDecoder | None = None
    rest = ""
    for chunk in chunks:
        if decoder is None:
            decoder = codecs.getincrementaldecoder(encoding_of(chunk))(errors="replace")
        parts = (rest + decoder.decode(chunk)).split("\n")
        rest = parts.pop()[:MAX_LINE]
        for part in parts:
            yield part[:MAX_LINE]
    if rest:
        yield rest


def encoding_of(start: bytes) -> str:
    """UTF-16 (PowerShell's `>` writes it) by its byte order mark or its zero bytes, else UTF-8."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = start[:256]
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "utf-8-sig"


def unwrapped(text: str) -> str:
    """The message of a JSON line as container runtimes write it; the text itself where it is none."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(record, dict):
        for name in WRAPPED:
            if isinstance(record.get(name), str):
                return COLOUR.sub("", record[name])
    return text
