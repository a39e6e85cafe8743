"""Where we look: the root of the file system, how commands are run, and which system it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from inferwise.read.machine.command import Runner, run


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """system: as sys.platform names it (`linux`, `darwin`, `win32`)."""

    root: Path = Path("/")
    run: Runner = run
    system: str = sys.platform

    def at(self, *parts: str) -> Path:
        """A path under the root."""
        return self.root.joinpath(*parts)


@cache
def facts() -> dict[str, Any]:
    """The data file: names of devices by their PCI ids, words of names, shares of unified memories."""
    import tomllib

    return tomllib.loads(resources.files("inferwise.read.machine").joinpath("names.toml").read_text("utf-8"))
