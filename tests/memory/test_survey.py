"""One model over all hardware, one machine over all models."""

from __future__ import annotations

import pytest

import inferwise as iw
from inferwise.catalog import models as catalog
from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.engines import choices
from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput, InferwiseError, UnknownName
from inferwise.memory.survey import over_catalog, over_hardware

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_the_smallest_number_holds_and_half_of_it_does_not() -> None:
    model = iw.model("meta-llama/Llama-3.1-70B-Instruct")
    rows = over_hardware(model, accelerators().values())
    assert [row.device.slug for row in rows] == list(accelerators())
    counts = {row.device.slug: row.count for row in rows}
    assert counts["h100-sxm-80gb"] == 2
    assert counts["h200-sxm-141gb"] == 2  # 131.4 GiB of weights leave no room for activations beside them
    assert counts["b200-sxm-180gb"] == 1
    for row in rows:
        assert (row.allocation is not None) == bool(row.count)
        assert row.count or row.why
        if row.count > 1 and row.count & (row.count - 1) == 0:
            assert not iw.fit(model, row.device.slug, count=row.count // 2, engine=row.allocation.case.engine.name).fits  # type: ignore[union-attr]


def test_a_question_that_no_device_could_answer_is_refused() -> None:
    model, devices = iw.model(LLAMA), list(accelerators().values())
    for asked, error in (
        ({"context": 0}, BadInput),
        ({"weights": "fp7"}, UnknownName),
        ({"kv": "fp7"}, UnknownName),
        ({"engine": "vlm"}, UnknownName),
        ({"degrees": {"pp": 33}}, BadInput),
    ):
        with pytest.raises(error):
            over_hardware(model, devices, **asked)


@pytest.mark.parametrize("gpu", ["rtx-3060-12gb", "h100", "m4-max-64gb", "raspberry-pi-5-8gb"])
def test_what_is_listed_fits_in_the_widest_format(gpu: str) -> None:
    node = hardware(gpu)
    rows = over_catalog(node)
    names = [name for row in rows for name in row.names]
    assert len(names) == len(set(names))
    assert set(names) <= set(catalog.names())
    for row in rows[:: max(1, len(rows) // 25)]:
        held = row.allocation
        assert held.fits
        assert sum(memory.total_bytes for memory in held.devices) <= sum(d.memory_bytes for d in node.devices)
        assert iw.fit(row.model, gpu, weights=held.case.weights, engine=held.case.engine.name).fits
    fine = [row.model.parameters for row in rows if not row.weights.lower().startswith(("q2", "q3"))]
    assert fine == sorted(fine, reverse=True)


def test_a_format_that_is_fixed_stays() -> None:
    rows = over_catalog(hardware("rtx-4090"), engine="llama.cpp", weights="Q4_K_M")
    assert {row.weights for row in rows} == {"Q4_K_M"}
    assert len(rows) > 100


@pytest.mark.parametrize(
    ("gpu", "engine"), [("apple-m2", "mlx"), ("rtx-3060-12gb", "transformers"), ("rtx-3060-12gb", None)]
)
def test_what_is_not_listed_fits_in_no_format(gpu: str, engine: str | None) -> None:
    rows = over_catalog(hardware(gpu), engine=engine)
    name = rows[0].allocation.case.engine.name
    listed = {each for row in rows for each in row.names}
    left = [each for each in catalog.names() if each not in listed and catalog.entry(each).verified != "hypothetical"]
    for model in left[:: max(1, len(left) // 20)]:
        limit = iw.model(model).max_context
        for weights in choices(name, "smaller_weights"):
            try:
                fits = iw.fit(model, gpu, engine=name, weights=weights, fit=False).fits
            except InferwiseError:
                continue
            assert not fits or (limit or 8192) < 8192, (model, weights)
