"""From the names of measured runs to ours: engines, versions, models, weights, caches (measured_names.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from inferwise.catalog import models as catalog
from inferwise.catalog.derived import derived
from inferwise.catalog.engines import engine as engine_of
from inferwise.catalog.engines import engine_name
from inferwise.errors import BadInput, UnknownName
from inferwise.evidence.measurements import Run
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.weights import GGUF
from inferwise.read.config import model_from_config
from inferwise.read.gguf.labels import LABEL
from inferwise.read.resolve import from_catalog
from inferwise.spec.engine import Engine
from inferwise.spec.model import Model
from inferwise.spec.precision import cache_format

GGUF_ENGINES = ("llama.cpp", "ollama")
NUMBER = re.compile(r"v?(\d{1,6}\.\d{1,6}[0-9a-z.]{0,20})(?![0-9a-z.])", re.ASCII)
BUILD = re.compile(r"b\d{2,6}", re.ASCII)


class Unpredicted(BadInput):
    """A run that we make no prediction for; `status` is the contract's word for why."""

    def __init__(self, status: str, why: str = "") -> None:
        self.status = status
        super().__init__(status + (f" ({why})" if why else ""))


@cache
def names() -> Mapping[str, Any]:
    """measured_names.toml."""
    return tomllib.loads(resources.files("inferwise.evidence").joinpath("measured_names.toml").read_text("utf-8"))


@cache
def engine_named(name: str) -> tuple[str, str]:
    """Our engine for one of a run, and the reason where it only stands in. Raises Unpredicted."""
    stand_in = names()["engines"].get(name.lower())
    if stand_in is not None:
        return stand_in["stand_in"], stand_in["reason"]
    try:
        return engine_name(name), ""
    except UnknownName:
        raise Unpredicted("unknown-engine" if name else "missing-input", name or "no engine") from None


@cache
def engine_at(engine: str, version: str, source: str) -> tuple[Engine, str]:
    """The engine at the version that a run names, else at that of its source, else the newest; and which was assumed.

    A name that is no release (`nightly`, a commit) counts as none; `1.1/1.2 (main)` is 1.1.
    """
    pattern = BUILD if engine in GGUF_ENGINES else NUMBER
    match = pattern.match(version)
    if match is not None:
        return engine_of(engine, match[match.lastindex or 0].rstrip(".")), ""
    known = names()["versions"].get(source, {}).get(engine)
    made = engine_of(engine, known)
    return made, f"{engine} {made.version} assumed: the row names no release"


def bundled(run: Run, engine: str) -> str:
    """The version of an engine of ours that a run's version means, where that is the framework's around it."""
    known = names()["bundled"].get(run.campaign, {}).get(engine, {})
    return str(known.get(run.engine_version, run.engine_version))


@cache
def weights_named(model: str, spelled: str, engine: str, published: str) -> tuple[Model, str | None, str]:
    """The model that ran, the format to convert it to (None: none), and what was assumed. Raises Unpredicted.

    engine: ours. published: the source's own name of the model, which tells a GGUF mix.
    """
    if engine in GGUF_ENGINES:
        mix, note = _mix(spelled, published)
        return _plain(model), mix, note
    for entry in names()["checkpoints"]:
        named = entry["format"] == spelled and model.startswith(tuple(entry["models"]))
        if named and (not entry["engines"] or engine in entry["engines"]):
            return (*_checkpoint(model, entry), entry["reason"])
    known = names()["weights"]["server"]
    if spelled not in known:
        raise Unpredicted(f"unsupported: weights {spelled[:40]}")
    return _plain(model), known[spelled] or None, names()["models"].get(model, {}).get("note", "")


def _checkpoint(model: str, entry: Mapping[str, Any]) -> tuple[Model, str | None]:
    """The checkpoint that an entry of the table means."""
    if "checkpoint" in entry:
        return _plain(entry["checkpoint"]), None
    if "quantization" in entry:
        config = {**_entry(model).config, "quantization_config": entry["quantization"]}
        return model_from_config(config, name=model, where=model), None
    return _plain(model), entry["weights"]


def _mix(spelled: str, published: str) -> tuple[str, str]:
    """The GGUF mix that the published file is named by, else that which the format means.

    With the prefix that tells a mix from a conversion: experts that were published in MXFP4 stay so in a file of F16.
    """
    for label in reversed(LABEL.findall(published)):
        if find_mix(label.lower()) is not None:
            return GGUF + label, ""
    known = names()["weights"]["gguf"]
    if spelled not in known:
        raise Unpredicted(f"unsupported: weights {spelled[:40]}")
    return GGUF + known[spelled], f"{spelled} taken as {known[spelled]}"


def _entry(name: str) -> catalog.Entry:
    """The catalog's entry, or one derived from its name; never from the network. Raises Unpredicted."""
    found = catalog.find(name) if name else None
    found = found or (derived(name) if name else None)
    shape = names()["models"].get(name)
    if found is None and shape is not None:
        note = shape["note"]
        return catalog.Entry(id=name, config=shape["config"], source=note, verified="template", notes=note)
    if found is None:
        raise Unpredicted("unknown-model" if name else "missing-input", name[:80] or "no model")
    return found


@cache
def _plain(name: str) -> Model:
    found = _entry(name)
    if found.id in catalog.names():
        return from_catalog(found)
    return replace(model_from_config(found.config, name=found.id, where=found.id), notes=(found.notes,))


@cache
def kv_named(spelled: str) -> str | None:
    """The cache format that a run names; None for the engine's default. Raises Unpredicted."""
    known = names()["kv"].get(spelled)
    if known is not None:
        return known or None
    try:
        return cache_format(spelled)
    except UnknownName:
        raise Unpredicted(f"unsupported: kv {spelled[:40]}") from None


def assumed_lengths(run: Run) -> tuple[str, Mapping[str, Any]]:
    """The set of requests that a run's remarks name, and the lengths assumed of it; empty where there is none."""
    for fact in ("task", "requests", "context"):
        found = names()["lengths"].get(run.fact(fact))
        if found is not None:
            return run.fact(fact), found
    return "", {}


def setup(run: Run, engine: str) -> Mapping[str, Any]:
    """The flags that the source's own scripts set for such a run; empty where we know none. engine: ours."""
    entry: Mapping[str, Any]
    for entry in names()["setups"]:
        if entry["source"] != run.source or entry["engine"] != engine or entry["campaign"] not in ("", run.campaign):
            continue
        if entry["formats"] and run.weight_format not in entry["formats"]:
            continue
        devices = tuple(entry["accelerators"])
        if run.model.startswith(tuple(entry["models"])) and (not devices or run.accelerator.startswith(devices)):
            return entry
    return {}


def mean_length(run: Run) -> float:
    """Mean length of a campaign's requests as a share of the lengths that it names (1 where they are just those)."""
    return float(names()["campaigns"].get(run.campaign, {}).get("mean_length", 1.0))
