import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpax_lab.core import Axis, MoveRefused
from gpax_lab.core._axes import check_all, plan_path

X = Axis("x", "m", 0.0, 2e-6, max_step=3e-7, tolerance=1e-9)


@pytest.mark.parametrize(
    "bad",
    [
        {"low": math.nan},
        {"high": math.inf},
        {"low": 1.0, "high": 1.0},
        {"low": 2.0},
        {"low": "0"},
        {"low": True},
        {"low": -1e308, "high": 1e308},
        {"max_step": 0.0},
        {"max_step": math.nan},
        {"tolerance": -1.0},
        {"settle_s": -1.0},
        {"settle_s": math.inf},
        {"name": ""},
        {"unit": ""},
    ],
)
def test_an_axis_needs_sensible_finite_limits(bad):
    with pytest.raises(ValueError, match="axis"):
        Axis(**({"name": "x", "unit": "m", "low": 0.0, "high": 1.0} | bad))


def test_an_axis_cannot_be_built_without_limits():
    with pytest.raises(TypeError):
        Axis("x", "m")


@given(st.one_of(st.floats(), st.integers(), st.sampled_from([5e-324, -5e-324, 2e-6, np.nextafter(2e-6, 1), -0.0])))
def test_check_returns_the_target_itself_or_refuses(target):
    if math.isfinite(float(target) if abs(target) < 2**1000 or isinstance(target, float) else math.inf) and (
        0 <= target <= 2e-6
    ):
        assert X.check(target) == target
    else:
        with pytest.raises(MoveRefused, match="nothing was sent"):
            X.check(target)


@pytest.mark.parametrize("target", ["1e-6", None, 1e-6 + 0j, True, np.True_, [1e-6], 10**400, b"0"])
def test_check_refuses_what_is_no_real_number(target):
    with pytest.raises(MoveRefused):
        X.check(target)


@pytest.mark.parametrize(
    "target", [[1e-6], [1e-6, 1e-6, 1e-6], 1e-6, [[1e-6, 1e-6]], [[1e-6], 1e-6], "xy", [1e-6, math.nan]]
)
def test_check_all_refuses_wrong_shapes(target):
    with pytest.raises(MoveRefused):
        check_all((X, X), target)


def test_check_all_takes_single_precision_and_arrays():
    got = check_all((X, X), np.array([1e-6, 5e-7], np.float32))
    assert got.dtype == np.float64
    assert got.tolist() == [float(np.float32(1e-6)), float(np.float32(5e-7))]


@given(st.floats(0, 2e-6), st.floats(0, 2e-6), st.floats(1e-9, 1e-5))
def test_plan_stays_inside_and_below_the_longest_step(start, target, max_step):
    axis = Axis("x", "m", 0.0, 2e-6, max_step=max_step)
    path = [start, *axis.plan(start, target)]
    assert path[-1] == target
    assert np.all(np.abs(np.diff(path)) <= max_step)
    assert min(path) >= 0
    assert max(path) <= 2e-6
    assert len(path) - 1 <= math.ceil(abs(target - start) / max_step) + 2


def test_plan_moves_all_axes_together():
    path = plan_path((X, Axis("y", "m", 0.0, 1e-6)), np.array([0.0, 0.0]), np.array([9e-7, 3e-7]))
    np.testing.assert_allclose(path, [[3e-7, 1e-7], [6e-7, 2e-7], [9e-7, 3e-7]], rtol=1e-12)


@pytest.mark.parametrize("start", [math.nan, 3e-6, -1e-8])
def test_plan_refuses_an_axis_that_stands_outside(start):
    with pytest.raises(MoveRefused, match="by hand"):
        X.plan(start, 1e-6)


def test_plan_refuses_a_step_in_the_wrong_unit():
    with pytest.raises(MoveRefused, match="unit"):
        Axis("x", "m", 0.0, 1.0, max_step=1e-9).plan(0.0, 1.0)


def test_read_back():
    X.arrived(1e-6, 1e-6 + 0.9e-9)
    for readback in (1e-6 + 1.1e-9, math.nan, math.inf):
        with pytest.raises(MoveRefused, match="reads"):
            X.arrived(1e-6, readback)
