"""An ensemble of modes: several networks from different starts, each trained until leave-one-out says stop."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import over_draws
from gpax_lab.core._observations import Observations
from gpax_lab.inference._checks import check_own, check_start
from gpax_lab.inference._density import UnconstrainedDensity, unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler, conditioning_ahead
from gpax_lab.models._model import LeavesOneOut, Model, able
from gpax_lab.nn._training import (
    TrainState,
    finite_gradients,
    keep_best,
    start,
    train_steps,
    train_until_idle,
)

DECAY = (0.9, 0.99)
"""Adam's memory of gradients and of their squares (Kingma & Ba 2015, arXiv:1412.6980, with a shorter second one: a fit
lasts hundreds of steps, not hundreds of thousands)."""


class Settings(NamedTuple):
    """The static settings of training; see `ensemble`."""

    members: int
    num_steps: int
    num_update_steps: int
    learning_rate: float
    every: int
    patience: int


class Tuning(NamedTuple):
    """Where the members stand: (members, p) unconstrained."""

    z: Array


@interned
def ensemble(
    members: int = 4,
    num_steps: int = 400,
    num_update_steps: int = 60,
    learning_rate: float = 0.02,
    every: int = 20,
    patience: int = 4,
) -> Sampler:
    """Modes of the posterior by Adam from several draws of the prior, each stopped early on leave-one-out.

    Every member descends the negative log posterior (marginal likelihood, weight decay and priors in one). After every
    `every` steps its closed-form leave-one-out log score (R&W 2006, eq. 5.10 to 5.12) is taken; the point with the best
    score is kept, and training ends once `patience` checks have brought no better one. The marginal likelihood of a
    network with more weights than observations rises for ever; leave-one-out does not. The members are equally weighted
    draws: how far they differ is what the data leave open about the network (Lakshminarayanan et al. 2017,
    arXiv:1612.01474).

    Where it fails: the kernel's parameters have one value in each member, and with fewer than about 20 observations the
    intervals are too narrow; use `nuts` on `nn.last_layer`, or frozen features, there.

    Args:
        members: networks, trained side by side.
        num_steps: most steps of the first fit.
        num_update_steps: most steps when a measurement has come in; each member goes on from where it was.
        learning_rate: Adam's step size, in prior standard deviations of a weight.
        every: steps between two checks; fewer where the steps are fewer.
        patience: checks without a better score that end training.

    Returns:
        A Sampler without evidence.

    Raises:
        ValueError: a count below 1 or a learning rate that is not positive; in an update, a posterior of another
            sampler or with another number of members.
    """
    if min(members, num_steps, num_update_steps, every, patience) < 1 or not learning_rate > 0:
        raise ValueError(
            "ensemble needs members, num_steps, num_update_steps, every and patience of at least 1, and a positive "
            "learning_rate."
        )
    settings = Settings(
        members, num_steps, num_update_steps, learning_rate, min(every, num_steps, num_update_steps), patience
    )

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        check_start(key, model, obs)
        compile_ahead(programs, key, model, obs)
        starts = _starts(key, model, obs, members)
        return _train(model, obs, Tuning(starts), settings, num_steps).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        check_own(posterior, Tuning, "ensemble")
        posterior.model.check_columns(obs)
        _check_members(posterior.tuning, members)
        return _train(posterior.model, obs, posterior.tuning, settings, num_update_steps).conditioned(obs)

    def programs(ahead: Ahead, key: Array, model: Model, obs: Observations) -> Posterior:
        starts = Tuning(ahead(_starts, key, model, obs, members))
        return conditioning_ahead(ahead, ahead(_train, model, obs, starts, settings, num_steps), obs)

    return Sampler(init, update, yields_evidence=False, programs=programs)


def _check_members(tuning: Tuning, members: int) -> None:
    if len(tuning.z) != members:
        raise ValueError(
            f"this posterior has {len(tuning.z)} members, the sampler {members}: give as many, or use init."
        )


@partial(jax.jit, static_argnames=("model", "members"))
def _starts(key: Array, model: Model, obs: Observations, members: int) -> Array:
    space = unconstrained_density(model, obs.y.dtype)
    return jax.vmap(space.draw)(jax.random.split(key, members))


def _score(space: UnconstrainedDensity, model: Model, z: Array, obs: Observations) -> Array:
    """() mean leave-one-out log score of the observations; -inf where it is not a number."""
    mean, variance = able(model, LeavesOneOut).leave_one_out(space.constrain(z), obs)
    terms = -0.5 * (jnp.log(2 * jnp.pi * variance) + (obs.y - mean) ** 2 / variance)
    of_slot = jnp.sum(terms.reshape(obs.capacity, -1), axis=1)  # a multi-output model has several columns
    total = jnp.sum(jnp.where(obs.measured, of_slot, 0.0)) / jnp.maximum(jnp.sum(obs.measured), 1)
    return jnp.where(jnp.isfinite(total), total, -jnp.inf)


@partial(jax.jit, static_argnames=("model", "settings"))
def _train(model: Model, obs: Observations, tuning: Tuning, settings: Settings, steps: Array) -> Posterior:
    space = unconstrained_density(model, obs.y.dtype)
    optimizer = optax.chain(finite_gradients(), optax.adam(settings.learning_rate, *DECAY))

    def loss(z: Array, _: None) -> tuple[Array, None]:
        return space.potential(z, obs), None

    def check(state: TrainState) -> TrainState:
        state, _ = train_steps(loss, optimizer, state, num_steps=settings.every)
        return keep_best(state, _score(space, model, state.params, obs))

    def member(z: Array) -> TrainState:
        state = start(optimizer, z, _score(space, model, z, obs))
        return train_until_idle(check, state, jnp.maximum(steps // settings.every, 1), settings.patience)

    end = over_draws(member, tuning.z)
    params = jax.vmap(space.constrain)(end.best)
    even = jnp.full(settings.members, -math.log(settings.members), obs.y.dtype)
    nothing = jnp.full((), jnp.nan, obs.y.dtype)
    return Posterior(params, even, nothing, None, _report(end, settings), Tuning(end.best), model)


def _report(end: TrainState, settings: Settings) -> Info:
    status = Status.worst((~jnp.all(jnp.isfinite(end.score)), Status.NOT_FINITE))
    gradients = jnp.sum(end.rounds) * settings.every
    size = jnp.asarray(float(settings.members), end.score.dtype)
    return Info.unknown(size.dtype)._replace(status=status, ess_bulk=size, gradients=gradients)
