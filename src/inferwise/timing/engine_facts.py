"""What is known of how engines run a step, as data with its sources (engine_facts.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads(files("inferwise.timing").joinpath("engine_facts.toml").read_text(encoding="utf-8"))


def facts(engine: str) -> Mapping[str, Any]:
    """The facts of an engine (a backend behind a slash does not count); empty for one of which none is known."""
    found: Mapping[str, Any] = _file().get(engine.partition("/")[0], {})
    return found
