"""From names and plain values, as programs give them, to a case."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.read.machine import detect
from inferwise.read.machine.node import this_node
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Node
from inferwise.spec.model import Model

DEGREES = ("tp", "pp", "ep", "dp", "cp")
FLAGS = tuple(field.name for field in fields(Settings))
BESIDE = ("draft", "draft_weights", "speculative_tokens", "mtp", "encoder", "lora")
LOAD = ("context", "batch", "weights", "kv", "state", "engine", "engine_version")


def node_named(text: str, count: int | None = None) -> Node:
    """The hardware that a text names; `this` is the machine at hand. Raises BadInput, UnknownName, WorldFailed."""
    if text != "this":
        return hardware(text, count)
    if count is not None:
        raise BadInput("a count of the machine at hand", remedy="leave it out: all of its devices are taken")
    return this_node(detect())


def ask(model: Model | str, gpu: str, count: int | None = None, **values: Any) -> Case:
    """The case of plain values. Raises BadInput for a name that is none of ours, and as `deployment` does."""
    known = (*DEGREES, *FLAGS, *BESIDE, *LOAD)
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"
            raise BadInput(f"no flag is called {name[:40]!r}", remedy=hint)
    load = {name: values[name] for name in (*LOAD, *BESIDE) if name in values}
    if isinstance(load.get("draft"), str):
        load["draft"] = resolve(load["draft"])
    return deployment(
        resolve(model) if isinstance(model, str) else model,
        node_named(gpu, count),
        degrees={name: values[name] for name in DEGREES if name in values},
        settings=Settings(**{name: values[name] for name in FLAGS if name in values}),
        **load,
    )
