"""The tables of cosines and sines that engines keep on the device beside the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RotaryTable:
    """One table: a row of `width` values (half cosines, half sines) a position."""

    positions: int
    width: int

    def size_bytes(self, element_bytes: int = 2) -> int:
        """Bytes of the whole table."""
        return self.positions * self.width * element_bytes
