"""Bounds against closed forms, brute force and exact likelihoods."""

import math
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gpax_lab import vae
from gpax_lab.vae import _elbo as bounds
from gpax_lab.vae import _likelihoods as likelihoods

KEY = jax.random.key(2)


class Linear(nn.Module):
    """x = W z + b."""

    size: int

    @nn.compact
    def __call__(self, code, pose):
        return nn.Dense(self.size)(code)


class Same(nn.Module):
    """The encoder's body: x itself."""

    @nn.compact
    def __call__(self, x):
        return x


def linear_gaussian(latent=2, size=4, **more):
    """p(x) = N(b, W W^T + s^2 I): the evidence is known."""
    model = vae.model(size, latent, likelihood=vae.gaussian(), encoder=Same(), decoder=Linear(size), **more)
    params = model.init(KEY, jnp.float64)
    params["log_sd"] = jnp.asarray(math.log(0.6))
    return model, params


def log_evidence(params, x):
    head = params["network"]["params"]["decoder"]["Dense_0"]
    w = np.asarray(head["kernel"])
    cov = w.T @ w + np.exp(2 * float(params["log_sd"])) * np.eye(w.shape[1])
    return stats.multivariate_normal(np.asarray(head["bias"]), cov).logpdf(np.asarray(x))


def data(count=6, size=4, **more):
    return vae.examples(jax.random.normal(KEY, (count, size)), dtype=jnp.float64, **more)


def test_the_bound_of_a_linear_gaussian_model_is_its_closed_form():
    """E_q log p(x | z) has a closed form for a linear decoder; the mean over many draws must meet it."""
    model, params = linear_gaussian()
    x = data(1)
    repeated = jax.tree.map(lambda part: jnp.repeat(part, 20000, axis=0), x)
    terms = vae.elbo(model, params, KEY, repeated)
    seen = bounds.encoder_output(model, params, x.x, x.condition)
    ((mean, sd),) = bounds.split(model, params, seen.features[:, 0], jnp.zeros((1, 0)))
    head = params["network"]["params"]["decoder"]["Dense_0"]
    w, b, s = np.asarray(head["kernel"]), np.asarray(head["bias"]), float(np.exp(params["log_sd"]))
    mean, sd = np.asarray(mean), np.asarray(sd)
    miss = (np.asarray(x.x) - np.asarray(mean) @ w - b)[0]
    spread = np.sum((np.asarray(sd)[0][:, None] * w) ** 2)
    reconstruction = -0.5 * (miss @ miss + spread) / s**2 - 4 * math.log(s) - 2 * math.log(2 * math.pi)
    kl = float(np.sum(0.5 * (mean**2 + sd**2 - 1) - np.log(sd)))
    np.testing.assert_allclose(terms.kl_continuous, kl, rtol=1e-12)
    error = 3 * np.sqrt(spread) / s / np.sqrt(20000) * (1 + np.abs(miss).max() / s)
    assert abs(float(terms.reconstruction) - reconstruction) < 4 * error
    assert float(terms.elbo) < float(log_evidence(params, x.x))


def with_exact_posterior(model, params):
    """The head set to the true posterior of one latent number: mean A (x - b), width s/root(w w + s^2)."""
    head = params["network"]["params"]["decoder"]["Dense_0"]
    w, b, s2 = np.asarray(head["kernel"])[0], np.asarray(head["bias"]), float(np.exp(2 * params["log_sd"]))
    slope, width = w / (w @ w + s2), math.sqrt(s2 / (w @ w + s2))
    kernel = np.stack([slope, np.zeros_like(slope)], axis=1)
    bias = np.array([-slope @ b, math.log(math.expm1(width - 1e-4))])
    params["network"]["params"]["latent_head"] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    return params


def test_with_the_true_posterior_both_bounds_are_the_evidence():
    model, params = linear_gaussian(1)
    params = with_exact_posterior(model, params)
    x = data(6)
    exact = log_evidence(params, x.x)
    # Every weight is p(x) then: one draw is enough.
    np.testing.assert_allclose(vae.importance_elbo(model, params, KEY, x, 1), exact, rtol=1e-10)
    many = [float(vae.elbo(model, params, k, x).elbo) for k in jax.random.split(KEY, 400)]
    assert abs(np.mean(many) - exact.mean()) < 4 * np.std(many, ddof=1) / 20


def test_the_importance_bound_rises_to_the_exact_evidence():
    model, params = linear_gaussian(1)
    params = with_exact_posterior(model, params)
    head = params["network"]["params"]["latent_head"]
    head["bias"] = head["bias"] + jnp.array([0.3, 0.4])
    x = data(6)
    exact = log_evidence(params, x.x)
    means, errors = [], []
    for samples, keys in ((1, 200), (4, 200), (3000, 20)):
        found = np.array(
            [vae.importance_elbo(model, params, k, x, samples).mean() for k in jax.random.split(KEY, keys)]
        )
        means.append(found.mean())
        errors.append(found.std(ddof=1) / np.sqrt(keys))
    assert means[0] + 3 * errors[0] < means[1]
    assert means[1] + 3 * errors[1] < exact.mean()
    assert abs(means[2] - exact.mean()) < 4 * errors[2] + 1e-3


def test_classes_are_summed_over_as_by_hand():
    model = vae.model((4, 4), 1, classes=3, encoder=vae.MLP((8,)))
    params = model.init(KEY, jnp.float64)
    x = vae.examples(jax.random.uniform(KEY, (5, 4, 4)), dtype=jnp.float64)
    joint = vae.elbo(model, params, KEY, x)
    log_q = np.asarray(bounds.encoder_output(model, params, x.x, x.condition).log_class)
    # Example by example: the noise depends on the number of examples, so all are taken at once and told apart by label.
    total = 0.0
    for i in range(5):
        for k in range(3):
            label = jnp.full(5, -1, jnp.int32).at[i].set(k)
            terms = vae.elbo(model, params, KEY, replace(x, label=label))
            total += np.exp(log_q[i, k]) * 5 * float(terms.reconstruction - terms.kl_continuous)
    everything = 5 * float(joint.reconstruction - joint.kl_continuous)
    # Of every example four terms of five are the joint ones of the others, with weights that sum to one.
    np.testing.assert_allclose(total - 4 * everything, everything, rtol=1e-6)
    entropy = float(np.mean(np.sum(np.exp(log_q) * (log_q + math.log(3)), axis=1)))
    np.testing.assert_allclose(joint.kl_discrete, entropy, atol=1e-6)


def test_a_known_class_is_what_the_encoder_is_taught():
    model = vae.model((4, 4), 1, classes=3, encoder=vae.MLP((8,)))
    params = model.init(KEY, jnp.float64)
    x = vae.examples(jax.random.uniform(KEY, (5, 4, 4)), label=[2, 0, 1, 2, 2], dtype=jnp.float64)
    terms = vae.elbo(model, params, KEY, x)
    log_q = np.asarray(bounds.encoder_output(model, params, x.x, x.condition).log_class)
    np.testing.assert_allclose(terms.label, np.mean(log_q[np.arange(5), np.asarray(x.label)]), rtol=1e-10)
    np.testing.assert_allclose(terms.kl_discrete, math.log(3), rtol=1e-10)
    heavy = vae.elbo(model, params, KEY, x, vae.Weights(label=7.0))
    np.testing.assert_allclose(heavy.objective - terms.objective, 6.0 * terms.label, rtol=1e-8)


def test_weights_and_capacities_are_those_of_the_formula():
    model = vae.model((4, 4), 2, classes=3, invariances=[vae.rotation("normal")], encoder=vae.MLP((8,)))
    params = model.init(KEY, jnp.float64)
    x = vae.examples(jax.random.uniform(KEY, (7, 4, 4)), dtype=jnp.float64)
    plain = vae.elbo(model, params, KEY, x)
    w = vae.Weights(3.0, 2.0, 0.4, 0.9, balance=1.5)
    t = vae.elbo(model, params, KEY, x, w)
    q = np.exp(np.asarray(bounds.encoder_output(model, params, x.x, x.condition).log_class)).mean(axis=0)
    balance = np.sum(q * np.log(q)) + math.log(3)
    by_hand = (
        plain.reconstruction - 3 * abs(plain.kl_continuous - 0.4) - 2 * abs(plain.kl_discrete - 0.9) - 1.5 * balance
    )
    np.testing.assert_allclose(t.objective, by_hand, rtol=1e-10)
    np.testing.assert_allclose(plain.elbo, plain.objective, rtol=1e-12)
    with pytest.raises(ValueError, match="schedules"):
        vae.elbo(model, params, KEY, x, vae.Weights(continuous=lambda epoch: epoch))


def test_rotating_an_image_by_a_quarter_leaves_the_bound_as_it_is():
    model = vae.model((8, 8), 1, invariances=[vae.rotation(), vae.translation(0.1)], encoder=vae.MLP((8,)))
    assert model.views == 4
    params = model.init(KEY, jnp.float64)
    x = jax.random.uniform(KEY, (5, 8, 8))
    once = vae.elbo(model, params, KEY, vae.examples(x, dtype=jnp.float64))
    turned = vae.elbo(model, params, KEY, vae.examples(jnp.rot90(x, axes=(1, 2)), dtype=jnp.float64))
    np.testing.assert_allclose(turned.elbo, once.elbo, rtol=1e-8)
    exact = vae.importance_elbo(model, params, KEY, vae.examples(x, dtype=jnp.float64), 4)
    again = vae.importance_elbo(model, params, KEY, vae.examples(jnp.rot90(x, axes=(1, 2)), dtype=jnp.float64), 4)
    np.testing.assert_allclose(again, exact, rtol=1e-8)


def test_the_trained_bound_hardly_depends_on_where_an_object_lies(turned):
    from gpax_lab.simulators import glyphs

    bound = []
    for angle, shift in ((0.0, 0.0), (0.5, 0.0), (-0.5, 0.08)):
        some = glyphs(KEY, 40, (16, 16), ("L",), (angle - 1e-3, angle + 1e-3), shift, thickness=0.12)
        bound.append(float(np.mean(vae.importance_elbo(turned.model, turned.params, KEY, vae.examples(some.images)))))
    away = glyphs(KEY, 40, (16, 16), ("4",), (-1e-3, 1e-3), 0.0, thickness=0.12)
    odd = float(np.mean(vae.importance_elbo(turned.model, turned.params, KEY, vae.examples(away.images))))
    assert max(bound) - min(bound) < 0.25 * (min(bound) - odd)


def test_known_properties_enter_as_observed_and_unknown_ones_are_inferred():
    model = vae.model(4, 1, properties=1, likelihood=vae.gaussian(), encoder=Same(), decoder=Linear(4))
    params = model.init(KEY, jnp.float64)
    known = data(3, properties=[0.3, -1.0, 0.7])
    terms = vae.elbo(model, params, KEY, known)
    seen = bounds.encoder_output(model, params, known.x, known.condition)
    log_q = stats.norm(np.asarray(seen.property_mean), np.asarray(seen.property_sd)).logpdf(known.properties)
    np.testing.assert_allclose(terms.label, log_q.mean(), rtol=1e-10)
    open_ = replace(known, properties=jnp.full((3, 1), jnp.nan))
    free = vae.elbo(model, params, KEY, open_)
    assert float(free.label) == 0
    assert np.isfinite(float(free.elbo))
    gradient = jax.grad(lambda p: vae.elbo(model, p, KEY, open_).elbo)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    # p(x) = int p(x | z, y) N(z) N(y), once the encoder has learned something of it.
    drawn = vae.examples(jax.random.normal(KEY, (300, 4)), properties=np.full(300, np.nan), dtype=jnp.float64)
    trained = vae.train(KEY, model, drawn, epochs=40, batch_size=50, learning_rate=1e-2, progress=False)
    head = trained.params["network"]["params"]["decoder"]["Dense_0"]
    w, s = np.asarray(head["kernel"]), float(np.exp(trained.params["log_sd"]))
    some = drawn.take(jnp.arange(20))
    exact = stats.multivariate_normal(np.asarray(head["bias"]), w.T @ w + s**2 * np.eye(4)).logpdf(np.asarray(some.x))
    keys = jax.random.split(KEY, 8)
    many = np.array([vae.importance_elbo(model, trained.params, k, some, 2000).mean() for k in keys])
    assert abs(many.mean() - exact.mean()) < 4 * many.std(ddof=1) / np.sqrt(8) + 0.01


def test_a_physics_term_is_added():
    def symmetric(latents, decoded):
        return -jnp.sum((decoded - decoded[:, ::-1]) ** 2, axis=(1, 2))

    plain = vae.model((4, 4), 2, encoder=vae.MLP((8,)))
    model = vae.model((4, 4), 2, encoder=vae.MLP((8,)), physics=symmetric)
    params = model.init(KEY, jnp.float64)
    x = vae.examples(jax.random.uniform(KEY, (3, 4, 4)), dtype=jnp.float64)
    with_term, without = vae.elbo(model, params, KEY, x), vae.elbo(plain, params, KEY, x)
    assert float(with_term.physics) < 0
    np.testing.assert_allclose(with_term.objective, without.objective + with_term.physics, rtol=1e-10)
    np.testing.assert_allclose(with_term.elbo, without.elbo, rtol=1e-10)


def test_a_relaxed_class_nears_the_sum_as_it_hardens():
    x = vae.examples(jax.random.uniform(KEY, (1, 4, 4)), dtype=jnp.float64)
    x = jax.tree.map(lambda part: jnp.repeat(part, 4000, axis=0), x)
    model = vae.model((4, 4), 1, classes=3, encoder=vae.MLP((8,)))
    relaxed = vae.model((4, 4), 1, classes=3, encoder=vae.MLP((8,)), gumbel=0.05)
    params = model.init(KEY, jnp.float64)
    exact, soft = vae.elbo(model, params, KEY, x), vae.elbo(relaxed, params, KEY, x)
    np.testing.assert_allclose(soft.reconstruction, exact.reconstruction, atol=0.05)
    assert relaxed.branches == 1
    assert model.branches == 3


@pytest.mark.parametrize("logit", [-6.0, -1.0, -0.11, -0.09, 0.0, 0.05, 4.0])
def test_the_continuous_bernoulli_is_a_density_with_its_mean(logit):
    x = np.linspace(0, 1, 20001)
    of = likelihoods.continuous_bernoulli()
    density = np.exp(of.log_prob(jnp.asarray(x), jnp.full(x.size, logit), jnp.zeros(())))
    np.testing.assert_allclose(integrate.simpson(density, x=x), 1.0, atol=1e-8)
    np.testing.assert_allclose(integrate.simpson(density * x, x=x), of.mean(jnp.asarray(logit)), atol=1e-7)


def test_the_gaussian_is_scipys_and_the_bernoulli_that_of_its_logit():
    x, output, log_sd = jnp.array([0.2, 0.9]), jnp.array([0.5, -1.0]), jnp.asarray(0.3)
    found = vae.gaussian().log_prob(x, output, log_sd)
    np.testing.assert_allclose(found, stats.norm(np.asarray(output), np.exp(0.3)).logpdf(np.asarray(x)), rtol=1e-10)
    on = vae.bernoulli().log_prob(jnp.array([0.0, 1.0]), output, log_sd)
    np.testing.assert_allclose(np.exp(on), [1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(1.0))], rtol=1e-10)
