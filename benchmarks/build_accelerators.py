"""Write the catalog of devices from the measurements' accelerators.csv, as facts in our own format.

What the csv has wrong, what drivers report, the names people type and the devices it lacks are in FACTS
(benchmarks/hardware/*.toml), each with its source. The catalog is JSON, one device a line, in SI units: a TOML file of
its size takes a hundred milliseconds to read.

Run: `python benchmarks/build_accelerators.py ACCELERATORS.csv benchmarks/hardware OUT.json`
"""

from __future__ import annotations

import csv
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GIB, MIB, GB = 2**30, 2**20, 10**9
PCIE_LANE = {2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.56e9}  # bytes/s a lane, each direction
FORMATS = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
SHARED_MEMORY = ("unified", "cpu")  # nothing lies between such a device and the host's memory
MAKERS = re.compile(r"^(nvidia|geforce|radeon|amd|apple|intel|aws|raspberry|qualcomm|rtx|gtx|rx|arc)-")


def column(rate: str) -> str:
    return f"{rate}_tops" if rate == "int8" else f"{rate}_tflops"


def decimal(text: Any, exponent: int) -> float | None:
    """A number of the csv, times a power of ten, without a rounding of its own."""
    return float(f"{text}e{exponent}") if str(text or "").strip() else None


def plain(name: str) -> str:
    """A csv name as a slug: lower case, no brackets, words joined by hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", re.sub(r"\(.*?\)", "", name.lower()).replace("+", "")).strip("-")


def remark(text: str) -> str:
    """A remark of the csv without the sentences about other tables."""
    aside = re.compile(r"[Ss]eed-table|llmfit")
    if not aside.search(text):
        return text
    return " ".join(each for each in re.split(r"(?<=\.) ", text) if not aside.search(each)).rstrip(".")


def pcie(text: str) -> float | None:
    """`4x16` as bytes/s, each direction."""
    if not text:
        return None
    generation, lanes = text.split("x")
    return float(f"{PCIE_LANE[int(generation)] * int(lanes):.6g}")


def device(row: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """A row of the csv (or of the additions) in our own fields."""
    name = row["name"]
    kind = next(each for each in facts["class"] if re.search(each["match"], name))
    binary = name not in facts["decimal"]
    memory = round(float(row["memory_gb"]) * (GIB if binary else GB))
    notes = [remark(row.get("notes") or "")]
    if not binary:
        notes.append(f"GB is decimal here: {facts['decimal'][name]}")
    if kind["kind"] == "cpu" and kind["market"] != "edge":
        notes.append("memory: as its slots are often filled; a machine's own counts")
    if "bridge" in (row.get("interconnect") or ""):
        notes.append("the bridge joins two cards, others go over PCIe")
    smi = row.get("nvidia_smi_mib")
    flops = {rate: decimal(row.get(column(rate)), 12) for rate in FORMATS}
    found = {
        "slug": facts["slugs"].get(name, plain(name)),
        "name": name,
        "memory_bytes": memory,
        "reported_bytes": int(smi) * MIB if smi else None,
        "reported_by": "nvidia-smi" if smi else "",
        "vendor": row["vendor"].removesuffix(" CPU"),
        "architecture": row["arch"],
        "kind": kind["kind"],
        "market": kind["market"],
        "year": int(row["year"]) if row.get("year") else None,
        "memory_bytes_per_s": decimal(row.get("bandwidth_gbs"), 9),
        "dense_flops": {rate: value for rate, value in flops.items() if value is not None},
        "power_w": decimal(row.get("tdp_w"), 0),
        "link": row.get("interconnect") or "none",
        "link_bytes_per_s": decimal(row.get("interconnect_gbs_per_dir"), 9) or None,
        "pcie_bytes_per_s": None if kind["kind"] in SHARED_MEMORY else pcie(row.get("pcie") or ""),
        "max_per_node": int(row.get("max_per_node") or 1),
        "price_usd": decimal(row.get("launch_price_usd"), 0),
        "price_kind": row.get("price_kind") or "",
        "memory_sizes_bytes": [size * GIB for size in facts["sizes"].get(name, [])],
        "confidence": row.get("confidence") or "",
        "source": row["source"],
        "notes": notes,
        "mended": [],
    }
    sizes(found, name, facts)
    return found


def sizes(found: dict[str, Any], name: str, facts: dict[str, Any]) -> None:
    """The GPU's limit of a unified memory, and what the system takes."""
    limit = next((rule for match, rule in facts["limit_of"].items() if re.search(match, name)), None)
    if limit and found["kind"] == "unified":
        found["limit_rule"] = limit
        rule = facts["limits"][limit]
        found["notes"] += [rule[key] for key in ("before", "raise") if key in rule]
    used = next((rule for rule in facts["used"] if re.search(rule["match"], name)), None)
    if used is None:
        gib = facts["used_by_market"][found["market"]]
        used = {"gib": gib, "why": "assumed: the desktop"}
    found["used_bytes"] = int(used["gib"] * GIB)
    if found["used_bytes"]:
        found["notes"].append(f"{used['gib']} GiB in use: {used['why']}")


def additions(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that the csv lacks, in its columns."""
    for group in facts["additions"].values():
        shared = {key: value for key, value in group.items() if key != "rows"}
        for row in group["rows"]:
            row = {**shared, **row}
            tops = row.pop("ai_tops", None)
            if tops:
                row.update(from_ai_tops(tops, row["arch"]))
                row["notes"] = f"{tops} AI TOPS = sparse {'FP4' if row['arch'] == 'Blackwell' else 'FP8/INT8'}"
            yield row


def from_ai_tops(tops: float, arch: str) -> dict[str, float]:
    """Dense rates [TFLOPS] of a GeForce card from NVIDIA's AI TOPS; the desktop cards of the csv agree to 0.2 %."""
    int8 = tops / 4 if arch == "Blackwell" else tops / 2
    rates = {"int8_tops": int8, "fp8_tflops": int8 / 2, "fp16_tflops": int8 / 4, "bf16_tflops": int8 / 4}
    rates |= {"fp32_tflops": int8 / 8, "tf32_tflops": int8 / 8}
    if arch == "Blackwell":
        rates["fp4_tflops"] = tops / 2
    return {key: float(f"{value:.4g}") for key, value in rates.items()}


def mend(found: dict[str, Any], name: str, facts: dict[str, Any]) -> None:
    """Correct a device; what was changed and why stays with it."""
    for rule in facts["mend"]:
        if name not in rule["devices"]:
            continue
        for key in rule.get("half", ()):
            value = found[key]
            halves = {rate: flops / 2 for rate, flops in value.items()} if isinstance(value, dict) else value / 2
            found[key] = int(halves) if isinstance(value, int) else halves
        if "half" in rule:
            found["mended"].append(f"{', '.join(rule['half'])}: {rule['why']} ({rule['source']})")
        if "field" in rule:
            key, _, rate = rule["field"].partition(".")
            place, key = (found[key], rate) if rate else (found, key)
            was = place.get(key)
            if rate:
                place.pop(key)
            else:
                place[key] = rule.get("value")
            before = "was absent" if was is None else f"was {was:g}"
            found["mended"].append(f"{rule['field']}: {before}; {rule['why']} ({rule['source']})")


def report(found: dict[str, Any], facts: dict[str, Any]) -> None:
    """What the driver reports, where we know it and the csv does not."""
    for how in ("kept", "seen", "recalled"):
        seen = facts["reported"][how].get(found["slug"])
        if seen is None or (found["reported_bytes"] and how != "kept"):
            continue
        found["reported_bytes"] = seen.get("bytes") or seen["mib"] * MIB
        found["reported_by"] = seen.get("by", "nvidia-smi") + (", as recalled" if how == "recalled" else "")
        found["cuda_bytes"] = round(seen["cuda_gib"] * GIB) if "cuda_gib" in seen else None


def names(found: dict[str, Any], name: str, facts: dict[str, Any]) -> list[str]:
    """What people type for a device, beside its slug."""
    bare = plain(name if "core" not in found["slug"] else found["slug"])  # two of a chip: the larger has the name
    known = [bare, *facts["aliases"].get(found["slug"], ())]
    for each in (found["slug"], bare):
        while (shorter := MAKERS.sub("", each)) != each:
            known.append(shorter)
            each = shorter
    return [each for each in dict.fromkeys(known) if each != found["slug"]]


def load(facts_folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in ("classes", "mends"):
        facts |= tomllib.loads((facts_folder / f"{name}.toml").read_text("utf-8"))
    for name in ("reported", "additions"):
        facts[name] = tomllib.loads((facts_folder / f"{name}.toml").read_text("utf-8"))
    return facts


def build(source: Path, facts_folder: Path) -> dict[str, Any]:
    """The catalog: limits and devices."""
    facts = load(facts_folder)
    with source.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file), *additions(facts)]
    devices: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = device(row, facts)
        mend(found, row["name"], facts)
        report(found, facts)
        found["aliases"] = names(found, row["name"], facts)
        rent = facts["presets"].get(found["slug"])
        if rent:
            found["rent_usd_per_hour"] = rent
            found["notes"].append(f"preset of the research notes; rent: {facts['presets']['source']}")
        found["notes"] = "; ".join(note for note in found["notes"] if note)
        slug = found.pop("slug")
        assert slug not in devices, slug
        devices[slug] = {key: value for key, value in found.items() if value not in (None, "", [], {})}
    check(facts, devices)
    limits = {
        name: {key: rule[key] for key in ("steps", "most", "source") if key in rule}
        for name, rule in facts["limits"].items()
    }
    return {"limits": limits, "devices": devices}


def check(facts: dict[str, Any], devices: dict[str, Any]) -> None:
    """No fact is left over: each names a device that there is."""
    keyed = {**facts["aliases"], **facts["presets"], **facts["reported"]["kept"], **facts["reported"]["seen"]}
    left = {*keyed, *facts["reported"]["recalled"]} - set(devices) - {"source"}
    known = {row["name"] for row in devices.values()}
    named = {
        *facts["sizes"],
        *facts["slugs"],
        *facts["decimal"],
        *(n for rule in facts["mend"] for n in rule["devices"]),
    }
    left |= named - known - {"source"}
    if left:
        raise SystemExit(f"facts of no device: {sorted(left)}")


def text(catalog: dict[str, Any]) -> str:
    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    devices = ",\n".join(f"{line(slug)}:{line(row)}" for slug, row in catalog["devices"].items())
    return f'{{"limits":{line(catalog["limits"])},\n"devices":{{\n{devices}\n}}}}\n'


def main(source: Path, facts_folder: Path, out: Path) -> int:
    catalog = build(source, facts_folder)
    out.write_text(text(catalog), "utf-8")
    mended = sum(bool(row.get("mended")) for row in catalog["devices"].values())
    reported = sum("reported_bytes" in row for row in catalog["devices"].values())
    print(len(catalog["devices"]), "devices,", mended, "mended,", reported, "with a reported capacity")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(Path(arg) for arg in sys.argv[1:4])))
