"""The models that we know offline: their configs as facts, with source and verification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from inferwise.catalog.lookup import fold, suggestions
from inferwise.errors import UnknownName

FILES = ("models.json", "models_added.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the catalog.

    config: the fields of its config.json that a count or a state depends on. verified: what its figures were held
    against (see VERIFIED). checkpoint_parameters: values that the published checkpoint stores, where known.
    """

    id: str
    config: Mapping[str, Any]
    source: str
    verified: str
    checkpoint_parameters: int | None = None
    license: str = ""
    released: str = ""
    notes: str = ""


VERIFIED = {
    "checkpoint": "our count is the published checkpoint's, to the parameter (with what it stores beside the model)",
    "recalled": "our count is the checkpoint's total as recalled from the Hub, not looked up in a file",
    "module": "our count is that of the module which transformers builds from the config; the checkpoint's is packed, "
    "unknown, or differs by what the notes say",
    "published": "our count agrees with the published size, rounded as it is",
    "config": "from the published config alone; no count to compare",
    "template": "config pieced together from a template or class defaults; treat as approximate",
    "derived": "taken from its name: the base's shape and the quantiser's usual recipe; its own config was not read",
    "hypothetical": "not a published model: a stand-in",
}


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    rows: dict[str, Mapping[str, Any]] = {}
    for name in FILES:
        rows.update(json.loads(resources.files("inferwise.catalog").joinpath(name).read_text("utf-8"))["models"])
    return rows


def names() -> list[str]:
    """The ids of all models, as published."""
    return list(_rows())


def entry(name: str) -> Entry:
    """The entry of an exact id."""
    row = _rows()[name]
    shape = _rows()[row["same_as"]] if "same_as" in row else row
    fields = {key: value for key, value in row.items() if key != "same_as"}
    return Entry(id=name, **{**fields, "config": shape["config"]})


def find(name: str) -> Entry | None:
    """The entry that a name means: an id whatever its case, or the last part of one where only one id has it."""
    wanted = fold(name)
    tails = []
    for known in _rows():
        folded = fold(known)
        if folded == wanted:
            return entry(known)
        if folded.rsplit("/", 1)[-1] == wanted:
            tails.append(known)
    return entry(tails[0]) if len(tails) == 1 else None


def search(text: str) -> list[str]:
    """The ids that hold every word of a text, whatever the case."""
    words = fold(text).replace("/", "-").split("-")
    return [name for name in _rows() if all(word in fold(name) for word in words)]


def unknown_model(name: str) -> UnknownName:
    """The error for a name that is no file, no catalog entry and no Hub id."""
    remedy = "give a catalog name, a Hub id (org/name), a config.json, a model folder or a .gguf file"
    return UnknownName("model", name, suggestions=suggestions(name, _rows()), remedy=remedy)
