"""A sweep is the estimates of its configurations, in order, and in bounded pieces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inferwise.errors import BadInput, UnknownName
from inferwise.serving.ask_load import question
from inferwise.serving.estimate import estimate
from inferwise.serving.sweep import CANNOT_RUN, NO_ROOM, RATES, TIMED, Grid, sweep

GRID = Grid(
    models=("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B"),
    gpus=("h100-sxm", "l40s"),
    tp=(1, 2),
    weights=("bf16", "fp8"),
    inputs=(128, 2048, 100000),
    outputs=(64, 512),
    concurrency=(1, 16, 300),
)


def whole(grid: Grid, **how: object) -> dict[str, np.ndarray]:
    tables = [table.columns for table in sweep(grid, **how)]  # type: ignore[arg-type]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def test_each_row_is_the_estimate_of_its_configuration() -> None:
    found = whole(GRID, chunk=50)
    assert len(found["status"]) == GRID.size == 288
    assert {TIMED, NO_ROOM} <= set(found["status"].tolist())
    for row in range(0, GRID.size, 7):
        model, gpu = GRID.models[found["model"][row]], GRID.gpus[found["gpu"][row]]
        tp, weights = int(found["tp"][row]), GRID.weights[found["weights"][row]]
        load = {name: int(found[name][row]) for name in ("input", "output", "concurrency")}
        asked = question(model, gpu, tp, tp=tp, weights=weights, **load)
        made = estimate(asked.case, asked.workload, replicas=1)
        assert (found["status"][row] == TIMED) == made.fits
        if made.fits:
            assert found["limit"][row] == pytest.approx(made.limit, rel=1e-12)
            for name in RATES:
                assert found[name][row] == pytest.approx(getattr(made, name), rel=1e-9), (name, row)
        else:
            assert np.isnan(found["tpot_s"][row])
            assert found["limit"][row] == 0


def test_pieces_are_bounded_and_in_order_however_they_are_computed() -> None:
    each = len(GRID.inputs) * len(GRID.outputs) * len(GRID.concurrency)
    tables = list(sweep(GRID, chunk=3 * each))
    assert max(len(table) for table in tables) == 3 * each
    with ThreadPoolExecutor(2) as pool:
        threaded = whole(GRID, chunk=each, executor=pool)
    together = {name: np.concatenate([table.columns[name] for table in tables]) for name in threaded}
    for name, column in threaded.items():
        assert np.array_equal(column, together[name], equal_nan=column.dtype.kind == "f"), name
    assert np.all(np.diff(threaded["model"]) >= 0)


def test_what_no_engine_runs_is_marked_and_the_rest_is_timed() -> None:
    grid = Grid(models=("meta-llama/Llama-3.1-8B-Instruct",), gpus=("h100-sxm", "apple-m3-ultra"), engine="mlx")
    found = whole(grid)
    assert found["status"].tolist() == [CANNOT_RUN, TIMED]
    assert np.isnan(found["ttft_s"][0])
    assert np.isnan(found["limit"][0])
    assert found["ttft_s"][1] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": ()},
        {"tp": (0,)},
        {"inputs": (-1,)},
        {"outputs": (1,)},
        {"concurrency": (10**9,)},
        {"inputs": (True,)},
    ],
)
def test_bad_axes_are_said(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(BadInput):
        Grid(**({"models": ("Qwen/Qwen3-8B",), "gpus": ("h100-sxm",)} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["models", "gpus"])
def test_a_name_that_does_not_exist_is_said_before_anything_is_computed(name: str) -> None:
    axes = {"models": ("Qwen/Qwen3-8B",), "gpus": ("h100-sxm",)} | {name: ("no-such-thing",)}
    with pytest.raises((UnknownName, BadInput), match="no-such-thing"):
        next(sweep(Grid(**axes)))
