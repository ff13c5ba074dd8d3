"""An observation that sets the scale alone is named; peaks, growth and chance are left in peace."""

import warnings

import jax
import numpy as np
import pytest

from gpax_lab.core._observations import observations
from gpax_lab.models import StudentNoise, gp, parametric
from gpax_lab.models._outlier import find_outlier

X = np.linspace(0.0, 1.0, 6)[:, None]
Y = np.array([0.1, 0.5, 80.0, 0.9, 0.4, 0.2])


def test_the_warning_names_slot_point_and_value():
    with pytest.warns(UserWarning, match=r"slot 2, y = 80 at x = \[0.4\].*StudentNoise.*standardize") as found:
        gp.exact(1).check(observations(X, Y))
    assert len(found) == 1


@pytest.mark.parametrize(
    "model",
    [
        gp.exact(1, noise=StudentNoise(capacity=8)),
        gp.exact(1, standardize=(0.0, 50.0)),
        parametric(1, lambda x, p: 0.0 * x[0], noise=StudentNoise()),
    ],
)
def test_models_whose_scale_it_does_not_set_are_silent(model):
    model.check(observations(X, Y))


def test_what_was_left_out_is_not_named_and_traced_observations_are_not_looked_at():
    model = gp.exact(1)
    model.check(observations(X, np.where(Y > 10, np.nan, Y)))
    obs = observations(X, Y)
    jax.jit(lambda obs: (model.check(obs), obs.y)[1])(obs)


def test_smooth_functions_hardly_ever_have_one():
    """At most 2 percent of 400 functions of each kind with five readings, 1 with six; from eight on none of these."""
    rng = np.random.default_rng(0)
    for count, most in ((5, 0.02), (6, 0.01), (8, 0.0), (12, 0.0), (30, 0.0)):
        for scale in (0.05, 0.15, 0.3, 1.0):
            x = rng.random((count, 1))
            lower = np.linalg.cholesky(np.exp(-0.5 * ((x - x.T) / scale) ** 2) + 1e-8 * np.eye(count))
            y = rng.standard_normal((400, count)) @ lower.T + 0.01 * rng.standard_normal((400, count))
            assert np.mean([find_outlier(x, one) is not None for one in y]) <= most


@pytest.mark.parametrize("width", [0.2, 0.1, 0.05])
def test_a_peak_read_at_three_points_or_more_is_none(width):
    x = np.linspace(0.0, 1.0, 21)[:, None]
    for centre in np.linspace(0.0, 1.0, 37):
        noise = 1e-3 * np.random.default_rng(1).standard_normal(21)
        assert find_outlier(x, 1.0 / (1.0 + ((x[:, 0] - centre) / width) ** 2) + noise) is None


def test_steep_growth_a_flat_signal_and_two_high_observations_are_none():
    x = np.linspace(0.0, 1.0, 9)[:, None]
    assert find_outlier(x, np.exp(20 * x[:, 0])) is None
    assert find_outlier(x, np.where(x[:, 0] == 0.5, 1.0, 0.0)) is None
    high = 0.01 * np.random.default_rng(0).standard_normal(9)
    high[[3, 7]] += 50.0
    assert find_outlier(x, high) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gp.exact(1).check(observations(x, np.full(9, 3.0)))


def test_beside_a_huge_observation_nothing_is_a_flank():
    y = np.array([0.0, 0.93, 0.67, -0.44, -1.0, -0.28])
    x = np.append(X, [[0.22]], axis=0)
    assert find_outlier(x, np.append(y, 1e6)) == 6


def test_gross_errors_are_found():
    """In 80 percent of 200 sets of six readings or more, where a neighbour may look like a flank, and 90 of twelve."""
    rng = np.random.default_rng(2)
    for count, least in ((6, 0.8), (12, 0.9)):
        found = []
        for _ in range(200):
            x, which = rng.random((count, 1)), int(rng.integers(count))
            y = np.sin(6 * x[:, 0] + 6 * rng.random()) + 0.05 * rng.standard_normal(count)
            y[which] += rng.choice([-1, 1]) * 100.0
            found.append(find_outlier(x, y) == which)
        assert np.mean(found) > least
