import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg as sl

from gpax_lab.core import _linalg as linalg

SIZES = [1, 7, 33, 64, 100]


def matrix(n, seed=0, dtype=np.float64):
    a = np.random.default_rng(seed).standard_normal((n, n))
    return (a @ a.T / n + 0.5 * np.eye(n)).astype(dtype)


@pytest.mark.parametrize("n", SIZES)
def test_equal_to_lapack(n):
    k, b = matrix(n), np.random.default_rng(1).standard_normal((n, 3))
    lower, ok = jax.jit(linalg.cholesky)(k)
    reference = sl.cholesky(k, lower=True)
    assert bool(ok)
    np.testing.assert_allclose(lower, reference, atol=1e-12)
    np.testing.assert_allclose(linalg.solve_lower(lower, b), sl.solve_triangular(reference, b, lower=True), atol=1e-11)
    np.testing.assert_allclose(
        linalg.solve_upper(lower, b[:, 0]), sl.solve_triangular(reference, b[:, 0], lower=True, trans=1), atol=1e-11
    )
    value = linalg.centred_log_density(k, b[:, 0])
    expected = -0.5 * b[:, 0] @ np.linalg.solve(k, b[:, 0]) - 0.5 * np.linalg.slogdet(k)[1]
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-11)


def test_large_matrices_go_to_lapack_one_at_a_time_and_agree():
    n = linalg.LARGE + 3
    k = matrix(n)
    small = linalg._eliminate(jnp.asarray(k), jnp.zeros((n, 0)))[0].T
    lower, ok = jax.vmap(linalg.cholesky)(jnp.stack([k, 2 * k]))
    assert ok.tolist() == [True, True]
    np.testing.assert_allclose(lower[0], small, atol=1e-11)
    np.testing.assert_allclose(lower[1], np.sqrt(2) * small, atol=1e-11)
    r = np.arange(n) / n
    np.testing.assert_allclose(
        linalg.centred_log_density(k, r), -0.5 * r @ np.linalg.solve(k, r) - 0.5 * np.linalg.slogdet(k)[1], rtol=1e-11
    )
    b = jnp.ones(n)
    np.testing.assert_allclose(
        linalg.solve_upper(lower[0], linalg.solve_lower(lower[0], b)), np.linalg.solve(k, b), atol=1e-9
    )


@pytest.fixture
def nowhere_by_rows(monkeypatch):
    """As on an accelerator, where every matrix goes to the vendor's routines."""
    jax.clear_caches()  # what was traced before has its choice in it
    monkeypatch.setattr(linalg, "BY_ROWS", ())
    yield
    jax.clear_caches()


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_choice_by_platform_changes_nothing(nowhere_by_rows, monkeypatch, on_cpu):
    monkeypatch.setattr(linalg, "_on_cpu", lambda: on_cpu)
    k, b = jnp.stack([matrix(20), matrix(20, 1)]), jnp.asarray(np.random.default_rng(1).standard_normal((20, 3)))
    lower, ok = jax.vmap(linalg.cholesky)(k)
    assert ok.tolist() == [True, True]
    np.testing.assert_allclose(lower[1], linalg._eliminate(k[1], b)[0].T, atol=1e-13)
    np.testing.assert_allclose(linalg.solve_lower(lower[0], b), linalg._substitute(lower[0], b), atol=1e-12)
    np.testing.assert_allclose(linalg.solve_upper(lower[0], b), linalg._substitute_transposed(lower[0], b), atol=1e-12)
    value, slope = jax.value_and_grad(linalg.centred_log_density)(k[0], b[:, 0])
    inverse = np.linalg.inv(k[0])
    expected = -0.5 * b[:, 0] @ inverse @ b[:, 0] - 0.5 * np.linalg.slogdet(k[0])[1]
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    weights = inverse @ b[:, 0]
    np.testing.assert_allclose(slope, 0.5 * (np.outer(weights, weights) - inverse), atol=1e-10)


@pytest.mark.parametrize("n", [3, 40, pytest.param(70, marks=pytest.mark.slow)])
def test_gradients_equal_those_of_plain_autodiff_and_finite_differences(n):
    k, r = jnp.asarray(matrix(n)), jnp.asarray(np.random.default_rng(2).standard_normal(n))

    def plain(k, r):
        lower = jnp.linalg.cholesky(0.5 * (k + k.T))
        white = jax.scipy.linalg.solve_triangular(lower, r, lower=True)
        return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(lower)))

    def by_parts(k, r):
        lower, _ = linalg.cholesky(0.5 * (k + k.T))
        return -0.5 * r @ linalg.solve_upper(lower, linalg.solve_lower(lower, r)) - jnp.sum(
            jnp.log(jnp.diagonal(lower))
        )

    expected = jax.grad(plain, (0, 1))(k, r)
    for function in (linalg.centred_log_density, by_parts):
        for a, b in zip(jax.grad(function, (0, 1))(k, r), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)
    direction = jnp.asarray(np.random.default_rng(3).standard_normal((n, n)))
    direction = direction + direction.T
    step = 1e-5
    slope = (
        linalg.centred_log_density(k + step * direction, r) - linalg.centred_log_density(k - step * direction, r)
    ) / (2 * step)
    # Central differences err by step^2 times the third derivative, here up to 1e2 n, plus rounding 1e-16 n / step.
    np.testing.assert_allclose(slope, jnp.sum(expected[0] * direction), rtol=1e-5, atol=1e-6 * n)


@pytest.mark.slow
def test_second_derivatives_agree_in_both_orders():
    k, r = jnp.asarray(matrix(5)), jnp.arange(5.0)

    def f(t):
        return linalg.centred_log_density(k + t[0] * jnp.eye(5) + t[1] * k, r * t[0])

    t = jnp.array([0.3, 0.2])
    np.testing.assert_allclose(jax.hessian(f)(t), jax.jacrev(jax.grad(f))(t), atol=1e-10)


@pytest.mark.parametrize("n", [4, 70])
def test_a_matrix_without_a_factor_is_minus_infinity_with_finite_gradients(n):
    k = jnp.asarray(matrix(n)).at[1, 1].set(-1.0)
    value, (k_bar, r_bar) = jax.value_and_grad(linalg.centred_log_density, (0, 1))(k, jnp.ones(n))
    assert value == -jnp.inf
    assert jnp.isfinite(k_bar).all()
    assert jnp.isfinite(r_bar).all()
    lower, ok = linalg.cholesky(k)
    assert not ok
    assert jnp.isfinite(lower).all()
    assert linalg.centred_log_density(k.at[0, 0].set(jnp.nan), jnp.ones(n)) == -jnp.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vmap_equals_loop_and_keeps_the_dtype(dtype):
    stack = jnp.stack([matrix(20, seed, dtype) for seed in range(5)])
    batched, _ = jax.jit(jax.vmap(linalg.cholesky))(stack)
    mapped = linalg.over_draws(lambda k: linalg.cholesky(k)[0], stack)
    assert batched.dtype == mapped.dtype == dtype
    single = jnp.stack([linalg.cholesky(k)[0] for k in stack])
    tolerance = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(batched, single, atol=tolerance)
    np.testing.assert_allclose(mapped, single, atol=tolerance)


def test_the_jitter_is_relative_and_known():
    assert linalg.jitter(np.float64) == pytest.approx(1.65e-10, rel=0.01)
    assert linalg.jitter(np.float32) == pytest.approx(4.7e-5, rel=0.02)
