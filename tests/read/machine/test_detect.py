from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.read.machine.trees import MEMINFO, only_path, tree

from inferwise.read.machine import World, detect

SPENT = """
import resource, sys
before = resource.getrusage(resource.RUSAGE_SELF)
from inferwise.read.machine import detect
machine = detect()
after = resource.getrusage(resource.RUSAGE_SELF)
heavy = sorted({"numpy", "psutil", "pynvml", "huggingface_hub", "cyclopts", "rich"} & set(sys.modules))
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, len(machine.devices), *heavy)
"""


def test_nothing_found_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, tmp_path / "bin")
    machine = detect(tree(tmp_path / "root", {"proc/meminfo": MEMINFO}))
    assert machine.devices == ()
    assert machine.remarks == ()


def test_an_empty_root_is_told_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, tmp_path / "bin")
    for system in ("linux", "darwin", "win32", "plan9"):
        machine = detect(World(root=tmp_path, system=system))
        assert machine.devices == ()
        assert any("Linux only" in remark for remark in machine.remarks) == (system in ("win32", "plan9"))


def test_cards_of_three_makers_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.read.machine.trees import prints

    prints(only_path(monkeypatch, tmp_path / "bin"), "nvidia-smi", "0, Tesla T4, GPU-1, 550.1, 15360, 3, 14913\n")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    files = {
        "proc/meminfo": MEMINFO,
        "sys/class/drm/card0/device/vendor": "0x8086",
        "sys/class/drm/card0/device/device": "0xe20b",
        "sys/class/drm/card0/device/tile0/physical_vram_size_bytes": "12816744448",
        "sys/class/drm/card1/device/vendor": "0x1002",
        "sys/class/drm/card1/device/mem_info_vram_total": "25753026560",
        "sys/class/drm/card1/device/product_name": "Radeon RX 7900 XTX",
        "sys/class/drm/card2/device/vendor": "0x1a03",
    }
    machine = detect(tree(tmp_path / "root", files))
    assert [each.vendor for each in machine.devices] == ["NVIDIA", "AMD", "Intel"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
def test_looking_costs_little_and_loads_nothing_heavy() -> None:
    best = 1.0
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", SPENT], capture_output=True, text=True, timeout=60, check=True)
        seconds, devices, *heavy = ran.stdout.split()
        if int(devices):
            pytest.skip("this machine has devices: their drivers take their time")
        assert heavy == []
        best = min(best, float(seconds))
    assert best < 0.1
