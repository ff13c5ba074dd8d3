"""Are the posteriors right? Simulation-based calibration of every sampler.

200 data sets, each with parameters drawn from the prior, a function drawn from that Gaussian process, and noisy
readings. If a sampler is right, the posterior probability below the true parameter is uniform over data sets (Cook et
al. 2006; Talts et al. 2018, arXiv:1804.06788), and 50, 80 and 95 percent intervals of the noise-free function hold it
that often. Uniformity is judged by the Kolmogorov-Smirnov distance, coverage by its standard error over data sets.
"""

import argparse
import time
from functools import partial

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from jax.scipy.special import ndtr  # noqa: E402
from scipy import stats  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import gp, kernels, laplace, nuts, observations, priors, smc  # noqa: E402
from gpax_lab.core._linalg import cholesky  # noqa: E402
from gpax_lab.core._observations import assimilate  # noqa: E402
from gpax_lab.models._conditioning import gram  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

READINGS, PLACES = 12, 4
PRIOR = {
    "lengthscale": dist.LogNormal(jnp.full(1, np.log(0.3)), 0.5),
    "variance": dist.LogNormal(0.0, 0.5),
    "noise": dist.LogNormal(np.log(0.05), 0.7),
}
MODEL = gp.exact(1, kernels.matern52, prior=PRIOR, standardize=False)
SAMPLERS = {
    "nuts": nuts(300, 600, thin_to=128),
    "smc": smc(128),
    "laplace": laplace(128),
    "laplace, not weighted": laplace(128, weighted=False),
}


def drawn(key):
    """True parameters, observations of one data set, and the true function at places between them."""
    key_params, key_x, key_f, key_noise = jax.random.split(key, 4)
    params = priors.sample(key_params, MODEL.prior)
    x = jax.random.uniform(key_x, (READINGS + PLACES, 1))
    k = gram(kernels.matern52, params, x, x) + 1e-9 * jnp.eye(len(x))
    f = cholesky(k)[0] @ jax.random.normal(key_f, (len(x),))
    y = f[:READINGS] + jnp.sqrt(params["noise"]) * jax.random.normal(key_noise, (READINGS,))
    return params, x[:READINGS], y, x[READINGS:], f[READINGS:]


@partial(jax.jit, static_argnames="sampler")
def levels(key, template, sampler):
    """Posterior probability below each true parameter (p,) and below the true function (places,); the outcome."""
    key_data, key_fit, key_tie = jax.random.split(key, 3)
    truth, x, y, places, f = drawn(key_data)
    obs = template
    for i in range(READINGS):
        obs = assimilate(obs, x[i], y[i])
    posterior = sampler.init(key_fit, MODEL, obs)
    weight = jnp.exp(posterior.log_weight)
    below = []
    for name, value in sorted(truth.items()):
        draws = posterior.params[name].reshape(weight.size, -1)[:, 0]
        below.append(weight @ (draws < value.ravel()[0]))
    # Among n draws the truth lies between two: a uniform place in that gap makes the level continuous.
    size = 1.0 / jnp.sum(weight**2)
    level = (jnp.stack(below) * size + jax.random.uniform(key_tie, (len(below),))) / (size + 1.0)
    mean, variance = posterior.predict(places)
    predictive = weight @ ndtr((f[None] - mean) / jnp.sqrt(variance))
    return level, predictive, posterior.info.status


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 data sets, streaming inference alone")
    quick = parser.parse_args().quick
    report, count = Report(), 40 if quick else 200
    template = observations(np.zeros((0, 1)), np.zeros(0), capacity=16)
    keys = jax.random.split(jax.random.key(0), count)
    for name, sampler in SAMPLERS.items():
        if quick and name != "smc":
            continue
        start = time.perf_counter()
        level, predictive, outcome = (
            np.asarray(a) for a in jax.lax.map(partial(levels, template=template, sampler=sampler), keys)
        )
        report.result(f"{name}: a data set, compilation included", (time.perf_counter() - start) / count, "s")
        report.result(f"{name}: share of fits in trouble", float(np.mean(outcome != 0)), "1")
        trusted = name != "laplace, not weighted"  # shown for what the weights are good for
        for column, parameter in enumerate(sorted(PRIOR)):
            test = stats.kstest(level[:, column], "uniform")
            report.result(f"{name}: distance from uniform, {parameter}", float(test.statistic), "1")
            report.result(f"{name}: its p-value, {parameter}", float(test.pvalue), "1")
            if trusted:
                report.claim(f"{name}: ranks of {parameter} are uniform", test.pvalue > 1e-3)
        for share in (0.5, 0.8, 0.95):
            inside = (np.abs(predictive - 0.5) < share / 2).mean(axis=1)
            error = max(float(inside.std(ddof=1)), np.sqrt(share * (1 - share) / PLACES)) / np.sqrt(count)
            report.result(f"{name}: coverage of the {share:.0%} interval", float(inside.mean()), "1", share)
            if trusted:
                report.claim(f"{name}: the {share:.0%} interval covers", abs(inside.mean() - share) < 4 * error)
    report.finish()


if __name__ == "__main__":
    main()
