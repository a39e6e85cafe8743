"""The devices that we know.

accelerators.json is written by benchmarks/build_accelerators.py, with what was mended and why; docs/hardware.md says
what its figures mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

from inferwise.catalog.lookup import fold, split, suggestions
from inferwise.errors import BadInput, UnknownName
from inferwise.spec.hardware import Accelerator, Kind, Market
from inferwise.units import GIB, gib

MAX_NAME = 200  # characters of a name that are looked at
MAKERS = re.compile(r"^(nvidia|tesla|geforce|amd|instinct|radeon|intel|apple|qualcomm)-")
SIZED = re.compile(r"^(.+?)-(\d{1,5})(?:-?(?:gib|gb|g))?$")
AT_LEAST = re.compile(r"^(?:>=?)?(\d{1,5})(?:gib|gb|g)?(\+?)$")


@cache
def _file() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(
        resources.files("inferwise.catalog").joinpath("accelerators.json").read_text("utf-8")
    )
    return found


def limits() -> Mapping[str, Mapping[str, Any]]:
    """How much of a unified memory a GPU may take by default: rules by name, with their sources."""
    found: Mapping[str, Mapping[str, Any]] = _file()["limits"]
    return found


@cache
def _device(slug: str) -> Accelerator:
    row = dict(_file()["devices"][slug])
    for name in ("memory_sizes_bytes", "mended", "aliases"):
        row[name] = tuple(row.get(name, ()))
    rule = row.get("limit_rule", "")
    row["kind"], row["market"] = Kind(row["kind"]), Market(row["market"])
    return Accelerator(slug=slug, **row, **_limits_at(rule, row["memory_bytes"]))


def _limits_at(rule: str, memory_bytes: int) -> dict[str, Any]:
    """What the rule gives a GPU of a memory of this size, by default and at most."""
    if not rule:
        return {}
    found = limits()[rule]
    share = next((share for up_to, share in found["steps"] if memory_bytes <= up_to * GIB), found["steps"][-1][1])
    shares = {"gpu_limit_bytes": share} | ({"gpu_limit_most_bytes": found["most"]} if "most" in found else {})
    return {name: int(memory_bytes * each) for name, each in shares.items()}


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Every device by its slug, in the order of the data file."""
    return {slug: _device(slug) for slug in _file()["devices"]}


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    """The slugs that each name means: slugs and aliases."""
    meant: dict[str, tuple[str, ...]] = {}
    for slug, row in _file()["devices"].items():
        for name in (slug, *row.get("aliases", ())):
            meant[name] = (*meant.get(name, ()), slug)
    return {**meant, **{slug: (slug,) for slug in _file()["devices"]}}


def accelerator(name: str) -> Accelerator:
    """The device of this slug, name or beginning of one; `apple-m4-max-64gb` is a size of one sold in several.

    Raises UnknownName with the nearest ones, or with those that the name may mean.
    """
    spellings = _spellings(name)
    meant: tuple[str, ...] = ()
    for wanted in spellings:
        meant = _names().get(wanted, ())
        if len(meant) == 1:
            return _device(meant[0])
        if meant:
            break
        sized = _sized(wanted)
        if sized is not None:
            return sized
    for wanted in () if meant else spellings:
        meant = tuple(dict.fromkeys(s for known, slugs in _names().items() if _begins(known, wanted) for s in slugs))
        if len(meant) == 1:
            return _device(meant[0])
        if meant:
            break
    raise UnknownName("device", name, suggestions=meant[:8] or _nearest(name), remedy="see `inferwise gpus`")


def _begins(known: str, wanted: str) -> bool:
    return bool(wanted) and known.startswith(wanted + "-")


def _spellings(name: str) -> list[str]:
    """A name as it may be keyed: as given, then without the words that drivers put around it."""
    wanted = re.sub(r"\((tm|r)\)|[()]|-?®|-?™", "", fold(name[:MAX_NAME]))
    wanted = re.sub(r"-+", "-", wanted.replace("/", "-").replace(",", "-")).strip("-")
    found = [wanted]
    for ending in ("-laptop-gpu", "-gpu", "-graphics"):
        if wanted.endswith(ending):
            wanted = wanted.removesuffix(ending) + ("-laptop" if "laptop" in ending else "")
            found.append(wanted)
    while (shorter := MAKERS.sub("", wanted)) != wanted:
        wanted = shorter
        found.append(wanted)
    return list(dict.fromkeys(found))


def _nearest(name: str) -> list[str]:
    """Slugs of the devices with a name near to this one; the research notes' presets where none is."""
    letters = sorted(fold(name[:MAX_NAME]))
    near = suggestions(name[:MAX_NAME], _file()["devices"], 20)
    near = sorted(near, key=lambda slug: sorted(slug) != letters)[:3]  # `rtx-4900`: two digits changed places
    known = _names()
    for alias in get_close_matches(fold(name[:MAX_NAME]), known, n=4, cutoff=0.7):  # `h300`, near the name h200
        near += [slug for slug in known[alias] if slug not in near]
    for alias in () if near else suggestions(name[:MAX_NAME], known):
        near += [slug for slug in known[alias] if slug not in near]
    return near[:4] or [slug for slug, row in _file()["devices"].items() if "preset" in row.get("notes", "")]


def _sized(wanted: str) -> Accelerator | None:
    """The device of a name that ends in a size of memory. None: no such device; UnknownName: not sold so."""
    match = SIZED.match(wanted)
    if match is None:
        return None
    base, size = match[1], int(match[2]) * GIB
    slugs = _names().get(base, ())
    family = [s for s in _file()["devices"] if s in slugs or any(s.startswith(each + "-") for each in slugs)]
    sold = {slug: _device(slug).memory_sizes_bytes for slug in family if _device(slug).memory_sizes_bytes}
    having = [slug for slug, sizes in sold.items() if size in sizes]
    if len(having) == 1 or (having and having[0] in slugs and len(slugs) == 1):
        return resized(_device(having[0]), size)
    if not sold:
        return None
    offered = having or list(sold)
    sizes = [f"{slug}-{each // GIB}gb" for slug in offered for each in sold[slug] if not having or each == size]
    raise UnknownName("device", wanted, suggestions=sizes[:8], remedy="these are the sizes it is sold with")


def resized(device: Accelerator, memory_bytes: int) -> Accelerator:
    """A device with another memory: what the GPU may take by the same rule, no reported figure, no price."""
    size = f"{memory_bytes // GIB}gb" if memory_bytes % GIB == 0 else f"{gib(memory_bytes):.1f}gib"
    bare = re.sub(r"-\d+(gb|g)$", "", device.slug)
    same = memory_bytes == device.memory_bytes
    bounds: dict[str, Any] = {"gpu_limit_bytes": None, "gpu_limit_most_bytes": None}
    return replace(
        device,
        slug=f"{bare}-{size}",
        name=f"{re.sub(r',? [0-9.]+Gi?B$', '', device.name)}, {size.replace('g', 'G').replace('b', 'B')}",
        memory_bytes=memory_bytes,
        reported_bytes=device.reported_bytes if same else None,
        cuda_bytes=device.cuda_bytes if same else None,
        reported_by=device.reported_by if same else "",
        price_usd=device.price_usd if same else None,
        used_bytes=min(device.used_bytes, memory_bytes // 2),
        aliases=(),
        **{**bounds, **_limits_at(device.limit_rule, memory_bytes)},
    )


def search(words: Iterable[str]) -> list[Accelerator]:
    """The devices that have every word in their slug, names, maker, architecture, kind, market or year.

    `80gb+` and `>=80gb` mean a memory of at least so many GiB. Raises BadInput for a text without any word.
    """
    text = " ".join(words)[:MAX_NAME]
    wanted = [word for part in text.split() for word in ([part.lower()] if AT_LEAST.match(part) else split(part))]
    if not wanted:
        raise BadInput("no word to search for", remedy="give words such as: nvidia laptop 16gb+")
    return [device for device in accelerators().values() if all(_has(device, word) for word in wanted)]


def _has(device: Accelerator, word: str) -> bool:
    least = AT_LEAST.match(word)
    if least and (least[2] or word.startswith(">")):
        return device.memory_bytes >= int(least[1]) * GIB
    text = f"{device.slug} {device.name} {device.vendor} {device.architecture} {device.kind} {device.market} "
    return word in (text + f"{device.year or ''} {' '.join(device.aliases)}").lower()
