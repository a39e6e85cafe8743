"""A config.json, as bytes, text or a mapping, to a Model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from inferwise.errors import BadConfig
from inferwise.read.families import builder_of, homes
from inferwise.read.families.hybrid.untyped import typed
from inferwise.read.families.remote.declared import as_declared
from inferwise.read.fields import Fields
from inferwise.read.quantization.config import quantization
from inferwise.read.rotary import rotary_tables
from inferwise.spec.model import Model

MAX_CONFIG_BYTES = 4 * 2**20  # published configs stay under 1 MiB
MAX_CONTAINERS = 200_000  # lists and objects; each takes a hundred bytes and more, of two in the text


def parse_json(content: bytes | str, where: str) -> dict[str, Any]:
    """The object that a JSON text holds. Raises BadConfig for anything else, however it is broken or hostile."""
    if len(content) > MAX_CONFIG_BYTES:
        raise BadConfig(f"{len(content):,} bytes of JSON", where=where, remedy=f"at most {MAX_CONFIG_BYTES:,}")
    remedy = "give a model's config.json"
    if not content.strip():
        raise BadConfig("the file is empty", where=where, remedy=remedy)
    if isinstance(content, str):
        containers = content.count("[") + content.count("{")
    else:
        containers = content.count(b"[") + content.count(b"{")
    if containers > MAX_CONTAINERS:
        raise BadConfig(f"JSON of more than {MAX_CONTAINERS:,} lists and objects", where=where, remedy=remedy)
    try:
        value = json.loads(content)
    except RecursionError:
        raise BadConfig("JSON is nested too deeply", where=where, remedy=remedy) from None
    except UnicodeDecodeError:
        raise BadConfig("not UTF-8 text", where=where, remedy=remedy) from None
    except json.JSONDecodeError as error:
        raise BadConfig(f"not JSON: {error}", where=where, remedy=remedy) from None
    except ValueError:  # Python converts no number of more than 4,300 digits
        raise BadConfig("JSON with a number of thousands of digits", where=where, remedy=remedy) from None
    if not isinstance(value, dict):
        raise BadConfig("not a JSON object", where=where, remedy=remedy)
    return value


def model_from_config(config: Mapping[str, Any], *, name: str = "", where: str = "config.json") -> Model:
    """The model that a config describes.

    Raises BadConfig: a field is missing or impossible, or the architecture is one that we do not know (it is named,
    with what would be needed; never treated as some other).
    """
    f = Fields(config, where=where)
    model = as_declared(f, build(f))
    return replace(
        model, name=name or where, quantization=quantization(config, where), rotary=rotary_tables(config, model)
    )


def build(f: Fields) -> Model:
    """The model of these fields, by their model_type."""
    f = typed(f)
    model_type = f.model_type
    if not model_type and f.has("model_type"):
        raise f.wrong("model_type", f.raw("model_type"), "the name of an architecture")
    if not model_type:
        raise BadConfig(
            "field 'model_type' is missing", field="model_type", where=f.where, remedy="is this a model's config.json?"
        )
    builder = builder_of(model_type)
    if builder is None:
        raise unknown(f)
    try:
        return builder(f)
    except RecursionError:
        raise BadConfig("configs nested too deeply", where=f.where, remedy="check the nested configs") from None


def unknown(f: Fields) -> BadConfig:
    """The error for an architecture that we have no formulas for."""
    others = [name for name in homes() if name != f.model_type]
    near = get_close_matches(f.model_type[:100], others, n=2, cutoff=0.75)
    hint = f" (near, but not taken for it: {', '.join(near)})" if near else ""
    return BadConfig(
        f"unknown architecture model_type '{f.model_type[:60]}'{hint}",
        field="model_type",
        where=f.where,
        remedy="a family needs the formulas of its layers, their weights and state; a GGUF or safetensors header "
        "still gives its weights",
    )
