"""Runs the command in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inferwise.cli import run


class Command:
    """Runs the command in this process; `out` and `err` are what it printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.out, self.err = capsys, "", ""

    def __call__(self, *argv: str) -> int:
        code = run(argv)
        self.out, self.err = self.capsys.readouterr()
        assert (self.err == "") == (code in (0, 3))
        return code

    def json(self, *argv: str, code: int = 0) -> Any:
        assert self(*argv, "--json") == code
        return json.loads(self.out)
