from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
from tests.read.machine.trees import command, only_path, prints

from inferwise.read.machine.command import have, run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_path(monkeypatch, tmp_path / "bin")


def test_a_command_says_what_it_prints_and_one_that_is_missing_or_fails_says_nothing(folder: Path) -> None:
    prints(folder, "good", "one\ntwo")
    command(folder, "bad", "echo text; exit 3")
    (folder / "broken").write_bytes(b"\x7fELF nonsense")
    (folder / "broken").chmod(0o755)
    assert run(("good",)) == "one\ntwo"
    assert run(("bad",)) is None
    assert run(("broken",)) is None
    assert run(("missing",)) is None
    assert have("good")
    assert not have("missing")


def test_a_command_gets_its_arguments_as_they_are(folder: Path) -> None:
    command(folder, "echoes", 'printf "%s|" "$@"')
    assert run(("echoes", "a b", "$HOME", ";x")) == "a b|$HOME|;x|"


def test_a_command_that_hangs_is_ended_in_time_with_what_it_started(folder: Path, tmp_path: Path) -> None:
    note = shlex.quote(str(tmp_path / "pid"))
    command(folder, "hangs", f"/bin/sleep 60 & echo $! > {note}; wait")
    start = time.monotonic()
    assert run(("hangs",), timeout_s=0.5) is None
    assert time.monotonic() - start < 10
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
def test_a_process_that_leaves_with_the_pipe_does_not_hold_us(folder: Path, tmp_path: Path) -> None:
    leaver = shutil.which("setsid", path="/usr/bin:/bin")
    command(folder, "leaves", f"{leaver} /bin/sleep 8 & echo done")
    start = time.monotonic()
    assert run(("leaves",), timeout_s=0.5) is None
    assert time.monotonic() - start < 5


def test_a_command_that_prints_without_end_is_ended(folder: Path) -> None:
    command(folder, "floods", f"exec {shlex.quote(sys.executable)} -c \"while True: print('x' * 4096)\"")
    start = time.monotonic()
    assert run(("floods",), timeout_s=20, max_bytes=10_000) is None
    assert time.monotonic() - start < 15


def _alive(process: int) -> bool:
    """Whether it runs; one that nobody has waited for yet (a zombie) does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[-1].split()[0]
    except OSError:
        return False
    return state != "Z"
