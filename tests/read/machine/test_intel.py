from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.machine.trees import tree

from inferwise.read.machine import intel
from inferwise.spec.hardware import Kind
from inferwise.spec.machine import FoundHost

HOST = FoundHost(cpu="Intel Core Ultra 9 288V")
CARD = "sys/class/drm/card0"


def test_a_card_under_xe_has_the_memory_of_its_tiles(tmp_path: Path) -> None:
    files = {
        f"{CARD}/device/vendor": "0x8086",
        f"{CARD}/device/device": "0xe20b",
        f"{CARD}/device/uevent": "DRIVER=xe\nPCI_ID=8086:E20B\n",
        f"{CARD}/device/tile0/physical_vram_size_bytes": "12816744448\n",
    }
    (found,), remarks = intel.devices(tree(tmp_path, files), HOST)
    assert (found.name, found.kind, found.memory_bytes) == ("Intel Arc B580", Kind.GPU, 12816744448)
    assert (found.driver, remarks) == ("xe", [])


def test_two_tiles_add_up_and_the_older_driver_gives_the_whole(tmp_path: Path) -> None:
    for tile in (0, 1):
        tree(tmp_path, {f"{CARD}/device/tile{tile}/memory/physical_vram_size_bytes": "64"})
    assert intel.memory_of(tmp_path / CARD) == 128
    tree(tmp_path, {"sys/class/drm/card1/lmem_total_bytes": "17"})
    assert intel.memory_of(tmp_path / "sys/class/drm/card1") == 17
    assert intel.memory_of(tmp_path / "sys/class/drm/card2") is None


def test_a_known_card_without_a_figure_is_told_and_graphics_in_a_processor_are_the_processors(tmp_path: Path) -> None:
    files = {
        f"{CARD}/device/vendor": "0x8086",
        f"{CARD}/device/device": "0x56a0",
        "sys/class/drm/card1/device/vendor": "0x8086",
        "sys/class/drm/card1/device/device": "0x64a0",
    }
    (card, graphics), remarks = intel.devices(tree(tmp_path, files), HOST)
    assert (card.name, card.kind, card.memory_bytes) == ("Intel Arc A770", Kind.GPU, None)
    assert remarks == ["Intel Arc A770: its driver gives no memory (xe does, i915 of the mainline kernel does not)"]
    assert (graphics.name, graphics.kind) == (HOST.cpu, Kind.UNIFIED)


@given(st.binary(max_size=60), st.binary(max_size=30), st.binary(max_size=60))
@settings(max_examples=30)
def test_any_content_of_the_files_is_read(tmp_path_factory, device: bytes, size: bytes, uevent: bytes) -> None:  # type: ignore[no-untyped-def]
    files = {
        f"{CARD}/device/vendor": b"0x8086",
        f"{CARD}/device/device": device,
        f"{CARD}/device/tile0/physical_vram_size_bytes": size,
        f"{CARD}/device/uevent": uevent,
    }
    (found,), _ = intel.devices(tree(tmp_path_factory.mktemp("intel"), files), HOST)
    assert found.name.isprintable()
    assert found.memory_bytes is None or found.memory_bytes > 0
