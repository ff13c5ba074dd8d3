"""Arrays as files and other libraries give them: bytes in the other order, masks, half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import images
from gpax_lab.core import _inputs as inputs
from gpax_lab.images import _frames
from gpax_lab.spectra import _fit as fitting
from gpax_lab.spectra import _sho_start, edx, eels, peaks, sho, sts

DICE = np.random.default_rng(0)
BAND = np.linspace(320.0, 380.0, 32)
ENERGY = np.arange(100.0, 164.0)
IMAGE = np.hypot(*(np.mgrid[:16, :16] - 7.5)) - 4.0 + 0.05 * DICE.normal(size=(16, 16))
SHAPES = np.stack([np.exp(-(((np.arange(32.0) - c) / 2.0) ** 2)) + 0.01 for c in (9, 20)])
TOP = 900.0 * np.exp(-(((np.arange(64.0) - 31.0) / 4.0) ** 2))
PARAMS = np.array([1.0, 350.0, 60.0, 0.7])


def resonance():
    return 50.0 * np.asarray(sho.sho_response(BAND, PARAMS)) + DICE.normal(size=(2, 32)).T @ [1.0, 1.0j]


def line(x, p):
    return p[0] + p[1] * x


SPECTRA = {
    "sho_fit": (lambda h: sho.sho_fit(BAND, h).params, resonance()),
    "sho_start": (lambda h: _sho_start.sho_start(BAND, h), resonance()),
    "curve_fit": (
        lambda y: fitting.curve_fit(line, ENERGY, y, np.zeros(2)).params,
        0.1 * ENERGY + DICE.normal(size=64),
    ),
    "fit_peak": (
        lambda y: peaks.fit_peak(ENERGY, y, (100.0, 164.0)).params,
        np.exp(-(((ENERGY - 130.0) / 9.0) ** 2)) + 0.03 * DICE.normal(size=64),
    ),
    "align": (lambda y: peaks.align(np.roll(TOP, 1), y).shift, TOP),
    "shift_spectra": (lambda y: peaks.shift_spectra(y, np.array([1.3, -0.2])), SHAPES),
    "edge": (
        lambda y: eels.edge(ENERGY, y, (100.0, 130.0), (130.0, 160.0)).counts,
        1e9 * ENERGY**-3 + 90.0 * (ENERGY > 131),
    ),
    "fit_lines": (lambda y: edx.fit_lines(y, SHAPES, 20).counts, np.array([40.0, 9.0]) @ SHAPES),
    "derivative": (lambda y: sts.derivative(np.linspace(-1.0, 1.0, 32), y)[0], SHAPES[0]),
    "gap": (lambda y: sts.gap(np.linspace(-1.0, 1.0, 33), y, 0.5, 0.01).width, np.linspace(-1.0, 1.0, 33) ** 2),
    "normalized_conductance": (
        lambda y: sts.normalized_conductance(np.linspace(-1.0, 1.0, 32), y, y, 0.2),
        SHAPES[0],
    ),
}
IMAGES = {
    "register": (lambda z: images.register(z, jnp.roll(jnp.asarray(IMAGE), 1, 0), passes=0).shift, IMAGE),
    "find_atoms": (lambda z: images.find_atoms(z, 2.0, 4).positions, -IMAGE),
    "plane": (images.plane, IMAGE),
    "flatten": (images.flatten, IMAGE),
    "shift_image": (lambda z: images.shift_image(z, (0.5, 1.0)), IMAGE),
    "fourier_shift": (lambda z: _frames.fourier_shift(z, jnp.asarray([0.5, 1.0])), IMAGE),
    "smooth": (lambda z: images.smooth(z, 1.0), IMAGE),
    "peaks": (lambda z: images.peaks(z, 3).heights, -IMAGE),
    "patches": (lambda z: images.patches(z, [[7.2, 7.9]], 3), IMAGE),
    "normalized": (images.normalized, IMAGE),
    "principal": (lambda z: images.principal(z, 2).variance, IMAGE),
    "fourier_magnitude": (lambda z: images.fourier_magnitude(z[None] if z.ndim == 2 else z), IMAGE),
    "domain_radius": (lambda z: images.domain_radius(z, 1.0)[0], np.clip(IMAGE, -1.0, 1.0)),
}
KEPT = ("smooth", "peaks")
CASES = SPECTRA | IMAGES


@pytest.mark.parametrize("name", CASES)
def test_bytes_in_the_other_order_are_the_same_numbers(name):
    function, values = CASES[name]
    expected = np.asarray(function(values))
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(function(values.astype(values.dtype.newbyteorder(">"))), expected)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("find_atoms", "patches", "principal")])
def test_what_is_masked_is_missing(name):
    """And not the number that lies under the mask."""
    function, values = CASES[name]
    hidden = np.zeros(values.shape, bool)
    hidden[..., 3] = True
    expected = np.asarray(function(np.where(hidden, np.nan, values)))
    np.testing.assert_array_equal(function(np.ma.array(np.where(hidden, 9e36, values), mask=hidden)), expected)


def test_images_that_must_be_whole_refuse_a_mask():
    hidden = np.ma.array(IMAGE, mask=IMAGE > 6.0)
    for function in (IMAGES["find_atoms"][0], IMAGES["patches"][0]):
        with pytest.raises(ValueError, match="not finite"):
            function(hidden)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("sho_fit", "sho_start", *KEPT)])  # no complex half
def test_half_precision_is_computed_in_single(name):
    function, values = CASES[name]
    half = values.astype(np.float16)
    found, expected = np.asarray(function(half)), np.asarray(function(half.astype(np.float32)))
    assert found.dtype != np.float16
    np.testing.assert_array_equal(found, expected)


def test_filters_keep_half_precision():
    for name in KEPT:
        function, values = CASES[name]
        half = values.astype(np.float16)
        found, single = function(half), np.asarray(function(half.astype(np.float32)))
        assert found.dtype == np.float16
        # Rounded once more at the end, and a few sums of half precision on the way.
        np.testing.assert_allclose(found, single, rtol=0, atol=8 * np.finfo(np.float16).eps * np.nanmax(np.abs(single)))


AXES = {
    "sho_fit": (lambda x: sho.sho_fit(x, SPECTRA["sho_fit"][1]).params, BAND),
    "curve_fit": (lambda x: fitting.curve_fit(line, x, SPECTRA["curve_fit"][1], np.zeros(2)).params, ENERGY),
    "fit_peak": (lambda x: peaks.fit_peak(x, SPECTRA["fit_peak"][1], (100.0, 164.0)).params, ENERGY),
    "edge": (lambda x: eels.edge(x, SPECTRA["edge"][1], (100.0, 130.0), (130.0, 160.0)).counts, ENERGY),
    "shapes": (lambda x: edx.shapes(x, {"Si K": 1.74}), np.linspace(1.0, 3.0, 32)),
    "derivative": (lambda x: sts.derivative(x, SHAPES[0])[0], np.linspace(-1.0, 1.0, 32)),
    "gap": (lambda x: sts.gap(x, SPECTRA["gap"][1], 0.5, 0.01).width, np.linspace(-1.0, 1.0, 33)),
}


@pytest.mark.parametrize("name", AXES)
def test_an_axis_comes_in_any_order_of_bytes_and_has_no_gap(name):
    function, axis = AXES[name]
    np.testing.assert_array_equal(function(axis.astype(">f8")), function(axis))
    with pytest.raises(ValueError, match=r"masked .*in row 4"):
        function(np.ma.array(axis, mask=np.arange(axis.size) == 4))


def test_a_fit_in_single_precision_takes_an_axis_in_double():
    function, values = SPECTRA["curve_fit"]
    found = function(values.astype(np.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, function(values), rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["a", "b"], "must hold numbers"),
        ([[1.0], [2.0, 3.0]], "one array of numbers"),
        ([1.0, "b", None], "holds text"),
    ],
)
def test_what_holds_no_numbers_is_refused_in_words(values, text):
    with pytest.raises(ValueError, match=text):
        inputs.inexact(values)


def test_floating_point_keeps_its_width_and_numbers_take_that_of_others():
    for kind in (np.float32, np.float64):
        assert inputs.floating(np.ones(2, kind)).dtype == kind
    assert inputs.inexact(np.ones(2, ">c8")).dtype == np.complex64
    assert inputs.floating(np.arange(3, dtype=">i2")).tolist() == [0.0, 1.0, 2.0]
    assert inputs.floating(np.ones(2, np.longdouble)).dtype == np.float64
    assert (inputs.floating(2) * jnp.ones(2, jnp.float32)).dtype == jnp.float32
    np.testing.assert_array_equal(inputs.floating([1.0, None]), [1.0, np.nan])
    assert jax.jit(inputs.floating)(jnp.ones(2, jnp.float16)).dtype == jnp.float32
