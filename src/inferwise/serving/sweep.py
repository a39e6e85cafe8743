"""Many configurations at once: model x devices x format x degree x lengths x requests in flight.

A deployment (the first four) is built once; its lengths and requests in flight go through the closed form as arrays.
Chunks of deployments are dealt over processes; few are under way at a time, so that memory stays bounded.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwise.errors import BadInput
from inferwise.memory.ask import ask, node_named
from inferwise.memory.case import MAX_BATCH, Case
from inferwise.memory.engines import allocate
from inferwise.read.resolve import resolve
from inferwise.serving.capacity import running_limit
from inferwise.serving.estimate import load_of, rates_of
from inferwise.spec.model import MAX_TOKENS, Model
from inferwise.spec.workload import CLOSED, Workload
from inferwise.timing.decompose.stage import generates
from inferwise.timing.deploy import forward

TIMED, NO_ROOM, CANNOT_RUN = 0, 1, 2  # of a configuration: timed; does not fit; no engine runs it so
CHUNK = 16384  # configurations of a table, or those of one deployment where these are more
AHEAD = 2  # chunks under way for each process
RATES = ("ttft_s", "tpot_s", "latency_s", "request_per_s", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is multiplied out. gpus: as `ask` takes them, of one device; tp of them make a deployment. weights: formats
    (None: as published). engine: None for each model's and device's own. flags: as `ask` takes them, of all."""

    models: tuple[str, ...]
    gpus: tuple[str, ...]
    tp: tuple[int, ...] = (1,)
    weights: tuple[str | None, ...] = (None,)
    engine: str | None = None
    inputs: tuple[int, ...] = (1024,)
    outputs: tuple[int, ...] = (256,)
    concurrency: tuple[int, ...] = (1,)
    flags: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name in ("models", "gpus", "tp", "weights", "inputs", "outputs", "concurrency"):
            if not getattr(self, name):
                raise BadInput(f"no {name} to sweep over", remedy="give at least one")
        limits = {"inputs": (1, MAX_TOKENS), "outputs": (2, MAX_TOKENS), "concurrency": (1, MAX_BATCH), "tp": (1, 1024)}
        for name, (low, high) in limits.items():
            for value in getattr(self, name):
                if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                    raise BadInput(f"{name} has {value!r}", remedy=f"give whole numbers from {low} to {high:,}")
        if max(self.inputs) + max(self.outputs) > MAX_TOKENS:
            raise BadInput(
                "the longest input and output together are too long", remedy=f"at most {MAX_TOKENS:,} tokens"
            )

    @property
    def deployments(self) -> int:
        """Deployments of the grid."""
        return len(self.models) * len(self.gpus) * len(self.tp) * len(self.weights)

    @property
    def size(self) -> int:
        """Configurations of the grid."""
        return self.deployments * len(self.inputs) * len(self.outputs) * len(self.concurrency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Configurations as columns, each of one length. model, gpu, weights: places in the grid's tuples. status: TIMED,
    NO_ROOM (times are NaN) or CANNOT_RUN (so is the limit). limit: sequences that decode at once, at most; the rates
    are those of `steady.Rates`, of one deployment."""

    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["status"])


Place = tuple[int, int, int, int]  # model, gpu, tp, weights: places in the grid's tuples


def sweep(grid: Grid, *, executor: Executor | None = None, chunk: int = CHUNK) -> Iterator[Table]:
    """All configurations of a grid, in its order (models outermost), a chunk of at most `chunk` at a time, but at
    least a deployment's.

    executor: where chunks are computed; None for a process on each of the machine's cores (this process where there is
    one core, or one chunk). Raises BadInput, UnknownName for a model or device that does not exist.
    """
    for name in grid.models:
        model_named(name)
    for name in grid.gpus:
        node_named(name, 1)
    each = len(grid.inputs) * len(grid.outputs) * len(grid.concurrency)
    places = product(range(len(grid.models)), range(len(grid.gpus)), range(len(grid.tp)), range(len(grid.weights)))
    some = max(1, chunk // each)
    chunks: Iterator[tuple[Place, ...]] = iter(lambda: tuple(islice(places, some)), ())
    cores = _cores()
    if executor is None and (cores == 1 or grid.deployments <= some):
        yield from (columns(grid, part) for part in chunks)
    elif executor is None:
        with ProcessPoolExecutor(cores) as made:
            yield from _dealt(grid, chunks, made, cores)
    else:
        yield from _dealt(grid, chunks, executor, cores)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _dealt(grid: Grid, chunks: Iterator[tuple[Place, ...]], executor: Executor, cores: int) -> Iterator[Table]:
    """Chunks in order, few of them under way."""
    waiting: deque[Future[Table]] = deque()
    for part in chunks:
        waiting.append(executor.submit(columns, grid, part))
        if len(waiting) > AHEAD * cores:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=8)
def model_named(name: str) -> Model:
    """A model, read once. Raises BadInput, UnknownName, and BadInput for one that generates nothing."""
    model = resolve(name)
    if not generates(model):
        raise BadInput(f"{name} generates no tokens", remedy="leave it out of the sweep")
    return model


def columns(grid: Grid, places: Sequence[Place]) -> Table:
    """The configurations of some deployments."""
    inputs, outputs, requests = (
        each.ravel()
        for each in np.meshgrid(
            *(np.array(axis, dtype=np.float64) for axis in (grid.inputs, grid.outputs, grid.concurrency)), indexing="ij"
        )
    )
    size = len(inputs)
    total = size * len(places)
    made: dict[str, NDArray[Any]] = {name: np.full(total, np.nan) for name in ("limit", *RATES)}
    made["status"] = np.full(total, CANNOT_RUN, dtype=np.int8)
    for number, place in enumerate(places):
        here = slice(number * size, (number + 1) * size)
        _fill(grid, place, (inputs, outputs, requests), {name: column[here] for name, column in made.items()})
    model, gpu, tp, weights = (np.repeat(np.array(axis, dtype=np.int32), size) for axis in zip(*places, strict=True))
    lengths = {
        name: np.tile(column.astype(np.int32), len(places))
        for name, column in (("input", inputs), ("output", outputs), ("concurrency", requests))
    }
    degrees = np.array(grid.tp, dtype=np.int32)[tp]
    return Table(columns={"model": model, "gpu": gpu, "tp": degrees, "weights": weights, **lengths, **made})


def _fill(
    grid: Grid, place: Place, load: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], into: dict[str, NDArray[Any]]
) -> None:
    """The columns of one deployment: limits by length, then the times of what fits, all at once."""
    model, gpu, tp, weights = place
    spec = model_named(grid.models[model])
    degree, form = grid.tp[tp], grid.weights[weights]
    try:
        case = ask(spec, grid.gpus[gpu], degree, tp=degree, weights=form, engine=grid.engine, **dict(grid.flags))
        into["limit"][:] = limits(case, grid)
        into["status"][:] = np.where(into["limit"] >= 1, TIMED, NO_ROOM)
        fit = into["status"] == TIMED
        if not fit.any():
            return
        ready = forward(replace(case, context=min(grid.inputs) + min(grid.outputs), batch=1))
    except BadInput:
        into["status"][:], into["limit"][:] = CANNOT_RUN, np.nan
        return
    work = Workload(protocol=CLOSED, input=grid.inputs[0], output=grid.outputs[0], concurrency=1)
    inputs, outputs, requests = (each[fit] for each in load)
    asked = replace(load_of(ready.case, work, requests), input=inputs, output=outputs)
    rates = rates_of(ready, asked, work, into["limit"][fit])
    for name in RATES:
        into[name][fit] = getattr(rates, name)


def limits(case: Case, grid: Grid) -> NDArray[np.float64]:
    """Most sequences that decode at once, of each configuration of a deployment (0: none fits).

    An engine's accounting is asked once for each length; what does not fit at one length fits at no greater one.
    """
    found = np.zeros((len(grid.inputs), len(grid.outputs)))
    pairs = sorted(product(range(len(grid.inputs)), range(len(grid.outputs))), key=lambda p: _length(grid, p))
    for pair in pairs:
        try:
            held = allocate(replace(case, context=_length(grid, pair), batch=1))
        except BadInput:  # longer than the model's own context
            if pair == pairs[0]:
                raise
            break
        found[pair] = running_limit(held, grid.inputs[pair[0]], grid.outputs[pair[1]])
        if found[pair] < 1:
            found[pair] = 0.0
            break
    return np.repeat(found.ravel(), len(grid.concurrency))


def _length(grid: Grid, pair: tuple[int, int]) -> int:
    """Tokens of a request."""
    return grid.inputs[pair[0]] + grid.outputs[pair[1]]
