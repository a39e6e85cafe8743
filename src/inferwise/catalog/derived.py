"""Quantised checkpoints that the catalog lacks, by what their names say: a base that it has, and a recipe."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from inferwise.catalog.lookup import fold
from inferwise.catalog.models import Entry, find, names

PREFIXES = ("", "meta-")  # `Meta-Llama-3.1-8B-Instruct-FP8`: Meta's own older names


@cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("inferwise.catalog").joinpath("derived.toml").read_text("utf-8"))


def derived(name: str) -> Entry | None:
    """The entry of `maker/base-ending` where the catalog has the base and we know the recipe, or nothing.

    A guess by the name, for where the checkpoint's own config cannot be read: its notes say so.
    """
    maker, slash, rest = name.partition("/")
    for recipe in _file()["recipes"]:
        ending = recipe["ending"]
        if not slash or not fold(rest).endswith(fold(ending)):
            continue
        if recipe["makers"] and fold(maker) not in recipe["makers"]:
            continue
        base = _base(rest[: -len(ending)])
        if base is None or "quantization_config" in base.config:
            continue
        quantization = dict(recipe["quantization"])
        if quantization["quant_method"] == "compressed-tensors":
            quantization["ignore"] = _file()["ignore"]
        return Entry(
            id=name,
            config={**base.config, "quantization_config": quantization},
            source=f"shape of {base.id}; {_file()['source']}",
            verified="derived",
            notes=f"its own config was not read: taken as {base.id} by the recipe that its name says",
        )
    return None


def _base(tail: str) -> Entry | None:
    """The catalog's model of this last part of a name; where several have it, the first as published."""
    for prefix in PREFIXES:
        wanted = fold(tail).removeprefix(prefix) if prefix else fold(tail)
        found = find(wanted)
        if found is not None:
            return found
        for known in names():
            if fold(known).rpartition("/")[2] == wanted:
                return find(known)
    return None
