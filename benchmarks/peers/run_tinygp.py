"""tinygp with numpyro's NUTS, as its tutorial on sampling shows: a numpyro model around `GaussianProcess`.

1000 + 1000 iterations, one chain (the tutorial runs two in parallel), `dense_mass=True` and
`target_accept_prob=0.9` as there, the toolkit's priors, observations standardised by the user, float64. Tracing and
compiling are counted in every step: the shapes grow, and `MCMC` traces anew. Expected improvement is averaged over
draws in one jitted function.
"""

import protocol  # first: it pins the threads
from protocol import Draws, Method, Predictive

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.stats import norm
from tinygp import GaussianProcess, kernels, transforms

import gpax_lab

gpax_lab.setup(cache=False, verbose=False)

WARMUP = SAMPLES = 1000


def process(draw, x):
    """The prior process with the noise on its diagonal."""
    kernel = draw["variance"] * transforms.Linear(1 / draw["lengthscale"], kernels.ExpSquared())
    return GaussianProcess(kernel, x, diag=draw["noise"])


def model(x, y):
    """The priors of `gpax_lab.priors.default` for two inputs."""
    draw = {
        "lengthscale": numpyro.sample(
            "lengthscale", dist.LogNormal(jnp.full(2, np.log(0.3 * np.sqrt(2.0))), 0.7).to_event(1)
        ),
        "variance": numpyro.sample("variance", dist.LogNormal(0.0, 0.7)),
        "noise": numpyro.sample("noise", dist.LogNormal(np.log(0.01), 1.5)),
    }
    numpyro.sample("y", process(draw, x).numpyro_dist(), obs=y)


@jax.jit
def moments(draws, x, y, points):
    """Noise-free mean (S, M) and variance (S, M) of every draw."""

    def one(draw):
        found = process(draw, x).condition(y, points).gp
        return found.loc, found.variance

    return jax.lax.map(one, draws)


@jax.jit
def improvement(draws, x, y, points):
    """Expected improvement averaged over draws, (M,)."""
    mean, variance = moments(draws, x, y, points)
    std = jnp.sqrt(jnp.maximum(variance, 1e-24))
    u = (mean - y.max()) / std
    return jnp.mean(std * (u * norm.cdf(u) + norm.pdf(u)), axis=0)


class Tinygp(Method):
    """NUTS anew at every step."""

    def step(self, x, y, candidates, taken, seed):
        self.location, self.scale = y.mean(), y.std()
        self.x, self.y = jnp.asarray(x), jnp.asarray((y - self.location) / self.scale)
        nuts = numpyro.infer.NUTS(model, dense_mass=True, target_accept_prob=0.9)
        mcmc = numpyro.infer.MCMC(nuts, num_warmup=WARMUP, num_samples=SAMPLES, progress_bar=False)
        mcmc.run(jax.random.key(seed), self.x, self.y)
        self.found = mcmc.get_samples()
        score = np.asarray(improvement(self.found, self.x, self.y, jnp.asarray(candidates)))
        return int(np.argmax(np.where(taken, -np.inf, score)))

    def predictive(self, points):
        mean, variance = moments(self.found, self.x, self.y, jnp.asarray(points))
        variance = np.asarray(variance + self.found["noise"][:, None])
        weight = np.full(SAMPLES, 1 / SAMPLES)
        return Predictive(weight, self.location + self.scale * np.asarray(mean), self.scale**2 * variance)

    def draws(self):
        columns = [self.found[name] for name in ("lengthscale", "variance", "noise")]
        columns = [np.asarray(c).reshape(SAMPLES, -1) for c in columns]
        return Draws(np.full(SAMPLES, 1 / SAMPLES), np.log(np.hstack(columns)))


if __name__ == "__main__":
    protocol.main({"tinygp, NUTS 1000 + 1000": Tinygp})
