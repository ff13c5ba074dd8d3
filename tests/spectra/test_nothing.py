"""Where a number is asked for that noise does not have, noise alone is refused."""

import jax
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import _fit as fitting
from gpax_lab.spectra import eels, peaks, sts
from gpax_lab.spectra.loops import LoopScalars, loop_fit, scalars_of_fit, triangle
from gpax_lab.spectra.sho import sho_amplitude_fit, sho_fit

COUNT = 1000


def at_most(share, count=COUNT):
    """So many of `count` at this share, and four standard deviations of the binomial number."""
    return share * count + 4.0 * np.sqrt(share * (1.0 - share) * count)


@pytest.mark.parametrize(
    ("bins", "tails"),
    [(32, "normal"), *(pytest.param(n, t, marks=pytest.mark.slow) for n in (12, 64) for t in ("normal", "heavy"))],
)
def test_noise_has_no_resonance(bins, tails):
    dice = np.random.default_rng(bins)
    size = (2, COUNT, bins)
    real, imag = dice.normal(size=size) if tails == "normal" else dice.standard_t(3, size=size)
    band = np.linspace(320e3, 380e3, bins)
    for fit in (sho_fit(band, real + 1j * imag), sho_amplitude_fit(band, np.hypot(real, imag))):
        for codes in (fit.status, *np.asarray(fitting.judged(fit).status).T):
            assert np.sum(np.asarray(codes) == Status.OK) <= at_most(0.01 if tails == "normal" else 0.02)


def test_noise_has_no_peak_with_a_position_and_a_width():
    noise = np.random.default_rng(1).normal(size=(COUNT, 60))
    x = np.linspace(0.0, 10.0, 60)
    for which in (1, 2):
        scalar = peaks.peak_scalarizer((0.0, 10.0), which)
        value, variance, _ = jax.vmap(lambda y, scalar=scalar: scalar.function(x, y))(noise)
        assert np.sum(np.isfinite(value)) <= at_most(0.01)
        np.testing.assert_array_equal(np.isfinite(value), np.isfinite(variance))


@pytest.mark.parametrize("level", [1.0, 5.0, 300.0])
def test_counts_without_a_zero_loss_peak_have_no_shift(level):
    dice = np.random.default_rng(2)
    channels = np.arange(128.0)
    reference = 1000.0 * np.exp(-(((channels - 60.0) / 4.0) ** 2)) + 5.0
    noise = dice.poisson(level, (COUNT, 128)).astype(float)
    assert np.sum(np.isfinite(peaks.align(reference, noise).shift)) <= at_most(0.005)
    # A hundred electrons in the peak are enough where there are no others.
    few = dice.poisson(0.014 * (reference - 5.0), (COUNT, 128)).astype(float)
    found = peaks.align(reference, few)
    assert np.mean(np.isfinite(found.shift)) > 0.99
    away = np.asarray(found.shift) / np.sqrt(np.asarray(found.variance))
    assert abs(np.std(away[np.isfinite(away)]) - 1.0) < 4.0 / np.sqrt(2.0 * COUNT)  # that of a standard deviation


def test_noise_has_no_gap_and_no_edge_to_divide_by():
    dice = np.random.default_rng(3)
    bias = np.linspace(-2.0, 2.0, 201)
    found = sts.gap(bias, 0.1 * dice.normal(size=(COUNT, 201)), 0.5, 0.1)
    assert np.sum(np.asarray(found.status) == Status.OK) <= at_most(0.002)
    energy = np.arange(100.0, 500.0)
    tail = dice.poisson(50.0 * (energy / 150.0) ** -3, (COUNT, 400)).astype(float)
    ratio = eels.edge_ratio(((110.0, 200.0), (220.0, 300.0)), ((310.0, 400.0), (410.0, 480.0)), method="poisson")
    value = jax.vmap(lambda y: ratio.function(energy, y).value)(tail)
    assert np.sum(np.isfinite(value)) <= at_most(0.001)


def test_a_line_without_noise_switches_nowhere():
    """Constants and straight lines to the last digit: what a fit leaves of them is rounding."""
    bias = np.asarray(triangle(8.0, 64))
    offset = np.array([0.0, 3.3, 0.1, -7.7, 1e-9, 123456.789, 1 / 3, *np.linspace(-3.0, 3.0, 93)])
    tilt = np.array([*[0.0] * 7, *np.linspace(-0.5, 0.5, 93)])
    found = scalars_of_fit(loop_fit(bias, tilt[:, None] * bias + offset[:, None]), bias)
    good = np.asarray(found.status) == Status.OK
    for k, name in enumerate(LoopScalars._fields):
        if name.startswith(("coercive", "imprint", "nucleation")):
            assert not np.any(good[:, k]), name
    largest = np.max(np.abs(tilt[:, None] * bias + offset[:, None]), axis=1)
    assert np.all(np.abs(found.params[:, 0]) <= 64 * 2.3e-16 * largest * 16.0), "of the rectangle around: rounding"
