"""How often, and how soon, a way of learning finds the true hypothesis: whole campaigns over truths and keys."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._candidates import Candidates
from gpax_lab.core import Status
from gpax_lab.core._inputs import check_key
from gpax_lab.core._types import Bool, Float, Int
from gpax_lab.experiment._experiment import Experiment, Objective, State
from gpax_lab.experiment._simulate import measure
from gpax_lab.experiment._study import check_measure, initial_observations, over_keys
from gpax_lab.hypotheses._bandit import Bandit
from gpax_lab.hypotheses._mixture import NONE_OF_THESE, HypothesisMixture


@dataclass(frozen=True)
class Recovery:
    """What every campaign believed. Axes: experiment, truth, key, points (seeds first), hypothesis.

    Attributes:
        experiments: names.
        truths: names; a truth that is no hypothesis counts as `NONE_OF_THESE`.
        hypotheses: names.
        belief: (E, T, K, n, M) probability of each hypothesis after the seeds and after every step; of the published
            algorithm, which has none, the mean rewards.
        rewards: (E,) bool, whether an experiment's beliefs are rewards.
        x: (E, T, K, n - 1, q, d) points, seeds left out; NaN once a pool is used up.
        trouble: (E, T, K) share of fits whose outcome was not OK.
        seeds: observations before the first belief.
        batch_size: observations of a step.
    """

    experiments: tuple[str, ...]
    truths: tuple[str, ...]
    hypotheses: tuple[str, ...]
    belief: Float[np.ndarray, "E T K n M"]
    rewards: Bool[np.ndarray, " E"]
    x: Float[np.ndarray, "E T K n-1 q d"]
    trouble: Float[np.ndarray, "E T K"]
    seeds: int
    batch_size: int

    @property
    def points(self) -> Int[np.ndarray, " n"]:
        """(n,) observations that each belief rests on."""
        return self.seeds + self.batch_size * np.arange(self.belief.shape[3])

    @property
    def of_truth(self) -> Float[np.ndarray, "E T K n"]:
        """(E, T, K, n) belief in the hypothesis that is true."""
        index = [self.hypotheses.index(t if t in self.hypotheses else NONE_OF_THESE) for t in self.truths]
        return np.stack([self.belief[:, t, ..., i] for t, i in enumerate(index)], axis=1)

    @property
    def leads(self) -> np.ndarray:
        """(E, T, K, n) bool: the truth is believed more than any other."""
        top = self.belief.max(axis=-1)
        others = np.sum(self.belief == top[..., None], axis=-1) == 1
        return (self.of_truth == top) & others

    def rates(self, level: float = 0.95) -> dict[str, np.ndarray]:
        """Share of campaigns in which the truth leads, each (E, T, n): "rate", and a band from "low" to "high".

        The band is the central interval of the beta posterior with Jeffreys' prior (Brown, Cai & DasGupta 2001,
        Stat. Sci. 16, 101).

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"the level of a band lies between 0 and 1; got {level}.")
        right, count = self.leads.sum(axis=2), self.leads.shape[2]
        edge = 0.5 * (1.0 - level)
        low, high = (_beta_quantile(q, right + 0.5, count - right + 0.5) for q in (edge, 1.0 - edge))
        return {
            "rate": right / count,
            "low": np.where(right == 0, 0.0, low),
            "high": np.where(right == count, 1.0, high),
        }

    def confusion(self) -> np.ndarray:
        """(E, T, M) share of campaigns with truth T that end with hypothesis M in the lead; ties are shared out."""
        final = self.belief[..., -1, :]
        lead = final == final.max(axis=-1, keepdims=True)
        return (lead / lead.sum(axis=-1, keepdims=True)).mean(axis=2)

    def settled(self, sure: float = 0.95) -> np.ndarray:
        """(E, T, K) observations until the truth has a probability of `sure` (leads, where there are only rewards), for
        good; infinite where that never comes.

        Raises:
            ValueError: `sure` is no probability.
        """
        if not 0 < sure <= 1:
            raise ValueError(f"sure is a probability; got {sure}.")
        holds = np.where(self.rewards[:, None, None, None], self.leads, self.of_truth >= sure)
        for_good = np.flip(np.logical_and.accumulate(np.flip(holds, axis=-1), axis=-1), axis=-1)
        return np.where(for_good.any(axis=-1), self.points[for_good.argmax(axis=-1)], np.inf)

    def __str__(self) -> str:
        """The report: how often each truth was found, and how soon."""
        many, last = self.belief.shape[2], self.points[-1]
        rate, soon = self.rates(), self.settled()
        lines = [
            f"share of {many} campaigns that find the truth in {last} points, 95 percent band; points until settled"
        ]
        for t, truth in enumerate(self.truths):
            lines.append(f"  {truth} true")
            for e, name in enumerate(self.experiments):
                low, middle, high = (rate[part][e, t, -1] for part in ("low", "rate", "high"))
                when, never = np.median(soon[e, t]), float(np.isinf(soon[e, t]).mean())
                text = f"median {when:g}" if np.isfinite(when) else "median never"
                trouble = float(self.trouble[e, t].mean())
                lines.append(
                    f"    {name}: {middle:.2f} ({low:.2f} to {high:.2f}); {text}, {100 * never:.0f} percent never"
                    + (f"; {100 * trouble:.0f} percent of fits in trouble" if trouble > 0 else "")
                )
        return "\n".join(lines)


def _beta_quantile(level: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quantile of beta distributions, by bisection of the regularised incomplete beta function."""
    low, high = np.zeros(a.shape), np.ones(a.shape)
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = np.asarray(jax.scipy.special.betainc(a * 1.0, b * 1.0, middle)) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def recovery(
    keys: Array,
    experiments: Mapping[str, Experiment],
    truths: Mapping[str, Objective],
    domain: Candidates,
    num_steps: int,
    *,
    seeds: int = 2,
    devices: Sequence[jax.Device] | None = None,
    callback: Callable[[str], None] = lambda text: None,
) -> Recovery:
    """Run every way of learning on every truth from every key, sharded over devices as `study` does.

    Campaigns of one key begin with the same seed points and observations, whatever the experiment.

    Args:
        keys: (K,) random keys, one per campaign.
        experiments: by name, e.g. `bayes_opt(hypotheses, model_average(smc(128)),
            acquisition.expected_information_gain(), domain)`; all of the same hypotheses.
        truths: (key, x (d,)) -> y (), a simulated observation, by the name of the hypothesis that is true in it; any
            other name where none is.
        domain: where seeds are drawn.
        num_steps: propose-measure-observe steps of each campaign.
        seeds: points measured before the first fit.
        devices: where to run; all devices by default.
        callback: called with a line of text after each combination.

    Returns:
        Recovery: print it for the report; `plot.recovery` and `plot.confusion` draw it.

    Raises:
        ValueError: nothing to run, a truth that does not return one number, experiments of different hypotheses, or a
            truth that is no hypothesis where no flexible process runs along.
        TypeError: an experiment whose posterior is no ModelAverage.
    """
    check_key(keys, "recovery(keys, experiments, truths, ...)", several=True)
    if not experiments or not truths or keys.ndim != 1 or keys.size == 0 or seeds < 1 or num_steps < 1:
        raise ValueError("recovery needs experiments, truths, keys of shape (K,), at least one seed and one step.")
    for name, read in truths.items():
        check_measure(name, read, domain)
    shapes = [_posterior(experiment, domain) for experiment in experiments.values()]
    if len({posterior.names for posterior in shapes}) > 1:
        raise ValueError(f"experiments of different hypotheses can not be compared: {[p.names for p in shapes]}.")
    known = shapes[0].names
    strangers = [truth for truth in truths if truth not in known]
    if strangers and NONE_OF_THESE not in known:
        raise ValueError(
            f"{strangers} is none of {list(known)}: spell it as the hypothesis, or give hypotheses(...) bounds and "
            "scale so that a flexible process runs along and can win."
        )
    everyone = jax.random.wrap_key_data(jnp.tile(jax.random.key_data(keys), (len(truths), 1)))
    which = np.repeat(np.arange(len(truths)), keys.size)
    rows = []
    for name, experiment in experiments.items():
        campaign = _Campaign(experiment, tuple(truths.values()), num_steps, seeds)
        rows.append(over_keys(campaign, domain, everyone, devices, which))
        callback(f"{name}: {keys.size} campaigns of each of {len(truths)} truths done")
    shape = len(experiments), len(truths), keys.size
    belief, x, codes = (np.stack(part).reshape(*shape, *part[0].shape[1:]) for part in zip(*rows, strict=True))
    rewards = np.array([isinstance(posterior, Bandit) for posterior in shapes])
    trouble = np.mean(codes != Status.OK, axis=-1)
    return Recovery(
        experiments=tuple(experiments),
        truths=tuple(truths),
        hypotheses=known,
        belief=belief,
        rewards=rewards,
        x=x,
        trouble=trouble,
        seeds=seeds,
        batch_size=x.shape[4],
    )


def _posterior(experiment: Experiment, domain: Candidates) -> HypothesisMixture:
    """Shape of what an experiment believes, by tracing alone."""

    def first(key: Array) -> Any:
        x = domain.space_filling(key, 1)
        return experiment.init(key, initial_observations(experiment, x, jnp.zeros(1, x.dtype), 1)).posterior

    posterior = jax.eval_shape(first, jax.random.key(0))
    if not isinstance(posterior, HypothesisMixture):
        raise TypeError("recovery is of hypotheses: every experiment needs model_average(...) or bandit(...).")
    return posterior


def _belief(state: State) -> Array:
    posterior = state.posterior
    assert isinstance(posterior, HypothesisMixture)  # as checked by _posterior
    return posterior.reward if isinstance(posterior, Bandit) else posterior.probability


@dataclass(frozen=True)
class _Campaign:
    """Beliefs (steps + 1, M), points (steps, q, d) and outcomes (steps,) of one campaign."""

    experiment: Experiment
    reads: tuple[Objective, ...]
    steps: int
    seeds: int

    def __call__(self, domain: Candidates, key: Array, which: Array) -> tuple[Array, Array, Array]:
        def read(key: Array, x: Array) -> Array:
            return jax.lax.switch(which, [lambda k, x, f=f: f(k, x).astype(x.dtype) for f in self.reads], key, x)

        key_points, key_seed, key_go = jax.random.split(key, 3)
        x = domain.space_filling(key_points, self.seeds)
        y = jax.vmap(read)(jax.random.split(key_seed, self.seeds), x)
        state = self.experiment.init(key_go, initial_observations(self.experiment, x, y, self.steps))

        def step(state: State, _: None) -> tuple[State, tuple[Array, Array, Array]]:
            state, x = self.experiment.propose(state)
            state = self.experiment.observe(state, x, measure(read, state, x))
            return state, (_belief(state), x, state.posterior.info.status)

        first = _belief(state)
        _, (later, points, codes) = jax.lax.scan(step, state, None, length=self.steps)
        return jnp.concatenate([first[None], later]), points, codes
