from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import sklearn.gaussian_process.kernels as sk

from gpax_lab import kernels, priors
from gpax_lab.core import _priors
from gpax_lab.core._observations import observations
from gpax_lab.models import gp
from gpax_lab.models._conditioning import gram

SUM = kernels.add(kernels.scope("a", kernels.rbf), kernels.scope("b", kernels.active([1], kernels.matern32)))
PRODUCT = kernels.multiply(kernels.scope("a", kernels.periodic), kernels.scope("b", kernels.linear))
ARD = np.array([0.4, 0.9])

FAMILY = {
    "rbf": (kernels.rbf, 1.7 * sk.RBF(ARD)),
    "matern12": (kernels.matern12, 1.7 * sk.Matern(ARD, nu=0.5)),
    "matern32": (kernels.matern32, 1.7 * sk.Matern(ARD, nu=1.5)),
    "matern52": (kernels.matern52, 1.7 * sk.Matern(ARD, nu=2.5)),
    "rational_quadratic": (kernels.rational_quadratic, 1.7 * sk.RationalQuadratic(0.6, alpha=0.8)),
    "periodic": (kernels.periodic, None),
    "linear": (kernels.linear, None),
    "sum": (SUM, None),
    "product": (PRODUCT, None),
}


def parameters(kernel, dtype=jnp.float64, isotropic=False):
    scalars = {"variance": 1.7, "alpha": 0.8, "period": 0.7}
    values = {}
    for name, shape in _priors.parameter_shapes(kernel, 2, 2).items():
        lengthscale = 0.6 if isotropic else ARD[: shape[0] if shape else None]
        values[name] = jnp.asarray(scalars.get(name.rsplit("/", 1)[-1], lengthscale), dtype)
    return values


@pytest.fixture(params=FAMILY)
def member(request):
    return FAMILY[request.param][0]


X = np.random.default_rng(0).random((6, 2))
DUPLICATED = np.concatenate([X, X[:2]])


@pytest.mark.parametrize("name", [n for n, (_, reference) in FAMILY.items() if reference is not None])
def test_equal_to_scikit_learn(name):
    kernel, reference = FAMILY[name]
    values = parameters(kernel, isotropic=name == "rational_quadratic")
    np.testing.assert_allclose(gram(kernel, values, X, X), reference(X), atol=1e-13)


def test_periodic_and_linear_by_hand():
    x, z, p = jnp.array([0.1, 0.4]), jnp.array([0.3, 0.9]), {"variance": 2.0, "period": 0.5, "lengthscale": 0.7}
    square = sum(np.sin(np.pi * (a - b) / 0.5) ** 2 for a, b in zip(x, z, strict=True))
    np.testing.assert_allclose(kernels.periodic(x, z, p), 2.0 * np.exp(-2 * square / 0.49), rtol=1e-14)
    np.testing.assert_allclose(kernels.linear(x, z, p), 2.0 * (1 + (-0.4 * -0.2 + -0.1 * 0.4) / 0.49), rtol=1e-14)


def test_rational_quadratic_tends_to_rbf_with_an_error_falling_as_one_over_alpha():
    p = {"variance": 1.0, "lengthscale": 0.5}
    x, z = jnp.array([0.1]), jnp.array([0.6])
    errors = [float(abs(kernels.rational_quadratic(x, z, p | {"alpha": a}) - kernels.rbf(x, z, p))) for a in (1e2, 1e3)]
    assert errors[0] / errors[1] == pytest.approx(10.0, rel=0.02)


def test_positive_semidefinite_and_symmetric(member):
    k = np.asarray(gram(member, parameters(member), DUPLICATED, DUPLICATED))
    np.testing.assert_allclose(k, k.T, atol=1e-15)
    assert np.linalg.eigvalsh(k).min() > -1e-12 * np.trace(k)


def test_gradients_are_finite_at_duplicate_points(member):
    values = parameters(member)
    x = jnp.asarray(X[0])
    gradient = jax.grad(lambda x, z, p: member(x, z, p), (0, 1, 2))(x, x, values)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_place_that_is_no_number_is_nowhere(member):
    x = jnp.asarray(X)
    assert np.isnan(member(x[0].at[0].set(jnp.nan), x[1], parameters(member)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_jit_vmap_and_dtype(member, dtype):
    values = parameters(member, dtype)
    x = jnp.asarray(X, dtype)
    matrix = jax.jit(lambda x: gram(member, values, x, x))(x)
    loop = np.array([[member(a, b, values) for b in x] for a in x])
    assert matrix.dtype == dtype
    np.testing.assert_allclose(matrix, loop, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)


def test_composition_names_and_sizes_its_parameters():
    assert _priors.parameter_shapes(SUM, 2, 2) == {
        "a/variance": (),
        "a/lengthscale": (2,),
        "b/lengthscale": (1,),
        "b/variance": (),
    }
    values = {"a/variance": 1.0, "a/lengthscale": ARD, "b/variance": 2.0, "b/lengthscale": jnp.array([0.3])}
    expected = kernels.rbf(X[0], X[1], {"variance": 1.0, "lengthscale": ARD})
    expected += kernels.matern32(X[0, 1:], X[1, 1:], {"variance": 2.0, "lengthscale": 0.3})
    np.testing.assert_allclose(SUM(jnp.asarray(X[0]), jnp.asarray(X[1]), values), expected, rtol=1e-14)


def test_a_users_own_kernel_with_its_own_names():
    def brownian(x, z, params):
        return params["diffusion"] * jnp.minimum(x[0], z[0])

    with pytest.raises(ValueError, match="diffusion"):
        gp.exact(1, brownian)
    model = gp.exact(1, brownian, prior={"diffusion": dist.HalfNormal(1.0)})
    draw = priors.sample(jax.random.key(0), model.prior)
    assert set(draw) == {"diffusion", "noise"}


@pytest.mark.parametrize("dims", [[2], [-1], [0, 5]])
def test_an_active_input_that_is_not_there_is_an_error(dims):
    with pytest.raises(ValueError, match="inputs 0 to 1 only"):
        gp.exact(2, kernels.active(dims, kernels.rbf))


def test_tasks_are_a_kronecker_product_where_inputs_are_shared():
    """Against dense algebra: covariance B (x) K, and what one task learns from another."""
    tasks, rank, points = 3, 2, np.array([0.1, 0.4, 0.9])
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(tasks, rank)), rng.random(tasks)
    params = {"W": jnp.asarray(w), "v": jnp.asarray(v), "lengthscale": jnp.array([0.3]), "variance": jnp.asarray(1.0)}
    x = np.array([[p, t / (tasks - 1)] for t in range(tasks) for p in points])
    kernel = kernels.coregion(tasks, kernels.rbf)
    got = np.array([[float(kernel(jnp.asarray(a), jnp.asarray(b), params)) for b in x] for a in x])
    plain = np.exp(-0.5 * ((points[:, None] - points[None]) / 0.3) ** 2)
    np.testing.assert_allclose(got, np.kron(w @ w.T + np.diag(v), plain), rtol=1e-12)


def test_a_task_without_observations_learns_from_one_that_is_its_mirror_image():
    prior = kernels.coregion_prior(2) | {"variance": 1.0}
    model = gp.exact(
        2, kernels.coregion(2, kernels.rbf), prior=prior, bounds=[[0.0, 1.0], [0.0, 1.0]], standardize=False
    )
    x = np.array([[0.1, 0], [0.5, 0], [0.9, 0], [0.1, 1]])
    params = {
        "W": jnp.array([[1.0], [-1.0]]), "v": jnp.zeros(2), "variance": jnp.asarray(1.0),
        "lengthscale": jnp.array([0.3]), "noise": jnp.asarray(1e-4),
    }  # fmt: skip
    factor = model.condition(params, observations(x, [0.5, -0.8, 0.2, -0.5]))
    mean, variance = model.predict(params, factor, jnp.array([[0.5, 1.0], [0.9, 1.0]]))
    np.testing.assert_allclose(mean, [0.8, -0.2], atol=2e-3)
    assert (np.asarray(variance) < 1e-3).all()
    with pytest.raises(ValueError, match=r"add coregion_prior\(2\)"):
        gp.exact(2, kernels.coregion(2, kernels.rbf))
    with pytest.raises(ValueError, match="two tasks"):
        kernels.coregion(1, kernels.rbf)


def own(x, z, params):
    return params["diffusion"] * jnp.minimum(x[0], z[0])


def composed():
    return (kernels.matern52 * kernels.scope("wave", kernels.periodic) + own) * kernels.rbf


def test_sums_and_products_are_those_of_the_values():
    x, z = jnp.array([0.2, 0.7]), jnp.array([0.5, 0.1])
    p = {"lengthscale": jnp.array([0.4, 0.8]), "variance": 1.3, "diffusion": 0.6}
    p |= {"wave/lengthscale": 0.9, "wave/period": 0.3, "wave/variance": 0.7}
    p = {name: jnp.asarray(value) for name, value in p.items()}
    wave = {"lengthscale": p["wave/lengthscale"], "period": p["wave/period"], "variance": p["wave/variance"]}
    by_hand = (kernels.matern52(x, z, p) * kernels.periodic(x, z, wave) + own(x, z, p)) * kernels.rbf(x, z, p)
    np.testing.assert_allclose(composed()(x, z, p), by_hand, rtol=1e-14)
    np.testing.assert_allclose((own + kernels.rbf)(x, z, p), own(x, z, p) + kernels.rbf(x, z, p), rtol=1e-14)
    np.testing.assert_allclose((own * kernels.rbf)(x, z, p), own(x, z, p) * kernels.rbf(x, z, p), rtol=1e-14)
    with pytest.raises(TypeError, match="prior of `variance`"):
        kernels.rbf * 2.0


def test_equal_compositions_are_equal_and_compiled_once():
    first, second = composed(), composed()
    assert first == second
    assert hash(first) == hash(second)
    alone = kernels._Sum((kernels._Product((kernels.matern52, kernels.rbf)), own))
    assert alone == kernels.matern52 * kernels.rbf + own
    assert alone is not kernels.matern52 * kernels.rbf + own
    assert first != kernels.matern52 * kernels.scope("wave", kernels.periodic) + own
    traced = []

    @partial(jax.jit, static_argnames="kernel")
    def value(kernel, x, params):
        traced.append(kernel)
        return kernel(x, x, params)

    names = ("lengthscale", "variance", "diffusion", "wave/lengthscale", "wave/period", "wave/variance")
    params = dict.fromkeys(names, jnp.asarray(0.5))
    for kernel in (first, second, composed()):
        value(kernel, jnp.array([0.3]), params)
    assert len(traced) == 1
