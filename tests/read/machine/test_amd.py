from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.machine.trees import tree

from inferwise.read.machine import amd
from inferwise.read.machine.world import World
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundHost
from inferwise.units import GIB, MIB

HOST = FoundHost(cpu="AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", memory_bytes=124 * GIB, available_bytes=40 * GIB)
CARD = "sys/class/drm/card1/device"
METRICS_CARD, METRICS_APU = bytes((120, 0, 1, 3)) + bytes(116), bytes((128, 0, 3, 0)) + bytes(124)


def card(name: str = CARD, **files: str | bytes) -> dict[str, str | bytes]:
    standard = {"vendor": "0x1002\n", "device": "0x744c\n", "revision": "0xc8\n"}
    return {f"{name}/{key}": value for key, value in (standard | files).items()}


def test_a_card_has_its_own_memory_and_the_name_of_its_device_and_revision(tmp_path: Path) -> None:
    sizes = {"mem_info_vram_total": f"{24560 * MIB}\n", "mem_info_vram_used": f"{700 * MIB}\n"}
    world = tree(tmp_path, card(**sizes, mem_info_gtt_total=f"{64 * GIB}", gpu_metrics=METRICS_CARD))
    (found,), remarks = amd.devices(world, HOST)
    assert (found.name, found.kind) == ("AMD Radeon RX 7900 XTX", Kind.GPU)
    assert (found.memory_bytes, found.used_bytes, found.gpu_limit_bytes) == (24560 * MIB, 700 * MIB, None)
    assert "KFD" in remarks[0]


def test_the_boards_own_name_comes_first_then_libdrms(tmp_path: Path) -> None:
    ids = {"usr/share/libdrm/amdgpu.ids": "# ids\n1.0.0\n744C,\tC8,\tAMD Radeon RX of the day\nbroken\n"}
    size = {"mem_info_vram_total": str(GIB)}
    (by_ids,), _ = amd.devices(tree(tmp_path / "ids", card(**size) | ids), HOST)
    assert by_ids.name == "AMD Radeon RX of the day"
    (by_board,), _ = amd.devices(tree(tmp_path / "board", card(**size, product_name="Instinct MI300X\n") | ids), HOST)
    assert by_board.name == "AMD Instinct MI300X"
    (unknown,), _ = amd.devices(tree(tmp_path / "none", card(**size, device="0xffff")), HOST)
    assert unknown.name == "AMD device 1002:ffff:c8"


@pytest.mark.parametrize(("gtt_used", "free"), [(0, 31 + 40), (60, 31 + 32)])
def test_an_apu_reaches_its_carve_out_and_the_gtt_as_far_as_the_host_has_it(
    tmp_path: Path, gtt_used: int, free: int
) -> None:
    files = {
        "mem_info_vram_total": str(32 * GIB),
        "mem_info_vram_used": str(GIB),
        "mem_info_gtt_total": str(92 * GIB),
        "mem_info_gtt_used": str(gtt_used * GIB),
    }
    (found,), _ = amd.devices(tree(tmp_path, card(**files, gpu_metrics=METRICS_APU)), HOST)
    assert (found.kind, found.name) == (Kind.UNIFIED, HOST.cpu)
    assert (found.memory_bytes, found.gpu_limit_bytes) == (124 * GIB, 124 * GIB)
    assert found.free_bytes == free * GIB


def test_the_compute_driver_adds_architecture_and_compute_units(tmp_path: Path) -> None:
    properties = "cpu_cores_count 0\nsimd_count 1216\nsimd_per_cu 4\ngfx_target_version 90402\ndrm_render_minor 128\n"
    files = card(mem_info_vram_total=str(192 * GIB), product_name="AMD Instinct MI300X")
    files[f"{CARD}/drm/renderD128/dev"] = "226:128\n"
    files["sys/class/kfd/kfd/topology/nodes/0/properties"] = "cpu_cores_count 96\nsimd_count 0\ndrm_render_minor 0\n"
    files["sys/class/kfd/kfd/topology/nodes/1/properties"] = properties
    (found,), remarks = amd.devices(tree(tmp_path, files), HOST)
    assert (found.architecture, found.cores, remarks) == ("gfx942", 304, [])


def test_a_card_of_another_maker_or_without_memory_is_not_a_device(tmp_path: Path) -> None:
    files = card() | card("sys/class/drm/card2/device", vendor="0x1a03", mem_info_vram_total=str(GIB))
    found, remarks = amd.devices(tree(tmp_path, files), HOST)
    assert found == []
    assert [remark.split(":")[0] for remark in remarks] == ["AMD device card1"]


FILES = ("device", "revision", "gpu_metrics", "product_name", "unique_id")
SIZES = st.integers(0, 2**64)


@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=40)), SIZES, SIZES, SIZES)
@settings(max_examples=40)
def test_any_content_of_the_files_gives_figures_that_agree(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], total: int, used: int, gtt: int
) -> None:
    sizes = {"mem_info_vram_total": str(total), "mem_info_vram_used": str(used), "mem_info_gtt_total": str(gtt)}
    world = tree(tmp_path_factory.mktemp("amd"), card(**{**files, **sizes}))
    for each in amd.devices(world, HOST)[0]:
        assert each.name.isprintable()
        assert each.memory_bytes == (total + gtt if each.unified else total)
        assert each.free_bytes is not None
        assert 0 <= each.free_bytes <= each.memory_bytes


@given(st.text(max_size=300))
def test_any_ids_file_gives_a_name_or_nothing(content: str) -> None:
    assert isinstance(amd.name_of(content, "744c:c8"), str)


def test_no_card_is_no_device(tmp_path: Path) -> None:
    assert amd.devices(World(root=tmp_path), HOST) == ([], [])
