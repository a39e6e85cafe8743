from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.read.machine.files import entries, fields, number, plain, raw, text, whole


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe", tmp_path / "loop", tmp_path / "a\0b"):
        assert raw(path) == b""
        assert number(path) is None
    assert entries(tmp_path / "none", ".*") == []


def test_a_file_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"1" * 1000)
    assert len(raw(tmp_path / "long", 10)) == 10
    assert number(tmp_path / "long") is None
    (tmp_path / "hex").write_text("0x1002\n")
    assert number(tmp_path / "hex", 16) == 0x1002


def test_entries_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("card10", "card2", "card2-HDMI-A-1", "card0", "renderD128"):
        (tmp_path / name).mkdir()
    assert [each.name for each in entries(tmp_path, r"card[0-9]{1,4}")] == ["card0", "card2", "card10"]


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_parsers_take_any_bytes(content: bytes) -> None:
    shown = content.decode("utf-8", "replace")
    assert plain(shown).isprintable()
    assert len(plain(shown)) <= 120
    assert all(isinstance(value, str) for value in fields(shown).values())
    for base in (10, 16):
        size = whole(shown, base)
        assert size is None or size >= 0


@given(st.integers(0, 2**63))
def test_numbers_are_read_as_they_are_written(size: int) -> None:
    assert whole(f" {size}\n") == size
    assert whole(hex(size), 16) == size


def test_text_drops_the_zero_byte_of_a_device_tree(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert text(tmp_path / "model") == "Raspberry Pi 5 Model B Rev 1.0"
