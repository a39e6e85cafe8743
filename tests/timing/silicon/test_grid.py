from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.timing.silicon.grid import NEIGHBOURS, REACH, Grid, Ratios, grid, log_ratio


def ratios(rows: list[tuple[tuple[float, ...], tuple[float, ...], float]]) -> Ratios:
    fixed, varying, values = zip(*rows, strict=True)
    return Ratios(fixed=np.array(fixed), varying=np.array(varying), values=np.array(values))


def test_what_was_timed_is_what_is_said() -> None:
    found = grid(ratios([((3.0,), (0.0,), 0.1), ((3.0,), (2.0,), 0.3), ((5.0,), (0.0,), 9.0)]), np.array([3.0]))
    assert found is not None
    assert found.exact
    assert [float(log_ratio(found, x)) for x in (0.0, 1.0, 2.0)] == pytest.approx([0.1, 0.2, 0.3])


def test_beyond_a_doubling_the_curve_alone_speaks() -> None:
    found = grid(ratios([((3.0,), (0.0,), 0.4), ((3.0,), (2.0,), 0.4)]), np.array([3.0]))
    assert found is not None
    assert [float(log_ratio(found, x)) for x in (2.0, 2.5, 3.0, 9.0, -0.5, -1.0)] == pytest.approx(
        [0.4, 0.2, 0, 0, 0.2, 0]
    )


def test_neighbours_stand_in_and_fade_with_the_distance() -> None:
    rows = ratios([((0.0,), (0.0,), 0.6), ((2.0,), (0.0,), 0.6)])
    between = grid(rows, np.array([1.0]))
    assert between is not None
    assert not between.exact
    assert float(log_ratio(between, 0.0)) == pytest.approx(0.6 * (1 - 1 / REACH))
    assert grid(rows, np.array([2.0 + REACH])) is None


def test_the_nearest_weigh_most_and_only_so_many_count() -> None:
    rows = ratios([((float(at),), (0.0,), float(at == 0)) for at in (0, -0.2, -0.4, -0.6, -0.8)])
    found = grid(rows, np.array([0.1]))
    assert found is not None
    said = float(log_ratio(found, 0.0)) / (1 - 0.1 / REACH)
    weights = [1 / (0.1 + away) ** 2 for away in (0, 0.2, 0.4, 0.6, 0.8)][:NEIGHBOURS]
    assert said == pytest.approx(weights[0] / sum(weights), rel=1e-6)


def test_holes_are_filled_between_what_was_timed() -> None:
    rows = [((0.0,), (x, y), x + 10 * y) for x in (0.0, 1.0, 2.0) for y in (0.0, 1.0, 2.0) if (x, y) != (1.0, 1.0)]
    found = grid(ratios(rows), np.array([0.0]))
    assert found is not None
    assert float(log_ratio(found, 1.0, 1.0)) == pytest.approx(11.0)


def test_corners_that_were_not_timed_are_the_curve() -> None:
    rows = [((0.0,), (x, y), 0.5) for x in (0.0, 1.0, 2.0) for y in (0.0, 1.0, 2.0) if x + y < 3]
    found = grid(ratios(rows), np.array([0.0]))
    assert found is not None
    assert float(log_ratio(found, 2.0, 2.0)) == 0.0
    assert 0.0 < float(log_ratio(found, 1.5, 1.5)) < 0.5


def test_equal_rows_are_averaged() -> None:
    found = grid(ratios([((0.0,), (0.0,), 0.2), ((0.0,), (0.0,), 0.4)]), np.array([0.0]))
    assert found is not None
    assert float(log_ratio(found, 0.0)) == pytest.approx(0.3)


def test_nothing_timed_is_no_grid() -> None:
    assert grid(Ratios(fixed=np.zeros((0, 1)), varying=np.zeros((0, 1)), values=np.zeros(0)), np.array([0.0])) is None


SIZES = st.floats(-5, 12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 5))
def test_arrays_are_as_scalars_and_within_what_was_timed(
    points: list[tuple[float, float]], wide: int, high: int
) -> None:
    values = np.random.default_rng(wide * 10 + high).normal(size=(wide, high))
    made = Grid(axes=(np.arange(wide) * 1.5, np.arange(high) * 2.0), values=values, exact=True)
    x, y = np.array(points).T
    together = log_ratio(made, x, y)
    assert together == pytest.approx([float(log_ratio(made, a, b)) for a, b in points])
    assert np.all(np.abs(together) <= np.abs(values).max() + 1e-12)


@settings(deadline=None, max_examples=50)
@given(SIZES, SIZES)
def test_it_has_no_jumps(a: float, b: float) -> None:
    values = np.array([[0.1, -0.4, 0.3], [0.2, 0.5, 0.0]])
    made = Grid(axes=(np.array([0.0, 2.0]), np.array([0.0, 1.0, 5.0])), values=values, exact=True)
    assert abs(float(log_ratio(made, a, b)) - float(log_ratio(made, a + 1e-7, b + 1e-7))) < 1e-5
