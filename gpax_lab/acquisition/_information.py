"""Where an observation tells most about competing hypotheses: by expected information, or through one at a time."""

import math
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._acquisition import Acquisition, AcquisitionContext, Settings, Term, goals, term
from gpax_lab.core._interning import interned
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._weights import mixture

NODES = 7
"""Gauss-Hermite nodes of each normal component: entropies of their mixtures to about 0.01 nat."""
CHUNK = 64
"""Candidates at a time: bounds memory, which grows with the square of the draws."""


def _log_normal(y: Array, mean: Array, std: Array) -> Array:
    return -0.5 * ((y - mean) / std) ** 2 - jnp.log(std) - 0.5 * math.log(2 * math.pi)


def _informations(mean: Array, std: Array, log_weight: Array, owner: np.ndarray) -> tuple[Array, Array]:
    """I(y; hypothesis) () and I(y; parameters | hypothesis) () in nats, for predictive components (S,) of one point.

    An observation's density under a hypothesis is the mixture of its components. Expectations over each component are
    by Gauss-Hermite quadrature, so that components as narrow as the noise and as far apart as the hypotheses do no
    harm.
    """
    nodes, share = np.polynomial.hermite_e.hermegauss(NODES)
    share = share / share.sum()
    y = mean[:, None] + std[:, None] * jnp.asarray(nodes, mean.dtype)[None]  # (S, nodes)
    density = log_weight[None, None] + _log_normal(y[..., None], mean[None, None], std[None, None])  # (S, nodes, S)
    weight = jnp.exp(log_weight)[:, None] * jnp.asarray(share, mean.dtype)[None]
    count = int(owner.max()) + 1
    of = [np.flatnonzero(owner == m) for m in range(count)]
    log_p = jnp.stack([jax.scipy.special.logsumexp(log_weight[i]) for i in of])  # of the hypotheses
    each = jnp.stack([jax.scipy.special.logsumexp(density[..., i], axis=-1) for i in of])  # p_m * density under m
    own = each[owner, np.arange(owner.size)] - log_p[owner][:, None]  # (S, nodes) under the hypothesis that owns it
    every = jax.scipy.special.logsumexp(each, axis=0)
    alone = _log_normal(y, mean[:, None], std[:, None])

    def expected(difference: Array) -> Array:
        # A component without weight may have no density anywhere; it adds nothing.
        return jnp.sum(jnp.where(weight > 0, weight * jnp.where(weight > 0, difference, 0.0), 0.0))

    return expected(own - every), expected(alone - own)


def _average(context: AcquisitionContext) -> HypothesisMixture:
    if not isinstance(context.posterior, HypothesisMixture):
        raise TypeError(
            "this acquisition function compares hypotheses: use bayes_opt(hypotheses({...}), model_average(smc(...)), "
            "...). For one model, "
            "uncertainty() and disagreement() say where to learn."
        )
    return context.posterior


@cache  # equal terms share what is compiled
def _expected_information_gain(draws: int) -> Term:
    def values(context: AcquisitionContext, settings: Settings) -> Array:
        few = _average(context).thinned(context.key, draws)
        mean, variance = few.predict(context.x)
        std = jnp.sqrt(variance + few.noise_variance(context.x))
        # Observations known without error would decide with certainty: a thousandth of the range is the least.
        extent = jnp.max(jnp.abs(mean - jnp.mean(mean, axis=0)[None]), axis=0)
        std = jnp.maximum(std, 1e-3 * extent[None] + jnp.finfo(mean.dtype).tiny)
        log_weight, owner = few.log_weight, few.owner

        def one(at: tuple[Array, Array]) -> Array:
            between, within = _informations(at[0], at[1], log_weight, owner)
            share = settings["within"].astype(between.dtype)
            return (1.0 - share) * between + share * within

        return jax.lax.map(one, (mean.T, std.T), batch_size=min(CHUNK, mean.shape[1]))

    return values


@interned
def expected_information_gain(within: float = 0.1, num_samples: int = 32) -> Acquisition:
    """Expected information gain: (1 - within) I(y; hypothesis) + within I(y; parameters | hypothesis) [nat].

    The mutual information between the observation and the hypothesis is H[sum_m p_m p(y | m)] - sum_m p_m H[p(y | m)],
    with p(y | m) the predictive density, noise included (Lindley 1956; Box & Hill 1967, Technometrics 9, 57). It is
    zero where all hypotheses say the same, however little any of them knows.

    Args:
        within: weight of learning the parameters of the hypotheses, from 0 to 1; may be changed between steps.
        num_samples: draws of each hypothesis that stand for it.

    Raises:
        ValueError: a weight outside [0, 1], or fewer than two draws.
        TypeError: when used, if no hypotheses compete.
    """
    if not 0 <= within <= 1 or num_samples < 2:
        raise ValueError(
            f"expected_information_gain needs 0 <= within <= 1 and num_samples >= 2; got {within}, {num_samples}."
        )
    return term("expected_information_gain", _expected_information_gain(num_samples), within=within)


def _believed(context: AcquisitionContext, settings: Settings) -> Array:
    belief = _average(context)
    key_explore, key_which, key_any = jax.random.split(context.key, 3)
    log_p = belief.log_probability
    # Powers of the probabilities: 1 draws by them, infinity takes the most probable one.
    greedy = jnp.isinf(settings["power"])
    power = jnp.where(greedy, 1.0, settings["power"]).astype(log_p.dtype)
    drawn = jax.random.categorical(key_which, jnp.where(jnp.isfinite(log_p), power * log_p, -jnp.inf))
    chosen = jnp.where(greedy, jnp.argmax(log_p), drawn)
    explore = jax.random.uniform(key_explore) < settings["epsilon"]
    chosen = jnp.where(explore, jax.random.randint(key_any, (), 0, log_p.size), chosen)
    mine = jnp.asarray(belief.owner) == chosen
    own = jnp.where(mine, context.log_weight, -jnp.inf)
    own = own - jax.scipy.special.logsumexp(own)
    return jnp.sqrt(mixture(context.mean, context.std**2, own)[1])


@interned
def uncertainty_of_one(epsilon: float = 0.0, power: float = 1.0) -> Acquisition:
    """Standard deviation under one hypothesis, chosen anew for every point: measure where it knows least (unit of y).

    With the defaults the hypothesis is drawn by its probability (posterior sampling, Thompson 1933); `power=inf` takes
    the most probable one, and `epsilon` is how often any one is taken instead (epsilon-greedy).

    Args:
        epsilon: probability of a hypothesis at random.
        power: of the probabilities by which a hypothesis is drawn.

    Raises:
        ValueError: epsilon outside [0, 1], or a negative power.
        TypeError: when used, if no hypotheses compete.
    """
    if not 0 <= epsilon <= 1 or not power >= 0:
        raise ValueError(f"epsilon is a probability and power not negative; got {epsilon} and {power}.")
    return term("uncertainty_of_one", _believed, epsilon=epsilon, power=power)


def between(mean: Array, log_weight: Array, owner: Array, count: int) -> Array:
    """(m,) standard deviation between the means of `count` rivals, each the mixture of its draws (draws, m)."""
    mine = owner[None, :] == jnp.arange(count)[:, None]
    weight = jnp.where(mine, jnp.exp(log_weight)[None], 0.0)  # (count, draws)
    share = jnp.sum(weight, axis=1)
    each = (weight @ mean) / jnp.maximum(share, jnp.finfo(mean.dtype).tiny)[:, None]
    return jnp.sqrt(share @ (each - (share @ each)[None]) ** 2)


def _parting(context: AcquisitionContext, settings: Settings) -> Array:
    belief = _average(context)
    return between(context.mean, context.log_weight, jnp.asarray(belief.owner), len(belief.posteriors))


def _log_parting(context: AcquisitionContext, settings: Settings) -> Array:
    part = _parting(context, settings)
    return jnp.log(jnp.maximum(part, jnp.finfo(part.dtype).tiny))


@interned
def parting() -> Acquisition:
    """Standard deviation between the means of the hypotheses: where they part (unit of y).

    Cheap beside `expected_information_gain`, which also weighs it against the standard deviation of each and the noise.

    Raises:
        TypeError: when used, if no hypotheses compete.
    """
    return term("parting", _parting)


def telling_apart(acquisition: Acquisition) -> Acquisition:
    """The acquisition function with `parting` in place of its goal: terms that seek an optimum, by their `sign`.

    Penalties stay. Where the goal is a logarithm (`log_ei` and its like) it is the logarithm of `parting`.
    """
    terms = tuple(
        old if "sign" not in settings else _log_parting if "log" in name else _parting
        for old, settings, name in zip(acquisition.terms, acquisition.settings, acquisition.names, strict=True)
    )
    return replace(acquisition, terms=terms, joint=False)


def seeks_optimum(acquisition: Acquisition) -> bool:
    """Whether a term of the acquisition function seeks an optimum."""
    return any(goals(acquisition))
