"""Our side, by the protocol of the peers: the README's usage, log expected improvement, RBF kernel, default priors.

smc follows the readings from the fifth to the last one, as in a campaign; where it has 1024 draws, choices look at 64
of them. nuts samples anew at every step; laplace is the mode and the curvature there, its draws weighted. All of them
with default settings but for the number of draws.
"""

import sys
from pathlib import Path

import protocol  # before what has threads: it pins them
from protocol import Draws, Image, Method, Predictive

# isort: split
import jax
import numpy as np

import gpax_lab

gpax_lab.setup(cache=False, verbose=False)
sys.path.insert(0, str(Path(__file__).parents[1]))

from bo_step import usual_draws, usual_fit  # noqa: E402

from gpax_lab import acquisition, bayes_opt, gp, kernels, laplace, nuts, observations, smc  # noqa: E402
from gpax_lab.experiment._buffer import buffer_for  # noqa: E402

BOUNDS = [[0.0, 1.0], [0.0, 1.0]]
MODEL = gp.exact(2, kernels.rbf, bounds=BOUNDS)
READINGS = protocol.JOB.get("readings", 50)
"""Room from the beginning for all that will be measured."""


class Ours(Method):
    """A `bayes_opt` whose state is carried from call to call."""

    def __init__(self, sampler, first, looked_at):
        self.sampler, self.first, self.looked_at = sampler, first, looked_at
        self.state = None

    def step(self, x, y, candidates, taken, seed):
        if self.state is None:
            self.experiment = experiment_of(self.sampler, self.looked_at, candidates)
            known = len(x)
            self.state = self.experiment.init(jax.random.key(seed), buffer_for(observations(x, y), READINGS - known))
            self.known = known
        while self.known < len(x):
            at = slice(self.known, self.known + 1)
            self.state = self.experiment.observe(self.state, jax.numpy.asarray(x[at]), jax.numpy.asarray(y[at]))
            self.known += 1
        _, chosen = self.experiment.propose(self.state)
        return int(np.argmin(np.sum((candidates - np.asarray(chosen)) ** 2, axis=1)))

    def predictive(self, points):
        posterior = self.state.posterior
        x = jax.numpy.asarray(points)
        mean, variance = posterior.predict(x)
        return Predictive(weights(posterior), np.asarray(mean), np.asarray(variance + posterior.noise_variance(x)))

    def draws(self):
        return log_parameters(self.state.posterior.params, weights(self.state.posterior))


def weights(posterior):
    """(S,) weights."""
    return np.exp(np.asarray(posterior.log_weight))


def log_parameters(params, weight):
    """Draws from a mapping of names to values."""
    columns = [np.asarray(params[name]) for name in ("lengthscale", "variance", "noise")]
    return Draws(weight, np.log(np.hstack([c.reshape(len(c), -1) for c in columns])))


class OnPool(Ours):
    """Streaming inference and an upper confidence bound on recorded designs, as in `pools.py`.

    A beta of 1/4 did best on 50 other keys of Crossed barrel, with 1/2 and 1 beside it.
    """

    sampler = smc(64)  # one for all campaigns, so that the second compiles nothing

    def __init__(self):
        super().__init__(self.sampler, 2, None)

    def step(self, x, y, candidates, taken, seed):
        if self.sampler not in _experiments:
            model = gp.exact(candidates.shape[1], kernels.matern52)
            _experiments[self.sampler] = bayes_opt(
                model, self.sampler, acquisition.ucb(0.25), acquisition.pool(candidates)
            )
        return super().step(x, y, candidates, taken, seed)


_experiments = {}


def experiment_of(sampler, looked_at, candidates):
    """One experiment a sampler, so that a second campaign compiles nothing."""
    if sampler not in _experiments:
        pool = acquisition.pool(candidates)
        _experiments[sampler] = bayes_opt(MODEL, sampler, acquisition.log_ei(), pool, num_samples=looked_at)
    return _experiments[sampler]


def filled(image, seed):
    """`reconstruct` with its defaults."""
    from gpax_lab.inference._reconstruct import reconstruct

    found = jax.block_until_ready(reconstruct(jax.random.key(seed), image))
    return Image(np.asarray(found.mean), np.sqrt(np.asarray(found.std) ** 2 + float(found.noise_std) ** 2))


def studied(problem, job):
    """`study` of so many keys; the surface of `bo_step.py` with its own noise, as in `benchmarks/study.py`."""
    from bo_step import candidates, objective
    from study import truth

    from gpax_lab import Problem, study

    experiment = bayes_opt(MODEL, smc(128), acquisition.log_ei(), candidates())
    keys = jax.random.split(jax.random.key(job["seed"]), job["keys"])
    found = study(
        keys, {"ours": experiment}, {"surface": Problem(objective, truth)}, candidates(), job["steps"], seeds=5
    )
    return {"regret": found.regret[0, 0, :, -1].tolist(), "trouble": float(found.trouble.mean())}


class Reference(Method):
    """The truth of the same model: a long run of numpyro, with none of the toolkit's algebra."""

    def step(self, x, y, candidates, taken, seed):
        self.location, self.scale = y.mean(), y.std()
        self.x, self.y = x, (y - self.location) / self.scale
        self.found = usual_fit(jax.random.key(seed), self.x, self.y, 1000, protocol.JOB["samples"])
        return 0

    def predictive(self, points):
        some = {name: values[:: -(-len(values) // 1000)] for name, values in self.found.items()}
        mean, variance = usual_draws(some, jax.numpy.asarray(self.x), jax.numpy.asarray(self.y), points)
        variance = np.asarray(variance + some["noise"][:, None])
        weight = np.full(len(variance), 1 / len(variance))
        return Predictive(weight, self.location + self.scale * np.asarray(mean), self.scale**2 * variance)

    def draws(self):
        return log_parameters(self.found, np.full(len(self.found["noise"]), 1 / len(self.found["noise"])))


def maker(sampler, first=None, looked_at=None):
    """A fresh campaign with that sampler, followed from so many observations; choices look at so many of its draws."""
    return lambda: Ours(sampler, first, looked_at)


if __name__ == "__main__":
    protocol.main(
        {
            "smc 1024": maker(smc(1024), 5, 64),
            "smc 128": maker(smc(128), 5),
            "nuts 300 + 300": maker(nuts(300, 300, thin_to=64)),
            "laplace": maker(laplace()),
            "smc 64, UCB 0.25, Matern 5/2": OnPool,
            "reconstruct": filled,
            "study of smc 128": studied,
            "reference": Reference,
        }
    )
