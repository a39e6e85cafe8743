"""One model over all hardware, and one machine over all models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inferwise.catalog import models as catalog
from inferwise.catalog.engines import choices, engine_name
from inferwise.errors import InferwiseError
from inferwise.memory.allocation import Allocation
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.weights import conversion, description, formatted_tensors
from inferwise.read.resolve import from_catalog
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Accelerator, Host, Kind, Market, Node
from inferwise.spec.model import Model
from inferwise.spec.weight_formats import GGML_TYPES

GGUF_ENGINES = ("llama.cpp", "ollama")
NO_HOST = Host()
MOST_NODES = 2  # machines that are tried together where one does not hold it


@dataclass(frozen=True, slots=True)
class Holds:
    """A device, how many of it hold the model (0: no number that was tried), and what they give."""

    device: Accelerator
    count: int
    allocation: Allocation | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        held = self.allocation
        return {
            "device": self.device.slug,
            "count": self.count,
            "engine": held.case.engine.name if held else None,
            "max_batch": held.max_batch if held else 0,
            "max_context": held.max_context if held else 0,
            "total_bytes": held.fullest.total_bytes if held else None,
            "host_bytes": held.host_bytes if held else None,
            "why": self.why,
        }


def over_hardware(model: Model, devices: Iterable[Accelerator], host: Host = NO_HOST, **asked: Any) -> list[Holds]:
    """For each device the smallest number of it that holds the case, or the one that `degrees` need.

    asked: as of `deployment`. Raises BadInput, UnknownName for what no device could run.
    """
    known = list(devices)
    check_asked(model, known[:1], asked)
    if host.memory_bytes is None:  # nothing is left to a host of which nothing is known
        asked = {**asked, "settings": replace(asked.get("settings") or Settings(), fit=False)}
    return [_smallest(model, device, host, asked) for device in known]


def check_asked(model: Model, devices: Sequence[Accelerator], asked: dict[str, Any]) -> None:
    """Raises what is wrong with a question whatever the device: a length, a format, an engine, degrees."""
    for device in devices:
        case = deployment(model, Node(devices=(device,)), **asked)
        pipeline_stages(len(model.decoder.pattern), case.parallel.pp)
    description(model, asked.get("weights"))
    next(iter(formatted_tensors(model, asked.get("weights"))))


def _smallest(model: Model, device: Accelerator, host: Host, asked: dict[str, Any]) -> Holds:
    """The smallest power of two (or what a node has) of a device that holds the case."""
    why = ""
    for count in _counts(device, asked.get("degrees") or {}):
        try:
            allocation = allocate(deployment(model, Node(devices=(device,) * count, host=host), **asked))
        except InferwiseError as error:
            why = why or error.what
            continue
        if allocation.fits:
            return Holds(device, count, allocation)
        why = allocation.problems[0]
    return Holds(device, 0, None, why)


def _counts(device: Accelerator, degrees: dict[str, int]) -> list[int]:
    """Numbers of devices that are tried: what degrees need, else powers of two up to a node, and two nodes."""
    if degrees:
        return [Parallel(**degrees).devices]
    if device.kind in (Kind.CPU, Kind.UNIFIED):
        return [1]
    most = max(device.max_per_node, 1)
    counts = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    return sorted({*counts, most, most * MOST_NODES if most > 1 else 1})


@dataclass(frozen=True, slots=True)
class Runs:
    """A catalog model that a machine runs, in the best format that it holds. names: all of this shape."""

    model: Model
    names: tuple[str, ...]
    allocation: Allocation

    @property
    def weights(self) -> str:
        """The format: what it is converted to, else as published."""
        return self.allocation.case.weights or "as published"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        held = self.allocation
        return {
            "model": self.model.name,
            "also": list(self.names[1:]),
            "parameters": self.model.parameters,
            "active_parameters": self.model.active_parameters,
            "weights": self.weights,
            "engine": held.case.engine.name,
            "total_bytes": held.fullest.total_bytes,
            "host_bytes": held.host_bytes,
            "max_batch": held.max_batch,
            "max_context": held.max_context,
        }


def over_catalog(node: Node, **asked: Any) -> list[Runs]:
    """Every catalog model that a node runs, the largest first, each in the widest format that it holds.

    Models of equal shape are one row. Formats below four bits come last: a smaller model in a wider format is usually
    the better one. Models that were made for shorter texts than asked for are left out. asked: as of `deployment`;
    `weights` fixes the format.
    """
    asked = {"engine": home_engine(node)} | {name: value for name, value in asked.items() if value is not None}
    found = []
    context = asked.get("context") or 0
    for model, names in _shapes():
        if model.max_context and model.max_context < context:
            continue
        allocation = _best(model, node, asked)
        if allocation is not None:
            found.append(Runs(model, names, allocation))
    return sorted(found, key=lambda runs: (_coarse(runs.weights), -runs.model.parameters, runs.model.name))


def home_engine(node: Node) -> str | None:
    """llama.cpp on what people have at home, whose GGUF formats are what is shared for it; else what runs there."""
    home = all(device.market not in (Market.DATACENTER, Market.WORKSTATION) for device in node.devices)
    return "llama.cpp" if home else None


def _shapes() -> Iterator[tuple[Model, tuple[str, ...]]]:
    """Catalog models by shape, each with all of its names, the shortest first; stand-ins are left out."""
    by_config: dict[int, list[str]] = {}
    for entry in map(catalog.entry, catalog.names()):
        if entry.verified != "hypothetical":
            by_config.setdefault(id(entry.config), []).append(entry.id)
    by_shape: dict[tuple[Any, ...], tuple[Model, list[str]]] = {}
    for names in by_config.values():
        model = from_catalog(catalog.entry(min(names, key=_length)))
        shape = (model.stacks, model.vocab, model.dtype, model.tied, model.quantization, model.max_context)
        by_shape.setdefault(shape, (model, []))[1].extend(names)
    for model, names in by_shape.values():
        names.sort(key=_length)
        yield model if model.name == names[0] else from_catalog(catalog.entry(names[0])), tuple(names)


def _length(name: str) -> tuple[int, str]:
    return len(name), name


def _best(model: Model, node: Node, asked: dict[str, Any]) -> Allocation | None:
    """The allocation in the widest format that fits on the devices alone: nothing is left to the host."""
    fixed = asked.get("weights")
    room = sum(device.capacity_bytes for device in node.devices)
    settings = replace(asked.get("settings") or Settings(), fit=False)
    for weights in [fixed] if fixed else _formats(model, node, asked.get("engine")):
        if weights and not _may_hold(model, weights, room):
            continue
        try:
            allocation = allocate(deployment(model, node, **{**asked, "weights": weights, "settings": settings}))
        except InferwiseError:
            continue
        if allocation.fits:
            return allocation
    return None


_COARSE = ("q3", "q2", "iq3", "iq2", "iq1", "tq")


def _may_hold(model: Model, weights: str, room: int) -> bool:
    """Whether it is worth counting: the decoder's matrices alone in the format's base type, which no rule goes below.

    Experts that were published in four bits stay so: of such models nothing is passed over.
    """
    if model.quantization is not None and model.quantization.experts_only:
        return True
    made = conversion(weights)
    mix = None if made is not None else find_mix(weights.lower())
    if made is not None:
        values, size = made.block, made.block_bytes
    elif mix is not None:
        values, size = GGML_TYPES[mix.base]
    else:
        return True
    matrices = sum(t.elements * n for t, n in model.counted_tensors(("decoder",)) if t.linear)
    return matrices * size // values <= room


def _formats(model: Model, node: Node, engine: str | None) -> list[str | None]:
    """As published, then narrower ones, of the engine that would run it.

    llama.cpp reads what was converted: 16 bits are the widest, and of quantised checkpoints only MXFP4 goes over as is.
    """
    name = engine or deployment(model, Node(devices=node.devices[:1], host=node.host)).engine.name
    narrower = choices(name, "smaller_weights")
    if engine_name(name) not in GGUF_ENGINES or model.stored is not None:
        return [None, *narrower]
    own = model.quantization
    kept = own is not None and own.default is not None and own.default.name == "mxfp4"
    return [None if kept else "bf16", *narrower]


def _coarse(weights: str) -> bool:
    """Whether a format has less than four bits."""
    return weights.lower().removeprefix("ud-").startswith(_COARSE)
