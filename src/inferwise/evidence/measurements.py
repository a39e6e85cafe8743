"""Rows of measured runs, without what was measured: the configuration that a prediction may know."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from inferwise.errors import BadInput, WorldFailed

MAX_CELL = 4096
# Facts of a run's set-up that only its remarks tell. None of these is an outcome: no time, rate, size or spread.
FACTS = {
    "flash_attention": re.compile(r"\b(?:flash_attn|fa)=(True|False)\b"),
    "ubatch": re.compile(r"\b(?:n_)?ubatch=(\d{1,7})\b"),
    "depth": re.compile(r"\bdepth=(\d{1,9})\b"),
    "max_num_seqs": re.compile(r"\bmax_num_seqs=(\d{1,7})\b"),
    "max_num_batched_tokens": re.compile(r"\bmax_num_batched_tokens=(\d{1,9})\b"),
    "task": re.compile(r"\btask=([a-z-]{1,40})\b"),
    "dealt": re.compile(r"; (TP|PP|EP|Hybrid TP = \d{1,4} and EP = \d{1,4}|Tensor Parallelism|Pipeline Parallelism)$"),
    "link": re.compile(r"\((no NVLink)\)"),
    "cached": re.compile(r"\b(decode-only)\b"),
    "requests": re.compile(r"\b(ShareGPT)\b"),
    "context": re.compile(r"\b(short context)\b"),
    "workers": re.compile(r"\b(prefill x\d{0,4} bs\d{0,6}, decode x\d{0,4}) bs"),
    "file_bytes": re.compile(r"\bmodel_bytes=(\d{1,15})\b"),
    "file_gib": re.compile(r"\bfile_gib=(\d{1,6}(?:\.\d{1,6})?)\b"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a row says of a run before it was run; every value as the source spells it, empty where it says nothing.

    The names are the columns'. facts: what its remarks tell of the set-up, by the names of FACTS. id and fold name
    the row, and say nothing of the run.
    """

    id: str
    fold: str = ""
    source: str = ""
    protocol: str
    engine: str = ""
    backend: str = ""
    engine_version: str = ""
    model: str = ""
    weight_format: str = ""
    kv_format: str = ""
    accelerator: str = ""
    devices: str = ""
    tp: str = ""
    pp: str = ""
    ep: str = ""
    dp: str = ""
    moe_tp: str = ""
    isl: str = ""
    osl: str = ""
    concurrency: str = ""
    batch_per_replica: str = ""
    request_rate: str = ""
    campaign: str = ""
    model_as_published: str = ""
    facts: tuple[tuple[str, str], ...] = field(default=())

    def fact(self, name: str) -> str:
        """A fact of the remarks; empty where they do not tell it."""
        return next((value for key, value in self.facts if key == name), "")


COLUMNS = tuple(each.name for each in fields(Run) if each.name != "facts")
NEEDED = ("id", "protocol", "engine", "model", "accelerator")


def runs(path: str | Path) -> Iterator[Run]:
    """The runs of a file with the columns of measurements.csv, in its order. Measured columns are not read.

    Raises BadInput for a file that is no such table, WorldFailed for one that cannot be read.
    """
    where = str(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (rows.fieldnames or ())]
            if missing:
                raise BadInput(f"no column {', '.join(missing)}", where=where, remedy="give a CSV of measured runs")
            for number, row in enumerate(rows, start=2):
                yield run_of(row, where=f"{where} line {number}")
    except OSError as error:
        raise WorldFailed(error.strerror or "cannot be read", where=where, remedy="check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"is no CSV in UTF-8 ({error})", where=where, remedy="give a CSV of measured runs") from error


def run_of(row: Mapping[str | None, str | list[str] | None], where: str = "") -> Run:
    """The run of a row by its columns. Raises BadInput for cells that are no text, and for a row without an id."""
    values = {}
    for name in (*COLUMNS, "remarks"):
        cell = row.get(name) or ""
        if not isinstance(cell, str) or len(cell) > MAX_CELL:
            raise BadInput(f"column {name} is no short text", where=where, remedy="give one value a cell")
        values[name] = cell.strip()
    if not values["id"]:
        raise BadInput("a row without an id", where=where, remedy="give each run an id of its own")
    remarks = values.pop("remarks")
    found = ((name, pattern.search(remarks)) for name, pattern in FACTS.items())
    return Run(**values, facts=tuple((name, match[1]) for name, match in found if match is not None))
