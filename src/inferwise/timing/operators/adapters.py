"""Low-rank adapters beside a linear layer: two thin grouped GEMMs over the adapters that a batch asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferwise.timing.kernels.gemm import gemm_seconds, gemm_work
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters(Operator):
    """y += (x A) B for each sequence's own adapter (Punica's SGMV, arXiv:2310.18547).

    k, n: inputs and outputs of the layers of one input, on this device; slices: how many layers those are (q, k and v:
    3), each with an A of its own. slots: adapters held, which sequences ask for alike; together: most of them in one
    step (llama.cpp: 1). share: of the tokens that this device sees (1 / dp).
    """

    n: float
    k: float
    rank: float
    slices: float
    slots: float
    together: float
    element_bytes: float = 2.0
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Tokens."""
        return step.tokens * self.share

    def hit(self, step: Step) -> Quantity:
        """Distinct adapters that the sequences of a step ask for, on average."""
        sequences = np.maximum((step.decodes + step.prompts) * self.share, 1.0)
        return np.minimum(self.slots * (1.0 - (1.0 - 1.0 / self.slots) ** sequences), self.together)

    def _gemms(self, step: Step) -> tuple[tuple[Quantity, float, float, Quantity], ...]:
        """(m, n, k, bytes of weights) of shrink and expand."""
        m, wide, hit = self.load(step), self.rank * self.slices, self.hit(step) * self.element_bytes
        return (m, wide, self.k, hit * wide * self.k), (m, self.n, self.rank, hit * self.rank * self.n)

    def one(self, step: Step) -> Quantity:
        """Seconds: two launches, the matrices of the adapters hit, and the outputs read once more to be added to."""
        rates: dict[str, Any] = {"peak_flops": self.peak_flops, "bytes_per_s": self.bytes_per_s}
        taken: Quantity = 2.0 * self.n * self.load(step) / self.bytes_per_s
        for m, n, k, size in self._gemms(step):
            taken = taken + gemm_seconds(m, n, k, size, 2.0, c=self.curve.coefficients, **rates)
        return taken

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs and bytes of both, and the second reading of the outputs."""
        flops: Quantity = 0.0
        moved: Quantity = 2.0 * self.n * self.load(step)
        for m, n, k, size in self._gemms(step):
            more = gemm_work(m, n, k, size, 2.0)
            flops, moved = flops + more[0], moved + more[1]
        return flops, moved

    def shape(self) -> dict[str, Any]:
        """n, k and the rank."""
        return {"n": self.n, "k": self.k, "rank": self.rank, "slots": self.slots}
