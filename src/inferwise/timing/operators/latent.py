"""Latent attention: expanded for prompts, absorbed for decodes, or over the entries that a sparse index selects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.timing.kernels.latent import (
    latent_bmm_seconds,
    latent_bmm_work,
    latent_decode_seconds,
    latent_decode_work,
    latent_prefill_seconds,
    latent_prefill_work,
)
from inferwise.timing.kernels.sparse import (
    sparse_decode_seconds,
    sparse_decode_work,
    sparse_prefill_seconds,
    sparse_prefill_work,
)
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latent(Operator):
    """heads: on this device. share, tokens_share: of the sequences (1 / dp) and of their tokens that it attends to."""

    heads: float
    kv_rank: float
    nope: float
    rope: float
    v_dim: float
    kv_bytes: float
    share: float = 1.0
    tokens_share: float = 1.0

    def shape(self) -> dict[str, Any]:
        """Heads and the latent."""
        return {"heads": self.heads, "kv_rank": self.kv_rank}

    def _rates(self) -> dict[str, Any]:
        return {"peak_flops": self.peak_flops, "bytes_per_s": self.bytes_per_s, "c": self.curve.coefficients}


class LatentPrefill(_Latent):
    """Attention of the prompts, keys and values expanded."""

    __slots__ = ()

    def _sizes(self) -> dict[str, Any]:
        names = ("heads", "nope", "rope", "v_dim", "kv_rank", "kv_bytes")
        return {name: getattr(self, name) for name in names}

    def load(self, step: Step) -> Quantity:
        """Prompt tokens."""
        return step.read_tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n = step.prompts * self.share
        return latent_prefill_seconds(n, step.prompt_tokens, step.past, **self._sizes(), **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the pairs under the mask, and of the expansion."""
        flops, moved = latent_prefill_work(step.prompts * self.share, step.prompt_tokens, step.past, **self._sizes())
        return flops, moved


class LatentDecode(_Latent):
    """Attention of the decodes over the latent itself."""

    __slots__ = ()

    def _sizes(self, step: Step) -> dict[str, Any]:
        rest = {name: getattr(self, name) for name in ("kv_rank", "rope", "kv_bytes")}
        return {"heads": self.heads * step.queries, **rest}

    def load(self, step: Step) -> Quantity:
        """Sequences that generate."""
        return step.decodes

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n, context = step.decodes * self.share, step.context * self.tokens_share
        return latent_decode_seconds(n, context, **self._sizes(step), **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs over the cached tokens; the latent once for all heads."""
        n = step.decodes * self.share
        flops, moved = latent_decode_work(n, step.context * self.tokens_share, **self._sizes(step))
        return flops, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sparse(_Latent):
    """index_heads of width index_dim score every cached entry (0: another layer's choice is taken); topk are read."""

    index_heads: float
    index_dim: float
    topk: float

    def _sparse(self, step: Step, decodes: bool) -> dict[str, Any]:
        names = ("kv_rank", "rope", "index_heads", "index_dim", "topk", "kv_bytes")
        heads = self.heads * step.queries if decodes else self.heads
        return {"heads": heads} | {name: getattr(self, name) for name in names}


class SparsePrefill(_Sparse):
    """The prompts' attention over selected entries."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Prompt tokens."""
        return step.read_tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n, past = step.prompts * self.share, step.past * self.tokens_share
        return sparse_prefill_seconds(n, step.prompt_tokens, past, **self._sparse(step, False), **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of scores and of selected pairs."""
        n, past = step.prompts * self.share, step.past * self.tokens_share
        flops, moved = sparse_prefill_work(n, step.prompt_tokens, past, **self._sparse(step, False))
        return flops, moved


class SparseDecode(_Sparse):
    """The decodes' attention over selected entries."""

    __slots__ = ()

    def load(self, step: Step) -> Quantity:
        """Sequences that generate."""
        return step.decodes

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        n, context = step.decodes * self.share, step.context * self.tokens_share
        return sparse_decode_seconds(n, context, **self._sparse(step, True), **self._rates())

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of scores and of selected entries; index keys and those entries once."""
        n, context = step.decodes * self.share, step.context * self.tokens_share
        flops, moved = sparse_decode_work(n, context, **self._sparse(step, True))
        return flops, moved


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentBmm(Operator):
    """One of the two absorptions: for each head, tokens x inner x outer. prompts: whether prompts are absorbed too."""

    heads: float
    inner: float
    outer: float
    share: float = 1.0
    prompts: bool = False

    def load(self, step: Step) -> Quantity:
        """Tokens that are absorbed."""
        return (step.tokens if self.prompts else step.decodes * step.queries) * self.share

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        tokens = self.load(step)
        return latent_bmm_seconds(
            tokens,
            heads=self.heads,
            rows=self.inner,
            columns=self.outer,
            peak_flops=self.peak_flops,
            bytes_per_s=self.bytes_per_s,
            c=self.curve.coefficients,
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs and bytes of the batch of GEMMs."""
        tokens = self.load(step)
        flops, moved = latent_bmm_work(tokens, heads=self.heads, rows=self.inner, columns=self.outer)
        return flops, moved
