"""Priors and posteriors of the latent parts: densities, divergences, draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gpax_lab.vae import _parts as parts

KEY = jax.random.key(0)
PARTS = {
    "gaussian": parts.Gaussian("content", 1),
    "uniform": parts.rotation(),
    "von Mises": parts.rotation("von_mises", 0.7),
    "of order 3": parts.rotation("von_mises", 1.0, order=3),
}


def domain(part):
    """Where the densities live."""
    return (-40.0, 40.0) if isinstance(part, parts.Gaussian) else (-np.pi / part.order, np.pi / part.order)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(("mean", "sd"), [(0.3, 0.05), (-0.9, 0.45), (0.6, 0.8), (0.2, 2.5)])
def test_divergences_are_those_of_their_densities(name, mean, sd):
    part = PARTS[name]
    low, high = domain(part)
    z = np.linspace(low, high, 80001)
    log_p = part.log_prior(jnp.asarray(z)[:, None])
    log_q = part.log_posterior(jnp.asarray(z)[:, None], jnp.full((z.size, 1), mean), jnp.full((z.size, 1), sd))
    q = np.exp(log_q)
    np.testing.assert_allclose(integrate.trapezoid(np.exp(log_p), z), 1.0, rtol=1e-8)
    np.testing.assert_allclose(integrate.trapezoid(q, z), 1.0, rtol=1e-8)
    found = part.kl(jnp.array([mean]), jnp.array([sd]))
    wanted = integrate.trapezoid(np.where(q > 0, q * np.asarray(log_q - log_p), 0.0), z)
    np.testing.assert_allclose(found, wanted, atol=2e-8)


@pytest.mark.parametrize("sd", [0.1, 0.499, 0.501, 0.8, 1.5, 4.0])
def test_entropy_of_a_wrapped_gaussian_and_its_slope(sd):
    theta = np.linspace(-np.pi, np.pi, 20001)
    density = sum(stats.norm.pdf(theta + 2 * np.pi * k, scale=sd) for k in range(-30, 31))
    wanted = integrate.trapezoid(-special.xlogy(density, density), theta)
    np.testing.assert_allclose(parts.wrapped_entropy(jnp.asarray(sd)), wanted, atol=1e-9)
    step = 1e-5
    by_difference = (parts.wrapped_entropy(jnp.asarray(sd + step)) - parts.wrapped_entropy(jnp.asarray(sd - step))) / (
        2 * step
    )
    np.testing.assert_allclose(jax.grad(parts.wrapped_entropy)(sd), by_difference, rtol=1e-4, atol=1e-7)


def test_an_angle_that_came_full_circle_has_the_same_density_and_divergence():
    part = parts.rotation("von_mises", 0.7)
    z, sd = jnp.array([0.4]), jnp.array([0.3])
    for mean in (jnp.array([0.1]), jnp.array([0.1 + 2 * np.pi])):
        np.testing.assert_allclose(part.kl(mean, sd), part.kl(jnp.array([0.1]), sd), atol=1e-12)
        np.testing.assert_allclose(
            part.log_posterior(z, mean, sd), part.log_posterior(z, jnp.array([0.1]), sd), atol=1e-12
        )


def test_the_divergence_is_the_expectation_over_draws_too():
    part, count = parts.rotation("von_mises", 0.7), 40000
    mean, sd = jnp.full((count, 1), 1.2), jnp.full((count, 1), 0.9)
    z = mean + sd * jax.random.normal(KEY, (count, 1))
    each = np.asarray(part.log_posterior(z, mean, sd) - part.log_prior(z))
    error = each.std() / np.sqrt(count)
    assert abs(each.mean() - part.kl(mean[0], sd[0])) < 4 * error


@pytest.mark.parametrize("name", PARTS)
def test_draws_of_the_prior_follow_it(name):
    part = PARTS[name]
    z = np.asarray(part.draw(KEY, (4000,), jnp.float64))[:, 0]
    low, high = domain(part)
    at = np.linspace(low, high, 2001)
    density = np.exp(part.log_prior(jnp.asarray(at)[:, None]))
    share = integrate.cumulative_trapezoid(density, at, initial=0.0)
    assert stats.kstest(z, lambda x: np.interp(x, at, share)).pvalue > 1e-3


def test_the_network_reaches_every_angle_and_gradients_stay_finite():
    part = parts.rotation()
    angle = np.linspace(-3.0, 3.0, 13)
    raw = jnp.stack([jnp.cos(angle) - 1.0, jnp.sin(angle), jnp.zeros(13)], axis=-1)
    np.testing.assert_allclose(part.posterior(raw)[0][:, 0], angle, atol=1e-12)
    at_the_origin = jnp.array([-1.0, 0.0, 0.0])
    slope = jax.grad(lambda r: part.posterior(r)[0][0])(at_the_origin)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prior": "flat"}, "uniform"),
        ({"prior": "von_mises"}, "width"),
        ({"width": 1.0}, "width"),
        ({"order": 0}, "order"),
        ({"prior": "normal", "order": 2}, "period"),
        ({"prior": "normal", "views": 4}, "views"),
        ({"views": 3}, "views"),
    ],
)
def test_rotations_that_make_no_sense_are_told(arguments, words):
    with pytest.raises(ValueError, match=words):
        parts.rotation(**arguments)


def test_shifts_and_scales_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="positive"):
        parts.translation(0.0)
    with pytest.raises(ValueError, match="positive"):
        parts.scaling(-1.0)
