"""Elementwise kernels, sampling, collectives, and what moves over PCIe or from a disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.timing.kernels.collectives import collective_bytes, collective_seconds
from inferwise.timing.kernels.elementwise import elementwise_seconds, sampling_seconds
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.gemm import TOKENS, rows
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise(Operator):
    """Norms, activations, rotary embedding, embedding rows: `row_bytes` read and written for each row of input."""

    row_bytes: float
    rows: str = TOKENS
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Rows of input."""
        return rows(step, self.rows, self.share)

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        m = self.load(step)
        return elementwise_seconds(self.row_bytes * m, bytes_per_s=self.bytes_per_s, c=self.curve.coefficients)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """Bytes alone: their few FLOPs never bind."""
        moved = self.row_bytes * self.load(step)
        return 0.0 * moved, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(Operator):
    """Choosing a token of each sequence out of its logits."""

    vocabulary: float
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Sequences with logits."""
        return step.sequences * self.share

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        return sampling_seconds(
            self.load(step), self.vocabulary, bytes_per_s=self.bytes_per_s, c=self.curve.coefficients
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """One reading of the logits in FP32."""
        moved = 4.0 * self.vocabulary * self.load(step)
        return 0.0 * moved, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective(Operator):
    """A collective over `ranks` devices of `row_bytes` for each row. kind: all_reduce, all_gather, ..."""

    kind: str
    ranks: float
    row_bytes: float
    rows: str = TOKENS
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Rows of input."""
        return rows(step, self.rows, self.share)

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        m = self.load(step)
        return collective_seconds(
            self.row_bytes * m, self.ranks, kind=self.kind, link_bytes_per_s=self.bytes_per_s, c=self.curve.coefficients
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """No FLOPs; bytes over a device's link."""
        moved = collective_bytes(self.kind, self.row_bytes * self.load(step), self.ranks)
        return 0.0 * moved, moved

    def shape(self) -> dict[str, Any]:
        """Ranks."""
        return {"ranks": self.ranks}
