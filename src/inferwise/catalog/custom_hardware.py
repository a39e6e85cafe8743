"""Hardware of one's own, from a TOML file: devices that the catalog lacks or that differ from it, and machines.

docs/hardware.md has the schema. Figures are in the units that datasheets print: GiB, GB/s, TFLOPS, watts.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from inferwise.catalog.accelerators import accelerator, resized
from inferwise.catalog.nodes import find_node, named_devices, node_of
from inferwise.errors import BadInput, UnknownName
from inferwise.spec.hardware import Accelerator, Host, Kind, Market, Node
from inferwise.units import GB, GIB, MIB

MAX_BYTES = 2**18  # of a file
MAX_ENTRIES = 500  # devices, and machines, of a file
MAX_STRING = 2000
MOST = 1e9  # of any figure in its unit: no datasheet has more
FORMATS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp6", "int8", "fp4", "int4")
REMEDY = "docs/hardware.md has the schema"

SIZES = {
    "memory_gib": ("memory_bytes", GIB),
    "memory_gb": ("memory_bytes", GB),
    "reported_gib": ("reported_bytes", GIB),
    "reported_mib": ("reported_bytes", MIB),
    "gpu_limit_gib": ("gpu_limit_bytes", GIB),
    "used_gib": ("used_bytes", GIB),
}
RATES = {
    "bandwidth_gb_per_s": ("memory_bytes_per_s", 1e9),
    "link_gb_per_s": ("link_bytes_per_s", 1e9),
    "pcie_gb_per_s": ("pcie_bytes_per_s", 1e9),
    "power_w": ("power_w", 1.0),
    "price_usd": ("price_usd", 1.0),
    "rent_usd_per_hour": ("rent_usd_per_hour", 1.0),
}
TEXTS = ("name", "vendor", "architecture", "link", "price_kind", "confidence", "source", "notes")
HOST_SIZES = {"host_memory_gib": ("memory_bytes", GIB), "disk_gb": ("disk_bytes", GB)}
HOST_RATES = {
    "host_bandwidth_gb_per_s": ("memory_bytes_per_s", 1e9),
    "disk_gb_per_s": ("disk_bytes_per_s", 1e9),
    "network_gbit_per_s": ("network_bytes_per_s", 1e9 / 8),
}
MAY_BE_ZERO = ("used_gib", "price_usd", "rent_usd_per_hour")


class Table:
    """A table of the file, and where it stands in it for messages."""

    def __init__(self, where: str, rows: Mapping[str, Any]) -> None:
        self.where, self.rows = where, rows

    def fail(self, field: str, what: str) -> NoReturn:
        """Raise BadInput that names the file, the table and the field."""
        raise BadInput(f"{_shown(field)} {what}", where=self.where, remedy=REMEDY)

    def number(self, field: str) -> float:
        """A figure of a field. Raises BadInput where it is none that can be."""
        value = self.rows[field]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(field, f"is {_shown(value)}, not a number")
        least = 0 if field in MAY_BE_ZERO else math.ulp(0.0)
        if not (least <= value <= MOST) or (isinstance(value, float) and not math.isfinite(value)):
            self.fail(field, f"is {_shown(value)}; it must be above 0 and at most {MOST:g}")
        return float(value)

    def text(self, field: str) -> str:
        """A text of a field: one printable line. Raises BadInput."""
        value = self.rows[field]
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_STRING or not value.isprintable():
            self.fail(field, f"is {_shown(value)}, not a line of 1 to {MAX_STRING:,} printable characters")
        return value

    def whole(self, field: str, most: int) -> int:
        """A whole number of a field. Raises BadInput."""
        value = self.rows[field]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.fail(field, f"is {_shown(value)}, not a whole number from 1 to {most:,}")
        return value

    def only(self, fields: tuple[str, ...]) -> None:
        """Raise BadInput where the table has another field than these."""
        for field in self.rows:
            if field not in fields:
                self.fail(field, f"is no field here; there are {', '.join(fields)}")


def _shown(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else type(value).__name__
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:g}" if isinstance(value, float) or abs(value) < 1e300 else "a number too large"
    return text if len(text) <= 60 else text[:57] + "...'"


def load_custom(path: str, name: str = "") -> Node:
    """The device or machine `name` of a TOML file; without a name, the one that it has.

    Raises BadInput with the file, the device and the field; WorldFailed where the disk fails.
    """
    devices, machines = read_custom(path)
    if name:
        if name in machines:
            return machines[name]
        if name in devices:
            return node_of((devices[name],))
        raise UnknownName(f"hardware in {path[-100:]}", name, suggestions=[*machines, *devices][:8])
    found = list(machines.values()) or [node_of((device,)) for device in devices.values()]
    if len(found) == 1:
        return found[0]
    names = [*(machines or devices)]
    raise BadInput(
        f"{len(names)} of them: which one?", where=path, remedy=f"write {path[-100:]}#NAME: {', '.join(names[:8])}"
    )


def read_custom(path: str) -> tuple[dict[str, Accelerator], dict[str, Node]]:
    """The devices and machines of a TOML file, by name. Raises as load_custom."""
    from inferwise.read.ranges import LocalFile, read_whole

    content = read_whole(LocalFile(Path(os.path.expanduser(path)), path), MAX_BYTES)
    return parse_custom(content, path)


def parse_custom(content: bytes, path: str) -> tuple[dict[str, Accelerator], dict[str, Node]]:
    """The devices and machines of a TOML text. Raises BadInput."""
    try:
        data = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise BadInput("not UTF-8 text", where=path, remedy=REMEDY) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not TOML: {error}"[:200], where=path, remedy=REMEDY) from None
    file = Table(path, data)
    file.only(("devices", "nodes"))
    devices: dict[str, Accelerator] = {}
    for name, table in _tables(file, "devices"):
        devices[name] = _device(name, table, devices)
    machines = {name: _machine(name, table, devices) for name, table in _tables(file, "nodes")}
    if not devices and not machines:
        raise BadInput("no [devices.NAME] and no [nodes.NAME]", where=path, remedy=REMEDY)
    return devices, machines


def _tables(file: Table, group: str) -> list[tuple[str, Table]]:
    rows = file.rows.get(group, {})
    if not isinstance(rows, dict):
        file.fail(group, f"is {_shown(rows)}; write [{group}.NAME]")
    if len(rows) > MAX_ENTRIES:
        file.fail(group, f"has {len(rows):,} entries; at most {MAX_ENTRIES} are read")
    found = []
    for name, row in rows.items():
        where = f"{file.where}: [{group}.{name[:60]}]"
        if not isinstance(row, dict):
            raise BadInput(f"{_shown(row)}, not a table", where=where, remedy=REMEDY)
        if not name.strip() or len(name) > 100 or any(c in name for c in "+#") or not name.isprintable():
            raise BadInput("a name has 1 to 100 characters, no '+' and no '#'", where=where, remedy=REMEDY)
        found.append((name, Table(where, row)))
    return found


def _device(name: str, table: Table, known: Mapping[str, Accelerator]) -> Accelerator:
    """One [devices.NAME]: its base, where it has one, with what the table says otherwise."""
    table.only((*SIZES, *RATES, *TEXTS, *CHOICES, "base", "year", "max_per_node", "tflops", "memory_sizes_gib"))
    values = _values(table, SIZES, RATES)
    values |= {field: table.text(field) for field in TEXTS if field in table.rows}
    for field, choice in CHOICES.items():
        if field in table.rows:
            values[field] = _choice(table, field, choice)
    if "year" in table.rows:
        values["year"] = table.whole("year", 3000)
    if "max_per_node" in table.rows:
        values["max_per_node"] = table.whole("max_per_node", 4096)
    if "tflops" in table.rows:
        values["dense_flops"] = _tflops(table)
    if "memory_sizes_gib" in table.rows:
        values["memory_sizes_bytes"] = _sizes(table)
    base = _base(table, known)
    if base is None and "memory_bytes" not in values:
        table.fail("memory_gib", "is missing; without a base a device needs it")
    whole = {"name": name, "source": table.where.partition(": [")[0]} | values
    if base is None:
        return _checked(table, Accelerator(slug=name, **whole))
    if values.get("memory_bytes", base.memory_bytes) != base.memory_bytes:
        base = resized(base, values["memory_bytes"])
    if "dense_flops" in values:
        whole["dense_flops"] = {**base.dense_flops, **values["dense_flops"]}
    if "reported_bytes" in values:  # what the user's driver says counts before what CUDA said of the base
        whole |= {"cuda_bytes": None, "reported_by": whole["source"]}
    if "source" not in values:
        whole["source"] = f"{whole['source']}, as {base.slug} otherwise ({base.source})"
    return _checked(table, replace(base, slug=name, aliases=(), **whole))


def _base(table: Table, known: Mapping[str, Accelerator]) -> Accelerator | None:
    """The device that this one is like: one above it in the file, or one of the catalog."""
    if "base" not in table.rows:
        return None
    base = table.text("base")
    if base in known:
        return known[base]
    try:
        return accelerator(base)
    except UnknownName as error:
        raise BadInput(f"base: {error.what}", where=table.where, remedy=error.remedy) from None


def _values(
    table: Table, sizes: Mapping[str, tuple[str, int]], rates: Mapping[str, tuple[str, float]]
) -> dict[str, Any]:
    """The figures of a table in our own fields and units."""
    values: dict[str, Any] = {}
    for field, (ours, unit) in {**sizes, **rates}.items():
        if field not in table.rows:
            continue
        if ours in values:
            table.fail(field, "and another field say the same")
        figure = table.number(field)
        values[ours] = round(figure * unit) if field in sizes else figure * unit
        if field in sizes and figure and not values[ours]:
            table.fail(field, f"is {_shown(figure)}: less than a byte")
    return values


def _choice(table: Table, field: str, choice: Callable[[str], Any]) -> Any:
    value = table.text(field)
    try:
        return choice(value)
    except ValueError:
        table.fail(field, f"is {_shown(value)}; there are {', '.join(choice)}")  # type: ignore[arg-type]


CHOICES: dict[str, Callable[[str], Any]] = {"kind": Kind, "market": Market}


def _tflops(table: Table) -> dict[str, float]:
    rows = table.rows["tflops"]
    if not isinstance(rows, dict):
        table.fail("tflops", f"is {_shown(rows)}, not a table of formats")
    inner = Table(f"{table.where} tflops", rows)
    inner.only(FORMATS)
    return {field: inner.number(field) * 1e12 for field in rows}


def _sizes(table: Table) -> tuple[int, ...]:
    rows = table.rows["memory_sizes_gib"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= 50:
        table.fail("memory_sizes_gib", f"is {_shown(rows)}, not a list of 1 to 50 sizes")
    return tuple(
        round(Table(table.where, {"memory_sizes_gib": each}).number("memory_sizes_gib") * GIB) for each in rows
    )


def _checked(table: Table, device: Accelerator) -> Accelerator:
    """The device, if its sizes can stand beside each other."""
    for field, size in (("reported_gib", device.reported_bytes), ("gpu_limit_gib", device.gpu_limit_bytes)):
        if size is not None and size > device.memory_bytes * 1.05:  # "GB" of 10^9 bytes and of 2^30 may meet
            table.fail(field, "is more than the memory")
    if device.used_bytes >= device.memory_bytes:
        table.fail("used_gib", "leaves nothing of the memory")
    return device


def _machine(name: str, table: Table, own: Mapping[str, Accelerator]) -> Node:
    """One [nodes.NAME]: devices of the file or the catalog, and its host."""
    table.only(("name", "devices", "source", "notes", "base", *HOST_SIZES, *HOST_RATES))
    base = None
    if "base" in table.rows:
        base = find_node(table.text("base"))
        if base is None:
            table.fail("base", f"is {_shown(table.rows['base'])}, no machine of the catalog")
    if base is None and "devices" not in table.rows:
        table.fail("devices", "is missing; write devices = '2xrtx-3090+rtx-3060'")
    try:
        devices = named_devices(table.text("devices"), own) if "devices" in table.rows else ()
    except BadInput as error:
        raise BadInput(f"devices: {error.what}", where=table.where, remedy=error.remedy) from None
    host = _values(table, HOST_SIZES, HOST_RATES)
    texts = {field: table.text(field) for field in ("name", "source", "notes") if field in table.rows}
    whole: dict[str, Any] = {"name": name, "source": table.where.partition(": [")[0], **texts}
    if base is None:
        return Node(slug=name, devices=devices, host=Host(**host), **whole)
    return replace(base, slug=name, devices=devices or base.devices, host=replace(base.host, **host), **whole)
