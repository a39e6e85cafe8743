"""From a case to what is timed: its stages on their devices, joined by their links."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from inferwise.memory.case import Case
from inferwise.memory.dealing import ONE_PROCESS
from inferwise.memory.placement import stages
from inferwise.memory.same import Same
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Engine
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.spec.tensor import Component
from inferwise.timing.decompose import encoder, offload
from inferwise.timing.decompose.site import Site
from inferwise.timing.decompose.speculation import draft
from inferwise.timing.decompose.stage import operators
from inferwise.timing.engine_facts import facts
from inferwise.timing.execution import execution
from inferwise.timing.forward import Forward, factors_of
from inferwise.timing.links import joined
from inferwise.timing.profiles import profile
from inferwise.timing.silicon.look_up import stages_looked_up

LLAMA_CPP = "llama.cpp"


def forward(case: Case, *, fold: int | None = None, backend: str = "", silicon: bool = False) -> Forward:
    """A case ready to be timed. fold: see `profile`; backend: of llama.cpp (cuda, rocm, vulkan, metal, cpu), empty for
    the device's usual one; silicon: look operators up in measured tables. Raises BadInput for a device whose rates are
    not known, and for tables that are not installed."""
    dealt, held = _held(case)
    made = replace(built(_deployed(dealt, held), fold, backend), case=dealt)
    if not silicon:
        return made
    shown, said = stages_looked_up(made.stages)
    return replace(made, stages=shown, notes=(*made.notes, *said))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deployed:
    """A deployment as a key of a cache: all of a case but its context and its batch, of which operators know nothing.

    parts: of the model, (device, layers, layers on the host, shares of the bytes there, whether cache and head are);
    their tensors follow from these. others: the case's other fields.
    """

    model: Same
    draft: Same | None
    engine: Engine = field(hash=False)  # its defaults are a mapping
    parts: tuple[Any, ...]
    others: tuple[Any, ...]
    case: Case = field(compare=False)
    held: tuple[offload.Held, ...] = field(compare=False)


# Fields of a case that tell deployments apart by their values.
_OTHERS = attrgetter(*sorted({each.name for each in fields(Case)} - {"model", "draft", "engine", "context", "batch"}))


def _deployed(case: Case, held: tuple[offload.Held, ...]) -> _Deployed:
    return _Deployed(
        model=Same(case.model),
        draft=None if case.draft is None else Same(case.draft),
        engine=case.engine,
        parts=tuple(
            (
                each.device,
                each.stage.layers,
                each.host and each.host.layers,
                each.experts,
                each.dense,
                each.cache,
                each.head,
            )
            for each in held
        ),
        others=_OTHERS(case),
        case=case,
        held=held,
    )


@lru_cache(maxsize=256)
def built(deployed: _Deployed, fold: int | None, backend: str) -> Forward:
    """The operators of a deployment; they are the same under every load."""
    case, held = deployed.case, deployed.held
    own = facts(case.engine.name)
    fused = not own.get("unfused", False)
    engine = own.get("kernels", case.engine.name)
    found, between = [], joined(case)
    for each in held:
        device = _device(case, each)
        kernels = f"{engine}/{backend or usual_backend(device)}" if engine == LLAMA_CPP else engine
        site = Site(case=case, device=device, engine=kernels, link=between.link, link_bytes_per_s=between.bytes_per_s)
        made = tuple(offload.placed(site, each, partial(operators, fused=fused)))
        found.append((*made, *offload.fetched(site, each.stage, made)))
    drafts, drafted = draft(site, fused)
    found[-1] += drafts
    layers = [len(each.stage.layers) + (len(each.host.layers) if each.host else 0) for each in held]
    layers[-1] += drafted
    made_by = profile(case.engine.name, case.devices[0], case.engine.version, waits=waits(case), fold=fold)
    return Forward(
        case=case,
        stages=tuple(found),
        layers=tuple(layers),
        profile=made_by,
        factors=tuple(factors_of(made_by, each) for each in found),
        notes=(
            *((between.note,) if between.note else ()),
            *_unmodelled(case),
            *_fallbacks(case, held, engine),
            *offload.notes(case, held),
            *encoder.notes(case),
        ),
    )


def waits(case: Case) -> bool:
    """Whether each step waits for the host: an engine that can overlap the two, and does not."""
    given, own = case.settings.async_scheduling, case.engine.defaults.get("async_scheduling")
    return own is not None and not (own if given is None else given)


def _unmodelled(case: Case) -> tuple[str, ...]:
    """What bears on the time of a case and is not in it."""
    found = []
    if case.settings.graphs is False and not facts(case.engine.name).get("eager"):
        found.append("without graphs the host launches kernels one by one: that time is not in these figures")
    if case.speculative_tokens and case.draft is None and not case.mtp:
        found.append("no draft model and no MTP layers: drafted tokens cost nothing but their verification")
    return tuple(found)


def _fallbacks(case: Case, held: tuple[offload.Held, ...], engine: str) -> tuple[str, ...]:
    """What runs in another format than its own, for one that a device lacks; each once."""
    found = (
        execution(tensor.format.name, _device(case, part), engine, experts=tensor.component is Component.EXPERTS).note
        for part in held
        for tensor in part.stage.tensors
    )
    return tuple(note for note in dict.fromkeys(found) if note)


def _device(case: Case, part: offload.Held) -> Accelerator:
    """The device of a part; the last one stands for what it lacks a number for."""
    return case.devices[min(part.device, len(case.devices) - 1)]


def _held(case: Case) -> tuple[Case, tuple[offload.Held, ...]]:
    """The stages of a case, each with the number of its first device; where one process sees several, a stage each."""
    if offload.places(case):
        return offload.dealt(case)
    if case.engine.name in ONE_PROCESS and case.parallel.devices == 1 and len(case.devices) > 1:
        count = min(len(case.devices), len(case.model.decoder.pattern))
        case = replace(case, parallel=Parallel(pp=count))
    held = stages(case.model, case.weights, case.parallel, mtp=False, encoder=case.encoder)
    width = case.parallel.tp
    return case, tuple(offload.Held(device=number * width, stage=stage) for number, stage in enumerate(held))


def usual_backend(device: Accelerator) -> str:
    """The backend of llama.cpp that its builds for a device have."""
    return "cpu" if device.kind is Kind.CPU else facts(LLAMA_CPP)["backends"].get(device.vendor, "vulkan")
