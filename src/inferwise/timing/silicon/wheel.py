"""The installed package of measured tables: where it lies, what version it is, its columns. Its code is never run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata, util
from importlib.resources import files
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from inferwise.errors import BadInput

Columns = Mapping[str, NDArray[Any]]
REMEDY = "pip install 'inferwise[silicon]' (Linux on x86-64)"


@cache
def known() -> Mapping[str, Any]:
    """What the tables call things: silicon.toml."""
    return tomllib.loads(files("inferwise.timing.silicon").joinpath("silicon.toml").read_text(encoding="utf-8"))


def root() -> Path:
    """The folder of its tables. Raises BadInput where the extra is not installed."""
    spec = util.find_spec(known()["module"])  # finds a package without running it
    found = list(spec.submodule_search_locations or ()) if spec else []
    where = Path(found[0] if found else "", str(known()["data"]))
    if not found or not where.is_dir():
        raise BadInput("measured tables are not installed", remedy=REMEDY)
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise BadInput("pyarrow, which reads the measured tables, is not installed", remedy=REMEDY) from error
    return where


def version() -> str:
    """Of the installed package; empty where it has no metadata."""
    try:
        return metadata.version(known()["package"])
    except metadata.PackageNotFoundError:
        return ""


def version_note() -> str:
    """What to know of another version than the curves were fitted to; empty: it is that one."""
    found, fitted = version(), known()["version"]
    if found == fitted:
        return ""
    return (
        f"{known()['package']} {found or 'of no known version'} is installed, the curves are of {fitted}: "
        "tables that it no longer has are not looked up"
    )


def folder(where: Path, device: str, table: str, engine: str, number: str) -> Path | None:
    """Where a table of a device, an engine and its version lies (`number` as its folder is named); None: nowhere."""
    system, name = known()["systems"].get(device), known()["engines"].get(engine)
    found = where / str(system) / table / str(name) / number
    return found if system and name and found.is_dir() else None


def read(path: Path, columns: Sequence[str], filters: Sequence[tuple[str, str, Any]]) -> Columns | None:
    """Columns of the rows that pass, with `seconds`; None where the file or one of its columns is not there.

    Rows without a positive latency are left out. Raises BadInput for a file that is no parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    try:
        names = set(pq.read_schema(path).names)
        if not {*columns, "latency", *(name for name, _, _ in filters)} <= names:
            return None
        rows = [*filters, ("latency", ">", 0.0)]
        table = pq.read_table(path, columns=[*columns, "latency"], filters=rows)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"cannot be read: {error}", where=str(path), remedy=f"reinstall: {REMEDY}") from error
    found = {name: table[name].to_numpy() for name in columns}
    return {**found, "seconds": table["latency"].to_numpy() / 1e3}
