"""Other programs' answers, bounded in time and size."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

TIMEOUT_S = 10.0  # nvidia-smi without its persistence daemon takes seconds to wake a machine of eight GPUs
MAX_BYTES = 1 << 20

Runner = Callable[[Sequence[str]], "str | None"]


def run(arguments: Sequence[str], *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> str | None:
    """What a command prints, or None: not on PATH, failed, too slow, or too much.

    What the command started in its own session ends with it.
    """
    import shutil
    import subprocess
    import threading

    program = shutil.which(arguments[0])
    if program is None:
        return None
    try:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None
    output: list[bytes] = []

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            output.append(stream.read(max_bytes + 1))

    # A thread, since a grandchild with a session of its own can hold the pipe open for ever; it must not hold us.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout_s)
    code = None
    if output and len(output[0]) <= max_bytes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(1.0)
    _end(process)
    process.wait()
    return output[0].decode("utf-8", "replace") if code == 0 else None


def _end(process: subprocess.Popen[bytes]) -> None:
    import signal

    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # the session that we made for it: its pid names the group
        else:
            process.kill()
    except OSError:
        return  # gone by itself


def have(program: str) -> bool:
    """Whether a command is on PATH."""
    import shutil

    return shutil.which(program) is not None
