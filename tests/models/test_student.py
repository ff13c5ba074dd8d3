"""Heavy-tailed noise against the t distribution, quadrature, and observations with one gross error."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from gpax_lab import kernels, smc, sparse
from gpax_lab.core._linalg import jitter
from gpax_lab.core._observations import observations
from gpax_lab.models import StudentNoise, gp, parametric
from gpax_lab.models._noise import log_excess
from gpax_lab.models._scaling import standardisation

X = np.array([[0.1], [0.35], [0.6], [0.9]])
Y = np.array([0.3, -0.4, 7.0, 0.2])
KNOWN = np.array([0.01, 0.0, 0.0, 0.02])
PARAMS = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(1.4), "noise": jnp.array(0.05)}
EXCESS = np.random.default_rng(0).standard_normal(8)
ROBUST = gp.exact(1, kernels.rbf, noise=StudentNoise(capacity=8), standardize=False)


def weights(excess, df):
    """The gamma quantiles, from whichever tail keeps its digits."""
    low = special.gammaincinv(df / 2, special.ndtr(-excess))
    return np.where(excess > 0, low, special.gammainccinv(df / 2, special.ndtr(excess))) * 2 / df


@pytest.mark.parametrize("df", [2.5, 4.0, 50.0])
def test_the_excess_is_a_gamma_quantile(df):
    excess = np.random.default_rng(1).uniform(-9.9, 9.9, 2000)
    np.testing.assert_allclose(log_excess(jnp.array(excess), df), -np.log(weights(excess, df)), atol=1e-9)
    slope = jax.vmap(jax.grad(lambda e: log_excess(e, df)))(jnp.linspace(-12.0, 12.0, 999))
    assert (slope > 0).all()
    step = 1e-5
    numeric = (log_excess(jnp.array(1.234 + step), df) - log_excess(jnp.array(1.234 - step), df)) / (2 * step)
    np.testing.assert_allclose(jax.grad(log_excess)(1.234, df), numeric, rtol=1e-6)


@pytest.mark.parametrize("df", [2.5, 4.0])
def test_a_normal_of_random_width_is_students_t(df):
    """Integrated over the excess, what a process uses is what `parametric` uses."""
    node = np.linspace(-9, 9, 3601)
    spread = np.sqrt(0.3 * np.exp(np.asarray(log_excess(jnp.array(node), df))))
    for residual in (0.0, 0.4, 12.0):
        found = np.trapezoid(stats.norm.pdf(residual, scale=spread) * stats.norm.pdf(node), node)
        exact = StudentNoise(df).log_density(jnp.array(residual), jnp.array(0.3))
        np.testing.assert_allclose(exact, stats.t.logpdf(residual, df, scale=np.sqrt(0.3)), rtol=1e-12)
        np.testing.assert_allclose(np.log(found), exact, atol=1e-6)


@pytest.mark.parametrize("df", [2.5, 4.0, 50.0])
def test_normal_scores_keep_the_probability_far_into_the_tail(df):
    t = np.array([-300.0, -8.0, -1.0, 0.0, 0.3, 5.0, 40.0])
    score = StudentNoise(df).normal_score(jnp.array(np.sqrt(0.3) * t), jnp.full(7, 0.3))
    exact = -np.sign(t) * stats.norm.ppf(stats.t.sf(abs(t), df))
    np.testing.assert_allclose(score, exact, rtol=1e-8, atol=1e-12)


def test_parametric_models_use_the_closed_form():
    prior = {"a": dist.Normal(0, 1)}
    model = parametric(1, lambda x, p: p["a"] * x[0], prior, StudentNoise(3.0), standardize=False)
    params, obs = {"a": jnp.array(0.5), "noise": jnp.array(0.05)}, observations(X, Y, KNOWN)
    spread = np.sqrt(0.05 + KNOWN)
    expected = stats.t.logpdf(Y - 0.5 * X[:, 0], 3.0, scale=spread).sum()
    np.testing.assert_allclose(model.log_likelihood(params, obs), expected, rtol=1e-12)
    factor = model.condition(params, obs)
    np.testing.assert_allclose(model.noise_variance(params, factor, X), 3 * 0.05, rtol=1e-12)
    np.testing.assert_allclose(model.leave_one_out(params, obs)[1][:4], 3 * spread**2, rtol=1e-12)
    normal = parametric(1, lambda x, p: p["a"] * x[0], prior, standardize=False)
    nearly = parametric(1, lambda x, p: p["a"] * x[0], prior, StudentNoise(1e7), standardize=False)
    small = observations(X, np.array([0.3, -0.4, 0.7, 0.2]), KNOWN)
    np.testing.assert_allclose(nearly.log_likelihood(params, small), normal.log_likelihood(params, small), atol=1e-4)


def test_a_process_given_the_excess_is_one_with_known_noise():
    obs, new = observations(X, Y, KNOWN), jnp.array([[0.2], [0.6]])
    params = PARAMS | {"excess": jnp.array(EXCESS)}
    variance = (0.05 + KNOWN) / weights(EXCESS[:4], 4.0)
    plain = gp.exact(1, kernels.rbf, noise="known", standardize=False)
    same = observations(X, Y, variance)
    np.testing.assert_allclose(ROBUST.log_likelihood(params, obs), plain.log_likelihood(PARAMS, same), atol=1e-8)
    factor = ROBUST.condition(params, obs)
    for a, b in zip(
        ROBUST.predict(params, factor, new), plain.predict(PARAMS, plain.condition(PARAMS, same), new), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-8)
    np.testing.assert_allclose(ROBUST.noise_variance(params, factor, new), 2 * 0.05, rtol=1e-12)
    many = sparse(1, kernels.rbf, noise=StudentNoise(capacity=8), standardize=False, inducing=X)
    np.testing.assert_allclose(many.log_likelihood(params, obs), ROBUST.log_likelihood(params, obs), atol=1e-5)


def test_an_observation_left_out_takes_its_own_excess_with_it():
    """Given the others' excess, the observation scatters as a new one: t noise of variance nu / (nu - 2)."""
    obs, params = observations(X, Y, KNOWN), PARAMS | {"excess": jnp.array(EXCESS)}
    mean, variance = ROBUST.leave_one_out(params, obs)
    noise = (0.05 + KNOWN) / weights(EXCESS[:4], 4.0)
    k = 1.4 * np.exp(-0.5 * ((X - X.T) / 0.3) ** 2)
    for i in range(4):
        rest = np.delete(np.arange(4), i)
        inner = k[np.ix_(rest, rest)] + np.diag(noise[rest]) + 1.4 * jitter(np.float64) * np.eye(3)
        gain = np.linalg.solve(inner, k[rest, i])
        np.testing.assert_allclose(mean[i], gain @ Y[rest], atol=1e-8)
        np.testing.assert_allclose(variance[i], 1.4 - gain @ k[rest, i] + 2 * (0.05 + KNOWN[i]), atol=1e-6)


def test_padding_is_invisible():
    model = gp.exact(1, kernels.rbf, noise=StudentNoise(capacity=8))
    params = PARAMS | {"excess": jnp.array(EXCESS)}
    obs = observations(X, Y, KNOWN)
    messy = obs._replace(x=obs.x.at[5].set(0.77), y=obs.y.at[6].set(1e6), noise=obs.noise.at[7].set(3.0))
    other = params | {"excess": params["excess"].at[4:].set(5.0)}
    value, slope = jax.value_and_grad(model.log_likelihood)(params, obs)
    again, same = jax.value_and_grad(model.log_likelihood)(other, messy)
    np.testing.assert_allclose(value, again, atol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), slope, same)
    new = jnp.array([[0.2]])
    for a, b in zip(
        model.predict(params, model.condition(params, obs), new),
        model.predict(other, model.condition(other, messy), new),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_the_robust_scale_does_not_see_a_gross_error():
    x, good = np.linspace(0, 1, 7)[:, None], np.array([0.1, 0.3, 0.2, 0.6, 0.5, 0.4])
    scale = standardisation(observations(x, [*good, 1e6]), True, centred=True, robust=True)
    np.testing.assert_allclose(scale.location, 0.4, rtol=1e-12)
    np.testing.assert_allclose(scale.scale, good.std(), rtol=1e-6)
    usual = standardisation(observations(x[:6], good), True, centred=True, robust=True)
    np.testing.assert_allclose([usual.location, usual.scale], [0.35, good.std()], rtol=1e-12)
    # Half of the observations are equal: nothing says what is far.
    flat = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(standardisation(observations(x[:6], flat), True, True, True).scale, flat.std())
    nothing = observations(x, np.full(7, np.nan))
    np.testing.assert_allclose(standardisation(nothing, True, True, True), (0.0, 1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gp.exact(1, noise=StudentNoise()), r"StudentNoise\(capacity=obs.capacity\)"),
        (lambda: gp.exact(1, noise=StudentNoise), r"write noise=StudentNoise\(\)"),
        (lambda: StudentNoise(2.0), "df > 2"),
        (lambda: StudentNoise(capacity=0), "at least 1"),
        (lambda: StudentNoise(of=StudentNoise()), "without tails"),
        (
            lambda: ROBUST.log_likelihood(PARAMS | {"excess": jnp.zeros(8)}, observations(X, Y, capacity=16)),
            r"StudentNoise\(capacity=observations.capacity\)",
        ),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_a_posterior_with_a_gross_error_against_quadrature():
    """Three observations, one of them absurd, of a process with known parameters: the three excesses on a grid."""
    x, y = np.array([[0.2], [0.45], [0.7]]), np.array([0.3, 9.0, 0.5])
    fixed = {"lengthscale": jnp.array([0.4]), "variance": 1.0, "noise": 0.04}
    model = gp.exact(1, kernels.rbf, prior=fixed, noise=StudentNoise(capacity=8), standardize=False)
    posterior = smc(2000).init(jax.random.key(0), model, observations(x, y))
    node = np.linspace(-6, 8, 85)
    grid = np.stack(np.meshgrid(node, node, node, indexing="ij"), axis=-1).reshape(-1, 3)
    k = np.exp(-0.5 * ((x - x.T) / 0.4) ** 2)
    covariance = k[None] + np.eye(3) * (0.04 / weights(grid, 4.0))[:, None]
    solved = np.linalg.solve(covariance, np.broadcast_to(y, grid.shape)[..., None])[..., 0]
    log_p = -0.5 * (solved @ y + np.linalg.slogdet(covariance)[1] + (grid**2).sum(axis=1))
    weight = np.exp(log_p - log_p.max())
    evidence = np.log(weight.sum()) + log_p.max() - 3 * np.log(2 * np.pi) + 3 * np.log(node[1] - node[0])
    weight /= weight.sum()
    new = np.array([[0.45], [0.6]])
    cross = np.exp(-0.5 * ((new - x.T) / 0.4) ** 2)
    f = solved @ cross.T
    spread = 1.0 - np.einsum("mi,nij,mj->nm", cross, np.linalg.inv(covariance), cross)
    mean = weight @ f
    variance = weight @ (spread + (f - mean) ** 2)
    got, width = posterior.moments(jnp.array(new))
    # 2000 draws: four standard errors, doubled for moves that remember a little.
    np.testing.assert_allclose(got, mean, atol=8 * np.sqrt(variance.max() / 2000))
    np.testing.assert_allclose(np.sqrt(width), np.sqrt(variance), rtol=8 / np.sqrt(4000))
    drawn = np.exp(np.asarray(posterior.log_weight)) @ np.asarray(posterior.params["excess"])
    np.testing.assert_allclose(drawn[:3], weight @ grid, atol=8 / np.sqrt(2000))
    np.testing.assert_allclose(drawn[3:], 0.0, atol=8 / np.sqrt(2000))
    assert abs(float(posterior.log_evidence) - evidence) < 4 * float(posterior.info.evidence_error) + 0.02


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the observation in slot 3")
def test_six_observations_and_a_gross_error():
    """The truth lies within the 95 percent interval everywhere; with normal noise the error bends it out of it."""
    x = np.linspace(0, 1, 6)[:, None]
    y = np.sin(5 * x[:, 0]) + 0.02 * np.random.default_rng(1).standard_normal(6)
    y[3] += 80.0
    obs, new = observations(x, y), jnp.linspace(0, 1, 33)[:, None]
    held, error = {}, {}
    for name, model in {"normal": gp.exact(1), "student": gp.exact(1, noise=StudentNoise(capacity=8))}.items():
        mean, variance = smc(256).init(jax.random.key(0), model, obs).moments(new)
        away = np.abs(np.asarray(mean) - np.sin(5 * new[:, 0]))
        held[name], error[name] = np.mean(away < 1.96 * np.sqrt(variance)), away.max()
    assert held["student"] == 1.0
    assert held["normal"] < 0.9
    assert error["student"] < 1.0 < 50.0 < error["normal"]
