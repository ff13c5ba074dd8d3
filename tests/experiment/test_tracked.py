"""An instrument that follows the drift of its sample: a fake one over an image that drifts."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gpax_lab.core import Instrument, Measurement
from gpax_lab.experiment import Tracked

WORLD = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 1.5, mode="wrap")
SIZE = 64


class Scope(Instrument):
    """Looks at WORLD where `gone` pixels of drift have taken it; `spoil` what the next images are to be instead."""

    repeatable = True

    def __init__(self):
        self.gone, self.spoil, self.went, self.images = np.zeros(2, int), [], [], 0

    def image(self):
        self.images += 1
        if self.spoil:
            return self.spoil.pop(0)
        row, column = 96 - self.gone
        return WORLD[row : row + SIZE, column : column + SIZE]

    def measure(self, x, token):
        self.went.append(np.array(x))
        return Measurement({"y": np.ones(1)}, {"y": "1"}, position=x)

    def make_safe(self):
        pass


@pytest.fixture
def scope():
    return Scope()


def tracked(scope, **options):
    return Tracked(scope, scope.image, Scope().image(), **options)


OTHER = WORLD[160:224, 10:74]


def test_it_goes_where_the_position_is_now(scope):
    one = tracked(scope, every=2)
    for step in range(6):
        scope.gone = np.array([step, -2 * step])
        reading = one.measure(np.array([10.0, 20.0]), f"t{step}")
        expected = 2 * (step // 2)  # as it was at the last look
        np.testing.assert_allclose(reading.arrays["drift"], [expected, -2 * expected], atol=0.1)
        np.testing.assert_allclose(scope.went[-1], np.add([10.0, 20.0], reading.arrays["drift"]))
        np.testing.assert_allclose(reading.position, [10.0, 20.0])
        assert reading.ok
        assert not reading.flags


def test_units_of_x_are_those_of_the_pixel(scope):
    one = tracked(scope, pixel=(1e-9, 2e-9), unit="m")
    scope.gone = np.array([3, 4])
    np.testing.assert_allclose(one.measure(np.zeros(2), "t").arrays["drift"], [3e-9, 8e-9], atol=2e-10)


def test_a_first_image_finds_the_position_however_far_it_has_gone(scope):
    scope.gone = np.array([26, 0])
    reading = tracked(scope).measure(np.zeros(2), "t")
    assert not reading.flags
    np.testing.assert_allclose(reading.arrays["drift"], [26, 0], atol=0.3)


def test_one_bad_image_is_told_and_looked_at_again_before_the_next_measurement(scope):
    one = tracked(scope, every=5)
    one.update_drift()
    scope.gone, scope.spoil = np.array([6, 0]), [OTHER]
    one._since = 5
    first, second = one.measure(np.zeros(2), "a"), one.measure(np.zeros(2), "b")
    assert first.flags == ("drift unsure",)
    assert first.ok
    assert not second.flags
    np.testing.assert_allclose(second.arrays["drift"], [6, 0], atol=0.1)


def test_a_large_jump_is_believed_when_it_is_seen_twice(scope):
    one = tracked(scope, every=1)
    one.measure(np.zeros(2), "a")
    scope.gone = np.array([25, 0])
    first, second = one.measure(np.zeros(2), "b"), one.measure(np.zeros(2), "c")
    assert (first.flags, second.flags) == (("drift unsure",), ())
    assert "jump" not in one.reason
    np.testing.assert_allclose(second.arrays["drift"], [25, 0], atol=0.3)


def test_nothing_is_measured_where_nobody_knows_the_place(scope):
    one = tracked(scope, every=1, patience=3)
    one.measure(np.zeros(2), "a")
    scope.spoil = [OTHER, np.zeros(7), np.full((SIZE, SIZE), np.nan)]
    readings = [one.measure(np.zeros(2), f"b{k}") for k in range(4)]
    assert [r.ok for r in readings] == [True, True, False, True]
    assert "not known after 3 images" in readings[2].reason
    assert len(scope.went) == 4  # the third was not sent
    assert not readings[3].flags


def test_what_does_not_fit_is_refused(scope):
    with pytest.raises(ValueError, match="patience"):
        tracked(scope, patience=0)
    scope.spoil = [np.zeros((32, 32))]
    with pytest.raises(ValueError, match="same scan"):
        tracked(scope).measure(np.zeros(2), "t")
