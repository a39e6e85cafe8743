"""The machine at hand, for readers."""

from __future__ import annotations

from typing import Any

from inferwise.read.machine.match import matching, matching_host
from inferwise.report.tables import table
from inferwise.spec.machine import FoundDevice, FoundHost, Machine
from inferwise.units import human_bytes


def machine_dict(machine: Machine) -> dict[str, Any]:
    """A machine as plain data: schema `inferwise/machine/1`. null: not known. catalog: the slug, where it is known."""
    host = machine.host
    return {
        "schema": "inferwise/machine/1",
        "devices": [_device_dict(device) for device in machine.devices],
        "host": {
            "cpu": host.cpu,
            "cores": host.cores,
            "sockets": host.sockets,
            "memory_bytes": host.memory_bytes,
            "available_bytes": host.available_bytes,
            "memory_limit_bytes": host.memory_limit_bytes,
            "memory_bytes_per_s": None,
            "disk_free_bytes": host.disk_free_bytes,
            "home_free_bytes": host.home_free_bytes,
            "os": host.os,
            "board": host.board,
            "catalog": matching_host(host),
        },
        "remarks": list(machine.remarks),
    }


def _device_dict(device: FoundDevice) -> dict[str, Any]:
    return {
        "name": device.name,
        "vendor": device.vendor,
        "kind": device.kind.value,
        "catalog": matching(device),
        "memory_bytes": device.memory_bytes,
        "reserved_bytes": device.reserved_bytes,
        "usable_bytes": device.usable_bytes,
        "used_bytes": device.used_bytes,
        "free_bytes": device.free_bytes,
        "gpu_limit_bytes": device.gpu_limit_bytes,
        "unified": device.unified,
        "index": device.index,
        "uuid": device.uuid,
        "driver": device.driver,
        "architecture": device.architecture,
        "cores": device.cores,
        "source": device.source,
    }


def machine_text(machine: Machine) -> str:
    """The devices in a table, the host below them, and what could not be read."""
    lines = [_devices(machine) if machine.devices else "no GPU found: models run on the processor", ""]
    lines.append(table(_host_rows(machine.host)))
    lines += ["", *(f"note: {remark}" for remark in machine.remarks)] if machine.remarks else []
    return "\n".join(lines)


def _devices(machine: Machine) -> str:
    header = ("device", "memory", "usable", "used", "free", "driver", "catalog")
    rows = (
        (
            device.name,
            _size(device.memory_bytes) + (" (the host's)" if device.unified else ""),
            _size(device.usable_bytes),
            _size(device.used_bytes),
            _size(device.free_bytes),
            device.driver or "?",
            matching(device) or "not in it",
        )
        for device in machine.devices
    )
    return table(rows, header=header, right=(1, 2, 3, 4))


def _host_rows(host: FoundHost) -> list[tuple[str, str]]:
    sockets = f" on {host.sockets} sockets" if (host.sockets or 1) > 1 else ""
    cores = f", {host.cores} cores{sockets}" if host.cores else ""
    named = f" ({slug} of the catalog)" if (slug := matching_host(host)) else ""
    limited = ", a limit on this process" if host.memory_limit_bytes is not None else ""
    rows = [
        ("cpu", (host.cpu or "unknown") + cores + named),
        ("memory", f"{_size(host.memory_bytes)}, {_size(host.available_bytes)} available{limited}"),
        ("disk", f"{_size(host.disk_free_bytes)} free here, {_size(host.home_free_bytes)} in the home folder"),
        ("system", host.os or "unknown"),
    ]
    return [*rows, ("board", host.board)] if host.board else rows


def _size(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else human_bytes(size_bytes)
