"""The engines that we know, each with its versions' defaults: one TOML file an engine, beside this one.

A file has `source`, `tested`, `[layout]` (fields of StateLayout), `[defaults]` of its first version, and
`[[versions]]`: each with its number, date, source and the `defaults` that it changed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from inferwise.catalog.lookup import fold, suggestions
from inferwise.errors import BadInput, UnknownName
from inferwise.spec.engine import Engine
from inferwise.spec.state import StateLayout

NAMES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "ollama", "mlx", "transformers")
ALIASES = {
    "trtllm": "tensorrt-llm",
    "trt-llm": "tensorrt-llm",
    "tensorrt": "tensorrt-llm",
    "llamacpp": "llama.cpp",
    "llama-cpp": "llama.cpp",
    "llama-server": "llama.cpp",
    "mlx-lm": "mlx",
    "hf": "transformers",
    "huggingface": "transformers",
}
VERSION = re.compile(r"[vb]?(\d{1,9}(?:\.\d{1,9}){0,4})(?:[.\-+]?[a-z]{1,6}[0-9.\-+a-z]{0,20})?", re.ASCII)


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))


def engine_name(text: str) -> str:
    """The engine that a text means. Raises UnknownName."""
    wanted = fold(text)
    wanted = ALIASES.get(wanted, wanted)
    for name in NAMES:
        if wanted in (name, fold(name)):
            return name
    raise UnknownName("engine", text, suggestions=suggestions(text, NAMES) or NAMES)


@cache
def engine(text: str, version: str | None = None) -> Engine:
    """An engine at a version (None: the newest that we know).

    A version between two of the table has the defaults of the earlier one; one outside it those of the nearest, with
    a note that says so. Raises UnknownName for an engine, BadInput for what is no version.
    """
    name = engine_name(text)
    table = _table(name)
    rows: list[dict[str, Any]] = table["versions"]
    builds = rows[-1]["version"].startswith("b")
    if version and version.strip().lower().startswith("b") != builds:
        own = rows[-1]["version"]
        raise BadInput(f"{version[:40]} is no version of {name}", remedy=f"its versions are numbered as {own}")
    asked = number(version) if version else number(rows[-1]["version"])
    defaults: dict[str, Any] = dict(table.get("defaults", {}))
    basis = rows[0]
    for row in rows:
        if row is rows[0] or number(row["version"]) <= asked:
            defaults.update(row.get("defaults", {}))
            basis = row
    notes = []
    if asked > number(rows[-1]["version"]):
        notes.append(
            f"{name} {version} is newer than {basis['version']}, the newest whose defaults we know: assumed equal"
        )
    elif asked < number(rows[0]["version"]):
        notes.append(
            f"{name} {version} is older than {basis['version']}, the oldest whose defaults we know: assumed equal"
        )
    return Engine(
        name=name,
        version=version or basis["version"],
        basis=basis["version"],
        layout=StateLayout(**table.get("layout", {})),
        defaults=defaults,
        tested=table.get("tested", ""),
        source=f"{table['source']}; {basis['version']}: {basis['source']}",
        notes=tuple(notes),
    )


def choices(name: str, what: str) -> list[str]:
    """A list of the engine's own: `smaller_weights`, `smaller_kv` (formats to turn to, the widest first)."""
    return list(_table(name).get(what, ()))


def number(version: str) -> tuple[int, ...]:
    """`0.19.0` as (0, 19, 0), `b5863` as (5863,). Raises BadInput."""
    match = VERSION.fullmatch(version.strip().lower())
    if match is None:
        raise BadInput(f"engine version {version[:40]!r} is no version", remedy="give numbers such as 0.19.0, or b5863")
    parts = tuple(int(part) for part in match[1].split("."))
    while len(parts) > 1 and parts[-1] == 0:  # 0.19 is 0.19.0
        parts = parts[:-1]
    return parts


def runs(name: str) -> Mapping[str, Any]:
    """What an engine can run: the `[runs]` table of its file; empty where it says nothing (memory/parts/runs.py)."""
    found: Mapping[str, Any] = _table(engine_name(name)).get("runs", {})
    return found


@cache
def layouts() -> Mapping[str, StateLayout]:
    """The state layout of each engine, by its name."""
    return {name: engine(name).layout for name in NAMES}
