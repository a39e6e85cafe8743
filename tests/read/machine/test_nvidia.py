from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.machine.trees import AVAILABLE, MEMINFO, TOTAL, only_path, prints, tree

from inferwise.read.machine import detect, nvidia
from inferwise.read.machine.world import World
from inferwise.spec.hardware import Kind
from inferwise.units import MIB

TWO = (
    "0, NVIDIA H100 80GB HBM3, GPU-11d9, 570.86.15, 81559, 1024, 79984\n"
    "1, NVIDIA GeForce RTX 4090, GPU-22e8, 570.86.15, 24564, 512, 23569\n"
)


def test_the_devices_of_nvidia_smi() -> None:
    (first, second), remarks = nvidia.from_smi(TWO)
    assert remarks == []
    assert (first.name, first.vendor, first.uuid, first.driver) == (
        "NVIDIA H100 80GB HBM3",
        "NVIDIA",
        "GPU-11d9",
        "570.86.15",
    )
    assert (first.memory_bytes, first.used_bytes) == (81559 * MIB, 1024 * MIB)
    assert first.reserved_bytes == (81559 - 1024 - 79984) * MIB  # what the driver keeps: in neither figure
    assert first.usable_bytes == (1024 + 79984) * MIB
    assert first.free_bytes == 79984 * MIB
    assert (second.index, second.kind) == (1, Kind.GPU)


def test_a_device_with_the_hosts_memory_has_no_figure_and_another_without_one_is_told() -> None:
    found, remarks = nvidia.from_smi("0, NVIDIA GB10, GPU-1, 580.1, [N/A], [N/A], [N/A]\n")
    assert (found[0].kind, found[0].memory_bytes, remarks) == (Kind.UNIFIED, None, [])
    found, remarks = nvidia.from_smi("0, Tesla T4, GPU-1, 580.1, [Unknown Error], [N/A], [N/A]\n")
    assert found[0].kind is Kind.GPU
    assert remarks == ["Tesla T4: its driver gives no memory"]


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.sampled_from([*TWO.split(), ",", "\n", '"', "-1", "9" * 30])).map(" ".join)
    )
)
@settings(max_examples=150)
def test_any_output_of_nvidia_smi_is_read_or_told(output: str) -> None:
    found, _ = nvidia.from_smi(output)
    for each in found:
        assert each.memory_bytes is None or 0 <= each.reserved_bytes <= each.memory_bytes
        assert each.usable_bytes is None or each.usable_bytes >= 0


def test_an_nvidia_smi_without_a_driver_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints(only_path(monkeypatch, tmp_path / "bin"), "nvidia-smi", "No devices were found\n")
    world = tree(tmp_path / "root", {"proc/meminfo": MEMINFO})
    found, remarks = nvidia.devices(world, lambda: None)
    assert found == []
    assert remarks == ["nvidia-smi says: No devices were found"]


def test_signs_of_a_driver_that_answers_to_nobody_are_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, tmp_path / "bin")
    world = tree(tmp_path / "root", {"proc/driver/nvidia/version": "NVRM"})
    found, remarks = nvidia.devices(world, lambda: None)
    assert found == []
    assert "there is no nvidia-smi" in remarks[0]
    assert "pip install inferwise[detect]" in remarks[0]


def test_no_sign_of_a_driver_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, tmp_path / "bin")
    assert nvidia.devices(World(root=tmp_path), lambda: pytest.fail("loaded")) == ([], [])


def test_the_whole_way_through_a_command_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints(only_path(monkeypatch, tmp_path / "bin"), "nvidia-smi", TWO)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as where the package is not installed
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    machine = detect(tree(tmp_path / "root", {"proc/meminfo": MEMINFO}))
    assert [each.source for each in machine.devices] == ["nvidia-smi", "nvidia-smi"]
    assert any("CUDA_VISIBLE_DEVICES" in remark for remark in machine.remarks)


def test_a_jetson_is_its_board_with_the_hosts_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, tmp_path / "bin")
    files = {"proc/meminfo": MEMINFO, "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0"}
    machine = detect(tree(tmp_path / "root", files))
    (device,) = machine.devices
    assert (device.name, device.kind) == ("NVIDIA Jetson AGX Orin Developer Kit", Kind.UNIFIED)
    assert (device.memory_bytes, device.free_bytes) == (TOTAL, AVAILABLE)
    prints(tmp_path / "bin", "nvidia-smi", "0, Orin (nvgpu), [N/A], 540.4.0, [N/A], [N/A], [N/A]\n")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    (again,) = detect(World(root=tmp_path / "root", system="linux")).devices
    assert (again.name, again.memory_bytes, again.driver) == (device.name, TOTAL, "540.4.0")


# The driver's library with two devices, of which the second is of a unified memory: the C interface of nvml.h, so that
# the real package is loaded, called and decoded.
LIBRARY = r"""
#include <string.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned long long total, free, used; } memory;
static int handles[2];
int nvmlInitWithFlags(unsigned f) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) { strcpy(out, "570.86.15"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { if (i > 1) return 15; *h = &handles[i]; return 0; }
int nvmlDeviceGetName(void *h, char *out, unsigned n)
{ strcpy(out, h == handles ? "NVIDIA H100 80GB HBM3" : "NVIDIA GB10"); return 0; }
int nvmlDeviceGetUUID(void *h, char *out, unsigned n) { strcpy(out, "GPU-1"); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *h, memory_v2 *m)
{ if (h != handles) return 3; m->total = 85520809984ULL; m->reserved = 577503232ULL; m->used = 1048576; return V2; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m)
{ if (h != handles) return 3; m->total = 85520809984ULL; m->used = 578551808ULL; return 0; }
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *later) { return 3; }
"""
CALL = """
import sys
sys.path.insert(0, sys.argv[1])
from inferwise.read.machine import nvidia
found, remarks = nvidia.from_nvml(nvidia.package())
for each in found or ():
    sizes = each.memory_bytes, each.reserved_bytes, each.used_bytes
    print(each.name, each.kind, *sizes, each.driver, each.source, sep="|")
print("remarks", *remarks, sep="|")
"""


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (
            {"INIT": 0, "V2": 0},
            [
                "NVIDIA H100 80GB HBM3|gpu|85520809984|577503232|1048576|570.86.15|NVML",
                "NVIDIA GB10|unified|None|0|None|570.86.15|NVML",
                "remarks|NVIDIA device 2 gives no answer: it may have fallen off the bus",
            ],
        ),
        (
            {"INIT": 0, "V2": 13},  # a driver older than 510
            [
                "NVIDIA H100 80GB HBM3|gpu|85520809984|0|578551808|570.86.15|NVML",
                "NVIDIA GB10|unified|None|0|None|570.86.15|NVML",
                "remarks|NVIDIA device 2 gives no answer: it may have fallen off the bus",
            ],
        ),
        ({"INIT": 18, "V2": 0}, ["remarks|NVML cannot be started: "]),
    ],
)
def test_the_real_package_over_a_driver_library(tmp_path: Path, flags: dict[str, int], lines: list[str]) -> None:
    package = pytest.importorskip("pynvml", reason="nvidia-ml-py (the detect extra) is not installed")
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler to build the driver's library with")
    (tmp_path / "nvml.c").write_text(LIBRARY)
    macros = [f"-D{name}={value}" for name, value in flags.items()]
    output = str(tmp_path / "libnvidia-ml.so.1")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", *macros, "-o", output, str(tmp_path / "nvml.c")], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", CALL, str(Path(package.__file__).parent)],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    said = ran.stdout.splitlines()
    assert len(said) == len(lines)
    assert all(line.startswith(start) for line, start in zip(said, lines, strict=True))


def test_the_real_package_without_a_driver_is_a_remark() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py (the detect extra) is not installed")
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    found, remarks = nvidia.from_nvml(nvml)
    assert found is None
    assert remarks[0].startswith("NVML cannot be started: ")
