from __future__ import annotations

import json

from inferwise.read.machine import detect
from inferwise.report.machine import machine_dict, machine_text
from inferwise.report.tables import to_json
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundDevice, FoundHost, Machine
from inferwise.units import GIB, MIB

HOST = FoundHost(
    cpu="AMD EPYC",
    cores=96,
    sockets=2,
    memory_bytes=64 * GIB,
    available_bytes=50 * GIB,
    memory_limit_bytes=64 * GIB,
    disk_free_bytes=9 * GIB,
    os="Some Linux",
)
CARD = FoundDevice(
    name="NVIDIA GeForce RTX 4090",
    vendor="NVIDIA",
    memory_bytes=24564 * MIB,
    reserved_bytes=483 * MIB,
    used_bytes=512 * MIB,
    index=0,
    uuid="GPU-1",
    driver="570.86",
    source="NVML",
)
MACHINE = Machine(host=HOST, devices=(CARD, FoundDevice(name="AMD APU", kind=Kind.UNIFIED)), remarks=("mind this",))


def test_a_machine_as_data_says_what_is_known_and_null_for_the_rest() -> None:
    data = json.loads(to_json(machine_dict(MACHINE)))
    assert data["schema"] == "inferwise/machine/1"
    first, second = data["devices"]
    assert first["catalog"] == "rtx-4090"
    assert first["usable_bytes"] == first["memory_bytes"] - first["reserved_bytes"] == 24081 * MIB
    assert first["free_bytes"] == first["usable_bytes"] - first["used_bytes"]
    assert (second["memory_bytes"], second["free_bytes"], second["catalog"]) == (None, None, None)
    assert data["host"]["memory_limit_bytes"] == 64 * GIB
    assert data["host"]["home_free_bytes"] is None
    assert data["remarks"] == ["mind this"]


def test_a_machine_as_text_has_every_device_the_host_and_the_remarks() -> None:
    text = machine_text(MACHINE)
    row = next(line for line in text.splitlines() if line.startswith(CARD.name))
    assert row.split()[4:] == ["23.99", "GiB", "23.52", "GiB", "512.0", "MiB", "23.02", "GiB", "570.86", "rtx-4090"]
    assert "not in it" in next(line for line in text.splitlines() if line.startswith("AMD APU"))
    assert "AMD EPYC, 96 cores on 2 sockets" in text
    assert "64.00 GiB, 50.00 GiB available, a limit on this process" in text
    assert "9.00 GiB free here, ? in the home folder" in text
    assert text.endswith("note: mind this")


def test_nothing_found_is_said() -> None:
    text = machine_text(Machine(host=FoundHost()))
    assert text.startswith("no GPU found")
    assert "unknown" in text
    assert "note:" not in text


def test_this_machine_can_be_shown() -> None:
    machine = detect()
    assert machine_text(machine)
    assert len(json.loads(to_json(machine_dict(machine)))["devices"]) == len(machine.devices)
