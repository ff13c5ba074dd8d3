"""gpax 0.1.9, `ExactGP`, as its notebook on Bayesian optimization uses it: a new model, `fit` and `EI` at every step.

Choices, each in its favour where there is one: float64 (as in all its notebooks); readings standardised and inputs in
the unit square (it scales nothing itself, and its priors assume it); neither progress bar nor summary; one chain;
`EI(maximize=True, noiseless=True, best_f=largest reading)`. EI draws every sample of the posterior jointly over all the
points it is given: 2000 samples of 1000 points would need 16 GB for the covariances alone, so candidates go in batches
of 100, the size of its own `predict_in_batches`. Tracing and compiling are counted in every step, since every `fit` and
every prediction does both. "default" are its own priors LogNormal(0, 1); "our priors" are the toolkit's, for the
distance from the truth of one and the same model.
"""

import warnings

import protocol  # first: it pins the threads
from protocol import Draws, Method, Predictive

# isort: split
import gpax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

gpax.utils.enable_x64()
warnings.filterwarnings("ignore", "`kernel_prior` will remain")

BATCH = 100


def our_kernel_prior():
    """The priors of `gpax_lab.priors.default` for two inputs."""
    with numpyro.plate("ard", 2):
        length = numpyro.sample("k_length", dist.LogNormal(np.log(0.3 * np.sqrt(2.0)), 0.7))
    return {"k_length": length, "k_scale": numpyro.sample("k_scale", dist.LogNormal(0.0, 0.7)), "period": None}


class Gpax(Method):
    """An `ExactGP` fitted anew at every step."""

    def __init__(self, samples, our_priors):
        self.samples, self.our_priors = samples, our_priors

    def step(self, x, y, candidates, taken, seed):
        self.location, self.scale = y.mean(), y.std()
        key_fit, key_score = gpax.utils.get_keys(seed)
        priors = {}
        if self.our_priors:
            priors = {"kernel_prior": our_kernel_prior, "noise_prior_dist": dist.LogNormal(np.log(0.01), 1.5)}
        standard = jnp.asarray((y - self.location) / self.scale)
        self.model = gpax.ExactGP(2, kernel="RBF", **priors)
        self.model.fit(
            key_fit, jnp.asarray(x), standard, num_warmup=self.samples, num_samples=self.samples,
            progress_bar=False, print_summary=False,
        )  # fmt: skip
        best = standard.max()
        score = [
            gpax.acquisition.EI(key_score, self.model, batch, best_f=best, maximize=True, noiseless=True)
            for batch in np.split(jnp.asarray(candidates), range(BATCH, len(candidates), BATCH))
        ]
        return int(np.argmax(np.where(taken, -np.inf, np.concatenate([np.asarray(s) for s in score]))))

    def predictive(self, points):
        draws = self.model.get_samples()

        @jax.jit
        def one(draw, x):
            mean, covariance = self.model.get_mvn_posterior(x, draw)
            return mean, jnp.diagonal(covariance)

        parts = [
            jax.lax.map(lambda draw, x=x: one(draw, x), draws)
            for x in np.split(jnp.asarray(points), range(BATCH, len(points), BATCH))
        ]
        mean, variance = (np.concatenate([np.asarray(p[i]) for p in parts], axis=1) for i in (0, 1))
        weight = np.full(len(mean), 1 / len(mean))
        return Predictive(weight, self.location + self.scale * mean, self.scale**2 * variance)

    def draws(self):
        if not self.our_priors:
            return None
        draws = self.model.get_samples()
        columns = [np.asarray(draws[name]).reshape(self.samples, -1) for name in ("k_length", "k_scale", "noise")]
        return Draws(np.full(self.samples, 1 / self.samples), np.log(np.hstack(columns)))


if __name__ == "__main__":
    protocol.main(
        {
            "gpax 2000 + 2000, default": lambda: Gpax(2000, False),
            "gpax 2000 + 2000, our priors": lambda: Gpax(2000, True),
            "gpax 300 + 300, default": lambda: Gpax(300, False),
            "gpax 300 + 300, our priors": lambda: Gpax(300, True),
        }
    )
