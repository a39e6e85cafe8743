from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inferwise.read.machine import detect
from inferwise.read.machine.node import this_node
from inferwise.spec.hardware import Accelerator, Kind, Market
from inferwise.spec.machine import FoundDevice, FoundHost, Machine
from inferwise.units import GIB, MIB

HOST = FoundHost(cpu="AMD EPYC 9654", sockets=2, memory_bytes=64 * GIB, available_bytes=50 * GIB, disk_free_bytes=7)
H100 = Accelerator(
    slug="h100",
    name="H100 SXM5 80GB",
    vendor="NVIDIA",
    memory_bytes=80 * GIB,
    memory_bytes_per_s=3.35e12,
    notes="a note",
)
KNOWN = {
    "h100": H100,
    "m4": Accelerator(
        slug="m4", name="Apple M4", vendor="Apple", kind=Kind.UNIFIED, memory_bytes=32 * GIB, gpu_limit_bytes=24 * GIB
    ),
    "epyc": Accelerator(
        slug="epyc", name="EPYC 9654 (96c)", kind=Kind.CPU, memory_bytes=768 * GIB, memory_bytes_per_s=4.6e11
    ),
    "b580": Accelerator(slug="b580", name="Arc B580", vendor="Intel", memory_bytes=12 * GIB),
}
CARD = FoundDevice(
    name="NVIDIA H100 80GB HBM3",
    vendor="NVIDIA",
    memory_bytes=81559 * MIB,
    reserved_bytes=551 * MIB,
    used_bytes=3 * GIB,
    driver="570.86",
    source="NVML",
)
GRAPHICS = FoundDevice(name="Intel Core i5", vendor="Intel", kind=Kind.UNIFIED, memory_bytes=64 * GIB, used_bytes=0)


def test_a_known_device_keeps_the_catalogs_figures_and_has_the_drivers_capacity() -> None:
    node = this_node(Machine(host=HOST, devices=(CARD, CARD)), KNOWN)
    first, second = node.devices
    assert first == second
    assert node.uniform
    assert (first.slug, first.memory_bytes, first.memory_bytes_per_s) == ("h100", 80 * GIB, 3.35e12)
    assert first.capacity_bytes == (81559 - 551) * MIB
    assert first.cuda_bytes == first.capacity_bytes
    assert first.used_bytes == 3 * GIB
    assert first.notes == "a note; memory as NVML gives it now (driver 570.86)"
    assert (node.host.memory_bytes, node.host.disk_bytes) == (50 * GIB, 7)


def test_an_unknown_device_has_a_capacity_and_nothing_that_was_not_found() -> None:
    found = FoundDevice(name="NVIDIA X1", vendor="NVIDIA", memory_bytes=10 * GIB, used_bytes=GIB, source="nvidia-smi")
    (device,) = this_node(Machine(host=HOST, devices=(found,)), KNOWN).devices
    assert (device.slug, device.name, device.capacity_bytes, device.used_bytes) == (
        "this-gpu",
        "NVIDIA X1",
        10 * GIB,
        GIB,
    )
    assert device.memory_bytes_per_s is None
    assert device.dense_flops == {}
    assert "not in the catalog" in device.notes


def test_a_unified_memory_is_this_machines_not_the_largest_one_sold() -> None:
    found = FoundDevice(
        name="Apple M4",
        vendor="Apple",
        kind=Kind.UNIFIED,
        memory_bytes=15 * GIB,
        gpu_limit_bytes=10 * GIB,
        used_bytes=4 * GIB,
    )
    (device,) = this_node(Machine(host=HOST, devices=(found,)), KNOWN).devices
    assert (device.slug, device.memory_bytes, device.capacity_bytes, device.used_bytes) == (
        "m4",
        15 * GIB,
        10 * GIB,
        4 * GIB,
    )


def test_an_apus_limit_can_be_raised_as_far_as_the_catalog_knows_of_this_much_memory() -> None:
    apu = FoundDevice(
        name="AMD RYZEN AI MAX+ 395 w/ Radeon 8060S",
        vendor="AMD",
        kind=Kind.UNIFIED,
        memory_bytes=32 * GIB,
        gpu_limit_bytes=32 * GIB,
        used_bytes=0,
    )
    (device,) = this_node(Machine(host=HOST, devices=(apu,))).devices
    assert (device.slug, device.gpu_limit_bytes) == ("ryzen-ai-max-395", 32 * GIB)
    assert device.gpu_limit_most_bytes == 55 * GIB  # 0.859375 of the host's 64 GiB


def test_without_a_gpu_the_processor_is_the_device_with_what_is_available() -> None:
    (cpu,) = this_node(Machine(host=HOST), KNOWN).devices
    assert (cpu.slug, cpu.kind, cpu.memory_bytes) == ("this-cpu", Kind.CPU, 64 * GIB)
    assert cpu.capacity_bytes - cpu.used_bytes == 50 * GIB
    assert cpu.memory_bytes_per_s == 4.6e11
    assert cpu.notes == "figures of the catalog's epyc, one of 2 sockets"
    (plain,) = this_node(Machine(host=FoundHost(cpu="Some CPU", memory_bytes=GIB)), KNOWN).devices
    assert (plain.slug, plain.market, plain.used_bytes, plain.memory_bytes_per_s) == (
        "this-cpu",
        Market.DESKTOP,
        0,
        None,
    )
    assert "not in the catalog" in plain.notes


def test_graphics_in_a_processor_stand_back_behind_a_card_and_without_a_figure_of_their_own() -> None:
    node = this_node(Machine(host=HOST, devices=(CARD, GRAPHICS), remarks=("a remark",)), KNOWN)
    assert [each.slug for each in node.devices] == ["h100"]
    assert node.notes == "a remark; Intel Core i5 is left out: it shares the host's memory"
    node = this_node(Machine(host=HOST, devices=(GRAPHICS,)), KNOWN)
    assert [each.slug for each in node.devices] == ["this-cpu"]
    assert "Intel Core i5 is left out" in node.notes


def test_a_device_without_a_figure_has_the_datasheets_or_is_left_out() -> None:
    b580 = FoundDevice(name="Intel Arc B580", vendor="Intel")
    (device,) = this_node(Machine(host=HOST, devices=(b580,)), KNOWN).devices
    assert (device.slug, device.capacity_bytes) == ("b580", 12 * GIB)
    assert "the datasheet's" in device.notes
    node = this_node(Machine(host=HOST, devices=(FoundDevice(name="Intel Arc Z1", vendor="Intel"),)), KNOWN)
    assert [each.slug for each in node.devices] == ["this-cpu"]
    assert "Intel Arc Z1 is left out" in node.notes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_is_a_node() -> None:
    machine = detect()
    node = this_node(machine)
    assert node.devices
    assert all(device.capacity_bytes > 0 for device in node.devices)
    if not machine.devices:
        total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
        assert node.devices[0].capacity_bytes == min(total, machine.host.memory_limit_bytes or total)
