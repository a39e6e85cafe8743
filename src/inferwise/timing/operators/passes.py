"""A kernel that runs on another view of a step than the model's own layers: drafts, encoders of prompts, decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from inferwise.timing.operators.base import Operator
from inferwise.timing.step import Quantity, Step

# What a pass sees of a step. TEXT: all of its tokens, no images. ONE: one token a decode, no prompts. LAST: one row a
# sequence, those being read too. PROMPTS,
# DECODES: one or the other alone. ANSWERS: the decodes, and a first token of each prompt.
TEXT, ONE, LAST, PROMPTS, DECODES, ANSWERS = "text", "one", "last", "prompts", "decodes", "answers"

VIEWS: Mapping[str, Callable[[Step], Step]] = {
    TEXT: lambda step: replace(step, images=0.0),
    ONE: lambda step: Step(decodes=step.decodes, context=step.context),
    LAST: lambda step: replace(step, queries=1.0, images=0.0),
    PROMPTS: lambda step: Step(prompts=step.prompts, prompt_tokens=step.prompt_tokens, past=step.past),
    DECODES: lambda step: Step(decodes=step.decodes, context=step.context, queries=step.queries),
    ANSWERS: lambda step: replace(step, prompt_tokens=1.0, past=0.0, images=0.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes(Operator):
    """`count` times a kernel in each of several passes. passes: (how often in a step, which view of it)."""

    inner: Operator
    passes: tuple[tuple[float, str], ...]

    def load(self, step: Step) -> Quantity:
        """The kernel's, over all passes."""
        return sum(times * self.inner.load(VIEWS[view](step)) for times, view in self.passes)

    def one(self, step: Step) -> Quantity:
        """Seconds of one kernel's passes together."""
        return sum(times * self.inner.seconds(VIEWS[view](step)) for times, view in self.passes)

    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs and bytes of one kernel's passes together."""
        done = [(times, self.inner.done(VIEWS[view](step))) for times, view in self.passes]
        return sum(times * each[0] for times, each in done), sum(times * each[1] for times, each in done)

    def shape(self) -> dict[str, Any]:
        """The kernel's."""
        return self.inner.shape()


def passes(operator: Operator, *views: tuple[float, str], name: str = "", part: str = "") -> Passes:
    """An operator in other passes, under a name and a part of its own."""
    return Passes(
        name=name or operator.name,
        part=part or operator.part,
        count=operator.count,
        curve=operator.curve,
        basis=operator.basis,
        peak_flops=operator.peak_flops,
        bytes_per_s=operator.bytes_per_s,
        inner=replace(operator, count=1.0),
        passes=tuple((times, view) for times, view in views if times),
    )
