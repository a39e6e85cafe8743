"""What an engine adds to its kernels: overheads and factors, fitted to whole runs.

calibration.json is written by benchmarks/calibrate.py, with its residuals on folds left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.catalog.engines import number
from inferwise.spec.hardware import Accelerator

PACKAGE = "inferwise.timing"
GENERIC = "generic"
SELECTORS = ("engine", "vendor", "architecture", "until")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds and factors that an engine adds.

    factors: on the kernels of a part (attention, experts, ...), 1 where absent (forward.factors_of bounds them by the
    roofline). Seconds on top of the kernels: step_s of every step; layer_s of every layer; sequence_s of every decode;
    request_s of a request, before its prompt is read and after its first token is made. share: of a prompt's work that
    other requests' decodes wait for; share_equal: where requests of one length begin and end together. queue,
    queue_equal: of the others' prompts, those that a request's own waits for. runs: the rows behind it, 0 on devices of
    an architecture that has none; error: median error on folds left out, None where no run speaks for it.
    """

    name: str
    factors: Mapping[str, float] = field(default_factory=dict)
    step_s: float = 0.0
    layer_s: float = 0.0
    sequence_s: float = 0.0
    request_s: float = 0.0
    share: float = 1.0
    share_equal: float = 1.0
    queue: float = 0.1
    queue_equal: float = 0.5
    runs: int = 0
    error: float | None = None
    source: str = ""


@cache
def _file() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(files(PACKAGE).joinpath("calibration.json").read_text(encoding="utf-8"))
    return found


@cache
def skew() -> float:
    """How unequally routed experts are chosen: deviation over mean of their popularity (kernels/experts.py)."""
    return float(_file()["skew"])


@cache
def profile(
    engine: str, device: Accelerator, version: str = "", *, waits: bool = False, fold: int | None = None
) -> Profile:
    """An engine's profile on a device at a version: the first entry whose selectors all hold, the narrow ones first.

    Selectors: engine, vendor, architecture, until (the last version that it speaks for). waits: whether each step waits
    for the host to prepare it (vLLM without async_scheduling). fold: as fitted without this fold of the measurements
    (for honest scores).
    """
    data = _file()
    entries: Sequence[Mapping[str, Any]] = data["profiles"] if fold is None else data["folds"][str(fold)]
    row = dict(next(each for each in entries if _speaks(each, engine, device, version)))
    name = " ".join(str(row.pop(key)) for key in SELECTORS if key in row) or GENERIC
    seen = row.pop("architectures", None)
    if seen is not None and device.architecture not in seen:  # of others' devices: no run of it speaks for this one
        row |= {"runs": 0, "error": None}
    host_s = row.pop("host_s", 0.0)
    if waits:
        row["step_s"] = row.get("step_s", 0.0) + host_s
    return Profile(name=name, source=data["source"] if row.get("runs") else "", **row)


def _speaks(entry: Mapping[str, Any], engine: str, device: Accelerator, version: str) -> bool:
    own = {"engine": engine, "vendor": device.vendor, "architecture": device.architecture}
    if any(entry.get(key, value) != value for key, value in own.items()):
        return False
    until = entry.get("until")
    return until is None or (bool(version) and number(version) <= number(until))
