import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.inference import _diagnostics as diagnostics

arviz = pytest.importorskip("arviz_stats.base", reason="arviz-stats is the independent oracle").array_stats


def chains(count, n, correlation, seed=0):
    rng = np.random.default_rng(seed)
    noise, x = rng.standard_normal((count, n)), np.zeros((count, n))
    for t in range(1, n):
        x[:, t] = correlation * x[:, t - 1] + noise[:, t]
    x[0] += 0.3
    return np.exp(x)  # asymmetric, so that bulk, tail and folded parts differ


@pytest.mark.parametrize(("count", "n", "correlation"), [(4, 250, 0.9), (2, 100, -0.3), (4, 500, 0.5)])
def test_equal_to_arviz(count, n, correlation):
    draws = chains(count, n, correlation)
    r_hat, bulk, tail = jax.jit(diagnostics.summary)(jnp.asarray(draws))
    np.testing.assert_allclose(r_hat, arviz.rhat(draws), rtol=1e-10)
    # Both follow Geyer; they treat the first truncated pair of lags differently, at most one pair in the sum.
    np.testing.assert_allclose(bulk, arviz.ess(draws), rtol=0.02)
    np.testing.assert_allclose(tail, arviz.ess(draws, method="tail", prob=(0.05, 0.95)), rtol=0.02)


def test_ties_of_rejected_moves_count_alike():
    draws = np.repeat(chains(2, 60, 0.0), 3, axis=1)
    np.testing.assert_allclose(diagnostics.summary(jnp.asarray(draws))[0], arviz.rhat(draws), rtol=1e-10)


def test_a_chain_that_never_moved_is_no_success():
    r_hat, bulk, tail = diagnostics.summary(jnp.ones((2, 50)))
    assert r_hat == jnp.inf
    assert bulk == tail == 0
