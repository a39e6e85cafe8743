"""Cross-attention: of prompts and of decodes to keys that an encoder gave once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferwise.timing.kernels.attention import decode_seconds, decode_work, prefill_seconds, prefill_work
from inferwise.timing.operators.attention import Heads
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cross(Heads):
    """span: keys that are looked at; 0: as many as the sequence's prompt has tokens."""

    span: float

    def shape(self) -> dict[str, Any]:
        """Heads and keys."""
        return {"heads": self.heads, "head_dim": self.head_dim, "keys": self.span or "prompt"}


class CrossPrefill(_Cross):
    """Of the prompts that a step reads: every token looks at every key."""

    __slots__ = ()

    def _past(self, step: Step) -> Quantity:
        """Cached tokens whose causal triangle with the new ones has as many pairs as tokens x span."""
        span = self.span or step.prompt_tokens
        return np.maximum(span - (step.prompt_tokens + 1) / 2, 0.0)

    def load(self, step: Step) -> Quantity:
        """Prompt tokens."""
        return step.read_tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n = step.prompts * self.share
        taken: Quantity = prefill_seconds(n, step.prompt_tokens, self._past(step), **self._sizes(), **self._rates())
        return taken

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of all pairs."""
        flops, moved = prefill_work(step.prompts * self.share, step.prompt_tokens, self._past(step), **self._sizes())
        return flops, moved


class CrossDecode(_Cross):
    """Of the sequences that generate."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Sequences that generate."""
        return step.decodes

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        span = self.span or step.context
        n = step.decodes * self.share
        taken: Quantity = decode_seconds(n, span, **self._sizes(), **self._rates())
        return taken

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs over the keys; they and their values once."""
        flops, moved = decode_work(step.decodes * self.share, self.span or step.context, **self._sizes())
        return flops, moved
