import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gpax_lab import acquisition, images
from gpax_lab.core import _inputs as inputs
from gpax_lab.core._observations import FAILED, MEASURED, observations
from gpax_lab.hypotheses import discover_laws
from gpax_lab.models import gp
from gpax_lab.storage._dataset import Dataset, axis

PLACES = np.array([[0.1], [0.4], [0.9]])
FILL = 9.96921e36  # what netCDF writes where nothing was measured


@pytest.mark.parametrize(
    "y",
    [
        np.ma.masked_greater([2.0, FILL, 5.0], 1e30),
        np.ma.array([2, 7, 5], mask=[False, True, False]),
        [2.0, None, 5.0],
        (2.0, np.nan, 5.0),
        [2.0, np.ma.masked, 5.0],
        np.array([2.0, None, 5.0], object),
        pd.Series([2.0, None, 5.0]),
        pd.array([2.0, pd.NA, 5.0], dtype="Float64"),
        pd.DataFrame({"y": [2.0, np.nan, 5.0]})[["y"]],
        np.ma.array([[2.0], [7.0], [5.0]], mask=[[0], [1], [0]]),
        [[2.0], [np.inf], [5.0]],
        jnp.array([2.0, jnp.nan, 5.0]),
    ],
    ids=lambda y: type(y).__name__,
)
def test_a_missing_observation_is_a_failed_one_however_it_is_written(y):
    obs = observations(PLACES, y)
    assert obs.y.shape == (8,)
    assert obs.status.tolist()[:3] == [MEASURED, FAILED, MEASURED]
    assert obs.y.tolist()[:3] == [2.0, 0.0, 5.0]


def test_one_of_several_quantities_that_is_masked_fails_the_observation():
    obs = observations(PLACES, np.ma.array(np.ones((3, 2)), mask=[[0, 0], [0, 1], [0, 0]]))
    assert obs.status.tolist()[:3] == [MEASURED, FAILED, MEASURED]


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.array([1.0, 2.0, 3.0]) + 0j, r"complex .* \.real"),
        ([1.0, 2j, 3.0], "complex"),
        (np.array([1.0, None, 3j], object), "complex"),
        (["1.0", "2.0", "3.0"], "real numbers"),
        (np.array([1.0, "2.0", 3.0], object), "text"),
        (np.array(["2026-01-01"] * 3, "datetime64[D]"), "real numbers; got datetime64"),
        ([[1.0, 2.0], [3.0], [4.0]], "one array of numbers"),
        ([1.0, 2.0], r"\(3,\) or \(3, m\) to match x; got \(2,\)"),
        (np.ones((1, 3)), r"got \(1, 3\)"),
        ([2**60, 2**60 + 1, 2**60 + 2], "beyond 2"),
    ],
)
def test_observations_that_are_none_are_refused_in_words(y, text):
    with pytest.raises(ValueError, match=text):
        observations(PLACES, y)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ma.array(PLACES, mask=[[0], [1], [0]]), "x is masked or missing in row 1"),
        ([[0.1], [np.nan], [0.9]], "non-finite input in row 1"),
        ([[0.1], [0.4], [-np.inf]], "non-finite input in row 2"),
        ([[0.1], [None], [0.9]], "missing in row 1"),
        (PLACES + 0j, "x is complex"),
        (PLACES[:, 0], r"shape \(n, d\)"),
    ],
)
def test_a_point_is_known_or_refused_by_its_row(x, text):
    with pytest.raises(ValueError, match=text):
        observations(x, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("noise", "text"),
    [
        ([0.1, -0.2, 0.1], "zero or positive; got -0.2 in row 1"),
        ([0.1, 0.1, np.nan], "got nan in row 2"),
        (np.inf, "got inf in row 0"),
        (np.ma.array([0.1, 0.1, 0.1], mask=[1, 0, 0]), "got nan in row 0"),
        ([0.1, 0.2], r"shape \(3,\)"),
        (0.1j, "complex"),
    ],
)
def test_a_variance_is_one_or_refused_by_its_row(noise, text):
    with pytest.raises(ValueError, match=text):
        observations(PLACES, [1.0, 2.0, 3.0], noise)


def test_the_variance_of_a_failed_observation_is_not_looked_at():
    obs = observations(PLACES, [1.0, np.nan, 3.0], [0.1, np.nan, 0.3])
    assert obs.noise.tolist()[:3] == [0.1, 0.0, 0.3]


def test_time_stamps_that_float32_can_not_tell_apart_are_refused_with_the_remedy():
    stamps = 1.7e9 + 60.0 * np.arange(5)[:, None]
    with pytest.raises(ValueError, match=r"1700000000 and 1700000060 are one number in float32.*offset"):
        observations(stamps, np.zeros(5), dtype=np.float32)
    assert observations(stamps, np.zeros(5)).x.shape == (8, 1)
    assert observations(stamps - stamps[0], np.zeros(5), dtype=np.float32).x.shape == (8, 1)
    # Repeats stay repeats, and neighbours closer than a rounding step of their range are no loss.
    repeats = np.array([[0.0], [0.0], [1.0], [1.0 + 1e-9]])
    assert observations(repeats, np.zeros(4), dtype=np.float32).x.shape == (8, 1)


@pytest.mark.parametrize(
    ("bounds", "dtype", "fits"),
    [
        ([[0.0, 1.0]], np.float32, True),
        ([[300.0, 360.0]], np.float32, True),
        ([[1.7e9, 1.7e9 + 1e5]], np.float32, False),
        ([[1.7e9, 1.7e9 + 1e5]], np.float64, True),
        ([[0.0, 1.0], [1e17, 1e17 + 1000.0]], np.float64, False),
    ],
)
def test_a_box_has_steps_fine_enough(bounds, dtype, fits):
    if fits:
        inputs.resolved(bounds, dtype)
        return
    with pytest.raises(ValueError, match=f"{np.dtype(dtype)} has steps of .* offset"):
        inputs.resolved(bounds, dtype)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (np.ma.array([[0.0, 1.0]], mask=[[0, 1]]), "bounds is masked or missing in row 0"),
        ([[0.0, None]], "bounds is masked or missing in row 0"),
        ([[0.0, 1j]], "bounds is complex"),
        ([["0", "1"]], "bounds must hold real numbers"),
        ([[1.0, 0.0]], "low < high"),
    ],
)
def test_bounds_are_numbers_in_order(bounds, text):
    for make in (acquisition.box, lambda b: acquisition.grid(b, (3,)), lambda b: gp.exact(1, bounds=b)):
        with pytest.raises(ValueError, match=text):
            make(bounds)


@pytest.mark.parametrize("number", [1e39, -1e39])
def test_numbers_too_large_for_the_dtype_are_refused(number):
    for given in ({"y": [number]}, {"y": [0.0], "noise": [abs(number)]}):
        with pytest.raises(ValueError, match="float32"):
            observations([[0.5]], dtype=np.float32, **given)
    with pytest.raises(ValueError, match="variance that float32"):
        observations([[0.5]], [0.0], 1e-60, dtype=np.float32)


@pytest.mark.parametrize("y", [0.7, [0.7], (0.7,), np.array([[0.7]]), np.float32(0.7), pd.DataFrame({"y": [0.7]})])
@pytest.mark.parametrize("x", [[0.2, 0.3], [[0.2, 0.3]], pd.DataFrame({"a": [0.2], "b": [0.3]})])
def test_an_answer_is_taken_where_its_meaning_is_plain(x, y):
    taken = inputs.observed(x, y, None, 2, 1, np.float64)
    np.testing.assert_array_equal(taken.x, [[0.2, 0.3]])
    np.testing.assert_allclose(taken.y, [0.7], rtol=1e-7)
    np.testing.assert_array_equal(taken.noise, [0.0])


def test_answers_may_be_none_at_all_or_two_of_one_place():
    assert inputs.observed(np.zeros((0, 1)), [], 0.0, 1, 1, np.float64).y.shape == (0,)
    beside = [[300.1], [300.1000000001]]  # one number in float32
    assert inputs.observed(beside, [1.0, 2.0], 0.0, 1, 1, np.float32).x.shape == (2, 1)


def test_one_input_may_be_a_row_of_numbers_and_two_quantities_a_row_of_two():
    assert inputs.observed([0.1, 0.2], [1.0, 2.0], 0.1, 1, 1, np.float64).x.shape == (2, 1)
    assert inputs.observed([[0.1]], [1.0, 2.0], 0.1, 1, 2, np.float64).y.shape == (1, 2)


@pytest.mark.parametrize(
    ("x", "y", "outputs"),
    [([[0.1], [0.2]], [1.0], 1), ([[0.1]], [1.0, 2.0], 1), ([[0.1], [0.2]], [1.0, 2.0], 2), ([[0.1, 0.2]], [1.0], 1)],
)
def test_an_answer_that_is_not_plain_is_refused_with_its_shape(x, y, outputs):
    with pytest.raises(ValueError, match=r"must have shape .* got \("):
        inputs.observed(x, y, 0.0, 1, outputs, np.float64)


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (2.5, (2.5, 0.0)),
        (np.array([2.5]), (2.5, 0.0)),
        ([2.5], (2.5, 0.0)),
        ((2.5,), (2.5, 0.0)),
        ((2.5, 0.1), (2.5, 0.1)),
        ((np.array([2.5]), np.array([[0.1]])), (2.5, 0.1)),
        (None, (np.nan, 0.0)),
        (np.ma.masked, (np.nan, 0.0)),
    ],
)
def test_what_a_scalarizer_may_give(result, value):
    np.testing.assert_array_equal(inputs.one_value(result), value)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([1.0, 2.0], r"shape \(2,\)"),
        ((1.0, 0.1, 0.2), "tuple of 3"),
        (1 + 0j, "complex"),
        ("1.0", "real numbers"),
        ((1.0, -0.1), "zero or more; got -0.1"),
    ],
)
def test_what_a_scalarizer_may_not_give(result, text):
    with pytest.raises(ValueError, match=text):
        inputs.one_value(result)


def test_laws_are_proposed_from_observations_without_holes():
    x = np.linspace(0.0, 1.0, 6)
    hidden = np.ma.masked_greater(np.where(x > 0.9, FILL, 2.0 * x), 1e30)
    with pytest.raises(ValueError, match="leave failed observations out"):
        discover_laws(x[:, None], hidden)
    with pytest.raises(ValueError, match="complex"):
        discover_laws(x[:, None], x + 0j)


def test_arrays_of_the_wings_are_nan_where_masked_and_never_lose_an_imaginary_part():
    hidden = np.ma.masked_greater(np.array([[1.0, FILL], [3.0, 4.0]], np.float32), 1e30)
    for values in (inputs.unmasked(hidden), inputs.floating(hidden)):
        np.testing.assert_array_equal(values, np.array([[1.0, np.nan], [3.0, 4.0]], np.float32))
        assert values.dtype == np.float32
    np.testing.assert_array_equal(inputs.floating(np.ma.array([1, 2], mask=[0, 1])), [1.0, np.nan])
    assert inputs.unmasked(np.arange(3)).dtype.kind == "i"
    assert np.isnan(inputs.unmasked(np.ma.array([1j, 2.0], mask=[0, 1]))[1])
    for door in (images.plane, inputs.floating):
        with pytest.raises(ValueError, match="must be real; got complex"):
            door(np.ones((4, 4)) * 1j)
    axes = tuple(axis(name, np.arange(2.0)) for name in "ab")
    kept = Dataset(hidden, axes).values
    assert np.isnan(kept[0, 1])
    assert kept[1, 1] == 4.0
    with pytest.raises(ValueError, match="not finite"):
        images.around(hidden, 1)
