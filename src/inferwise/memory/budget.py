"""Does it fit: weights and state on the fullest device against its memory. The lower bound, before any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.placement import stage_weights
from inferwise.memory.search import largest_within
from inferwise.memory.state import kept_bytes, stage_state_terms, stage_states
from inferwise.memory.weights import WeightBytes
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Accelerator
from inferwise.spec.model import MAX_TOKENS, Model
from inferwise.spec.state import StateLayout
from inferwise.units import ceil_div, gib

MAX_BATCH = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What fills the fullest device of a deployment [bytes], and how much more it would hold.

    devices: in order of ranks; device: the fullest one. capacity_bytes: its memory, or that of all of them where one
    process deals layers as it likes. weights, state: terms by component and by kind; with `free_bytes` they add up to
    `capacity_bytes` where it fits. max_context: longest context of `batch` sequences (None: memory does not limit it,
    as in a purely recurrent model); max_batch: most sequences at `context`; 0 where not even one fits. No engine's
    overhead is in it: activations, graphs and runtime come on top.
    """

    model: Model
    devices: tuple[Accelerator, ...]
    device: Accelerator
    capacity_bytes: int
    parallel: Parallel
    layout: StateLayout
    context: int
    batch: int
    weights: WeightBytes
    state: dict[str, int]
    max_context: int | None
    max_batch: int

    @property
    def weights_bytes(self) -> int:
        """Weights on the fullest device."""
        return self.weights.total

    @property
    def state_bytes(self) -> int:
        """State of the whole batch on the fullest device."""
        return sum(self.state.values())

    @property
    def total_bytes(self) -> int:
        """Weights and state."""
        return self.weights_bytes + self.state_bytes

    @property
    def free_bytes(self) -> int:
        """What is left; negative: what is missing."""
        return self.capacity_bytes - self.total_bytes

    @property
    def fits(self) -> bool:
        """Whether the lower bound fits; if it does not, nothing does."""
        return self.free_bytes >= 0

    def _repr_html_(self) -> str:
        """The view of a notebook: each term, the device, and the verdict."""
        terms = {"weights": self.weights_bytes, **self.state, "device": self.capacity_bytes, "free": self.free_bytes}
        rows = "".join(f"<tr><td>{name}<td align=right>{gib(size):,.2f} GiB" for name, size in terms.items())
        verdict = "fits" if self.fits else "does not fit"
        title = escape(f"{self.model.name} on {len(self.devices)} x {self.device.name}: {verdict} (lower bound)")
        return f"<table><caption>{title}</caption>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """The lower bound as JSON has it (docs/json.md)."""
        return {
            "weights": self.weights.to_dict(),
            "state_bytes": {"terms": dict(self.state), "total": self.state_bytes},
            "total_bytes": self.total_bytes,
            "capacity_bytes": self.capacity_bytes,
            "free_bytes": self.free_bytes,
            "fits": self.fits,
            "max_context": self.max_context,
            "max_batch": self.max_batch,
        }


def budget(
    model: Model,
    devices: Accelerator | Sequence[Accelerator],
    *,
    parallel: Parallel | None = None,
    context: int = 8192,
    batch: int = 1,
    weights: str | None = None,
    layout: StateLayout | None = None,
) -> Budget:
    """The budget of `batch` sequences of `context` tokens.

    devices: one a rank, those of a pipeline stage together; one device stands for all ranks; several for a `parallel`
    of one are pooled: layers are dealt over them as they fit. Raises BadInput for a length or batch that is not one.
    """
    for name, value, high in (("context", context, MAX_TOKENS), ("batch", batch, MAX_BATCH)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
            raise BadInput(f"{name} is {value!r}", remedy=f"give a whole number from 1 to {high}")
    parallel, layout = parallel or Parallel(), layout or StateLayout()
    ranks = (devices,) * parallel.devices if isinstance(devices, Accelerator) else tuple(devices)
    held = stage_weights(model, weights, parallel)
    smallest, capacities = _capacities(ranks, parallel)
    rooms = [capacity - stage.total for capacity, stage in zip(capacities, held, strict=True)]

    kept = stage_states(model, parallel)

    def slack(tokens: int, sequences: int) -> int:
        """What the fullest stage has left; negative: what it lacks."""
        each = ceil_div(sequences, parallel.dp)
        return min(
            room - each * kept_bytes(of_stage, tokens, layout, model.dtype)
            for room, of_stage in zip(rooms, kept, strict=True)
        )

    by_stage = stage_state_terms(model, context, layout, parallel, batch)
    left = [room - sum(terms.values()) for room, terms in zip(rooms, by_stage, strict=True)]
    fullest = left.index(min(left))
    longest = largest_within(lambda tokens: slack(tokens, batch), MAX_TOKENS)
    return Budget(
        model=model,
        devices=ranks,
        device=smallest[fullest],
        capacity_bytes=capacities[fullest],
        parallel=parallel,
        layout=layout,
        context=context,
        batch=batch,
        weights=held[fullest],
        state={kind.value: size for kind, size in by_stage[fullest].items()},
        max_context=None if longest == MAX_TOKENS else longest,
        max_batch=largest_within(lambda sequences: slack(context, sequences), MAX_BATCH),
    )


def _capacities(ranks: Sequence[Accelerator], parallel: Parallel) -> tuple[list[Accelerator], list[int]]:
    """The smallest device of each stage and what it holds; of a pool, the first and the sum."""
    if parallel.devices == 1:
        return [ranks[0]], [sum(device.capacity_bytes for device in ranks)]
    if len(ranks) != parallel.devices:
        raise BadInput(f"{len(ranks)} devices for tp {parallel.tp} x pp {parallel.pp}", remedy="give one a rank")
    of_stages = [ranks[start : start + parallel.tp] for start in range(0, len(ranks), parallel.tp)]
    smallest = [min(stage, key=lambda device: device.capacity_bytes) for stage in of_stages]
    return smallest, [device.capacity_bytes for device in smallest]
