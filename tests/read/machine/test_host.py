from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.machine.trees import AVAILABLE, MEMINFO, TOTAL, tree

from inferwise.read.machine import host
from inferwise.read.machine.limits import Limit, memory_limit
from inferwise.read.machine.world import World
from inferwise.units import GIB

CPUINFO = "".join(
    f"processor\t: {i}\nmodel name\t: AMD EPYC 9654 96-Core Processor\nphysical id\t: {i // 4}\n"
    f"core id\t\t: {i // 2}\n\n"
    for i in range(8)
)


def test_processor_memory_and_system_of_a_linux(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/cpuinfo": CPUINFO,
        "proc/sys/kernel/osrelease": "6.8.0\n",
        "etc/os-release": 'PRETTY_NAME="Some Linux 12"\nNAME="Some"\n',
    }
    found, remarks = host.host(tree(tmp_path, files))
    assert (found.memory_bytes, found.available_bytes) == (TOTAL, AVAILABLE)
    assert (found.cpu, found.cores, found.sockets) == ("AMD EPYC 9654 96-Core Processor", 4, 2)
    assert (found.os, found.board, remarks) == ("Some Linux 12, Linux 6.8.0", "", [])


def test_a_raspberry_pi_is_its_board(tmp_path: Path) -> None:
    cores = {f"sys/devices/system/cpu/cpu{i}/topology/core_cpus_list": f"{i}\n" for i in range(4)}
    files = {"proc/meminfo": MEMINFO, "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0", **cores}
    found, _ = host.host(tree(tmp_path, files))
    assert (found.cpu, found.board, found.cores) == (found.board, "Raspberry Pi 5 Model B Rev 1.0", 4)


def test_threads_of_one_core_are_one_core(tmp_path: Path) -> None:
    lists = ("0,4", "1,5", "0,4", "1,5")
    cores = {f"sys/devices/system/cpu/cpu{i}/topology/core_cpus_list": each for i, each in enumerate(lists)}
    found, _ = host.host(tree(tmp_path, {"proc/meminfo": MEMINFO, **cores}))
    assert found.cores == 2


def test_a_kernel_without_memavailable_has_what_is_free_and_cached() -> None:
    assert host.memory_of("MemTotal: 10 kB\nMemFree: 3 kB\nCached: 4 kB\n") == (10240, 7168)


VERSION_2 = {
    "proc/self/cgroup": "0::/app/inner\n",
    "sys/fs/cgroup/app/inner/memory.max": "max\n",
    "sys/fs/cgroup/app/memory.max": f"{8 * GIB}\n",
    "sys/fs/cgroup/app/memory.current": f"{5 * GIB}\n",
    "sys/fs/cgroup/app/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\n",
}
VERSION_1 = {
    "proc/self/cgroup": "9:cpu:/app\n4:memory:/kubepods/of/the/host\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{5 * GIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"cache 7\ntotal_inactive_file {2 * GIB}\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1])
def test_a_containers_memory_is_its_limit(tmp_path: Path, files: dict[str, str]) -> None:
    world = tree(tmp_path, {"proc/meminfo": MEMINFO, **files})
    assert memory_limit(tmp_path) == Limit(limit_bytes=8 * GIB, free_bytes=5 * GIB)
    found, remarks = host.host(world)
    assert (found.memory_bytes, found.available_bytes, found.memory_limit_bytes) == (8 * GIB, 5 * GIB, 8 * GIB)
    assert "memory limit" in remarks[0]


def test_a_limit_above_what_there_is_is_none(tmp_path: Path) -> None:
    for limit in ("max", "9223372036854771712", str(TOTAL * 2)):
        files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": limit}
        found, remarks = host.host(tree(tmp_path, files))
        assert (found.memory_bytes, found.memory_limit_bytes, remarks) == (TOTAL, None, [])


def test_a_group_outside_the_root_is_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, {"memory.max": "1", "root/proc/self/cgroup": "0::/../../../..\n", "root/sys/fs/cgroup/x": ""})
    assert memory_limit(tmp_path / "root") is None


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=100), st.binary(max_size=40))
@settings(max_examples=40)
def test_any_content_of_the_files_is_read(
    tmp_path_factory: pytest.TempPathFactory, memory: bytes, cpu: bytes, group: bytes, limit: bytes
) -> None:
    files = {
        "proc/meminfo": b"MemTotal: " + memory,
        "proc/cpuinfo": b"core id: " + cpu,
        "proc/self/cgroup": b"0::" + group,
        "sys/fs/cgroup/memory.max": limit,
        "proc/device-tree/model": cpu,
        "etc/os-release": b"PRETTY_NAME=" + group,
    }
    found, _ = host.host(tree(tmp_path_factory.mktemp("host"), files))
    assert found.cpu.isprintable()
    assert found.os.isprintable()
    assert found.memory_bytes is None or found.memory_bytes >= 0
    assert found.cores is None or found.cores > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_as_its_kernel_gives_it() -> None:
    found, _ = host.host(World())
    lines = Path("/proc/meminfo").read_text().splitlines()
    total, available = (
        int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024
        for key in ("MemTotal", "MemAvailable")
    )
    limit = found.memory_limit_bytes
    assert found.memory_bytes == (total if limit is None else limit)
    assert found.available_bytes is not None
    if limit is None:
        assert found.available_bytes == pytest.approx(available, rel=0.2)  # other processes come and go
    assert found.cores is not None
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.disk_free_bytes is not None
    assert found.os


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is what we read")
def test_this_machine_as_psutil_gives_it() -> None:
    psutil = pytest.importorskip("psutil", reason="psutil (the detect extra) is not installed")
    found, _ = host.host(World())
    if found.memory_limit_bytes is None:
        assert found.memory_bytes == psutil.virtual_memory().total
    assert found.cores == psutil.cpu_count(logical=False)
    elsewhere, _ = host.host(World(system="win32"))  # the way of systems without /proc, here as well
    assert elsewhere.memory_bytes == psutil.virtual_memory().total
    assert elsewhere.cores == found.cores


def test_a_system_without_proc_or_psutil_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    found, remarks = host.host(tree(tmp_path, {"etc/hostname": "x"}))
    assert found.memory_bytes is None
    assert "pip install inferwise[detect]" in remarks[0]
