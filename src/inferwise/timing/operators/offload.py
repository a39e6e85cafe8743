"""What lies outside a device: kernels of the host's processor, weights that are fetched, and rows handed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.small import Collective
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost(Operator):
    """A kernel whose weights or cache lie on the host: on its processor or, where that is faster, on the device.

    inner: on the host's processor. device: the same on the device, None where it stays (no weights to fetch).
    link_bytes_per_s: of PCIe, as copies reach it. llama.cpp decides by rows (32 or more are streamed, ggml-cuda's
    offload_op); the faster of the two is what that is for, and keeps time monotone.
    """

    inner: Operator
    device: Operator | None
    link_bytes_per_s: float

    def load(self, step: Step) -> Quantity:
        """The kernel's."""
        return self.inner.load(step)

    def one(self, step: Step) -> Quantity:
        """Seconds: of both where there is something to do, as all three have the same load."""
        host = self.inner.count * self.inner.timed(step)
        if self.device is None:
            return host
        fetched = weights_read(self.device, step) / self.link_bytes_per_s
        return np.minimum(host, self.device.count * self.device.timed(step) + fetched)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """The kernel's."""
        return self.inner.done(step)

    def shape(self) -> dict[str, Any]:
        """The kernel's."""
        return self.inner.shape()


def weights_read(operator: Operator, step: Step) -> Quantity:
    """Bytes of weights that one kernel reads in a step: a matrix whole, of experts those that are hit."""
    if isinstance(operator, Gemm):
        return operator.weight_bytes * np.greater(operator.load(step), 0)
    if isinstance(operator, RoutedExperts):
        return operator.hit(step) * operator.expert_bytes
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch(Operator):
    """Weights that a step reads over PCIe where they lie on the host, a share of all that the step reads.

    whole: bytes fetched whatever the step (a copy of what was offloaded); else `share` of the matrices, and of the
    experts that are hit (kernels that read the host's memory in place).
    """

    weights: tuple[Operator, ...] = ()
    share: float = 0.0
    whole: float = 0.0

    def load(self, step: Step) -> Quantity:
        """Bytes."""
        moved: Quantity = self.whole * np.greater(step.tokens, 0)
        for each in self.weights:
            moved = moved + self.share * each.count * weights_read(each, step)
        return moved

    def one(self, step: Step) -> Quantity:
        """Bytes over the rate of the link."""
        return self.load(step) / (self.bytes_per_s * self.curve.coefficients["efficiency"])

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """No FLOPs."""
        moved = self.load(step)
        return 0.0 * moved, moved


class HandOver(Collective):
    """Rows that pass between host and device: a latency and bytes over PCIe."""

    __slots__ = ()

    def one(self, step: Step) -> Quantity:
        """Seconds of one direction."""
        c = self.curve.coefficients
        return c["latency_s"] + self.row_bytes * self.load(step) / (self.bytes_per_s * c["efficiency"])

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """No FLOPs."""
        moved = self.row_bytes * self.load(step)
        return 0.0 * moved, moved
