"""Recurrent mixers: the scan over prompts, the step of decodes, and the short convolutions before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.timing.kernels.recurrent import (
    convolution_seconds,
    convolution_work,
    recurrent_step_seconds,
    recurrent_step_work,
    scan_seconds,
    scan_work,
)
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recurrence(Operator):
    """Heads on this device; state_bytes: of an element of the state. share: of the sequences (1 / dp)."""

    key_heads: float
    value_heads: float
    key_dim: float
    value_dim: float
    state_bytes: float
    share: float = 1.0

    def shape(self) -> dict[str, Any]:
        """Heads and the matrix of each."""
        return {"heads": self.value_heads, "key_dim": self.key_dim, "value_dim": self.value_dim}

    def _sizes(self) -> dict[str, Any]:
        names = ("key_heads", "value_heads", "key_dim", "value_dim", "state_bytes")
        return {name: getattr(self, name) for name in names}


class Scan(_Recurrence):
    """The recurrence over the prompts, in chunks."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Prompt tokens."""
        return step.read_tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        rates: dict[str, Any] = {
            "peak_flops": self.peak_flops,
            "bytes_per_s": self.bytes_per_s,
            "c": self.curve.coefficients,
        }
        return scan_seconds(step.prompts * self.share, step.prompt_tokens, **self._sizes(), **rates)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the chunks; inputs, outputs and states once."""
        flops, moved = scan_work(step.prompts * self.share, step.prompt_tokens, **self._sizes())
        return flops, moved


class RecurrentDecode(_Recurrence):
    """One token of each decode: its state is read and written."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Sequences that generate."""
        return step.decodes

    def one(self, step: Step) -> Quantity:
        """Seconds. Drafted tokens are steps of their own."""
        n = step.decodes * step.queries * self.share
        return recurrent_step_seconds(n, **self._sizes(), bytes_per_s=self.bytes_per_s, c=self.curve.coefficients)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the update; the state read and written."""
        n = step.decodes * step.queries * self.share
        flops, moved = recurrent_step_work(n, **self._sizes())
        return flops, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Operator):
    """The causal convolution over `channels`, of the decodes or of the prompts."""

    channels: float
    taps: float
    decodes: bool
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Tokens."""
        return (step.decodes * step.queries if self.decodes else step.read_tokens) * self.share

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        rates: dict[str, Any] = {"bytes_per_s": self.bytes_per_s, "c": self.curve.coefficients}
        sequences = 0.0 if self.decodes else step.prompts * self.share
        return convolution_seconds(self.load(step), self.channels, self.taps, sequences=sequences, **rates)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the taps; inputs and outputs once."""
        window = float(self.decodes)
        flops, moved = convolution_work(self.load(step), self.channels, self.taps, window=window)
        return flops, moved
