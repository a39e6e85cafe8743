"""What drafting takes: a draft model's weights and caches, or the caches of the model's own MTP layers."""

from __future__ import annotations

from inferwise.memory.case import Case
from inferwise.memory.placement import Stage, stages
from inferwise.spec.blocks import Stack
from inferwise.spec.deployment import Parallel
from inferwise.spec.state import State


def draft_stage(case: Case) -> Stage | None:
    """The draft model on one device of the last pipeline stage, dealt over its tensor-parallel ranks."""
    if case.draft is None:
        return None
    return stages(case.draft, case.draft_weights, Parallel(tp=case.parallel.tp, ep=case.parallel.ep))[0]


def draft_states(case: Case) -> tuple[tuple[State, int], ...]:
    """What draft layers keep of a sequence, each with the number of layers that keep it."""
    stacks = [stack for stack in case.model.stacks if stack.role == "mtp"] if case.mtp else []
    if case.draft is not None:
        stacks.append(case.draft.decoder)
    return tuple(kept for stack in stacks for kept in _states(stack))


def _states(stack: Stack) -> list[tuple[State, int]]:
    return [(state, count) for layer, count in stack.layer_counts() for state in layer.state()]
