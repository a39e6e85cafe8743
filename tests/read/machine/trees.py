"""Small real trees of files, as the kernel lays them out, and small real commands on PATH."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from inferwise.read.machine.world import World

MEMINFO = "MemTotal:       65536000 kB\nMemFree:        1000000 kB\nMemAvailable:   60000000 kB\nCached: 5 kB\n"
TOTAL, AVAILABLE = 65536000 * 1024, 60000000 * 1024


def tree(root: Path, files: Mapping[str, str | bytes]) -> World:
    """Write the files; the Linux whose root this is."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return World(root=root, system="linux")


def command(folder: Path, name: str, script: str) -> None:
    """An executable of this name; `script` is of /bin/sh."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def prints(folder: Path, name: str, output: str) -> None:
    """An executable that prints this, whatever it is asked."""
    command(folder, name, f"printf %s {shlex.quote(output)}")


def only_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A PATH of this folder alone."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(folder))
    return folder
