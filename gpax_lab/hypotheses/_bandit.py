"""Hypothesis learning as published: rewards for a shrinking variance (Ziatdinov et al. 2021, arXiv:2112.06649).

For parity with what was published. A hypothesis is rewarded for being sure and not for being right: one with fewer
parameters is sure sooner, so that a line is preferred to the parabola that is true where the noise is known.
`model_average`, which lets the observations decide, is the default of this library.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._inputs import check_key
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.hypotheses._mixture import Hypotheses, HypothesisMixture, check_followed
from gpax_lab.inference._checks import INIT, checked_sampler
from gpax_lab.inference._posterior import Posterior, Sampler


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Bandit(HypothesisMixture):
    """Hypotheses and their rewards; predicts as the one that was chosen last.

    Attributes:
        reward: (M,) mean reward of each hypothesis, 0 where it has none yet.
        pulls: (M,) int, how many rewards that is.
        median: () median predictive variance of the chosen hypothesis, in the user's unit squared.
        chosen: () int, the hypothesis that was fitted last (at first, the surest one).
        step: () int, fits so far.
        points: (m, d) at which the variance is computed.
    """

    reward: Array
    pulls: Array
    median: Array
    chosen: Array
    step: Array
    points: Array

    @property
    def log_probability(self) -> Float[Array, " hypotheses"]:
        """(M,) 0 for the chosen hypothesis, -inf for the others: this algorithm has no probabilities."""
        return jnp.where(jnp.arange(self.reward.size) == self.chosen, 0.0, -jnp.inf).astype(self.reward.dtype)


@interned
def bandit(
    sampler: Sampler,
    points: ArrayLike,
    num_initial: int = 3,
    epsilon: float = 0.4,
    temperature: float | None = None,
) -> Sampler:
    """The sampler that fits one hypothesis at a time and rewards it for a smaller predictive variance.

    At first all hypotheses are fitted and the one with the smallest median predictive variance (noise included)
    over the unmeasured points is rewarded by 1. Later one is chosen by its mean reward and fitted; its reward is 1 if
    its median is below that of the step before, else -1. Together with `acquisition.uncertainty()` this is the
    published loop: `bayes_opt(hypotheses, bandit(nuts(), candidates.points), acquisition.uncertainty(), candidates)`.

    Args:
        sampler: of each hypothesis, e.g. `nuts()`; no evidence is needed.
        points: (m, d) at which the variance is computed, e.g. all candidates.
        num_initial: fits of all hypotheses, the first one on the seeds included.
        epsilon: how often a hypothesis is chosen at random instead of by its reward.
        temperature: None for epsilon-greedy; a number for a choice by softmax(reward / temperature) instead.

    Returns:
        A Sampler whose posterior is a `Bandit`.

    Raises:
        TypeError: the sampler is none.
        ValueError: no initial fit, epsilon outside [0, 1], or a temperature that is not positive.
    """
    checked_sampler(sampler)
    if num_initial < 1 or not 0 <= epsilon <= 1 or (temperature is not None and not temperature > 0):
        raise ValueError(
            "bandit needs num_initial >= 1, 0 <= epsilon <= 1 and a positive temperature or None; got "
            f"{num_initial}, {epsilon} and {temperature}."
        )

    def init(key: Array, model: Hypotheses, obs: Observations) -> Bandit:
        check_key(key, INIT)
        if not isinstance(model, Hypotheses):
            raise TypeError("bandit(...) follows several models: give it hypotheses({name: model, ...}).")
        keys = jax.random.split(key, len(model.models))
        each = tuple(sampler.init(k, m, obs) for k, m in zip(keys, model.models.values(), strict=True))
        return _first(each, model, jnp.asarray(points, obs.y.dtype), obs)

    def update(key: Array, posterior: Bandit, obs: Observations) -> Bandit:
        check_followed(posterior, Bandit, "bandit")
        key_choose, key_explore, key_fit = jax.random.split(key, 3)
        initial = posterior.step < num_initial
        count = posterior.reward.size
        if temperature is None:
            at_random = jax.random.uniform(key_explore) < epsilon
            chosen = jnp.where(at_random, jax.random.randint(key_choose, (), 0, count), jnp.argmax(posterior.reward))
        else:
            chosen = jax.random.categorical(key_choose, posterior.reward / temperature)

        def fit(i: int) -> Callable[[], Posterior]:
            return lambda: sampler.update(jax.random.fold_in(key_fit, i), posterior.posteriors[i], obs)

        each = tuple(
            jax.lax.cond(initial | (chosen == i), fit(i), lambda p=p: p) for i, p in enumerate(posterior.posteriors)
        )
        medians = _medians(each, posterior.points, obs)
        surest = jnp.argmin(medians)
        surer = jnp.where(medians[chosen] < posterior.median, 1.0, -1.0).astype(medians.dtype)
        chosen = jnp.where(initial, surest, chosen)
        reward, pulls = _rewarded(posterior.reward, posterior.pulls, chosen, jnp.where(initial, 1.0, surer))
        return replace(
            posterior,
            posteriors=each,
            reward=reward,
            pulls=pulls,
            median=medians[chosen],
            chosen=chosen,
            step=posterior.step + 1,
        )

    return Sampler(init, update, sampler.yields_evidence, several=True)


def _first(each: tuple[Posterior, ...], model: Hypotheses, points: Array, obs: Observations) -> Bandit:
    """The rewards after the first fits: 1 for the surest hypothesis."""
    count, dtype = len(each), obs.y.dtype
    medians = _medians(each, points, obs)
    first = jnp.argmin(medians)
    reward, pulls = _rewarded(jnp.zeros(count, dtype), jnp.zeros(count, int), first, jnp.ones((), dtype))
    return Bandit(
        posteriors=each,
        hypotheses=model,
        reward=reward,
        pulls=pulls,
        median=medians[first],
        chosen=first,
        step=jnp.asarray(1),
        points=points,
    )


def _medians(posteriors: tuple[Posterior, ...], points: Array, obs: Observations) -> Array:
    """(M,) median over the unmeasured points of the predictive variance of each hypothesis, noise included."""
    same = jnp.all(points[:, None, :] == obs.x[None], axis=-1)
    measured = jnp.any(same & obs.measured[None], axis=1)
    measured = measured & ~jnp.all(measured)  # where none is left, all count

    def median(posterior: Posterior) -> Array:
        _, variance = posterior.moments(points)
        noise = jnp.exp(posterior.log_weight) @ posterior.noise_variance(points)
        return jnp.nanmedian(jnp.where(measured, jnp.nan, variance + noise))

    return jnp.stack([median(posterior) for posterior in posteriors])


def _rewarded(reward: Array, pulls: Array, chosen: Array, gain: Array) -> tuple[Array, Array]:
    """Mean rewards and their numbers after one more reward of one hypothesis."""
    pulls = pulls.at[chosen].add(1)
    return reward.at[chosen].add((gain - reward[chosen]) / pulls[chosen]), pulls
