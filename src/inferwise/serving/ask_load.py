"""From plain values, as programs and the command line give them, to a workload, and to a case that is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inferwise.errors import BadInput
from inferwise.memory.ask import ask, node_named
from inferwise.memory.case import Case
from inferwise.memory.deploy import replicas
from inferwise.read.resolve import resolve
from inferwise.spec.model import Model
from inferwise.spec.workload import CLOSED, MAX_REQUESTS, SINGLE, STATIC, Workload
from inferwise.timing.decompose.stage import generates

OUTPUT = Workload().output
LOAD = (
    *("input", "output", "context", "batch", "concurrency", "protocol"),
    *("prefix", "images", "image_tokens", "patches", "acceptance"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A case, the load on it, and how many such deployments share the load."""

    case: Case
    workload: Workload
    replicas: int


def question(model: Model | str, gpu: str, count: int | None = None, **values: Any) -> Question:
    """The question of plain values: those of LOAD, and those of `memory.ask.ask`. Raises BadInput, UnknownName."""
    spec = resolve(model) if isinstance(model, str) else model
    given = {name: values.pop(name) for name in LOAD if name in values}
    asked = workload(spec, **given)
    case = fitted(ask(spec, gpu, count, **values), asked, given.get("context"))
    return Question(case=case, workload=asked, replicas=replicas(node_named(gpu, count), case))


def workload(model: Model, **given: Any) -> Workload:
    """The workload of what was given, by the names of LOAD (None: not given). Raises BadInput.

    Without a protocol a batch is one that starts and ends together, a concurrency so many requests in flight, and
    neither is one request at a time. A context without one of the two lengths gives it what is left.
    """
    said = {name: value for name, value in given.items() if value is not None}
    batch, concurrency, context = (said.pop(name, None) for name in ("batch", "concurrency", "context"))
    protocol = said.pop("protocol", "") or _protocol(batch, concurrency)
    if batch is not None and concurrency is not None and batch != concurrency:
        raise BadInput(f"batch {batch} and concurrency {concurrency}", remedy="give one of them")
    at_once = next((each for each in (batch, concurrency) if each is not None), 1)
    if isinstance(at_once, bool) or not isinstance(at_once, int) or not 1 <= at_once <= MAX_REQUESTS:
        name = "batch" if batch is not None else "concurrency"
        raise BadInput(f"{name} is {at_once!r}", remedy=f"give a whole number from 1 to {MAX_REQUESTS:,}")
    if protocol == SINGLE and at_once != 1:
        raise BadInput(f"{at_once} requests at once in a single stream", remedy="leave the number or --protocol out")
    if not generates(model):
        if said.get("output"):
            raise BadInput(f"{model.name} generates no tokens", remedy="leave the output out: its inputs are timed")
        said["output"] = 0
    _lengths(said, context)
    made = Workload(protocol=protocol, concurrency=at_once, **said)
    if made.images and not any(stack.role == "vision" for stack in model.stacks):
        raise BadInput(f"{made.images} images for {model.name}, which takes none", remedy="leave them out")
    return made


def _protocol(batch: int | None, concurrency: int | None) -> str:
    """How the load is driven where that is not said."""
    if batch is not None and concurrency is not None:
        raise BadInput("a batch and a concurrency", remedy="give one of them, or say the protocol")
    if batch is not None:
        return STATIC
    return SINGLE if concurrency is None else CLOSED


def _lengths(said: dict[str, Any], context: int | None) -> None:
    """Fill in the length that a context leaves. Raises BadInput where the lengths contradict each other."""
    if context is None:
        return
    _whole("context", context)
    for name in ("input", "output", "images", "image_tokens"):
        if name in said:
            _whole(name, said[name])
    pictures = said.get("images", 0) * said.get("image_tokens", Workload().image_tokens)
    if "input" not in said:
        said.setdefault("output", min(OUTPUT, max(context // 2, 0)))
        said["input"] = context - said["output"] - pictures
    elif "output" not in said:
        said["output"] = context - said["input"] - pictures
    if said["input"] < 1 or said["output"] < 0 or said["input"] + pictures + said["output"] > context:
        raise BadInput(f"a context of {context} is too short for the input and the output together")


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadInput(f"{name} is {value!r}", remedy="give a whole number from 0")


def fitted(case: Case, asked: Workload, context: int | None) -> Case:
    """The case with room for the workload's requests, or for the context where one is given. Raises BadInput."""
    if asked.images and not case.encoder:
        raise BadInput("images without the image tower", remedy="leave --text-only or the images out")
    return replace(case, context=max(asked.prompt + asked.output, context or 1), batch=1)
