"""Which device of the catalog was found: by vendor, the words of its name, and its memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from inferwise.catalog.accelerators import accelerators
from inferwise.read.machine.files import plain
from inferwise.read.machine.world import facts
from inferwise.spec.hardware import Accelerator, Kind, Market
from inferwise.spec.machine import FoundDevice, FoundHost

SIZE = r"[0-9.]+ ?(?:gb|gib|g)\b"


@dataclass(frozen=True, slots=True)
class Name:
    """A device's name as it is compared: words, form (sxm, pcie, nvl), GPU cores, whether it names a size."""

    words: frozenset[str]
    form: str
    cores: int | None
    sized: bool


def matching(found: FoundDevice, known: Mapping[str, Accelerator] | None = None) -> str | None:
    """The slug of the catalog's device that this is, or None: not in it, or more than one could be meant.

    A laptop's GPU is never its desktop namesake, an SXM board never its PCIe card, a chip never its larger bin.
    """
    known = accelerators() if known is None else known
    name = name_of(found.name)
    same = {
        slug: (entry, other)
        for slug, entry in known.items()
        if name.words
        and name.words in _all_words(entry, other := _entry_name(entry))
        and _same_vendor(found, entry)
        and _same_kind(found, entry)
        and _same_cores(found, name, other)
    }
    nearest = {slug: distance for slug, pair in same.items() if (distance := _distance(found, *pair)) is not None}
    forms = {slug: same[slug][1].form for slug in nearest}
    wanted = name.form if name.form or "" in forms.values() else str(facts()["matching"]["unsaid_form"])
    chosen = [slug for slug in nearest if forms[slug] == wanted] or [slug for slug in nearest if not forms[slug]]
    best = min((nearest[slug] for slug in chosen), default=None)
    chosen = [slug for slug in chosen if nearest[slug] == best]
    if len(chosen) > 1 and found.memory_bytes:  # `Raspberry Pi 5 8GB` is sold with 16 GB, but that has its own entry
        own = [slug for slug in chosen if same[slug][1].sized and _is_own(found, known[slug])]
        chosen = own or chosen
    return chosen[0] if len(chosen) == 1 else None


def matching_host(host: FoundHost, known: Mapping[str, Accelerator] | None = None) -> str | None:
    """The slug of the catalog's entry for a processor (one socket of it), or for a single-board computer."""
    board = "raspberry pi" in host.board.lower()
    found = FoundDevice(name=host.board if board else host.cpu, kind=Kind.CPU, memory_bytes=host.memory_bytes)
    return matching(found, known) if found.name else None


@lru_cache(maxsize=2048)
def name_of(text: str) -> Name:
    """A name taken apart.

    >>> sorted(name_of("NVIDIA GeForce RTX 4090 Laptop GPU").words), name_of("Tesla V100-SXM2-16GB").form
    (['4090', 'laptop', 'rtx'], 'sxm')
    """
    text = plain(text).lower().replace("+", " ").replace("max-q", "maxq").replace("mobile", "laptop")
    cores = re.search(r"\b([0-9]{1,3})-cores?\b", text)
    text = re.sub(r"\([^)]*\)|\b[0-9]{1,3}-cores?\b|\bw/ .*|\bwith radeon.*|\bmodel [ab]\b.*|@.*", " ", text)
    sized = re.search(SIZE, text) is not None
    words = [word for word in re.split(r"[^a-z0-9.]+", re.sub(SIZE, " ", text)) if word]
    form = next((each for each in ("sxm", "pcie", "nvl") for word in words if _is_form(word, each)), "")
    rules = facts()["matching"]
    noise = {*rules["noise"], *(each for word, others in rules["beside"].items() if word in words for each in others)}
    kept = (
        word for word in words if word not in noise and not re.fullmatch(r"(sxm|hbm)[0-9]*e?|pcie|nvl|[0-9]+th", word)
    )
    return Name(frozenset(kept), form, int(cores[1]) if cores else None, sized)


def _is_own(found: FoundDevice, entry: Accelerator) -> bool:
    low, high = facts()["matching"]["unified_share" if found.kind is not Kind.GPU else "card_share"]
    return bool(low <= (found.memory_bytes or 0) / entry.memory_bytes <= high)


def _is_form(word: str, form: str) -> bool:
    return re.fullmatch(form + "[0-9]?", word) is not None


def _entry_name(entry: Accelerator) -> Name:
    name = name_of(entry.name)
    if entry.market is Market.LAPTOP and entry.kind is Kind.GPU:
        return Name(name.words | {"laptop"}, name.form, name.cores, name.sized)
    return name


def _same_vendor(found: FoundDevice, entry: Accelerator) -> bool:
    return not found.vendor or not entry.vendor or entry.vendor.split()[0].lower() == found.vendor.lower()


def _all_words(entry: Accelerator, name: Name) -> list[frozenset[str]]:
    """The words of an entry's name, and of each of its other names."""
    return [name.words, *(name_of(alias).words for alias in entry.aliases)]


def _same_cores(found: FoundDevice, name: Name, other: Name) -> bool:
    """Whether it is this bin of an Apple chip, as far as its cores are known."""
    cores = found.cores or name.cores if found.vendor == "Apple" else None
    return cores is None or other.cores is None or cores == other.cores


def _same_kind(found: FoundDevice, entry: Accelerator) -> bool:
    """A processor is not the graphics in it; of a single-board computer there is one entry, whatever its kind."""
    if found.kind is Kind.CPU:
        return entry.kind is Kind.CPU or "raspberry" in entry.name.lower()
    return entry.kind is not Kind.CPU


def _distance(found: FoundDevice, entry: Accelerator, name: Name) -> float | None:
    """How far the driver's memory is from a size that the device is sold with; None: it cannot be that device."""
    if found.memory_bytes is None or (found.kind is Kind.CPU and not name.sized):
        return 0.0
    sizes = {entry.memory_bytes, entry.reported_bytes or entry.memory_bytes, *entry.memory_sizes_bytes}
    shares = [found.memory_bytes / size for size in sizes if size]
    shared = found.kind is not Kind.GPU
    low, high = facts()["matching"]["unified_share" if shared else "card_share"]
    if shared and not name.sized:  # an APU reaches what was set; of an Apple chip not every size need be listed
        return min((abs(1 - share) for share in shares), default=0.0) if min(shares, default=high) <= high else None
    return min((abs(1 - share) for share in shares if low <= share <= high), default=None)
