"""Numbers in the cells of measured runs."""

from __future__ import annotations

from inferwise.evidence.run_names import Unpredicted


def degree(text: str, digits: int = 9) -> int:
    """A whole number; 0 where the row says nothing. Raises Unpredicted."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > digits:
        raise Unpredicted("missing-input", f"{text[:40]} is no whole number")
    return int(text)


def tokens(name: str, text: str) -> int | None:
    """Tokens of a length, a mean rounded; None where the row says nothing. `~16 (short prompt)` is 16."""
    return None if not text else round(number(name, text.lstrip("~").split(" ")[0]))


def number(name: str, text: str) -> float:
    """A finite number of 0 or more. Raises Unpredicted."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**50:
        raise Unpredicted("missing-input", f"{name} is {text[:40]!r}")
    return value
