"""The answer to "will it fit": the lower bound, what the engine allocates, and what to change where it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inferwise.memory.allocation import Allocation
from inferwise.memory.budget import Budget, budget
from inferwise.memory.case import Case
from inferwise.memory.changes import Change, changes
from inferwise.memory.engines import allocate


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A case with its lower bound, the engine's allocation, and, where it does not fit, changes that make it fit."""

    case: Case
    lower_bound: Budget
    allocation: Allocation
    changes: tuple[Change, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the engine starts and holds the batch at the context."""
        return self.allocation.fits

    @property
    def max_batch(self) -> int:
        """Most sequences at the context, by the engine's accounting."""
        return self.allocation.max_batch

    @property
    def max_context(self) -> int | None:
        """Longest context of the batch, by the engine's accounting (None: memory does not limit it)."""
        return self.allocation.max_context

    def _repr_html_(self) -> str:
        """The view of a notebook."""
        from html import escape

        from inferwise.units import human_bytes

        device = self.allocation.fullest
        rows = [(term.name, term.size_bytes) for term in device.terms] + [("free", device.free_bytes)]
        cells = "".join(f"<tr><td>{escape(name)}<td align=right>{human_bytes(size)}" for name, size in rows)
        verdict = "fits" if self.fits else "does not fit"
        title = f"{self.case.model.name} on {len(self.case.devices)} x {device.device.name}: {verdict}"
        return f"<table><caption>{escape(title)}</caption>{cells}</table>"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data: schema `inferwise/fit/2` (docs/json.md)."""
        case, parallel = self.case, self.case.parallel
        return {
            "schema": "inferwise/fit/2",
            "model": case.model.name,
            "parameters": case.model.parameters,
            "active_parameters": case.model.active_parameters,
            "devices": [device.slug for device in case.devices],
            "parallel": {name: getattr(parallel, name) for name in ("tp", "pp", "ep", "dp", "cp")},
            "context": case.context,
            "batch": case.batch,
            "kv_format": case.layout.kv,
            "fits": self.fits,
            "max_batch": self.max_batch,
            "max_context": self.max_context,
            "lower_bound": self.lower_bound.to_dict(),
            "allocation": self.allocation.to_dict(),
            "changes": [change.to_dict() for change in self.changes],
        }


def fit(case: Case, *, advise: bool = True) -> Fit:
    """Whether a case fits. advise: look for changes where it does not. Raises BadInput for what cannot run."""
    allocation = allocate(case)
    return Fit(
        case=case,
        lower_bound=lower_bound(replace(case, weights=allocation.case.weights)),  # FP32 is run in 16 bits
        allocation=allocation,
        changes=changes(case, allocation) if advise and not allocation.fits else (),
    )


def lower_bound(case: Case) -> Budget:
    """Weights and state alone: what does not fit here, no engine makes fit on these devices."""
    return budget(
        case.model,
        case.devices,
        parallel=case.parallel,
        context=case.context,
        batch=case.batch,
        weights=case.weights,
        layout=case.layout,
    )
