"""What an engine can run: formats of weights and of caches, by the generation of the devices.

The facts are the `[runs]` table of an engine's file (catalog/engines): `vendors`, and for each kind of weights and
of cache the generations with kernels for it ("Ampere+": Ampere and later; "*": any). A kind that a table lacks is one
that the engine does not run. A device whose generation we do not know is not refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from inferwise.catalog.engines import runs
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.weights import GGUF, conversion
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.spec.model import Model
from inferwise.spec.precision import DTYPE_ALIASES
from inferwise.spec.weight_formats import DENSE

# Each maker's generations, in the order in which kernels came: what runs on one runs on the later ones.
GENERATIONS = (
    ("Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell", "Blackwell Ultra", "Rubin"),
    ("GCN5", "CDNA", "CDNA2", "CDNA3", "CDNA4", "CDNA5"),
    ("RDNA2", "RDNA3", "RDNA3.5", "RDNA4"),
    ("M1", "M2", "M3", "M4", "M5"),
)
# Kinds of weight formats, by how their names begin; the first that matches.
KINDS = (
    ("mlx_", "mlx"),
    ("mxfp8", "mxfp8"),
    ("fp8", "fp8"),
    ("int8", "int8"),
    ("bnb_int8", "bnb"),
    ("nf4", "bnb"),
    ("mxfp4", "mxfp4"),
    ("nvfp4", "nvfp4"),
    ("awq", "int4"),
    ("gptq", "int4"),
    ("int", "int4"),
)
CACHE_KINDS = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_ds_mla": "fp8", "fp8_scaled": "fp8"}


def check_vendor(case: Case) -> None:
    """Raises BadInput for a device that the case's engine has no backend for."""
    table = runs(case.engine.name)
    for device in {device.slug: device for device in case.devices}.values() if table else ():
        _check_vendor(case.engine.name, table, device)


def check(case: Case) -> None:
    """Raises BadInput for a device, a weight format or a cache format that the case's engine cannot run."""
    table = runs(case.engine.name)
    if not table:
        return
    devices = {device.slug: device for device in case.devices}.values()
    check_vendor(case)
    wanted = [("weights", kind) for kind in weight_kinds(case.model, case.weights)]
    if case.draft is not None:
        wanted += [("weights", kind) for kind in weight_kinds(case.draft, case.draft_weights)]
    wanted.append(("kv", CACHE_KINDS.get(case.layout.kv, case.layout.kv)))
    for device in devices:
        for what, kind in dict.fromkeys(wanted):
            _check_kind(case.engine.name, table[what], device, what, kind)


def weight_kinds(model: Model, weights: str | None) -> list[str]:
    """The kinds of formats that a model's weights come in: one of KINDS, a dense one, or `gguf`."""
    if weights:
        made = conversion(weights)
        if made is not None:
            return [weight_kind(made.name)]
        return ["gguf"] if find_mix(weights.lower().removeprefix(GGUF)) is not None else []
    if model.stored is not None and model.stored.gguf:
        return ["gguf"]
    if model.quantization is None:
        return [DTYPE_ALIASES.get(model.dtype, model.dtype)]
    own = model.quantization
    made_by_rules = [own.default, *(rule.format for rule in own.rules)]
    return list(dict.fromkeys(weight_kind(made.name) for made in made_by_rules if made is not None))


def weight_kind(name: str) -> str:
    """The kind of a weight format: a dense one is its own, an unknown one too."""
    return next((kind for start, kind in KINDS if name.startswith(start)), name)


def _check_vendor(engine: str, table: Mapping[str, Any], device: Accelerator) -> None:
    maker = f"{device.vendor} CPU" if device.kind is Kind.CPU else device.vendor
    vendors: list[str] = table["vendors"]
    if device.vendor and (maker not in vendors or device.architecture in table.get("not_architectures", ())):
        raise BadInput(
            f"{engine} does not run on {device.name} ({maker})",
            remedy=f"it runs on {', '.join(vendors)}; see --engine for others",
        )


def _check_kind(engine: str, table: Mapping[str, list[str]], device: Accelerator, what: str, kind: str) -> None:
    noun = {"weights": "weights", "kv": "a KV cache"}[what]
    if kind not in table:
        if what == "weights" and kind not in DENSE and kind not in {known for _, known in KINDS} | {"gguf"}:
            return  # a format of a kind that no table speaks of
        raise BadInput(f"{engine} does not run {noun} in {kind}", remedy=f"take one of {', '.join(table)}")
    if not any(_reaches(rule, device.architecture) for rule in table[kind]):
        able = [each for each in table if any(_reaches(rule, device.architecture) for rule in table[each])]
        where = ", ".join(rule.replace("+", " and later") for rule in table[kind])
        raise BadInput(
            f"{engine} runs {noun} in {kind} on {where}, and {device.name} is {device.architecture}",
            remedy=f"take one of {', '.join(able)}" if able else "take another device",
        )


@lru_cache(maxsize=1024)
def _reaches(rule: str, architecture: str) -> bool:
    """Whether a generation is one of a rule's; one that we do not know is."""
    if rule == "*" or not any(architecture in line for line in GENERATIONS):
        return True
    return architecture in _meant(rule)


def _meant(rule: str) -> Iterator[str]:
    """The generations of a rule."""
    first = rule.removesuffix("+")
    for line in GENERATIONS:
        if first in line:
            start = line.index(first)
            yield from line[start:] if rule.endswith("+") else (first,)
