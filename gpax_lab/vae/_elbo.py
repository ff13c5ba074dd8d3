"""Bounds on the evidence: the one that training raises, term by term, and a tighter one to compare models by."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._poses import rotated_views
from gpax_lab.core._types import Float
from gpax_lab.vae._examples import Examples
from gpax_lab.vae._model import VAE, Latents, Params

Weight = Array | float | Callable[[Array], Array]


class Weights(NamedTuple):
    """How the terms of the bound are weighed: each a number, or for `train` a schedule of the epoch (optax has many).

    The objective is reconstruction - beta_c |KL_c - C_c| - beta_d |KL_d - C_d| (Burgess et al. 2018, arXiv:1804.03599;
    Dupont 2018, arXiv:1804.00104), plus `label` log q(known label | x), plus physics.

    Attributes:
        continuous: beta_c.
        discrete: beta_d.
        continuous_capacity: C_c, nat.
        discrete_capacity: C_d, nat.
        label: weight of what the encoder says of known labels.
        physics: weight of the model's physics term.
        content: factor of the content's share of KL_c, beside that of the pose. High at first, then 1: classes and pose
            have to explain what they can before the content may.
        balance: of KL(mean over the batch of q(class | x) || uniform), which is subtracted: no class is left empty. Let
            it end at 0 where classes need not be equally frequent.
    """

    continuous: Weight = 1.0
    discrete: Weight = 1.0
    continuous_capacity: Weight = 0.0
    discrete_capacity: Weight = 0.0
    label: Weight = 1.0
    physics: Weight = 1.0
    content: Weight = 1.0
    balance: Weight = 0.0


class _Numbers(NamedTuple):
    """`Weights` at one step."""

    continuous: Array
    discrete: Array
    continuous_capacity: Array
    discrete_capacity: Array
    label: Array
    physics: Array
    content: Array
    balance: Array


def _number(weight: Weight) -> Array:
    if callable(weight):
        raise ValueError("a bound has numbers for weights; schedules of the epoch are for `train`.")
    return jnp.asarray(weight)


class ELBOTerms(NamedTuple):
    """Means over examples, nat.

    Attributes:
        objective: what training raises, with all weights.
        elbo: reconstruction - kl_continuous - kl_discrete, a lower bound on log p(x), and of what is known with it.
        reconstruction: expected log likelihood.
        kl_continuous: of content, pose and unknown properties; minus the log prior of known ones.
        kl_discrete: of unknown classes; minus the log prior of known ones.
        label: log q of what is known.
        physics: the physics term.
    """

    objective: Array
    elbo: Array
    reconstruction: Array
    kl_continuous: Array
    kl_discrete: Array
    label: Array
    physics: Array


class EncoderOutput(NamedTuple):
    """What the encoder says of examples before anything is drawn; T rotated views, K classes (1 without).

    Attributes:
        features: (n, T, width).
        log_branch: (n, T, K) log q(view, class | x).
        property_mean: (n, properties).
        property_sd: (n, properties).
    """

    features: Array
    log_branch: Array
    property_mean: Array
    property_sd: Array

    @property
    def log_class(self) -> Array:
        """(n, K) log q(class | x)."""
        return jax.nn.logsumexp(self.log_branch, axis=1)


def encoder_output(model: VAE, params: Params, x: Array, condition: Array) -> EncoderOutput:
    """The encoder's first half: features, classes and properties."""
    apply = partial(model.network.apply, params["network"])
    count, views = x.shape[0], model.views
    shift, scale = jax.lax.stop_gradient(params["seen"])
    x = (x - shift) / scale
    rotated, given = x, condition
    if views > 1:
        rotated = rotated_views(x, views).reshape(count * views, *model.shape)
        given = jnp.repeat(condition, views, axis=0)
    features = jnp.asarray(apply(rotated, given, method="features")).reshape(count, views, -1)
    log_branch = jnp.zeros((count, views, max(model.classes, 1)), x.dtype)
    if model.classes or views > 1:
        logits = jnp.asarray(apply(features, method="class_logits")).reshape(count, -1)
        log_branch = jax.nn.log_softmax(logits).reshape(log_branch.shape)
    raw = jnp.zeros((count, 0), x.dtype)
    if model.properties:
        chosen = jnp.exp(jax.nn.logsumexp(log_branch, axis=2))
        raw = jnp.asarray(apply(jnp.einsum("nt,ntf->nf", chosen, features), method="property_raw"))
    mean, width = raw[:, : model.properties], jax.nn.softplus(raw[:, model.properties :]) + 1e-3
    return EncoderOutput(features, log_branch, mean, width)


def split(model: VAE, params: Params, features: Array, known: Array) -> list[tuple[Array, Array]]:
    """Posterior mean and standard deviation of every part, given features and what is known, both (..., k)."""
    raw = jnp.asarray(model.network.apply(params["network"], features, known, method="latents"))
    found, start = [], 0
    for part in model.parts:
        found.append(part.posterior(raw[..., start : start + part.raw]))
        start += part.raw
    return found


class _Drawn(NamedTuple):
    """One draw for every example, view and class: everything (n, T, B)."""

    log_likelihood: Array
    kl_content: Array
    kl_pose: Array
    log_ratio: Array
    latents: Latents
    decoded: Array


def _draw(
    model: VAE, params: Params, key: Array, data: Examples, encoded: EncoderOutput, classes: Array, known: Array
) -> _Drawn:
    """Draw content and pose given classes (n, B, classes) and properties (n, p), decode, compare."""
    form = (data.x.shape[0], model.views, classes.shape[1])
    flat = math.prod(form)
    features = jnp.broadcast_to(encoded.features[:, :, None], (*form, encoded.features.shape[-1]))
    classes = jnp.broadcast_to(classes[:, None, :, : model.classes], (*form, model.classes))
    properties = jnp.broadcast_to(known[:, None, None], (*form, model.properties))
    posterior = split(model, params, features, jnp.concatenate([classes, properties], axis=-1))
    keys = jax.random.split(key, len(model.parts))
    drawn, kl, log_ratio = [], [], jnp.zeros(form, features.dtype)
    for part, (mean, sd), one in zip(model.parts, posterior, keys, strict=True):
        # The same noise for all branches of an example: they compete on what they say, not on their draws.
        z = mean + sd * jax.random.normal(one, (form[0], 1, 1, part.size), mean.dtype)
        drawn.append(z)
        kl.append(part.kl(mean, sd))
        log_ratio = log_ratio + part.log_prior(z) - part.log_posterior(z, mean, sd)
    condition = jnp.broadcast_to(data.condition[:, None, None], (*form, model.conditions))
    view = jnp.broadcast_to(jnp.arange(model.views)[None, :, None], form)
    latents = model.latents(
        jnp.concatenate(drawn, axis=-1).reshape(flat, -1),
        classes.reshape(flat, model.classes),
        condition.reshape(flat, model.conditions),
        properties.reshape(flat, model.properties),
        view.reshape(flat),
    )
    output = model.decode(params, latents).reshape(*form, *model.output)
    log_prob = model.likelihood.log_prob(data.target[:, None, None], output, params["log_sd"])
    log_likelihood = jnp.sum(log_prob.reshape(*form, -1), axis=-1)
    decoded = model.likelihood.mean(output.reshape(flat, *model.output))
    return _Drawn(log_likelihood, kl[0], sum(kl[1:], jnp.zeros(form, features.dtype)), log_ratio, latents, decoded)


def _properties(key: Array, data: Examples, encoded: EncoderOutput) -> tuple[Array, Array, Array, Array]:
    """Known or drawn properties (n, p); their share of the continuous KL, log q of the known, log p/q of the drawn."""
    known = ~jnp.isnan(data.properties)
    given = jnp.where(known, data.properties, 0.0)
    mean, sd = encoded.property_mean, encoded.property_sd
    drawn = mean + sd * jax.random.normal(key, mean.shape, mean.dtype)
    value = jnp.where(known, given, drawn)
    log_q = -0.5 * ((value - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * value**2 - 0.5 * math.log(2 * math.pi)
    kl = jnp.where(known, -log_p, 0.5 * (mean**2 + sd**2 - 1.0) - jnp.log(sd))
    ratio = jnp.where(known, log_p, log_p - log_q)
    total = partial(jnp.sum, axis=1)
    return value, total(kl), total(jnp.where(known, log_q, 0.0)), total(ratio)


def _class_weights(model: VAE, key: Array, data: Examples, encoded: EncoderOutput) -> tuple[Array, Array, Array]:
    """Classes (n, B, classes) to decode with, the weight (n, T, B) of each branch, and log q (n, T, K) given labels."""
    count, many = data.x.shape[0], max(model.classes, 1)
    eye = jnp.eye(many, dtype=data.x.dtype)
    labelled = ((data.label >= 0) & (model.classes > 0))[:, None]
    given = eye[jnp.maximum(data.label, 0)] if model.classes else jnp.ones((count, 1), data.x.dtype)
    of_view = encoded.log_branch - encoded.log_class[:, None]
    log_class = jnp.where(labelled, jnp.where(given > 0, 0.0, -jnp.inf), encoded.log_class)
    log_branch = of_view + log_class[:, None]
    if not (model.gumbel and model.classes):
        return jnp.broadcast_to(eye[None], (count, many, many)), jnp.exp(log_branch), of_view
    noise = jax.random.gumbel(key, encoded.log_class.shape, data.x.dtype)
    soft = jax.nn.softmax((encoded.log_class + noise) / model.gumbel)
    classes = jnp.where(labelled, given, soft)
    return classes[:, None, :], jnp.sum(jnp.exp(log_branch), axis=2, keepdims=True), of_view


def elbo(model: VAE, params: Params, key: Array, data: Examples, weights: Weights | None = None) -> ELBOTerms:
    """The evidence lower bound with one draw for every example and class, and its terms.

    Classes and rotated views are summed over exactly, with the posterior of content and pose given each; every
    divergence is in closed form.

    Args:
        model: a VAE.
        params: its parameters.
        key: random key.
        data: examples that fit the model (`VAE.check`).
        weights: numbers; None for a plain bound, in which the encoder is taught known labels with weight 1.

    Returns:
        `ELBOTerms`, means over the examples, nat.
    """
    return _elbo(model, params, key, data, _Numbers(*[_number(weight) for weight in weights or Weights()]))


@partial(jax.jit, static_argnames="model")
def _elbo(model: VAE, params: Params, key: Array, data: Examples, w: _Numbers) -> ELBOTerms:
    key_z, key_class, key_property = jax.random.split(key, 3)
    encoded = encoder_output(model, params, data.x, data.condition)
    properties, kl_property, log_property, _ = _properties(key_property, data, encoded)
    classes, share, of_view = _class_weights(model, key_class, data, encoded)
    drawn = _draw(model, params, key_z, data, encoded, classes, properties)

    def expected(values: Array) -> Array:
        return jnp.sum(share * values, axis=(1, 2))

    # Which view it is belongs to the angle, which class to the classes: KL(t, c) = KL(c) + E_c KL(t | c).
    in_class = jnp.sum(jnp.exp(of_view) * (of_view + math.log(model.views)), axis=1)
    labelled = (data.label >= 0) & (model.classes > 0)
    given = jnp.arange(encoded.log_class.shape[1])[None] == data.label[:, None]
    class_share = jnp.where(labelled[:, None], given, jnp.exp(encoded.log_class))
    kl_pose = jnp.mean(expected(drawn.kl_pose) + jnp.sum(class_share * in_class, axis=1) + kl_property)
    kl_content = jnp.mean(expected(drawn.kl_content))
    kl_continuous = kl_content + kl_pose
    most = math.log(max(model.classes, 1))
    entropy = jnp.sum(jnp.exp(encoded.log_class) * encoded.log_class, axis=1)
    kl_discrete = jnp.mean(jnp.where(labelled, most, entropy + most))
    frequency = jnp.mean(jnp.exp(encoded.log_class), axis=0)
    balance = jnp.sum(frequency * jnp.log(jnp.maximum(frequency, 1e-12))) + most
    log_label = jnp.sum(jnp.where(labelled[:, None] & given, encoded.log_class, 0.0), axis=1)
    label = jnp.mean(log_label + log_property)
    physics = jnp.zeros((), data.x.dtype)
    if model.physics is not None:
        term = jnp.broadcast_to(model.physics(drawn.latents, drawn.decoded), (share.size,))
        physics = jnp.mean(expected(term.reshape(share.shape)))
    reconstruction = jnp.mean(expected(drawn.log_likelihood))
    objective = (
        reconstruction
        - w.continuous * jnp.abs(w.content * kl_content + kl_pose - w.continuous_capacity)
        - w.discrete * jnp.abs(kl_discrete - w.discrete_capacity)
        + w.label * label
        + w.physics * physics
        - w.balance * balance
    )
    plain = reconstruction - kl_continuous - kl_discrete
    return ELBOTerms(objective, plain, reconstruction, kl_continuous, kl_discrete, label, physics)


@partial(jax.jit, static_argnames=("model", "num_samples"))
def importance_elbo(
    model: VAE, params: Params, key: Array, data: Examples, num_samples: int = 64
) -> Float[Array, " n"]:
    """(n,) tighter bound log (1/S) sum_s p(x, z_s)/q(z_s | x) on the evidence of every example, nat.

    Burda et al. 2016, arXiv:1509.00519. Classes are summed over in every draw, so the bound does not depend on
    q(class | x). It rises towards log p(x) with the number of draws; compare models by it with the same number.

    Args:
        model: a VAE.
        params: its parameters.
        key: random key.
        data: examples; a known label or property counts as observed.
        num_samples: draws for every example.

    Returns:
        (n,) nat.
    """
    encoded = encoder_output(model, params, data.x, data.condition)
    many = max(model.classes, 1)
    classes = jnp.broadcast_to(jnp.eye(many, dtype=data.x.dtype)[None], (data.x.shape[0], many, many))
    labelled = (data.label >= 0) & (model.classes > 0)
    barred = (labelled[:, None] & (jnp.arange(many)[None] != data.label[:, None]))[:, None]

    def one(carry: None, key: Array) -> tuple[None, Array]:
        key_z, key_property = jax.random.split(key)
        properties, _, _, ratio = _properties(key_property, data, encoded)
        drawn = _draw(model, params, key_z, data, encoded, classes, properties)
        each = drawn.log_likelihood + drawn.log_ratio + ratio[:, None, None] - math.log(many * model.views)
        return carry, jax.nn.logsumexp(jnp.where(barred, -jnp.inf, each), axis=(1, 2))

    _, each = jax.lax.scan(one, None, jax.random.split(key, num_samples))
    return jax.nn.logsumexp(each, axis=0) - math.log(num_samples)
