"""The optimiser, against scipy's and against minima known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from gpax_lab.inference._bfgs import minimize_bfgs


def test_rosenbrock_from_several_starts():
    starts = jnp.asarray(np.random.default_rng(0).uniform(-2, 2, (6, 4)))
    ends = jax.jit(jax.vmap(lambda z: minimize_bfgs(_rosenbrock, z, 1e-6, 400, jnp.ones(4))))(starts)
    for start, end, value in zip(starts, ends.z, ends.value, strict=True):
        found = optimize.minimize(lambda z: float(_rosenbrock(z)), start, jac=jax.grad(_rosenbrock), tol=1e-10)
        # In four dimensions there is a second minimum: both searches may end in either, and nowhere else.
        second = optimize.minimize(lambda z: float(_rosenbrock(z)), [-0.78, 0.61, 0.38, 0.15], tol=1e-10).x
        assert min(np.abs(end - 1).max(), np.abs(end - second).max()) < 1e-5
        assert float(value) < found.fun + 4.0
    assert float(jnp.max(ends.slope)) <= 1e-6


def _rosenbrock(z):
    return jnp.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)


def test_coordinates_of_very_different_size():
    """Nanometres beside kilohertz: with natural lengths the search takes a few moves, whatever the units."""
    unit = jnp.array([1e-9, 1e3, 1.0])
    target = jnp.array([3e-9, -2e3, 0.5])
    end = jax.jit(lambda z: minimize_bfgs(lambda z: jnp.sum(((z - target) / unit) ** 2), z, 1e-9, 60, unit))(
        jnp.zeros(3)
    )
    np.testing.assert_allclose(end.z, target, rtol=1e-8)
    assert int(end.updates) < 20


def test_turns_back_where_the_function_ends():
    """log is NaN below zero, and the first full step would go there."""
    end = jax.jit(lambda z: minimize_bfgs(lambda z: jnp.sum(100 * z - jnp.log(z)), z, 1e-8, 100, jnp.ones(2)))(
        jnp.ones(2)
    )
    np.testing.assert_allclose(end.z, 0.01, rtol=1e-6)


def test_a_start_where_the_function_is_not_finite_is_the_end():
    end = jax.jit(lambda z: minimize_bfgs(lambda z: jnp.sum(jnp.log(z)), z, 1e-8, 100, jnp.ones(1)))(-jnp.ones(1))
    assert float(end.value) == np.inf
    assert int(end.updates) == 0
    np.testing.assert_array_equal(end.z, [-1.0])


def test_a_curvature_that_is_known_saves_moves_and_none_is_as_zeros():
    curvature = jnp.diag(jnp.array([1.0, 30.0, 900.0])) + 5.0
    target = jnp.array([0.3, -0.2, 0.5])

    @jax.jit
    def search(inverse):
        return minimize_bfgs(
            lambda z: 0.5 * (z - target) @ curvature @ (z - target), jnp.zeros(3), 1e-8, 60, UNIT, inverse
        )

    known, zeros = search(jnp.linalg.inv(curvature)), search(jnp.zeros((3, 3)))
    learned = search(zeros.inverse)  # as a search before it has left it
    plain = jax.jit(lambda z: minimize_bfgs(lambda z: 0.5 * z @ curvature @ z, z, 1e-8, 60, UNIT))(-target)
    np.testing.assert_allclose(known.z, target, atol=1e-8)
    assert int(known.updates) <= 2
    assert int(zeros.updates) == int(plain.updates) > 4
    np.testing.assert_allclose(learned.z, target, atol=1e-8)
    assert int(learned.updates) < int(plain.updates)


UNIT = jnp.ones(3)
