import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.acquisition._logspace import log_improvement, log_mean_exp

# log(phi(u) + u Phi(u)) by 400-digit arithmetic.
TABLE = {
    5.0: 1.6094379231264313,
    0.0: -0.9189385332046728,
    -1.0: -2.4851210257126413,
    -2.0: -4.768783523917114,
    -3.0: -7.869686059603029,
    -4.0: -11.849061577550662,
    -4.5: -14.18048838186834,
    -8.0: -37.12236426169263,
    -25.0: -319.86146358149597,
    -30.0: -457.724653760598,
    -1000.0: -500014.73445209116,
}


def test_table_is_what_multiple_precision_gives():
    mpmath = pytest.importorskip("mpmath", reason="mpmath computes the table anew")
    mpmath.mp.dps = 400
    for u, value in TABLE.items():
        exact = mpmath.npdf(u) + u * mpmath.erfc(-mpmath.mpf(u) / mpmath.sqrt(2)) / 2
        assert float(mpmath.log(exact)) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(("dtype", "relative"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_accurate_far_into_the_tail(dtype, relative):
    u = np.array(list(TABLE), dtype)
    value = log_improvement(jnp.asarray(u))
    assert value.dtype == dtype
    np.testing.assert_allclose(value, np.array(list(TABLE.values())), rtol=relative)
    slope = jax.vmap(jax.grad(log_improvement))(jnp.asarray([-1e6, -1e3, -30.0, -1.0, 0.0, 50.0], dtype))
    assert jnp.isfinite(slope).all()
    # d/du log h tends to -u as u falls.
    np.testing.assert_allclose(slope[:2], [1e6, 1e3], rtol=1e-5)


def test_monotone_across_the_borders_of_its_regimes():
    for border in (-1.0, -2.0, -4.0, -8.0, -25.0):
        for dtype in (np.float32, np.float64):
            u = np.linspace(border - 0.01, border + 0.01, 41).astype(dtype)
            value = np.asarray(log_improvement(jnp.asarray(u)), np.float64)
            assert (np.diff(value) > 0).all()


def test_log_mean_exp_does_not_underflow():
    values = jnp.array([[-1e5, 0.0], [-1e5 - 1.0, 1.0]])
    expected = [-1e5 + np.log(0.25 + 0.75 * np.exp(-1)), np.log(0.25 + 0.75 * np.e)]
    np.testing.assert_allclose(log_mean_exp(values, jnp.log(jnp.array([0.25, 0.75]))), expected, rtol=1e-14)
