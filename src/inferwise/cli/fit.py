"""`inferwise fit`: one deployment, one model over all hardware, or one machine over all models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inferwise.cli.options import (
    ALONE,
    AS_PUBLISHED,
    BY_DEFAULT,
    EVERYWHERE,
    ONE_SEQUENCE,
    Explain,
    Extras,
    Flags,
    Formats,
    Hardware,
    Json,
    Load,
)
from inferwise.errors import BadInput

if TYPE_CHECKING:
    from inferwise.spec.hardware import Node

Every = Annotated[bool, Parameter(help="Without a model: show every model that fits.", negative="", name="--all")]
AllGpus = Annotated[bool, Parameter(help="Show every device that we know.", negative="")]


def fit(
    model: str | None = None,
    /,
    *,
    load: Load = ONE_SEQUENCE,
    hardware: Hardware = EVERYWHERE,
    formats: Formats = AS_PUBLISHED,
    flags: Flags = BY_DEFAULT,
    extras: Extras = ALONE,
    all_gpus: AllGpus = False,
    every: Every = False,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """Show what fills the devices' memory, by the engine's own accounting, and how many sequences fit.

    Without a device: which hardware holds the model. Without a model: what the device runs, of the whole catalog.

    Parameters
    ----------
    model
        A catalog name, a Hub id (org/name, org/name@revision, repo:Q4_K_M), a config.json, a folder or a .gguf file.
    """
    asked: dict[str, Any] = {
        "engine": formats.engine or None,
        "engine_version": formats.engine_version or None,
        "kv": formats.kv or None,
        "state": formats.state or None,
        "weights": formats.weights or None,
        "context": load.tokens(),
        "batch": load.sequences(),
        "settings": flags.settings(hardware.used_gib()),
        **extras.load(),
    }
    if all_gpus and hardware.gpu is not None:
        raise BadInput("--all-gpus and --gpu", remedy="give one of them")
    if model is None and (all_gpus or hardware.gpu is None):
        raise BadInput("no model named", remedy="give one, or a device by --gpu to see what it runs")
    if model is None:
        return _what_runs(hardware.node(), asked, every=every, json=json)
    if all_gpus or hardware.gpu is None:
        return _where_it_runs(model, hardware, asked, json=json)
    return _one(model, hardware, asked, explain=explain, json=json)


def _one(model: str, hardware: Hardware, asked: dict[str, Any], *, explain: bool, json: bool) -> int:
    from inferwise.memory.deploy import deployment, replicas
    from inferwise.memory.fit import fit as answer
    from inferwise.read.resolve import resolve
    from inferwise.report import fit as report
    from inferwise.report.models import explain_text
    from inferwise.report.tables import to_json

    node = hardware.node()
    case = deployment(resolve(model), node, degrees=hardware.degrees(), **asked)
    result = answer(case)
    explained = [report.explain_fit_text(result)] if explain else []
    explained += [explain_text(case.model, case.layout, case.context)] if explain else []
    copies = replicas(node, case)
    if json:
        shown = result.to_dict() | {"replicas": copies}
        print(to_json(shown | ({"explanation": "\n\n".join(explained).splitlines()} if explain else {})))
    else:
        further = [f"{copies} such replicas on {len(node.devices)} devices"] if copies > 1 else []
        print("\n\n".join((report.fit_text(result), *further, *explained)))
    return 0 if result.fits else 3


def _where_it_runs(model: str, hardware: Hardware, asked: dict[str, Any], *, json: bool) -> int:
    from inferwise.catalog.accelerators import accelerators
    from inferwise.memory.survey import over_hardware
    from inferwise.read.resolve import resolve
    from inferwise.report.survey import hardware_text
    from inferwise.report.tables import to_json
    from inferwise.spec.hardware import Host

    if hardware.count is not None:
        raise BadInput("a count needs a device", remedy="name it by --gpu; without one, counts are found")
    spec = resolve(model)
    rows = over_hardware(spec, accelerators().values(), hardware.host(Host()), degrees=hardware.degrees(), **asked)
    if json:
        print(to_json({"schema": "inferwise/fits/2", "model": spec.name, "devices": [row.to_dict() for row in rows]}))
    else:
        print(hardware_text(spec, rows, asked["context"], asked["batch"]))
    return 0 if any(row.count for row in rows) else 3


def _what_runs(node: Node, asked: dict[str, Any], *, every: bool, json: bool) -> int:
    from inferwise.memory.survey import over_catalog
    from inferwise.report.survey import catalog_text
    from inferwise.report.tables import to_json

    rows = over_catalog(node, **asked)
    if json:
        devices = [device.slug for device in node.devices]
        print(to_json({"schema": "inferwise/runs/1", "devices": devices, "models": [row.to_dict() for row in rows]}))
    else:
        print(catalog_text(node, rows, None if every else 40))
    return 0 if rows else 3
