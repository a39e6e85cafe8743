from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.read.machine.trees import command, only_path, prints

from inferwise.read.machine import apple, detect
from inferwise.read.machine.host import available_of
from inferwise.read.machine.world import World
from inferwise.spec.hardware import Kind
from inferwise.units import GIB, MIB

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                             1000000.
Pages active:                            900000.
Pages inactive:                          800000.
Pages speculative:                        10000.
"""
DISPLAYS = '{"SPDisplaysDataType": [{"_name": "Apple M4 Max", "sppci_cores": "40", "sppci_model": "Apple M4 Max"}]}'


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of a Mac with an M4 Max of 128 GiB."""
    folder = only_path(monkeypatch, tmp_path / "bin")
    sysctl = (
        'case "$*" in *wired*) echo "iogpu.wired_limit_mb: 0";; *) '
        f'printf "hw.memsize: {128 * GIB}\\nhw.physicalcpu: 16\\nhw.packages: 1\\n'
        'machdep.cpu.brand_string: Apple M4 Max\\n";; esac'
    )
    command(folder, "sysctl", sysctl)
    prints(folder, "vm_stat", VM_STAT)
    prints(folder, "sw_vers", "15.3\n")
    prints(folder, "system_profiler", DISPLAYS)
    return folder


def test_a_mac_is_its_chip_with_what_macos_lets_the_gpu_take(mac: Path, tmp_path: Path) -> None:
    machine = detect(World(root=tmp_path, system="darwin"))
    (device,) = machine.devices
    assert (device.name, device.kind, device.cores) == ("Apple M4 Max", Kind.UNIFIED, 40)
    assert (device.memory_bytes, device.usable_bytes) == (128 * GIB, 96 * GIB)
    assert (machine.host.cores, machine.host.os) == (16, "macOS 15.3")
    assert machine.host.available_bytes == 1_810_000 * 16384
    assert device.free_bytes == 1_810_000 * 16384  # less than the limit leaves
    assert any("iogpu.wired_limit_mb" in remark for remark in machine.remarks)


def test_a_limit_that_was_set_holds(mac: Path, tmp_path: Path) -> None:
    (mac / "sysctl").write_text((mac / "sysctl").read_text().replace("mb: 0", "mb: 120000"))
    machine = detect(World(root=tmp_path, system="darwin"))
    assert machine.devices[0].gpu_limit_bytes == 120000 * MIB
    assert machine.remarks == ()


def test_an_intel_mac_has_no_device_and_a_mac_without_commands_no_facts(mac: Path, tmp_path: Path) -> None:
    (mac / "sysctl").write_text((mac / "sysctl").read_text().replace("Apple M4 Max", "Intel(R) Core(TM) i9-9880H"))
    machine = detect(World(root=tmp_path, system="darwin"))
    assert (machine.devices, machine.host.cpu) == ((), "Intel Core i9-9880H")
    for each in mac.iterdir():
        each.unlink()
    machine = detect(World(root=tmp_path, system="darwin"))
    assert (machine.devices, machine.host.memory_bytes) == ((), None)
    assert any("memory could not be read" in remark for remark in machine.remarks)


@pytest.mark.parametrize(("memory_gib", "logged_mb"), [(16, 11453.25), (32, 22906.50), (36, 28991.03), (64, 51539.61)])
def test_the_default_limit_is_what_llama_cpp_logs(memory_gib: int, logged_mb: float) -> None:
    assert apple.gpu_limit_bytes(memory_gib * GIB) / 1e6 == pytest.approx(logged_mb, abs=0.01)


@pytest.mark.parametrize(("memory_gib", "logged_mb"), [(18, 14302.25), (32, 26800.60), (36, 30150.67)])
def test_macos_26_gives_more(memory_gib: int, logged_mb: float) -> None:
    assert apple.gpu_limit_bytes(memory_gib * GIB, 0, 26) / 1e6 == pytest.approx(logged_mb, rel=1e-3)


def test_the_version_is_the_systems() -> None:
    assert [apple.version_of(each) for each in ("macOS 26.0.1", "macOS 15", "macOS", "")] == [26, 15, 0, 0]


@given(st.integers(1, 2**40), st.integers(0, 10**9), st.integers(0, 30))
def test_the_gpu_never_gets_more_than_there_is(memory_bytes: int, wired_mb: int, version: int) -> None:
    assert apple.gpu_limit_bytes(memory_bytes, wired_mb, version) <= memory_bytes


@given(st.one_of(st.text(max_size=100), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str)))
def test_any_output_is_read(output: str) -> None:
    for content in (output, '{"SPDisplaysDataType": ' + output + "}", "[" * 100_000):
        cores = apple.cores_of(content)
        assert cores is None or cores > 0
    assert available_of(output) is None
    assert available_of(VM_STAT + output) == 1_810_000 * 16384
