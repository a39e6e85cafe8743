"""A sample of the catalog, one of each family and role, timed: finite, above its floor, nothing left out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from inferwise.catalog.models import entry, names
from inferwise.errors import BadInput
from inferwise.read.resolve import resolve


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "every_model.py"
    spec = importlib.util.spec_from_file_location("every_model", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["every_model"] = found
    spec.loader.exec_module(found)
    return found


every_model = _benchmark()


def families() -> list[str]:
    """The first model of each model_type."""
    first: dict[str, str] = {}
    for name in names():
        first.setdefault(str(entry(name).config.get("model_type")), name)
    return sorted(first.values())


@pytest.mark.parametrize("tp", [1, 8])
def test_one_of_each_family(tp: int) -> None:
    wrong, timed = {}, 0
    for name in families():
        model = resolve(name)
        try:
            found = every_model.timed(model, "h100-sxm-80gb", tp)
        except BadInput as error:
            if "--weights" not in str(error):  # else its quantisation cannot be sized from the config
                wrong[name] = str(error)
            continue
        timed += 1
        if said := every_model.off(found):
            wrong[name] = said
    assert not wrong
    assert timed > 100


def test_the_check_sees_what_is_off() -> None:
    fine = every_model.Timed(decode_s=0.01, prefill_s=0.02, floor_s=0.005, covered=1.0, shared=False)
    assert every_model.off(fine) == ""
    for change in (
        {"decode_s": 0.001},
        {"decode_s": float("nan")},
        {"prefill_s": 0.0},
        {"covered": 0.5},
        {"covered": 1.3},
    ):
        fields = {name: getattr(fine, name) for name in every_model.Timed.__dataclass_fields__}
        assert every_model.off(every_model.Timed(**(fields | change)))
