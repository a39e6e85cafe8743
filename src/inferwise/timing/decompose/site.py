"""Where operators are built: a case on one device, with the curves and rates that they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.memory.case import Case
from inferwise.spec.hardware import Accelerator
from inferwise.spec.precision import bits_per_element
from inferwise.timing.curves import basis, choose
from inferwise.timing.execution import Execution, execution
from inferwise.timing.rates import memory_rate, peak

PACKED_LATENT = "fp8_ds_mla"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A case on one kind of device. engine: whose kernels these are ("llama.cpp/vulkan"). link, link_bytes_per_s: what
    joins the ranks, and its rate."""

    case: Case
    device: Accelerator
    engine: str
    link: str
    link_bytes_per_s: float

    def common(
        self, name: str, part: str, count: float, kernel: str, dtype: str, compute: str = "bf16", link: str = ""
    ) -> dict[str, Any]:
        """What every operator has, for one that takes the curve of a kernel in a format."""
        curve = choose(kernel, self.device, self.engine, dtype, link)
        return {
            "name": name,
            "part": part,
            "count": float(count),
            "curve": curve,
            "basis": basis(curve, self.device),
            "peak_flops": peak(self.device, compute).flops,
            "bytes_per_s": memory_rate(self.device),
        }

    def runs(self, stored: str, *, experts: bool = False) -> Execution:
        """How weights in a stored format run here."""
        return execution(stored, self.device, self.engine.partition("/")[0], experts=experts)

    @property
    def kv_bytes(self) -> float:
        """Bytes of an element of the KV cache."""
        name = self.case.layout.kv
        return 1.0 if name == PACKED_LATENT else float(bits_per_element(name)) / 8

    @property
    def kv_label(self) -> str:
        """The format of attention's curves: that of the cache."""
        return "fp8" if self.kv_bytes <= 1.25 else "bf16"

    @property
    def kv_compute(self) -> str:
        """What latent attention computes in: the cache's own format where it is FP8."""
        return "fp8" if self.kv_label == "fp8" else "bf16"
