import doctest
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import Scalarizer, _scalarizer, combine, curve_fit, difference, log10, ratio
from gpax_lab.spectra.loops import LOOP_AREA, despike, triangle

X = jnp.linspace(0.0, 1.0, 40)
START = jnp.array([1.0, 1.0])


def line(x, p):
    return p[0] + p[1] * x


def fit(y):
    return curve_fit(line, X, y, START, 0.1, least_r_squared=0.2)


def scalarizer(fit, quantity, **options):
    return Scalarizer.of_fit(fit, quantity, ("signal",), **options)


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
            found = scalar.function(spectra[k])
            assert float(found[0]) == pytest.approx(value, rel=1e-8)
            assert float(found[1]) == pytest.approx(np.array(gradient) @ covariance @ np.array(gradient), rel=1e-6)


def test_the_variance_is_the_scatter(spectra):
    share = scalarizer(fit, lambda p: p[1] / p[0])
    value, variance, _ = jax.vmap(share.function)(spectra)
    z = (np.asarray(value) - 1.5) / np.sqrt(np.asarray(variance))
    assert abs(z.std() - 1.0) < 4 / np.sqrt(600)


def test_a_bad_fit_is_a_failed_measurement(spectra):
    noise = jax.random.normal(jax.random.key(1), (40,))
    for y in (jnp.full(40, jnp.nan), noise):
        assert all(np.isnan(v) for v in slope.function(y)[:2])
        assert all(np.isnan(v) for v in combine(lambda a: 2 * a, slope).function(y)[:2])
    tolerant = scalarizer(fit, lambda p: p[1], accept=(Status.OK, Status.POOR_FIT))
    assert np.isfinite(float(tolerant.function(noise)[0]))
    assert all(np.isnan(v) for v in log10(scalarizer(fit, lambda p: -p[1])).function(spectra[0])[:2])


def test_combinations_propagate_independent_errors(spectra):
    y = spectra[0]
    (a, va, _), (b, vb, _) = slope.function(y), intercept.function(y)
    value, variance, _ = ratio(slope, intercept).function(y)
    assert float(value) == pytest.approx(float(a / b), rel=1e-12)
    assert float(variance) == pytest.approx(float(va / b**2 + vb * a**2 / b**4), rel=1e-10)
    value, variance, _ = difference(slope, intercept).function(y)
    assert (float(value), float(variance)) == (pytest.approx(float(a - b)), pytest.approx(float(va + vb)))
    value, variance, _ = log10(slope).function(y)
    assert float(variance) == pytest.approx(float(va / (a * np.log(10)) ** 2), rel=1e-10)


def test_a_measurement_gives_its_arrays_by_name(spectra):
    reading = SimpleNamespace(arrays={"signal": np.asarray(spectra[0]), "time": np.zeros(3)})
    value, variance = slope(reading)
    assert (value, variance) == tuple(float(v) for v in slope.function(spectra[0])[:2])
    assert isinstance(value, float)
    with pytest.raises(ValueError, match="'response'"):
        replace(slope, arrays=("response",))(reading)
    with pytest.raises(ValueError, match="name the arrays"):
        replace(slope, arrays=())
    with pytest.raises(ValueError, match="one spectrum"):
        slope.function(spectra)


def test_one_trace_for_a_campaign(spectra):
    traces = []

    def counted(p):
        traces.append(1)
        return p[1]

    scalar = scalarizer(fit, counted)
    scalar(SimpleNamespace(arrays={"signal": spectra[0]}))
    once = len(traces)
    for y in spectra[1:5]:
        scalar(SimpleNamespace(arrays={"signal": y}))
    assert len(traces) == once


def test_the_example_runs():
    assert doctest.testmod(_scalarizer, raise_on_error=True).attempted > 0


def test_arrays_are_prepared_and_limits_are_of_what_was_measured():
    bias = triangle(8.0, 64)
    clean = jnp.where(jnp.roll(jnp.arange(64), 16) < 32, -1.0, 1.0)
    torn = clean.at[20].set(50.0)
    size = lambda response, scalar: float(scalar.function(bias, response).value)  # noqa: E731
    mended = LOOP_AREA.prepared(response=despike)
    assert size(torn, mended) == size(clean, LOOP_AREA) != size(torn, LOOP_AREA)
    for scalar in (mended.rejecting(response=50.0), LOOP_AREA.rejecting(response=50.0)):
        found = scalar.function(bias, torn)
        assert (np.isnan(found.value), np.isnan(found.variance), int(found.status)) == (True, True, Status.BAD_INPUT)
        assert size(clean, scalar) == size(clean, LOOP_AREA)
        assert np.isnan(size(clean.at[3].set(jnp.nan), scalar))
    for wrong in (lambda: LOOP_AREA.prepared(signal=despike), lambda: LOOP_AREA.rejecting(signal=1.0)):
        with pytest.raises(ValueError, match="takes \\['bias', 'response'\\]; got \\['signal'\\]"):
            wrong()
    rows = jnp.stack([torn, clean])
    assert jax.jit(jax.vmap(lambda r: mended.function(bias, r).value))(rows).tolist() == [size(clean, mended)] * 2


def test_single_precision_is_widened(spectra):
    """A file and a measurement give one number, that of the values in double precision."""
    narrow = np.asarray(spectra[:3], np.float32)
    wide = [float(slope.function(jnp.asarray(row, float)).value) for row in narrow]
    assert [slope(SimpleNamespace(arrays={"signal": row}))[0] for row in narrow] == wide
    data = SimpleNamespace(values=narrow, unit="V", axes=(SimpleNamespace(name="y", unit="m", values=np.arange(3.0)),))
    data.axes += (SimpleNamespace(name="t", unit="s", values=np.asarray(X)),)
    signal = replace(slope, arrays=("t", "signal"), function=lambda t, y: slope.function(y))
    np.testing.assert_allclose(signal.evaluate(data).value, wide, rtol=1e-12)


def test_units_of_arrays_with_any_name():
    mean = Scalarizer("mean", lambda a: a, ("LI X",), "{LI X} {a.b[0]}")
    assert mean.unit_of({"LI X": "A", "a.b[0]": "V"}) == "A V"
    assert mean.unit_of({"LI X": "A"}, unknown="a.u.") == "A a.u."
    with pytest.raises(ValueError, match=r"needs that of 'a.b\[0\]'"):
        mean.unit_of({"LI X": "A"})
