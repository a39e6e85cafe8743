"""What runs or lies outside the devices: llama.cpp's layers and experts on the host, other engines' fetched weights.

vLLM's default offloading leaves tensors in pinned memory that kernels read in place (0.23, model_executor/offloader/
uva.py): each step reads over PCIe what it multiplies by, experts that are hit alone, nothing overlapped. SGLang and
transformers copy all that was offloaded back before its layer runs, every step, not overlapped either (SGLang 0.5,
utils/offloader without a group size; accelerate, hooks.AlignDevicesHook).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from inferwise.catalog.accelerators import accelerator
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.engines.llama_cpp import placement, room_of
from inferwise.memory.engines.ollama import as_llama_cpp
from inferwise.memory.llama_cpp.beside import beside_the_model
from inferwise.memory.llama_cpp.buffers import Load
from inferwise.memory.llama_cpp.flags import flags_of, offload_devices
from inferwise.memory.llama_cpp.layers import Layers, layers_of, place
from inferwise.memory.llama_cpp.placement import HOST, Placement, moved
from inferwise.memory.placement import TOWERS, Stage, stages
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.timing.curves import choose
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.attention import DecodeAttention, PrefillAttention
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.latent import LatentDecode, LatentPrefill
from inferwise.timing.operators.offload import Fetch, HandOver, OnHost
from inferwise.timing.operators.small import Collective

PLACED = ("llama.cpp", "ollama")
ON_HOST, OFFLOAD = "host", "offload"
IN_PLACE = ("vllm",)  # kernels read the host's memory where it is
CACHED = (PrefillAttention, DecodeAttention, LatentPrefill, LatentDecode)  # what follows the cache
HOST_KERNELS = "llama.cpp/cpu"
VALUE_BYTES = 4  # llama.cpp's graphs pass F32 between their kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A device's part of a model that llama.cpp placed. device: its number; stage: its layers; host: layers that lie
    on the host before them. experts, dense: shares of its bytes there (--n-cpu-moe, -ot); cache, head: whether they
    do."""

    device: int
    stage: Stage
    host: Stage | None = None
    experts: float = 0.0
    dense: float = 0.0
    cache: bool = False
    head: bool = False

    @property
    def anywhere(self) -> bool:
        """Whether any of it lies on the host."""
        return self.host is not None or self.experts > 0 or self.dense > 0 or self.cache or self.head


def dealt(case: Case) -> tuple[Case, tuple[Held, ...]]:
    """Where llama.cpp's layers lie, device by device, and the case with a pipeline stage for each of those.

    Memory that devices share with the host is all theirs: nothing is fetched there, and what --fit leaves to the
    processor reads the same memory.
    """
    own = as_llama_cpp(case) if case.engine.name == "ollama" else case
    flags, layers = flags_of(own), layers_of(own.model, own.weights)
    load = Load(layers=layers, flags=flags, context=own.context, slots=flags.slots)
    where = placement(own, load, room_of(own, flags, beside_the_model(own, flags)))
    if where.shares:  # tensors over all devices: one stage of as many ranks
        case = replace(case, parallel=Parallel(tp=len(offload_devices(own))))
    runs = [(number, range(*run)) for number, run in enumerate(where.runs) if run[0] < run[1]]
    if where.shares:
        runs = runs[:1]
    numbers = [number for number, _ in runs] or [0]
    ranges = [run for _, run in runs]
    ahead = [range(where.host)] if where.host else []
    if not where.shares:
        case = replace(case, parallel=Parallel(pp=len(numbers)))
    made = stages(case.model, case.weights, case.parallel, encoder=case.encoder, runs=[*ahead, *ranges])
    host, on_devices = (made[0], made[1:]) if ahead else (None, made)
    if not on_devices:
        on_devices = [Stage(range(0), made[0].weights, ())]
    if host is not None:
        towers = tuple(each for each in host.tensors if each.component in TOWERS)
        host = replace(host, tensors=tuple(each for each in host.tensors if each.component not in TOWERS))
        on_devices[0] = replace(on_devices[0], tensors=(*towers, *on_devices[0].tensors))
    found = []
    for index, (number, stage) in enumerate(zip(numbers, on_devices, strict=True)):
        experts, dense = shares(layers, where, stage.layers, flags.overrides)
        last = index == len(on_devices) - 1
        found.append(
            Held(
                device=number,
                stage=stage,
                host=host if index == 0 else None,
                experts=experts,
                dense=dense,
                cache=not flags.kv_offload,
                head=last and where.output == HOST,
            )
        )
    return case, tuple(found)


def shares(layers: Layers, where: Placement, run: range, overrides: tuple[tuple[str, str], ...]) -> tuple[float, float]:
    """Shares of the bytes of routed experts, and of all other tensors, of a run of layers that lie on the host."""
    total = {"experts": 0.0, "layer": 0.0}
    outside = {"experts": 0.0, "layer": 0.0}
    if not run:
        return 0.0, 0.0
    total["experts"] = layers.experts_until[run.stop] - layers.experts_until[run.start]
    total["layer"] = layers.dense_until[run.stop] - layers.dense_until[run.start]
    kept = min(max(where.host_experts, run.start), run.stop)
    outside["experts"] = layers.experts_until[kept] - layers.experts_until[run.start]
    for piece, target in moved(layers, overrides) if overrides else ():
        kind = place(piece, len(layers.pattern))
        if piece.layer in run and kind in total:
            already = kind == "experts" and piece.layer is not None and piece.layer < where.host_experts
            outside[kind] += piece.size_bytes * ((target == HOST) - already)
    found = [max(0.0, min(1.0, outside[kind] / total[kind])) if total[kind] else 0.0 for kind in total]
    return found[0], found[1]


def placed(site: Site, held: Held, make: Callable[[Site, Stage], tuple[Operator, ...]]) -> Iterator[Operator]:
    """The operators of a device and of what lies on the host beside it; make: those of a stage on a site."""
    if not held.anywhere:
        yield from make(site, held.stage)
        return
    pcie = site.device.pcie_bytes_per_s
    if not pcie:
        raise BadInput(
            f"no rate of {site.device.name}'s link to its host is known",
            remedy="give pcie_bytes_per_s in a TOML file of your own (docs/hardware.md), or leave nothing on the host",
        )
    near = replace(site, link_bytes_per_s=pcie) if site.case.parallel.devices == 1 else site
    far = replace(near, device=host_device(site.case), engine=HOST_KERNELS)
    if held.host is not None:
        yield from _split(near, make(near, held.host), make(far, held.host), lambda each: _host_share(held, each))
    if held.stage.tensors or held.stage.layers:
        yield from _split(near, make(near, held.stage), make(far, held.stage), lambda each: _share(held, each))


def _host_share(held: Held, operator: Operator) -> float:
    """How much of an operator of the host's layers runs there: all, but for a head that -ngl 1 puts on a device."""
    return 0.0 if operator.part in ("head", "sampling") and not held.head else 1.0


def _share(held: Held, operator: Operator) -> float:
    """How much of an operator of a device's own layers runs on the host."""
    if isinstance(operator, RoutedExperts):
        return held.experts
    if isinstance(operator, CACHED):
        return 1.0 if held.cache else 0.0
    if operator.part == "head":
        return 1.0 if held.head else 0.0
    return held.dense if isinstance(operator, Gemm) and operator.part != "encoder" else 0.0


def _split(
    site: Site, near: tuple[Operator, ...], far: tuple[Operator, ...], share: Callable[[Operator], float]
) -> Iterator[Operator]:
    """Each operator's kernels on the device and on the host, with the rows that cross for those of one layer."""
    crossings = 0.0
    for device, host in zip(near, far, strict=True):
        part = 0.0 if isinstance(device, Collective) else share(device)
        if part < 1:
            yield replace(device, count=device.count * (1 - part))
        if part > 0:
            yield _on_host(site, device, host, device.count * part)
        if part > 0 and (isinstance(device, (RoutedExperts, *CACHED)) or device.part == "head"):
            crossings += device.count * part * (0.5 if isinstance(device, CACHED) else 1.0)  # two phases of one layer
    if crossings and any(share(each) < 1 for each in near):
        yield HandOver(
            **link(site, "rows to the host and back", 2 * crossings),
            kind="point_to_point",
            ranks=2.0,
            row_bytes=float(site.case.model.hidden * VALUE_BYTES),
        )


def _on_host(site: Site, device: Operator, host: Operator, count: float) -> OnHost:
    fetched = isinstance(device, Gemm | RoutedExperts)
    rate = (site.device.pcie_bytes_per_s or 0.0) * _pcie(site)
    return OnHost(
        name=f"{host.name}, on the host",
        part=ON_HOST,
        count=count,
        curve=host.curve,
        basis=host.basis,
        peak_flops=host.peak_flops,
        bytes_per_s=host.bytes_per_s,
        inner=replace(host, count=1.0),
        device=replace(device, count=1.0) if fetched else None,
        link_bytes_per_s=rate,
    )


def _pcie(site: Site) -> float:
    return choose("transfer", site.device, site.engine, "pcie").coefficients["efficiency"]


def link(site: Site, name: str, count: float) -> dict[str, Any]:
    """What an operator over the device's link to its host has. Raises BadInput where its rate is not known."""
    rate = site.device.pcie_bytes_per_s
    if not rate:
        raise BadInput(
            f"no rate of {site.device.name}'s link to its host is known",
            remedy="give pcie_bytes_per_s in a TOML file of your own (docs/hardware.md)",
        )
    return site.common(name, OFFLOAD, count, "transfer", "pcie") | {"bytes_per_s": rate}


def fetched(site: Site, stage: Stage, operators: tuple[Operator, ...]) -> Iterator[Operator]:
    """Weights that an engine other than llama.cpp fetches from the host in each step."""
    case = site.case
    asked = case.settings.offload_weight_bytes
    if not asked or case.engine.name in PLACED:
        return
    stored = sum(each.size_bytes for each in stage.tensors)
    size = float(min(asked, stored))
    common = link(site, "offloaded weights", 1.0)
    if case.engine.name in IN_PLACE:
        weights = tuple(each for each in operators if isinstance(each, Gemm | RoutedExperts))
        yield Fetch(**common, weights=weights, share=size / stored)
    else:
        yield Fetch(**common, whole=size)


@cache
def _hosts() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(files("inferwise.timing").joinpath("hosts.toml").read_text(encoding="utf-8"))


def host_device(case: Case) -> Accelerator:
    """The processor of a case's machine: its own memory bandwidth where it is known, else that of hosts.toml."""
    table = _hosts()
    market = case.devices[0].market.value
    found = accelerator(table[market if market in table else "desktop"]["cpu"])
    known = case.node.host.memory_bytes_per_s
    return replace(found, memory_bytes_per_s=known) if known else found


def notes(case: Case, held: tuple[Held, ...]) -> tuple[str, ...]:
    """What a reader should know of what lies on the host."""
    if case.settings.offload_weight_bytes and case.engine.name not in PLACED:
        return ("offloaded weights are read over PCIe in every step, overlapped with nothing",)
    if not any(each.anywhere for each in held):
        return ()
    host = host_device(case)
    rate = f"{(host.memory_bytes_per_s or 0) / 1e9:.0f} GB/s"
    known = "as given" if case.node.host.memory_bytes_per_s else f"assumed: {host.name}"
    return (f"what lies on the host runs there at {rate} ({known}), or is streamed over PCIe where that is faster",)


def places(case: Case) -> bool:
    """Whether an engine places layers by itself, on devices with memory of their own."""
    devices = [each for each in case.devices if each.kind not in (Kind.CPU, Kind.UNIFIED)]
    return case.engine.name in PLACED and len(devices) == len(case.devices)
