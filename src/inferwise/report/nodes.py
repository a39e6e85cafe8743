"""The machines of the catalog, for readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inferwise.report.tables import table
from inferwise.spec.hardware import Node
from inferwise.units import human_bytes


def nodes_dict(nodes: Iterable[Node]) -> dict[str, Any]:
    """Machines as plain data: schema `inferwise/nodes/1` (docs/hardware.md)."""
    return {"schema": "inferwise/nodes/1", "machines": [node_dict(node) for node in nodes]}


def node_dict(node: Node) -> dict[str, Any]:
    """One machine as plain data. Bytes and bytes/s; null: not known."""
    return {
        "slug": node.slug,
        "name": node.name,
        "devices": [device.slug for device in node.devices],
        "link": node.link,
        "link_bytes_per_s": node.link_bytes_per_s,
        "host_memory_bytes": node.host.memory_bytes,
        "host_memory_bytes_per_s": node.host.memory_bytes_per_s,
        "disk_bytes": node.host.disk_bytes,
        "disk_bytes_per_s": node.host.disk_bytes_per_s,
        "network_bytes_per_s": node.host.network_bytes_per_s,
        "source": node.source,
        "notes": node.notes,
    }


def nodes_text(nodes: Iterable[Node]) -> str:
    """A table of machines, one a line; `-`: not known."""
    header = ("machine", "devices", "memory", "link", "host", "disk", "network GB/s")
    rows = [
        (
            node.slug,
            _devices(node),
            human_bytes(sum(device.capacity_bytes for device in node.devices)),
            node.link or "-",
            _size(node.host.memory_bytes),
            _size(node.host.disk_bytes),
            _rate(node.host.network_bytes_per_s),
        )
        for node in nodes
    ]
    return table(rows, header=header, right=(2, 4, 5, 6))


def node_text(node: Node) -> str:
    """One machine in full."""
    rows = [
        ("devices", _devices(node)),
        ("memory of the devices", human_bytes(sum(device.capacity_bytes for device in node.devices))),
        ("link between them", f"{node.link}, {_rate(node.link_bytes_per_s)} GB/s each direction" if node.link else ""),
        ("host memory", _size(node.host.memory_bytes)),
        ("host memory GB/s", _rate(node.host.memory_bytes_per_s)),
        ("disk", _size(node.host.disk_bytes)),
        ("disk GB/s", _rate(node.host.disk_bytes_per_s)),
        ("network GB/s", _rate(node.host.network_bytes_per_s)),
        ("source", node.source),
        ("notes", node.notes),
    ]
    return "\n".join((node.name, table([(f"  {name}", text) for name, text in rows if text not in ("", "-")])))


def _devices(node: Node) -> str:
    counts: dict[str, int] = {}
    for device in node.devices:
        counts[device.slug] = counts.get(device.slug, 0) + 1
    return " + ".join(f"{count} x {slug}" if count > 1 else slug for slug, count in counts.items())


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else human_bytes(size_bytes)


def _rate(bytes_per_s: float | None) -> str:
    return "-" if bytes_per_s is None else f"{bytes_per_s / 1e9:,.4g}"
