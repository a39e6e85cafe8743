"""From what a user says to a case: the engine for the hardware, degrees for the devices, the layout of the state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferwise.catalog.engines import engine as engine_of
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.dealing import ONE_PROCESS, default_parallel
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.state import layout_in
from inferwise.memory.weights import GGUF, conversion
from inferwise.spec.deployment import Parallel
from inferwise.spec.hardware import Kind, Node
from inferwise.spec.model import Model

SERVERS = ("NVIDIA", "AMD", "Intel", "Google", "AWS", "Huawei")  # makers whose cards vLLM has a backend for


def deployment(
    model: Model,
    node: Node,
    *,
    engine: str | None = None,
    engine_version: str | None = None,
    degrees: dict[str, int] | None = None,
    kv: str | None = None,
    state: str | None = None,
    **load: Any,
) -> Case:
    """The case of a model on a node.

    engine: None takes llama.cpp for GGUF weights and for devices that no server engine runs on, else vLLM. degrees: of
    parallelism; what they leave of the node's devices runs further replicas. load: the other fields of Case. Raises
    BadInput, UnknownName.
    """
    if load.get("weights") and conversion(load["weights"]) is not None:
        load["weights"] = load["weights"].lower()  # of GGUF's mixes the case is part of the name
    name = engine or default_engine(model, node, load.get("weights"))
    made = engine_of(name, engine_version)
    given = {key: value for key, value in (degrees or {}).items() if value is not None}
    devices = node.devices
    if given:
        parallel = Parallel(**given)
        if len(devices) == 1 and parallel.devices > 1:  # one named device stands for as many as there are ranks
            devices = devices * parallel.devices
    else:
        parallel = _by_split(model, made.name, len(devices), load)
    if parallel.devices > 1 and len(devices) % parallel.devices:
        raise BadInput(
            f"{len(devices)} devices for tp {parallel.tp} x pp {parallel.pp}",
            remedy=f"give a multiple of {parallel.devices} devices",
        )
    if parallel.devices > 1 or made.name not in ONE_PROCESS:  # one process sees all of them
        devices = devices[: parallel.devices]
    return Case(
        model=model,
        node=node if devices == node.devices else replace(node, devices=devices),
        engine=made,
        parallel=parallel,
        layout=layout_in(made.layout, kv=kv, state=state),
        **load,
    )


def _by_split(model: Model, engine: str, devices: int, load: dict[str, Any]) -> Parallel:
    """The degrees where none were given: as `split` says, else as the engine is usually dealt."""
    split = load["settings"].split if "settings" in load else None
    if split in (None, "none") or engine in ONE_PROCESS:
        return default_parallel(model, engine, devices, load.get("weights"))
    return Parallel(pp=devices) if split == "layer" else Parallel(tp=devices)


def replicas(node: Node, case: Case) -> int:
    """How many such deployments a node's devices hold; devices that differ make one."""
    return max(1, len(node.devices) // len(case.devices)) if node.uniform else 1


def default_engine(model: Model, node: Node, weights: str | None) -> str:
    """llama.cpp for GGUF weights and for what no server engine runs on, else vLLM."""
    if weights:
        gguf = conversion(weights) is None and find_mix(weights.lower().removeprefix(GGUF)) is not None
    else:
        gguf = model.stored is not None and model.stored.gguf
    served = all(device.vendor in SERVERS and device.kind in (Kind.GPU, Kind.ACCELERATOR) for device in node.devices)
    return "vllm" if served and not gguf else "llama.cpp"
