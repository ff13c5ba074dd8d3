from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import eels, peaks

REAL = Path(__file__).resolve().parents[2] / "../shared/data/image_to_spectrum/SI-EELS.dm3"
ENERGY = 350.0 + 0.5 * np.arange(400)
FIT, OVER = (400.0, 450.0), (456.0, 476.0)


def background(counts=200.0, exponent=3.0):
    return counts * (ENERGY / 425.0) ** -exponent


def spectra(rng, repeats, counts=200.0, jump=60.0):
    return rng.poisson(background(counts) + jump * (ENERGY >= 455.0), (repeats, ENERGY.size)).astype(float)


@pytest.mark.parametrize("method", ["log", "poisson"])
def test_a_clean_power_law_comes_back_and_leaves_only_the_edge(method):
    clean = background() + 60.0 * (ENERGY >= 455.0)
    fit = eels.power_law(ENERGY, clean, FIT, method)
    assert np.isclose(fit.exponent, 3.0, atol=1e-8)
    assert fit.status == Status.OK
    found = eels.edge(ENERGY, clean, FIT, OVER, method)
    assert np.isclose(found.counts, 60.0 * 40, rtol=1e-8)


def test_the_log_fit_is_the_line_through_the_logarithms():
    y = spectra(np.random.default_rng(0), 3)
    inside = (ENERGY >= 400) & (ENERGY < 450)
    slope = [np.polyfit(np.log(ENERGY[inside]), np.log(row[inside]), 1)[0] for row in y]
    assert np.allclose(eels.power_law(ENERGY, y, FIT).exponent, -np.array(slope), atol=1e-9)


@pytest.mark.parametrize(("method", "counts"), [("log", 2000.0), ("poisson", 2000.0), ("poisson", 6.0)])
def test_edge_counts_are_unbiased_with_the_variance_that_is_stated(method, counts):
    repeats, jump = 800, 0.3 * counts
    found = eels.edge(ENERGY, spectra(np.random.default_rng(1), repeats, counts, jump), FIT, OVER, method)
    # Leaving out the rising ones would bias the mean.
    usable = np.isin(found.status, (Status.OK, Status.RISING_BACKGROUND))
    assert usable.all()
    error = np.asarray(found.counts) - 40 * jump
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(repeats) + 0.002 * 40 * jump
    # Relative Monte Carlo error of a variance: sqrt(2/800) = 0.05, four of them.
    assert abs(error.var() / np.asarray(found.variance).mean() - 1) < 0.25


def test_gain_scales_the_variance():
    y = spectra(np.random.default_rng(2), 1)[0]
    one, four = eels.edge(ENERGY, y, FIT, OVER), eels.edge(ENERGY, y, FIT, OVER, gain=4.0)
    assert np.isclose(four.variance, 4 * one.variance, rtol=1e-10)


def test_bad_spectra_are_flagged_and_scalarizers_give_nan():
    y = spectra(np.random.default_rng(3), 4)
    y[1, 120] = np.nan
    y[2] = 0.0
    y[3] = y[3][::-1]
    found = eels.edge(ENERGY, y, FIT, OVER)
    assert found.status.tolist() == [Status.OK, Status.BAD_INPUT, Status.NO_COUNTS, Status.RISING_BACKGROUND]
    scalar = eels.edge_scalarizer(FIT, OVER)
    value, variance, _ = jax.vmap(lambda row: scalar.function(ENERGY, row))(jnp.asarray(y))
    assert np.isfinite(value[0])
    assert np.isnan(value[1:]).all()
    assert np.isnan(variance[1:]).all()


def test_float32_stays():
    y = spectra(np.random.default_rng(4), 2).astype(np.float32)
    found = eels.edge(ENERGY, y, FIT, OVER)
    assert found.counts.dtype == jnp.float32
    assert np.allclose(found.counts, eels.edge(ENERGY, y.astype(float), FIT, OVER).counts, rtol=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: eels.power_law(ENERGY, np.ones(400), (10.0, 20.0)),
        lambda: eels.power_law(ENERGY, np.ones(399), FIT),
        lambda: eels.power_law(ENERGY, np.ones(400), FIT, "cubic"),
        lambda: eels.edge(ENERGY, np.ones(400), FIT, (440.0, 470.0)),
        lambda: peaks.fit_peak(ENERGY, np.ones(400), FIT, "voigt"),
        lambda: peaks.align(np.ones(4), np.ones((2, 5))),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"got|holds|more|overlap|not negative|determine|is one of"):
        call()


@pytest.mark.parametrize("shape", sorted(peaks.SHAPES))
def test_a_clean_peak_comes_back(shape):
    x = np.linspace(10.0, 22.0, 121)
    truth = jnp.array([50.0, 15.6, 2.2, 8.0, -0.3] + ([0.4] if shape == "pseudo_voigt" else []))
    y = jax.vmap(lambda e: peaks.SHAPES[shape](e, truth))(jnp.asarray(x))
    fit = peaks.fit_peak(x, y, (10.0, 23.0), shape)
    assert np.allclose(fit.params, truth, rtol=1e-4)
    assert fit.status == Status.OK


def test_the_ratio_of_two_peaks_is_covered_by_its_variance():
    x, rng, repeats = np.linspace(0.0, 20.0, 200), np.random.default_rng(5), 300
    clean = sum(h * np.exp(-4 * np.log(2) * ((x - c) / 1.5) ** 2) for h, c in ((30.0, 5.0), (20.0, 14.0)))
    noisy = clean + rng.normal(scale=1.0, size=(repeats, 200))
    ratio = peaks.peak_ratio((14.0 - 4, 14.0 + 4), (1.0, 9.0))
    value, variance, _ = jax.vmap(lambda y: ratio.function(x, y))(jnp.asarray(noisy))
    z = (np.asarray(value) - 20 / 30) / np.sqrt(np.asarray(variance))
    assert np.isfinite(z).all()
    # Heights divide with a bias below a tenth of a deviation here; Monte Carlo errors are 0.058 and 0.041.
    assert abs(z.mean()) < 0.35
    assert abs(z.std() - 1) < 0.17


def test_zero_loss_peaks_line_up_and_keep_their_counts():
    rng = np.random.default_rng(6)
    x, moves = np.arange(256.0), rng.uniform(-12, 12, 20)
    peak = 1e4 * np.exp(-0.5 * ((x[None] - 100 - moves[:, None]) / 5) ** 2)
    reference = 1e4 * np.exp(-0.5 * ((x - 100) / 5) ** 2)
    shift, _, aligned = peaks.align(reference, peak)
    assert np.abs(np.asarray(shift) + moves).max() < 0.01
    # A pedestal changes nothing, and where there is no peak there is no shift.
    lifted = peaks.align(reference + 5000.0, np.vstack([peak + 5000.0, np.zeros((1, 256)), np.full((1, 256), np.nan)]))
    assert np.abs(np.asarray(lifted.shift[:-2]) + moves).max() < 0.01
    assert np.isnan(lifted.shift[-2:]).all()
    assert np.isnan(lifted.spectra[-2:]).all()
    assert np.allclose(np.asarray(aligned).sum(1), peak.sum(1), rtol=1e-9)
    assert np.abs(np.asarray(aligned) @ x / peak.sum(1) - 100).max() < 0.01


def test_the_variance_of_an_alignment_is_that_of_counts():
    x = np.arange(128.0)
    clean = 400 * np.exp(-0.5 * ((x - 60) / 4) ** 2) + 20
    noisy = np.random.default_rng(8).poisson(np.interp(x - 2.3, x, clean), (600, 128))
    found = peaks.align(clean, noisy)
    z = (np.asarray(found.shift) + 2.3) / np.sqrt(np.asarray(found.variance))
    # 600 draws: 0.029 of a standard deviation, 0.041 of the mean.
    assert abs(z.std() - 1) < 0.12
    assert abs(z.mean()) < 0.3
    assert np.allclose(peaks.shift_spectra(np.array([[0, 7, 0, 0]]), np.array([0.5])), [[0, 3.5, 3.5, 0]])


@pytest.mark.slow
def test_a_peak_that_is_not_there_is_a_failed_measurement():
    x = np.arange(80.0)
    y = jnp.asarray(100 + 10 * np.random.default_rng(9).normal(size=(300, 80)))

    def over(scalar, rows):
        return jax.vmap(lambda row: scalar.function(x, row).value)(rows)

    centre = over(peaks.peak_scalarizer((0.0, 80.0), 1), y)
    assert np.isfinite(centre).mean() < 0.03
    there = y.at[:, 40:].add(200 * np.exp(-0.5 * ((x[40:] - 60) / 4) ** 2)[None])
    ratio = over(peaks.peak_ratio((40.0, 80.0), (0.0, 40.0)), there)
    assert np.isfinite(ratio).mean() < 0.03
    other = over(peaks.peak_ratio((0.0, 40.0), (40.0, 80.0)), there)
    assert np.isfinite(other).mean() > 0.3  # nothing over something is a number, wherever the first fit converges


def test_errors_of_counts_are_those_of_counts_when_the_gain_is_given():
    x = np.arange(80.0)
    clean = 1000 * np.exp(-4 * np.log(2) * ((x - 40) / 12) ** 2) + 10
    y = 2.0 * np.random.default_rng(10).poisson(clean / 2.0, (500, 80))
    fit = peaks.fit_peak(x, y, (0.0, 80.0), gain=2.0)
    z = (np.asarray(fit.params) - [1000, 40, 12, 10, 0]) / np.asarray(fit.std)
    # 500 draws: 0.032 of a standard deviation, 0.045 of a mean.
    assert np.abs(z.std(0) - 1).max() < 0.15
    assert np.abs(z.mean(0)).max() < 0.25
    with pytest.raises(ValueError, match="both"):
        peaks.fit_peak(x, y, (0.0, 80.0), sigma=1.0, gain=1.0)


def test_a_background_that_is_no_power_law_is_flagged():
    rng = np.random.default_rng(11)
    clean = 2000.0 * (ENERGY / 425) ** -3
    bumpy = clean * (1 + 0.1 * np.sin(ENERGY / 4.0))
    good = eels.power_law(ENERGY, rng.poisson(clean, (200, ENERGY.size)), FIT)
    poor = eels.power_law(ENERGY, rng.poisson(bumpy, (50, ENERGY.size)), FIT)
    assert (np.asarray(good.status) == Status.OK).all()
    assert abs(np.mean(good.chi_square) - 1) < 0.05
    assert (np.asarray(poor.status) == Status.POOR_FIT).all()
    assert np.isfinite(eels.edge(ENERGY, bumpy, FIT, OVER).counts)
    assert np.isnan(eels.edge_scalarizer(FIT, OVER).function(ENERGY, jnp.asarray(bumpy)).value)
    few = eels.power_law(ENERGY, rng.poisson(0.0005 * clean, (20, ENERGY.size)), FIT)
    assert (np.asarray(few.status) == Status.EMPTY_CHANNELS).mean() > 0.8


def test_windows_are_checked_under_jit_and_may_touch():
    with pytest.raises(ValueError, match="channels"):
        jax.jit(lambda y: eels.edge(ENERGY, y, FIT, (9000.0, 9500.0)))(jnp.ones(ENERGY.size))
    assert eels.edge(ENERGY, spectra(np.random.default_rng(3), 1)[0], (400, 450), (450, 470)).status == Status.OK


@pytest.mark.parametrize("counts", [1e5, 1e7])
def test_single_precision_converges_at_any_counts(counts):
    y = np.random.default_rng(12).poisson(counts * (ENERGY / 425) ** -3, (20, ENERGY.size)).astype(np.float32)
    assert (np.asarray(eels.power_law(ENERGY.astype(np.float32), y, FIT, "poisson").status) == Status.OK).all()


@pytest.mark.skipif(not REAL.exists(), reason="the spectrum image ../shared/data/image_to_spectrum is not here")
def test_reference_figures_of_the_spectrum_image():
    reader = pytest.importorskip("rsciio.digitalmicrograph")
    data = np.moveaxis(reader.file_reader(str(REAL))[0]["data"].astype(float), 0, -1)
    energy = 350 + 0.5 * np.arange(1024)
    windows = ((405, 450), (454, 474)), ((780, 824), (828, 858))
    ti, la = (np.asarray(eels.edge(energy, data, *pair).counts) for pair in windows)
    assert round(ti.min(), 1) == 1784.8
    assert round(ti.max()) == 58625
    assert round(ti.mean()) == 28815
    assert np.unravel_index(ti.argmax(), ti.shape) == (1, 4)
    assert round(la.mean(), 1) == 5350.7
    assert np.unravel_index(la.argmax(), la.shape) == (26, 5)
