"""How an image is scattered around what the decoder says."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class Likelihood:
    """A distribution of every number of an image, independent given the decoder's output.

    Attributes:
        name: what it is called.
        log_prob: (x, output, log_sd) -> log density of every number.
        mean: output -> the image that is expected.
        noisy: whether it has a noise of its own, log_sd, which is learned.
        unit: whether images must lie in [0, 1].
    """

    name: str
    log_prob: Callable[[Array, Array, Array], Array]
    mean: Callable[[Array], Array]
    noisy: bool
    unit: bool


def _bernoulli(x: Array, logit: Array, _: Array) -> Array:
    return x * logit - jax.nn.softplus(logit)


def bernoulli() -> Likelihood:
    """Pixels are on or off. For grey values in [0, 1] it is no density, only a cost that is lowest at the mean."""
    return Likelihood("bernoulli", _bernoulli, jax.nn.sigmoid, noisy=False, unit=True)


def _log_norm(logit: Array) -> Array:
    """log of the constant of the continuous Bernoulli, 2 atanh(1 - 2 p)/(1 - 2 p), by its series around p = 1/2."""
    near = jnp.abs(logit) < 0.1
    away = jnp.where(near, 1.0, logit)
    # C(p) = logit / tanh(logit / 2).
    exact = jnp.log(away / jnp.tanh(0.5 * away))
    return jnp.where(near, math.log(2.0) + logit**2 / 12.0 - logit**4 / 1440.0 * 7.0, exact)


def _continuous_bernoulli(x: Array, logit: Array, _: Array) -> Array:
    return x * logit - jax.nn.softplus(logit) + _log_norm(logit)


def _continuous_mean(logit: Array) -> Array:
    near = jnp.abs(logit) < 0.1
    away = jnp.where(near, 1.0, logit)
    exact = 1.0 / -jnp.expm1(-away) - 1.0 / away
    return jnp.where(near, 0.5 + logit / 12.0 - logit**3 / 720.0, exact)


def continuous_bernoulli() -> Likelihood:
    """A density on [0, 1] (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845): grey values without a fixed noise."""
    return Likelihood("continuous_bernoulli", _continuous_bernoulli, _continuous_mean, noisy=False, unit=True)


def _gaussian(x: Array, mean: Array, log_sd: Array) -> Array:
    return -0.5 * ((x - mean) * jnp.exp(-log_sd)) ** 2 - log_sd - 0.5 * math.log(2 * math.pi)


def gaussian() -> Likelihood:
    """Gaussian noise of one standard deviation, which is learned with the weights. For values of any range."""
    return Likelihood("gaussian", _gaussian, lambda output: output, noisy=True, unit=False)
