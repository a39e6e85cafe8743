"""Linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.timing.kernels.gemm import conversion_seconds, gemm_seconds, gemm_work
from inferwise.timing.kernels.quantize import quantize_seconds
from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step

TOKENS, LOGITS, PROMPT, IMAGES = "tokens", "logits", "prompt", "images"


def rows(step: Step, name: str, share: float = 1.0) -> Quantity:
    """How many rows of input a layer has in a step on a device that gets this share of the sequences."""
    if name == TOKENS:
        return step.tokens * share
    if name == LOGITS:
        return step.sequences * share
    return (step.read_tokens if name == PROMPT else step.images) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm(Operator):
    """y[m, n] = x[m, k] W[k, n].

    rows: what m is; share: the part of them that this device sees (1 / dp). weight_bytes: of the matrix as stored;
    input_bytes: of an element of x. label: the format that its curve is of.
    """

    n: float
    k: float
    weight_bytes: float
    input_bytes: float
    label: str
    rows: str = TOKENS
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Rows of input."""
        return rows(step, self.rows, self.share)

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        m = self.load(step)
        return gemm_seconds(
            m,
            self.n,
            self.k,
            self.weight_bytes,
            self.input_bytes,
            peak_flops=self.peak_flops,
            bytes_per_s=self.bytes_per_s,
            c=self.curve.coefficients,
        )

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """2 m n k FLOPs; weights, inputs and outputs once."""
        m = self.load(step)
        flops, moved = gemm_work(m, self.n, self.k, self.weight_bytes, self.input_bytes)
        return flops, moved

    def shape(self) -> dict[str, Any]:
        """n, k and the format."""
        return {"n": self.n, "k": self.k, "format": self.label}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantise(Operator):
    """Converting the input of a GEMM, x[m, k], to 8 or 4 bits, with scales found on the way.

    Its curve is the GEMM's where that was timed with it, else that of the conversion's own kernel.
    """

    k: float
    rows: str = TOKENS
    share: float = 1.0

    def load(self, step: Step) -> Quantity:
        """Rows of input."""
        return rows(step, self.rows, self.share)

    def one(self, step: Step) -> Quantity:
        """Seconds."""
        m, c = self.load(step), self.curve.coefficients
        if self.curve.kernel == "gemm":
            return conversion_seconds(m, self.k, bytes_per_s=self.bytes_per_s, c=c)
        return quantize_seconds(m, self.k, bytes_per_s=self.bytes_per_s, c=c)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """16 bits in, 8 out."""
        moved = 3.0 * self.k * self.load(step)
        return 0.0 * moved, moved
