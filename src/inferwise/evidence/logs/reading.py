"""A log while it is being read: facts by field of EngineLog, sizes by term and device."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from inferwise.evidence.logs.engine_log import EngineLog, LogDevice, LogTerm
from inferwise.evidence.logs.lines import Line
from inferwise.units import GIB, KIB, MIB

NUMBER = r"(-?\d{1,18}(?:\.\d{1,9})?)"
COUNT = r"(\d[\d,]{0,17})"
# What torch and ggml programs print as GB and MB are powers of two as well (SGLang divides by 1 << 30).
UNITS = {"GiB": GIB, "GB": GIB, "MiB": MIB, "MB": MIB, "KiB": KIB, "bytes": 1, "B": 1}
FINEST = 100  # engines round to 0.01 and drop trailing zeros: 1.4 GiB is 1.40


def size_of(number: str, unit: str) -> tuple[int, int]:
    """(bytes, resolution in bytes) of a printed size."""
    scale = UNITS[unit]
    digits = len(number.partition(".")[2])
    if scale == 1:
        return int(float(number)), 1
    return round(float(number) * scale), max(1, scale // max(10**digits, FINEST if digits else 1))


def count_of(text: str) -> int:
    """`1,096,000` as a number."""
    return int(text.replace(",", ""))


@dataclass(slots=True)
class Reading:
    """One start."""

    engine: str
    facts: dict[str, Any] = field(default_factory=dict)
    terms: list[LogTerm] = field(default_factory=list)
    devices: dict[str, LogDevice] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, device: str, size: tuple[int, int], line: int) -> None:
        """A size beside those that are there."""
        self.terms.append(LogTerm(name=name, device=device, size_bytes=size[0], resolution_bytes=size[1], line=line))

    def put(self, name: str, device: str, size: tuple[int, int], line: int) -> None:
        """A size instead of the one that is there, unless that one is printed finer."""
        old = next((t for t in self.terms if (t.name, t.device) == (name, device)), None)
        if old is not None:
            if old.resolution_bytes < size[1]:
                return
            self.terms.remove(old)
        self.add(name, device, size, line)

    def has(self, name: str) -> bool:
        """Whether a term was printed."""
        return any(term.name == name for term in self.terms)

    def device(self, label: str, **known: Any) -> None:
        """What a line says of a device, beside what others said."""
        old = self.devices.get(label) or LogDevice(label=label)
        self.devices[label] = replace(old, **{key: value for key, value in known.items() if value})

    def fact(self, name: str, pattern: re.Pattern[str], line: Line, kind: type = int) -> None:
        """Take a field from a line, where the pattern is in it."""
        match = pattern.search(line.text)
        if match is not None:
            self.facts[name] = count_of(match[1]) if kind is int else kind(match[1])

    def log(self, looked_for: dict[str, bool]) -> EngineLog:
        """What was read. looked_for: in words, and whether it was found."""
        return EngineLog(
            engine=self.engine,
            terms=tuple(self.terms),
            devices=tuple(self.devices.values()),
            unread=tuple(what for what, found in looked_for.items() if not found),
            remarks=tuple(self.remarks),
            **self.facts,
        )


def argument(text: str, name: str) -> str | None:
    """The value of `name=value` or `'name': value` in a printed call or dict; None where it is not there or None."""
    match = re.search(
        rf"""(?<![\w.-])['"]?{name}['"]?\s?[=:]\s?(?:'([^']{{0,1000}})'|"([^"]{{0,1000}})"|([^\s,(){{}}\[\]]{{1,200}}))""",
        text,
    )
    if match is None:
        return None
    value = next((group for group in match.groups() if group is not None), "")
    return None if value in ("None", "") else value


def whole(text: str | None) -> int | None:
    """A count of a flag; None for anything else."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,12}", text) else None


def share(text: str | None) -> float | None:
    """A share of a device, above 0 and at most 1; None for anything else."""
    if text is None or not re.fullmatch(r"[01](?:\.\d{1,17})?", text):
        return None
    return float(text) if 0 < float(text) <= 1 else None


def switch(text: str | None) -> bool | None:
    """A flag that is on or off."""
    return {"True": True, "False": False, "true": True, "false": False}.get(text or "")
