"""Softmax attention: of prompts, of decodes, of encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferwise.timing.kernels.attention import (
    decode_seconds,
    decode_work,
    encoder_seconds,
    encoder_work,
    prefill_seconds,
    prefill_work,
)
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.gemm import IMAGES, PROMPT
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads(Operator):
    """heads, kv_heads: on this device. window: tokens attended to, 0 for all. kv_bytes: of an element of the cache.
    share: of the sequences that this device attends to (1 / dp); tokens_share: of their tokens (1 / cp)."""

    heads: float
    kv_heads: float
    head_dim: float
    v_dim: float
    window: float
    kv_bytes: float
    share: float = 1.0
    tokens_share: float = 1.0

    def shape(self) -> dict[str, Any]:
        """Heads and window."""
        window = {"window": self.window} if self.window else {}
        return {"heads": self.heads, "kv_heads": self.kv_heads, "head_dim": self.head_dim, **window}

    def _sizes(self) -> dict[str, Any]:
        names = ("heads", "kv_heads", "head_dim", "v_dim", "window", "kv_bytes")
        return {name: getattr(self, name) for name in names}

    def _rates(self) -> dict[str, Any]:
        return {"peak_flops": self.peak_flops, "bytes_per_s": self.bytes_per_s, "c": self.curve.coefficients}


class PrefillAttention(Heads):
    """Attention of the prompts that a step reads."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Prompt tokens."""
        return step.read_tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n = step.prompts * self.share
        return prefill_seconds(n, step.prompt_tokens, step.past, **self._sizes(), **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the pairs under the mask; q, k, v and the output once."""
        flops, moved = prefill_work(step.prompts * self.share, step.prompt_tokens, step.past, **self._sizes())
        return flops, moved


class DecodeAttention(Heads):
    """Attention of the sequences that generate, each with its `queries` over its cache."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Sequences that generate."""
        return step.decodes

    def one(self, step: Step) -> Quantity:
        """Seconds. Queries of a sequence share one reading of its cache."""
        n, context = step.decodes * self.share, step.context * self.tokens_share
        sizes = self._sizes() | {"heads": self.heads * step.queries}
        return decode_seconds(n, context, **sizes, **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs over the cached tokens; the cache once."""
        n, context = step.decodes * self.share, step.context * self.tokens_share
        sizes = self._sizes() | {"heads": self.heads * step.queries}
        flops, moved = decode_work(n, context, **sizes)
        return flops, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderAttention(Heads):
    """Bidirectional attention: over the patches of each image, or (rows: prompt) over each prompt's tokens.

    window: patches or tokens that attend to one another, 0 for all of an image or a prompt.
    """

    rows: str = IMAGES

    def load(self, step: Step) -> Quantity:
        """Patches, or prompt tokens."""
        return step.read_tokens if self.rows == PROMPT else step.images

    def _groups(self, step: Step) -> tuple[Quantity, Quantity]:
        """How many groups attend within themselves, and how large each is."""
        if self.rows == PROMPT:
            count, size = step.prompts * self.share, step.prompt_tokens
        else:
            size = np.where(np.equal(step.image_patches, 0), step.images, step.image_patches)
            count = step.images * self.share / np.maximum(size, 1e-9)
        if not self.window:
            return count, size
        held = np.minimum(size, self.window)
        return count * size / np.maximum(held, 1e-9), held

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        count, size = self._groups(step)
        return encoder_seconds(count, size, heads=self.heads, head_dim=self.head_dim, **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of all pairs."""
        count, size = self._groups(step)
        flops, moved = encoder_work(count, size, heads=self.heads, head_dim=self.head_dim)
        return flops, moved
