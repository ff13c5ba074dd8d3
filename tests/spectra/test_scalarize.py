import doctest
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import scalarize
from gpax_lab.spectra.fit import curve_fit
from gpax_lab.spectra.scalarize import combine, difference, log10, of_reading, ratio, scalarizer

X = jnp.linspace(0.0, 1.0, 40)
START = jnp.array([1.0, 1.0])


def line(x, p):
    return p[0] + p[1] * x


def fit(y):
    return curve_fit(line, X, y, START, 0.1, least_r_squared=0.2)


intercept, slope = scalarizer(fit, lambda p: p[0]), scalarizer(fit, lambda p: p[1])


@pytest.fixture(scope="module")
def spectra():
    return (2.0 + 3.0 * X)[None] + 0.1 * jax.random.normal(jax.random.key(0), (300, 40))


def test_value_and_variance_against_straight_line_algebra(spectra):
    design = np.stack([np.ones(40), np.asarray(X)], axis=1)
    covariance = 0.01 * np.linalg.inv(design.T @ design)
    for k in range(2):
        p = np.linalg.lstsq(design, np.asarray(spectra[k]), rcond=None)[0]
        for scalar, gradient, value in (
            (slope, [0.0, 1.0], p[1]),
            (scalarizer(fit, lambda p: p[1] / p[0]), [-p[1] / p[0] ** 2, 1 / p[0]], p[1] / p[0]),
            (scalarizer(fit, lambda p: jnp.log(p[0])), [1 / p[0], 0.0], np.log(p[0])),
        ):
            found = scalar(spectra[k])
            assert float(found[0]) == pytest.approx(value, rel=1e-8)
            assert float(found[1]) == pytest.approx(np.array(gradient) @ covariance @ np.array(gradient), rel=1e-6)


def test_the_variance_is_the_scatter(spectra):
    share = scalarizer(fit, lambda p: p[1] / p[0])
    value, variance = jax.vmap(share)(spectra)
    z = (np.asarray(value) - 1.5) / np.sqrt(np.asarray(variance))
    assert abs(z.std() - 1.0) < 4 / np.sqrt(600)


def test_a_bad_fit_is_a_failed_reading(spectra):
    noise = jax.random.normal(jax.random.key(1), (40,))
    for y in (jnp.full(40, jnp.nan), noise):
        assert all(np.isnan(v) for v in slope(y))
        assert all(np.isnan(v) for v in combine(lambda a: 2 * a, slope)(y))
    tolerant = scalarizer(fit, lambda p: p[1], accept=(Status.OK, Status.POOR_FIT))
    assert np.isfinite(float(tolerant(noise)[0]))
    assert all(np.isnan(v) for v in log10(scalarizer(fit, lambda p: -p[1]))(spectra[0]))


def test_combinations_propagate_independent_errors(spectra):
    y = spectra[0]
    (a, va), (b, vb) = slope(y), intercept(y)
    value, variance = ratio(slope, intercept)(y)
    assert float(value) == pytest.approx(float(a / b), rel=1e-12)
    assert float(variance) == pytest.approx(float(va / b**2 + vb * a**2 / b**4), rel=1e-10)
    value, variance = difference(slope, intercept)(y)
    assert (float(value), float(variance)) == (pytest.approx(float(a - b)), pytest.approx(float(va + vb)))
    value, variance = log10(slope)(y)
    assert float(variance) == pytest.approx(float(va / (a * np.log(10)) ** 2), rel=1e-10)


def test_a_reading_gives_its_arrays_by_name(spectra):
    reading = SimpleNamespace(arrays={"signal": np.asarray(spectra[0]), "time": np.zeros(3)})
    value, variance = of_reading(slope, "signal")(reading)
    assert (value, variance) == tuple(float(v) for v in slope(spectra[0]))
    assert isinstance(value, float)
    with pytest.raises(ValueError, match="'response'"):
        of_reading(slope, "response")(reading)
    with pytest.raises(ValueError, match="name the arrays"):
        of_reading(slope)
    with pytest.raises(ValueError, match="one spectrum"):
        slope(spectra)


def test_one_trace_for_a_campaign(spectra):
    traces = []

    def counted(p):
        traces.append(1)
        return p[1]

    scalar = of_reading(scalarizer(fit, counted), "y")
    scalar(SimpleNamespace(arrays={"y": spectra[0]}))
    once = len(traces)
    for y in spectra[1:5]:
        scalar(SimpleNamespace(arrays={"y": y}))
    assert len(traces) == once


def test_the_example_runs():
    assert doctest.testmod(scalarize, raise_on_error=True).attempted > 0
