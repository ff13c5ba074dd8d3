import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.spectra.forc import forc_distribution, loop_family, split_cycles
from gpax_lab.spectra.loops import coercive_biases, loop_area, loop_function, triangle

PARAMS = jnp.array([-1.0, 2.0, 2.0, -1.5, 0.0, 0.6, 0.6, 0.6, 0.6])
AMPLITUDES = (3.0, 5.0, 8.0)


def test_a_waveform_is_cut_into_its_cycles_and_each_is_measured():
    cycles = [triangle(v, 32) for v in AMPLITUDES]
    loops = [jnp.stack([k * loop_function(v, PARAMS) for k in (1.0, 2.0)]) for v in cycles]
    bias, response = split_cycles(jnp.concatenate(cycles), jnp.concatenate(loops, axis=1), 3)
    assert bias.shape == (3, 32)
    assert response.shape == (2, 3, 32)
    found = loop_family(bias, response)
    np.testing.assert_allclose(found.amplitude, AMPLITUDES)
    for k in range(3):
        np.testing.assert_allclose(found.area[:, k], loop_area(cycles[k], loops[k]), rtol=1e-12)
        np.testing.assert_allclose(found.coercive[1, k], coercive_biases(cycles[k], loops[k][1]), rtol=1e-12)


def test_families_of_whole_numbers_are_those_of_real_ones():
    """16 bits: half a range of 40,000 and squares do not fit."""
    bias = np.stack([np.round(k * np.asarray(triangle(8.0, 32))) for k in (1250.0, 2500.0)]).astype(np.int16)
    response = np.stack([np.round(9000 * np.asarray(loop_function(v / 2500.0, PARAMS))) for v in bias]).astype(np.int16)
    cut = split_cycles(bias.ravel(), response.ravel(), 2)
    for found, right in zip(loop_family(*cut), loop_family(bias.astype(float), response.astype(float)), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-12)
    np.testing.assert_array_equal(loop_family(bias, response).amplitude, [10000.0, 20000.0])


def test_wrong_cuts_are_refused():
    bias = jnp.concatenate([triangle(v, 32) for v in AMPLITUDES])
    with pytest.raises(ValueError, match="equal length"):
        split_cycles(bias, bias, 5)
    with pytest.raises(ValueError, match="does not end where it began"):
        split_cycles(jnp.linspace(-1.0, 1.0, 60), jnp.zeros(60), 2)


def curves(surface):
    """Reversal curves of R(Vr, V) from each Vr up to 6 V, NaN beyond their end."""
    reversal = jnp.linspace(-6.0, 4.0, 41)
    bias = reversal[:, None] + 0.25 * jnp.arange(49)[None]
    bias = jnp.where(bias <= 6.0, bias, jnp.nan)
    return reversal, bias, surface(reversal[:, None], bias)


def test_a_quadratic_surface_has_its_mixed_derivative():
    at = jnp.array([[-3.0, 0.0], [0.0, 2.0], [-4.0, 5.0]])
    reversal, bias, response = curves(lambda a, b: 1.0 + a - 2 * b + 0.3 * a**2 + 0.7 * a * b - 0.1 * b**2)
    rho = forc_distribution(reversal, bias, response, at, (1.5, 1.5))
    np.testing.assert_allclose(rho, -0.35, atol=1e-9)


def test_a_cloud_of_hysterons_comes_back():
    """R with density of hysterons a Gaussian at (-1, 2): -1/2 R_ab is the density, up to the smoothing."""
    width = 1.5

    def cumulative(x, centre):
        return 0.5 * (1.0 + jax.scipy.special.erf((x - centre) / (width * np.sqrt(2))))

    reversal, bias, response = curves(lambda a, b: -2.0 * cumulative(a, -1.0) * cumulative(b, 2.0))
    at = jnp.array([[-1.0, 2.0], [-2.5, 2.0], [-1.0, 3.5]])
    rho = forc_distribution(reversal, bias, jnp.stack([response, 2 * response]), at, (1.0, 1.0))
    peak = 1.0 / (2 * np.pi * width**2)
    np.testing.assert_allclose(rho[0], peak * np.array([1.0, np.exp(-0.5), np.exp(-0.5)]), rtol=0.12)
    np.testing.assert_allclose(rho[1], 2 * rho[0], rtol=1e-12)


def test_no_answer_where_there_are_no_data():
    reversal, bias, response = curves(lambda a, b: a * b)
    rho = forc_distribution(
        reversal, bias, response.at[20, 10].set(jnp.nan), jnp.array([[30.0, 0.0], [-1.0, 1.5], [-5.0, 0.0]]), (1.0, 1.0)
    )
    assert list(np.isnan(rho)) == [True, True, False]
    with pytest.raises(ValueError, match="positive"):
        forc_distribution(reversal, bias, response, jnp.zeros((1, 2)), (0.0, 1.0))
