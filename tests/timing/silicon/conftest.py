"""Tables in the wheel's layout, written by the tests: the shipped curve's seconds times a ratio that a test says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferwise.catalog.accelerators import accelerator
from inferwise.timing.curves import MEASURED, choose
from inferwise.timing.rates import memory_rate, peak

H100 = "h100-sxm-80gb"


def common(kernel: str, engine: str, dtype: str, compute: str = "bf16", device: str = H100) -> dict[str, Any]:
    """What every operator of a timed device has."""
    found = accelerator(device)
    curve = choose(kernel, found, engine, dtype)
    assert curve.device == device
    rates = {"peak_flops": peak(found, compute).flops, "bytes_per_s": memory_rate(found)}
    return {"name": kernel, "part": "dense", "count": 1.0, "curve": curve, "basis": MEASURED, **rates}


class Wheel:
    """A folder that stands on the path like an installed package; its code fails where it is run."""

    def __init__(self, at: Path, version: str) -> None:
        self.at = at
        package = at / "aiconfigurator_core"
        (package / "systems/data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise AssertionError('its code is not to be run')\n")
        self.data = package / "systems/data"
        self.say(version)

    def say(self, version: str) -> None:
        """Its metadata."""
        info = self.at / "aiconfigurator_core-0.dist-info"
        info.mkdir(exist_ok=True)
        text = f"Metadata-Version: 2.4\nName: aiconfigurator-core\nVersion: {version}\n"
        (info / "METADATA").write_text(text)

    def write(self, path: str, columns: dict[str, list[Any]]) -> None:
        """A table, as `h100_sxm/gemm/vllm/0.24.0/gemm_perf`; latency in ms."""
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        target = self.data / f"{path}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), target)


def _installed(folder: str) -> bool:
    return (Path(folder or ".") / "aiconfigurator_core").is_dir()


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the extra."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not _installed(folder)])
    monkeypatch.setattr(sys, "path_importer_cache", {})


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """An empty wheel of the right version, installed."""
    pytest.importorskip("pyarrow", reason="pyarrow, which comes with the extra, is not installed")
    made = Wheel(tmp_path / "site", "0.12.0")
    monkeypatch.syspath_prepend(str(made.at))
    return made


@pytest.fixture
def operator() -> Callable[..., dict[str, Any]]:
    """See `common`."""
    return common
