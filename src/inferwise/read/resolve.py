"""From a text that names a model to the Model: the catalog, a file, a folder, or the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from inferwise.catalog import models as catalog
from inferwise.catalog.derived import derived
from inferwise.errors import BadConfig, BadInput, WorldFailed
from inferwise.read.config import model_from_config
from inferwise.read.source import Source, existing, looks_local, open_model
from inferwise.spec.model import Model
from inferwise.units import human_bytes

PLAIN = ("fp64", "fp32", "bf16", "fp16")  # formats in which a tensor has the shape of its weight


def resolve(text: str) -> Model:
    """The model of a catalog name, a path, or a Hub id (`org/name`, `org/name@revision`, `repo:Q4_K_M`).

    A path comes first, then the catalog (which needs no network), then the Hub; where that is not reached, what the
    name of a quantised checkpoint says (its notes tell). Raises BadInput, UnknownName,
    WorldFailed.
    """
    text = text.strip()
    if existing(text) is None:
        entry = catalog.find(text)
        if entry is not None:
            return from_catalog(entry)
        if not looks_local(text) and "/" not in text:
            raise catalog.unknown_model(text)
    try:
        source = open_model(text)
    except WorldFailed as error:
        guessed = derived(text)
        if guessed is not None:
            return _of_entry(guessed)
        near = catalog.unknown_model(text).suggestions
        if not near:
            raise
        remedy = "; ".join(part for part in (error.remedy, f"the catalog has {', '.join(near)}, offline") if part)
        raise type(error)(error.what, where=error.where, remedy=remedy) from None
    return from_source(source)


def names_one(text: str) -> bool:
    """Whether a text names one model (a path, a catalog name, a revision or quantisation of a repository)."""
    return existing(text) is not None or catalog.find(text) is not None or "@" in text or ":" in text


@lru_cache(maxsize=64)
def _catalog_model(name: str) -> Model:
    return _of_entry(catalog.entry(name))


def _of_entry(entry: catalog.Entry) -> Model:
    model = model_from_config(entry.config, name=entry.id, where=entry.id)
    notes = [catalog.VERIFIED["hypothetical"]] if entry.verified == "hypothetical" else []
    notes += [entry.notes] if entry.notes else []
    source = f"{entry.source}; verified by {entry.verified}: {catalog.VERIFIED[entry.verified]}"
    return replace(model, notes=(*model.notes, *notes), source=source)


def from_catalog(entry: catalog.Entry) -> Model:
    """The model of a catalog entry, with its source and how well it was verified."""
    return _catalog_model(entry.id)


def from_source(source: Source) -> Model:
    """The model of what was found, with the weights as their headers say.

    Raises BadInput where there is no config to tell the layers from; it says what the weights take all the same.
    """
    config: Mapping[str, Any]
    if source.gguf is not None:
        from inferwise.read.gguf.model import config_from_gguf

        config = config_from_gguf(source.gguf)
    elif source.config is not None:
        config = source.config
    else:
        raise BadInput(
            f"weights of {human_bytes(source.stored.size_bytes) if source.stored else 'no size'}, but no config.json",
            where=source.name,
            remedy="put the model's config.json beside them",
        )
    try:
        model = model_from_config(config, name=source.name, where=_where(source))
    except BadConfig as error:
        if source.stored is None or error.field != "model_type":
            raise
        weights = f"its weights take {human_bytes(source.stored.size_bytes)} by their headers"
        raise BadConfig(error.what, field=error.field, where=error.where, remedy=f"{error.remedy}; {weights}") from None
    fetched = f", {source.bytes_fetched:,} bytes fetched" if source.bytes_fetched else ""
    return replace(
        model,
        stored=source.stored,
        notes=(*model.notes, *source.notes, *_stored_notes(model, source), *_projector_notes(source)),
        source=f"{source.kind} {source.name}{fetched}",
    )


def _where(source: Source) -> str:
    """What errors about the config name: the file itself, or the config.json of a folder or repository."""
    if source.kind in ("config", "gguf"):
        return source.name
    return str(Path(source.name) / "config.json") if source.kind == "folder" else f"{source.name} config.json"


def _projector_notes(source: Source) -> list[str]:
    """What the encoders beside a GGUF take, which an engine loads for images or sound only."""
    return [
        f"{each.files[0].name} takes {human_bytes(each.size_bytes)} beside it, where images or sound are used"
        for each in source.projectors
    ]


def _stored_notes(model: Model, source: Source) -> list[str]:
    """Where the headers' count differs from the module's, and by what; nothing of packed weights."""
    stored = source.stored
    if stored is None or any(tensor.format not in PLAIN for tensor in stored.tensors):
        return []
    count = sum(tensor.elements for tensor in stored.tensors)
    tied = model.vocab * model.hidden if model.tied else 0
    beside = model.checkpoint_parameters - model.parameters
    difference = count - model.parameters
    reasons = (
        (beside, "MTP layers and buffers stand there as well"),
        (tied, "the tied head stands there a second time"),
        (beside + tied, "MTP layers, buffers and the tied head stand there as well"),
        (difference, "not explained by a tied head, MTP layers or buffers: check the config"),
    )
    why = next(reason for extra, reason in reasons if extra == difference)
    return [f"the headers store {count:,} values, {difference:+,}: {why}"] if difference else []
