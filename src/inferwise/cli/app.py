"""The app, and defaults from a file. Heavy imports stay inside the commands, so that `--help` is quick."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App

from inferwise import __version__
from inferwise.errors import BadInput

app = App(
    name="inferwise",
    version=__version__,
    help="Know before you serve: what a language model is made of, whether it fits, and how fast it is. Every command "
    "takes --config FILE: defaults for its options from a TOML file, a table a command.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # the caller says so, and gives the exit code
)

COMMANDS = ("fit", "estimate", "models", "gpus", "detect", "logs")
MAX_DEFAULTS_BYTES = 8 * 2**10  # tomllib takes time by the square of a dotted key


def app_for(argv: Sequence[str]) -> tuple[App, list[str]]:
    """The app with the defaults of `--config FILE`, and the other tokens."""
    tokens, path = without_config(argv)
    app.config = ()
    if path is not None:
        from cyclopts.config import Dict

        app.config = (Dict(read_defaults(path), source=path),)
    return app, tokens


def without_config(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """The tokens without `--config FILE`, and the file."""
    tokens = list(argv)
    for index, token in enumerate(tokens):
        if token == "--":
            break
        if token == "--config":
            if index + 1 == len(tokens):
                raise BadInput("--config names no file", remedy="give a TOML file")
            return tokens[:index] + tokens[index + 2 :], tokens[index + 1]
        if token.startswith("--config="):
            return tokens[:index] + tokens[index + 1 :], token.removeprefix("--config=")
    return tokens, None


def read_defaults(path: str) -> dict[str, Any]:
    """The defaults that a TOML file gives: a table a command. Raises BadInput, WorldFailed."""
    import tomllib

    from inferwise.read.ranges import LocalFile, read_whole

    content = read_whole(LocalFile(Path(os.path.expanduser(path)), path), MAX_DEFAULTS_BYTES)
    try:
        defaults = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise BadInput("not UTF-8 text", where=path, remedy="give a TOML file") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not TOML: {error}"[:200], where=path, remedy="give a TOML file") from None
    for name, table in defaults.items():
        if name not in COMMANDS or not isinstance(table, dict):
            what = f"'{name[:60]}' is no table of a command"
            raise BadInput(what, where=path, remedy=f"give [{'], ['.join(COMMANDS)}]")
    return defaults


def _commands() -> None:
    from inferwise.cli.estimate import estimate
    from inferwise.cli.fit import fit
    from inferwise.cli.hardware import detect, gpus
    from inferwise.cli.logs import logs
    from inferwise.cli.models import models

    for command in (fit, estimate, models, gpus, detect, logs):
        app.command(command)


_commands()
