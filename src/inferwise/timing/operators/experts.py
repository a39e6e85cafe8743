"""Routed experts, and the dispatch of tokens to them over the ranks of an expert-parallel group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.timing.kernels.dispatch import dispatch_seconds
from inferwise.timing.kernels.experts import expert_load, experts_seconds, experts_work
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedExperts(Operator):
    """A layer's routed experts on one device: `held` of `experts`, each token taking `top_k`; width: the device's part.

    expert_bytes: of one expert's part as stored. skew: of the experts' popularity.
    """

    hidden: float
    width: float
    held: float
    experts: float
    top_k: float
    gated: bool
    expert_bytes: float
    input_bytes: float
    label: str
    skew: float = 0.0

    def load(self, step: Step) -> Quantity:
        """Tokens."""
        return step.tokens

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        return experts_seconds(
            step.tokens,
            peak_flops=self.peak_flops,
            bytes_per_s=self.bytes_per_s,
            c=self.curve.coefficients,
            **self._sizes(),
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs of the rows routed here; the weights of the experts that are hit, once."""
        flops, moved = experts_work(step.tokens, **self._sizes())
        return flops, moved

    def hit(self, step: Step) -> Quantity:
        """Distinct experts of this device that a step's tokens take, on average."""
        found: Quantity = expert_load(
            step.tokens, held=self.held, count=self.experts, top_k=self.top_k, skew=self.skew
        )[1]
        return found

    def shape(self) -> dict[str, Any]:
        """Experts and their width."""
        return {"experts": self.held, "top_k": self.top_k, "width": self.width, "format": self.label}

    def _sizes(self) -> dict[str, Any]:
        names = ("hidden", "width", "held", "top_k", "gated", "expert_bytes", "input_bytes", "skew")
        return {name: getattr(self, name) for name in names} | {"count": self.experts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch(Operator):
    """Sending tokens to the ranks that hold their experts, and their results back."""

    hidden: float
    top_k: float
    ranks: float
    nodes: float = 1.0
    element_bytes: float = 2.0

    def load(self, step: Step) -> Quantity:
        """Tokens."""
        return step.tokens

    def one(self, step: Step) -> Quantity:
        """Seconds of dispatch and combine."""
        return dispatch_seconds(
            step.tokens / self.ranks,
            hidden=self.hidden,
            top_k=self.top_k,
            ranks=self.ranks,
            nodes=self.nodes,
            element_bytes=self.element_bytes,
            link_bytes_per_s=self.bytes_per_s,
            c=self.curve.coefficients,
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """No FLOPs; what leaves a rank, both ways."""
        sent = 2 * step.tokens / self.ranks * self.top_k * (1 - 1 / self.ranks) * self.hidden * self.element_bytes
        return 0.0 * sent, sent
