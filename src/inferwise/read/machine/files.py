"""Small files of the kernel (/proc, /sys), read whole and bounded; what cannot be read is empty, never an error."""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_BYTES = 256 * 1024
MAX_DIGITS = 20  # of 2**64; longer ones are no sizes
MAX_ENTRIES = 4096


def raw(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The first `limit` bytes of a file; empty where it cannot be read. Never waits for a pipe's other end."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return b""
    parts: list[bytes] = []
    try:
        while limit > 0 and (part := os.read(handle, limit)):
            parts.append(part)
            limit -= len(part)
    except OSError:
        return b""
    finally:
        os.close(handle)
    return b"".join(parts)


def text(path: Path, limit: int = MAX_BYTES) -> str:
    """A file's text, without the spaces and zero bytes around it."""
    return raw(path, limit).decode("utf-8", "replace").strip("\0 \t\r\n")


def whole(digits: str, base: int = 10) -> int | None:
    """A whole number of zero or more; None for anything else."""
    digits = digits.strip()
    pattern = r"(0[xX])?[0-9a-fA-F]+" if base == 16 else r"[0-9]+"
    if len(digits) > MAX_DIGITS or not re.fullmatch(pattern, digits, re.ASCII):
        return None
    return int(digits, base)


def number(path: Path, base: int = 10) -> int | None:
    """The number that a file holds."""
    return whole(text(path, 64), base)


def fields(content: str, separator: str = ":") -> dict[str, str]:
    """The `key: value` lines of a text; the first of a key counts."""
    found: dict[str, str] = {}
    for line in content.splitlines():
        key, colon, value = line.partition(separator)
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def entries(folder: Path, pattern: str) -> list[Path]:
    """The entries of a folder whose whole name fits a pattern, by the numbers in their names."""
    try:
        names = [name for name in os.listdir(folder)[:MAX_ENTRIES] if re.fullmatch(pattern, name, re.ASCII)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]


def plain(name: str, limit: int = 120) -> str:
    """A name on one line, printable, without a maker's marks."""
    shown = "".join(letter if letter.isprintable() else " " for letter in name[: 4 * limit])
    return " ".join(re.sub(r"\((r|tm|c)\)|[®™©]", " ", shown, flags=re.IGNORECASE).split())[:limit]
