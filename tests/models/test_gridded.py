"""Processes on a grid with holes, against the dense algebra of the measured pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal

from gpax_lab import kernels
from gpax_lab.core import Status
from gpax_lab.core._linalg import jitter
from gpax_lab.inference._reconstruct import learn, reconstruct
from gpax_lab.models import _grid_blocks as grid_blocks
from gpax_lab.models import _grid_moments as grid_moments
from gpax_lab.models import _kronecker as kronecker
from gpax_lab.models import gridded

SHAPE = (6, 5)
MEASURED = np.random.default_rng(0).random(SHAPE) < 0.6
Y = np.where(MEASURED, np.random.default_rng(1).standard_normal(SHAPE), 0.0)
ONE = gridded.process((kernels.rbf, kernels.matern52))
TWO = gridded.process((kernels.rbf, kernels.rbf), (kernels.matern32, kernels.matern12))
PARAMS = {
    ONE: {"variance": 1.3, "noise": 0.05, "axis0/lengthscale": [0.4], "axis1/lengthscale": [0.7]},
    TWO: {
        "noise": 0.02,
        "part0/variance": 1.1,
        "part0/axis0/lengthscale": [0.8],
        "part0/axis1/lengthscale": [0.5],
        "part1/variance": 0.4,
        "part1/axis0/lengthscale": [0.1],
        "part1/axis1/lengthscale": [0.2],
    },
}
PARAMS = {name: {k: jnp.asarray(v) for k, v in params.items()} for name, params in PARAMS.items()}
BOTH = pytest.mark.parametrize("grid", [ONE, TWO], ids=["one part", "two parts"])
EXACT = 1e-12, 400


def one_axis(name, n, scale):
    r = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / (max(n - 1, 1) * scale)
    return {
        "rbf": np.exp(-0.5 * r**2),
        "matern12": np.exp(-r),
        "matern32": (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
        "matern52": (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    }[name]


def dense(grid, params, shape=SHAPE):
    """The covariance of all pixels, written out."""
    total = 0.0
    for k, part in enumerate(grid.parts):
        name = f"part{k}/" if len(grid.parts) > 1 else ""
        value = float(params[f"{name}variance"]) * np.ones((1, 1))
        for a, kernel in enumerate(part):
            value = np.kron(value, one_axis(kernel.__name__, shape[a], float(params[f"{name}axis{a}/lengthscale"][0])))
        total = total + value
    return total


def dense_posterior(k, y, measured, noise):
    seen = measured.ravel()
    gain = np.linalg.solve(k[np.ix_(seen, seen)] + noise * np.eye(seen.sum()), k[seen]).T
    return (gain @ y.ravel()[seen]).reshape(y.shape), k - gain @ k[seen]


def blocks(y=Y, measured=MEASURED, **sizes):
    return grid_blocks.blocks_of(y, measured, np.random.default_rng(0), **sizes)


def test_a_product_along_the_axes_is_the_kronecker_product():
    rng = np.random.default_rng(2)
    matrices = [rng.standard_normal(s) for s in ((2, 3), (4, 2), (3, 5))]
    x = rng.standard_normal((2, 3, 2, 5))
    whole = np.kron(np.kron(matrices[0], matrices[1]), matrices[2])
    got = kronecker.along_axes([jnp.asarray(m) for m in matrices], jnp.asarray(x))
    np.testing.assert_allclose(got.reshape(2, -1), x.reshape(2, -1) @ whole.T, atol=1e-12)


@BOTH
@pytest.mark.parametrize("leading", [1, 7, 100])
def test_the_mean_is_the_dense_one_whatever_the_preconditioner(grid, leading):
    params = PARAMS[grid]
    system = grid_moments.condition(grid, params, jnp.asarray(MEASURED), leading)
    mean, solution = grid_moments.mean(
        system, jnp.where(MEASURED, Y, 1e6), *EXACT
    )  # what stands in a hole is not looked at
    expected, _ = dense_posterior(dense(grid, params), Y, MEASURED, float(params["noise"]))
    assert bool(system.ok)
    assert solution.residual < 1e-10
    np.testing.assert_allclose(mean, expected, atol=1e-9)


@BOTH
def test_pathwise_draws_are_an_exact_linear_map_with_the_posterior_covariance(grid):
    """The map from whitened coefficients and noise to a draw, column by column: its Gram matrix is the covariance."""
    params = PARAMS[grid]
    system = grid_moments.condition(grid, params, jnp.asarray(MEASURED), 16)
    modes = system.root.size
    unit = jnp.eye(modes + Y.size)
    coefficients = unit[:, :modes].reshape(-1, *system.root.shape)
    noise = jnp.sqrt(system.noise) * unit[:, modes:].reshape(-1, *SHAPE)
    solution = kronecker.solve(system, kronecker.synthesise(system, coefficients) + noise, *EXACT)
    draws = kronecker.synthesise(system, coefficients - solution.coefficients).reshape(-1, Y.size)
    _, expected = dense_posterior(dense(grid, params), Y, MEASURED, float(params["noise"]))
    np.testing.assert_allclose(draws.T @ draws, expected, atol=1e-9)


def test_moments_and_paths_agree_with_the_dense_posterior_within_monte_carlo_error():
    params, count = PARAMS[ONE], 2000
    system = grid_moments.condition(ONE, params, jnp.asarray(MEASURED), 16)
    expected, covariance = dense_posterior(dense(ONE, params), Y, MEASURED, 0.05)
    std = np.sqrt(np.diag(covariance)).reshape(SHAPE)
    mean, spread, residual, _ = grid_moments.moments(system, jnp.asarray(Y), jax.random.key(0), count, *EXACT)
    np.testing.assert_allclose(mean, expected, atol=1e-9)
    # The relative standard error of a standard deviation is 1 / sqrt(2 count); 4.5 of them for the worst of 30 pixels.
    np.testing.assert_allclose(spread, std, rtol=4.5 / np.sqrt(2 * count))
    assert residual < 1e-10
    paths, _ = grid_moments.paths(system, jnp.asarray(Y), jax.random.key(1), count, *EXACT)
    assert np.all(np.abs(paths.mean(axis=0) - expected) < 4.5 * std / np.sqrt(count))
    np.testing.assert_allclose(paths.std(axis=0), std, rtol=4.5 / np.sqrt(2 * count))


def slots_of(y=Y, measured=MEASURED, more=3):
    """Observations, pixels and which slots are used, with a few slots that are not."""
    pixel = np.argwhere(measured)
    used = np.arange(len(pixel) + more) < len(pixel)
    read = np.pad(y[measured], (0, more), constant_values=1e6)  # what stands in an unused slot is not looked at
    return jnp.asarray(read), jnp.asarray(np.pad(pixel, ((0, more), (0, 0)))), jnp.asarray(used)


@BOTH
@pytest.mark.parametrize("shape", [SHAPE, (40, 30)], ids=["one table", "a table for each axis"])
def test_the_direct_solution_is_the_dense_posterior(grid, shape, monkeypatch):
    rng = np.random.default_rng(5)
    measured = rng.random(shape) < (0.6 if shape == SHAPE else 0.02)
    y = np.where(measured, rng.standard_normal(shape), 0.0)
    params, axes = PARAMS[grid], [jnp.asarray(grid_blocks.unit_axis(n)) for n in shape]
    k = dense(grid, params, shape)
    expected, covariance = dense_posterior(k, y, measured, float(params["noise"]) + jitter(np.float64) * k[0, 0])
    got = grid_moments.direct(grid, params, *slots_of(y, measured), axes)
    assert bool(got.ok)
    assert got.residual < 1e-10
    np.testing.assert_allclose(got.mean, expected, atol=1e-11)
    np.testing.assert_allclose(got.std, np.sqrt(np.diag(covariance)).reshape(shape), rtol=1e-9)
    monkeypatch.setattr(grid_moments, "VECTOR", 7 * (measured.sum() + 3))
    chunks = grid_moments.direct(grid, params, *slots_of(y, measured), axes)
    np.testing.assert_allclose(chunks.mean, got.mean, atol=1e-12)
    np.testing.assert_allclose(chunks.std, got.std, rtol=1e-12)


def test_few_observations_are_solved_directly_and_agree_with_conjugate_gradients():
    _, image, _ = simulated(4)
    direct = reconstruct(jax.random.key(0), image, SURE)
    iterated = reconstruct(jax.random.key(0), image, SURE, tolerance=1e-9, iterations=500, leading=64, num_samples=512)
    assert int(direct.status) == int(iterated.status) == Status.OK
    assert int(direct.iterations) == 0 < int(iterated.iterations)
    # What the ranks leave out is a thousandth of the noise, that is 0.03 of its standard deviation.
    assert np.all(np.abs(direct.mean - iterated.mean) < 0.03 * direct.noise_std)
    # 4.5 standard errors of a standard deviation for the worst of 576 pixels.
    np.testing.assert_allclose(iterated.std, direct.std, rtol=4.5 / np.sqrt(2 * 512) + 0.01)


def test_batches_change_nothing(monkeypatch):
    system = grid_moments.condition(ONE, PARAMS[ONE], jnp.asarray(MEASURED), 16)
    arguments = system, jnp.asarray(Y), jax.random.key(0), 7, *EXACT
    whole = grid_moments.moments(*arguments)
    monkeypatch.setattr(grid_moments, "VECTOR", 3 * 30)
    parts = grid_moments.moments(*arguments)
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-10)
    assert parts[1].shape == SHAPE
    assert jnp.isfinite(parts[1]).all()


@BOTH
def test_one_block_has_the_exact_likelihood_and_gradient(grid):
    params = PARAMS[grid]
    seen = MEASURED.ravel()
    level = sum(float(v) for name, v in params.items() if name.endswith("variance"))

    def expected(params):
        k = dense(grid, params)[np.ix_(seen, seen)]
        k = k + (float(params["noise"]) + jitter(np.float64) * level) * np.eye(seen.sum())
        return multivariate_normal(np.zeros(seen.sum()), k).logpdf(Y.ravel()[seen])

    value, gradient = jax.value_and_grad(grid.log_likelihood)(params, blocks())
    np.testing.assert_allclose(value, expected(params), atol=1e-9)
    for name, at in params.items():
        up, down = (expected(params | {name: at + s * 1e-6}) for s in (1, -1))
        np.testing.assert_allclose(jnp.sum(gradient[name]), (up - down) / 2e-6, rtol=1e-5, atol=1e-6)


def test_blocks_cover_the_observations_twice_and_each_is_dense():
    made = blocks(size=8, limit=100)
    assert made.y.shape[0] == 1 << (made.y.shape[0] - 1).bit_length()
    used = np.asarray(made.used)
    np.testing.assert_allclose(np.sort(made.y[used]), np.sort(np.repeat(Y[MEASURED], 2)))
    pixels = np.asarray(made.pixel)
    total, k = 0.0, dense(ONE, PARAMS[ONE])
    for at, mask in zip(pixels, used, strict=True):
        flat = np.ravel_multi_index(at[mask].T, SHAPE)
        if flat.size:
            covariance = k[np.ix_(flat, flat)] + (0.05 + jitter(np.float64) * 1.3) * np.eye(flat.size)
            total += 0.5 * multivariate_normal(np.zeros(flat.size), covariance).logpdf(Y.ravel()[flat])
    np.testing.assert_allclose(ONE.log_likelihood(PARAMS[ONE], made), total, atol=1e-9)


@pytest.mark.slow
def test_modes_left_out_carry_less_than_a_thousandth_of_the_noise():
    shape, params = (40, 24), PARAMS[ONE]
    ranks = grid_moments.ranks(ONE, params, shape)
    assert all(r < n for r, n in zip(ranks, shape, strict=True))
    measured = jnp.ones(shape, bool)
    full, kept = (grid_moments.condition(ONE, params, measured, 8, r) for r in (None, ranks))
    lost = (jnp.sum(full.root**2) - jnp.sum(kept.root**2)) / measured.size
    assert 0 <= float(lost) < kronecker.NEGLIGIBLE * 0.05
    assert kronecker.enough([[np.full(4, 1.0), np.full(9, 1.0)]], 0.1) == (4, 9)  # nothing may go
    assert kronecker.enough([[np.array([0.0, 0.0, 0.0, 4.0]), np.full(9, 1.0)]], 0.1) == (1, 9)


SURE = gridded.process(
    (kernels.matern52, kernels.matern52),
    prior={
        "noise": dist.LogNormal(np.log(0.02), 0.5),
        "axis0/lengthscale": dist.LogNormal(np.full(1, np.log(0.25)), 0.3),
        "axis1/lengthscale": dist.LogNormal(np.full(1, np.log(0.25)), 0.3),
        "variance": dist.LogNormal(0.0, 0.3),
    },
)


def simulated(key, shape=(24, 24), keep=0.3, truth=None):
    """A field drawn from the process with parameters drawn from its prior, and the image read from it."""
    rng = np.random.default_rng(key)
    params = truth or {
        "variance": np.exp(rng.normal(0.0, 0.3)),
        "noise": np.exp(rng.normal(np.log(0.02), 0.5)),
        "axis0/lengthscale": np.exp(rng.normal(np.log(0.25), 0.3, 1)),
        "axis1/lengthscale": np.exp(rng.normal(np.log(0.25), 0.3, 1)),
    }
    roots = [
        np.linalg.cholesky(np.asarray(k) + 1e-10 * np.eye(len(k))) for k in SURE.grams(params_of(params), shape)[0]
    ]
    field = roots[0] @ rng.standard_normal(shape) @ roots[1].T
    image = field + np.sqrt(params["noise"]) * rng.standard_normal(shape)
    return field, np.where(rng.random(shape) < keep, image, np.nan), params


def params_of(params):
    return {name: jnp.asarray(value) for name, value in params.items()}


@pytest.mark.slow
def test_parameters_from_blocks_are_near_those_of_the_whole_likelihood():
    _, image, _ = simulated(0, keep=0.4)
    measured = ~np.isnan(image)
    y = np.where(measured, image, 0.0)
    whole = learn(jax.random.key(0), SURE, blocks(y, measured, size=1024))
    pieces = learn(jax.random.key(1), SURE, blocks(y, measured, size=64))
    assert whole.slope < 0.1
    assert pieces.slope < 0.1
    # 230 observations tell a log parameter to about 0.15; blocks of 64 lose part of that, at most as much again.
    for name in whole.params:
        ratio = np.log(np.asarray(pieces.params[name]) / np.asarray(whole.params[name]))
        assert np.all(np.abs(ratio) < 0.3), (name, ratio)


@pytest.mark.slow
def test_intervals_cover_fields_drawn_from_the_prior():
    rates = []
    for key in range(12):
        field, image, _ = simulated(key)
        got = reconstruct(jax.random.key(key), image, SURE, leading=64)
        assert int(got.status) == Status.OK, got.message
        rates.append(np.mean(np.abs(got.mean - field)[np.isnan(image)] < 1.6449 * got.std[np.isnan(image)]))
    # Pixels of one image hang together: the error is that of 12 independent images. Four standard errors, and the two
    # percent that modal parameters and a standard deviation from 64 draws may cost.
    assert abs(np.mean(rates) - 0.9) < 4 * np.std(rates) / np.sqrt(12) + 0.02, rates


def test_units_do_not_matter():
    _, image, _ = simulated(3)
    plain, scaled = (reconstruct(jax.random.key(0), im, SURE, leading=64) for im in (image, 4e-9 * image - 3e-9))
    np.testing.assert_allclose((scaled.mean + 3e-9) / 4e-9, plain.mean, atol=1e-5)
    np.testing.assert_allclose(scaled.std / 4e-9, plain.std, rtol=1e-4)
    np.testing.assert_allclose(scaled.noise_std / 4e-9, plain.noise_std, rtol=1e-4)


@pytest.mark.slow
def test_single_precision_and_masked_arrays():
    _, image, _ = simulated(3)
    hidden = np.ma.masked_invalid(image)
    hidden.data[hidden.mask] = -999.0
    got = reconstruct(jax.random.key(0), hidden, SURE, leading=64, dtype=np.float32)
    assert got.mean.dtype == got.std.dtype == np.float32
    double = reconstruct(jax.random.key(0), image, SURE, leading=64)
    assert int(got.status) == Status.OK, got.message
    # Conjugate gradients stop at 0.003 standard deviations; modes in single precision differ by about as much.
    assert np.all(np.abs(got.mean - double.mean) < 0.1 * double.std)


@pytest.mark.parametrize(
    ("shape", "place"),
    [
        ((1, 9), 4),
        pytest.param((9, 1), 2, marks=pytest.mark.slow),
        pytest.param((1, 1), 0, marks=pytest.mark.slow),
        ((7,), 3),
        pytest.param((3, 4, 2), 5, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_one_row_one_column_one_pixel_one_line_and_a_cube(shape, place):
    image = np.full(shape, np.nan)
    image.flat[place] = 2.0
    for filled in (image, np.where(np.arange(image.size).reshape(shape) % 2, 2.0, np.nan if image.size > 1 else 2.0)):
        got = reconstruct(jax.random.key(0), filled, num_samples=4, leading=8)
        assert got.mean.shape == got.std.shape == shape
        assert int(got.status) == Status.OK, got.message
        np.testing.assert_allclose(got.mean, 2.0, atol=1e-6)  # equal observations: nothing is known to differ
        assert (got.std > 0).all()


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (np.full((3, 3), np.nan), {}, "every pixel is NaN"),
        (np.array([[1.0, np.inf]]), {}, "infinite"),
        (np.zeros((0, 4)), {}, "at least one"),
        (np.float64(1.0), {}, "at least one"),
        (np.ones((2, 2)) * 1j, {}, "real numbers"),
        (np.ones((2, 2, 2)), {"process": ONE}, "2 axes, the image 3"),
        (np.ones((2, 2)), {"num_samples": 0}, "at least 1"),
        (np.ones((2, 2)), {"tolerance": 0.0}, "positive"),
    ],
)
def test_bad_input_is_refused_in_words(image, settings, words):
    with pytest.raises(ValueError, match=words):
        reconstruct(jax.random.key(0), image, **settings)


def test_bad_processes_are_refused():
    for parts in ((), ((),), ((kernels.rbf,), (kernels.rbf, kernels.rbf))):
        with pytest.raises(ValueError, match="one kernel for each axis"):
            gridded.process(*parts)
    with pytest.raises(ValueError, match="axis 1 is not stationary"):
        gridded.process((kernels.rbf, kernels.linear))
    with pytest.raises(ValueError, match="spelling"):
        gridded.process((kernels.rbf,), prior={"axis1/lengthscale": dist.LogNormal(0.0, 1.0)})


def test_too_few_iterations_are_an_outcome_and_not_nan():
    _, image, _ = simulated(4)
    got = reconstruct(jax.random.key(0), image, SURE, iterations=1, leading=1, num_samples=4)
    assert int(got.status) == Status.NOT_SOLVED
    assert "Conjugate gradients" in got.message
    assert jnp.isfinite(got.mean).all()
    assert got.residual > 3e-3


@pytest.mark.slow
def test_new_observations_of_one_shape_compile_nothing_new(monkeypatch):
    traces = []

    def counted(x, z, params):
        traces.append(None)
        return kernels.rbf(x, z, params)

    grid = gridded.process((counted, counted), prior={"noise": dist.LogNormal(np.log(0.01), 0.5)})
    settled = None
    for key in range(4):
        _, image, _ = simulated(key, (16, 16), keep=0.3 + 0.02 * key)
        reconstruct(jax.random.key(key), image, grid, num_samples=4, leading=8)
        settled = len(traces) if key == 0 else settled
    # The rank is a multiple of an eighth of the axis: at most one other pair of ranks may have come up.
    assert len(traces) <= 2 * settled
