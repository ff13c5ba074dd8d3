"""A fully Bayesian campaign of 30 steps against the usual way of running one.

The usual way is a new `numpyro.infer.MCMC` on arrays of exact shape at every step, so that every step traces and
compiles anew (as gpax 0.1.9 does), followed by moments of all draws at all candidates. Both sides: 2 inputs, 5 seed
points, 1000 candidates, RBF kernel with the same priors, NUTS 300 + 300, one chain, largest tree depth 10, float64.
Compilation counts in the totals; steps "once compiled" leave out each side's first.
"""

import argparse
import time

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from jax.scipy.stats import norm  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, gp, kernels, nuts, observations, priors, simulate  # noqa: E402
from gpax_lab.experiment._simulate import buffer_for, measure  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

BOUNDS = [[0.0, 1.0], [0.0, 1.0]]
KEY = jax.random.key(0)


def objective(key, x):
    """A smooth two-dimensional surface with two maxima and noise of standard deviation 0.05."""
    wave = jnp.sin(6 * x[0]) * jnp.cos(4 * x[1]) + 0.5 * x[0]
    return wave + 0.05 * jax.random.normal(key, dtype=x.dtype)


def seeds():
    """Five points and their observations."""
    points = acquisition.box(BOUNDS).space_filling(jax.random.key(1), 5)
    values = jax.vmap(objective)(jax.random.split(jax.random.key(2), 5), points)
    return np.asarray(points), np.asarray(values)


def candidates():
    """A thousand candidates on a 40 x 25 grid."""
    return acquisition.grid(BOUNDS, (40, 25))


def ours(steps, sampler):
    """Seconds of every step of a campaign, the first fit in the first; and the best posterior mean at its end."""
    experiment = bayes_opt(gp.exact(2, kernels.rbf, bounds=BOUNDS), sampler, acquisition.log_ei(), candidates())
    seconds, start = [], time.perf_counter()
    state = experiment.init(KEY, buffer_for(observations(*seeds()), steps))
    for _ in range(steps):
        state, x = experiment.propose(state)
        state = experiment.observe(state, x, measure(objective, state, x))
        jax.block_until_ready(state.posterior.params)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return np.array(seconds), quality(state.obs.x[: 5 + steps])


def usual(steps):
    """The same campaign the usual way."""
    x, y = seeds()
    grid = candidates().points
    seconds = []
    key = KEY
    for _ in range(steps):
        start = time.perf_counter()
        key, key_fit, key_y = jax.random.split(key, 3)
        draws = usual_fit(key_fit, x, (y - y.mean()) / y.std())
        mean, variance = usual_moments(draws, x, (y - y.mean()) / y.std(), grid)
        best = mean[jnp.argmax(mean)]
        u = (mean - best) / jnp.sqrt(variance)
        improvement = jnp.sqrt(variance) * (norm.pdf(u) + u * norm.cdf(u))
        point = np.asarray(grid[jnp.argmax(improvement)])
        x = np.vstack([x, point])
        y = np.append(y, float(objective(key_y, jnp.asarray(point))))
        seconds.append(time.perf_counter() - start)
    return np.array(seconds), quality(x)


def usual_kernel(a, b, p):
    """RBF matrix."""
    return p["variance"] * jnp.exp(-0.5 * jnp.sum(((a[:, None] - b[None]) / p["lengthscale"]) ** 2, axis=-1))


def usual_fit(key, x, y, warmup=300, samples=300):
    """Draws by a fresh MCMC object, as a user of numpyro writes it."""

    def model(x, y):
        p = {
            "lengthscale": numpyro.sample("lengthscale", priors.default("lengthscale", (2,), 2)),
            "variance": numpyro.sample("variance", dist.LogNormal(0.0, 0.7)),
            "noise": numpyro.sample("noise", dist.LogNormal(jnp.log(0.01), 1.5)),
        }
        k = usual_kernel(x, x, p) + (p["noise"] + 1e-6) * jnp.eye(len(x))
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), k), obs=y)

    kernel = numpyro.infer.NUTS(model, max_tree_depth=10)
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=warmup, num_samples=samples, progress_bar=False)
    mcmc.run(key, jnp.asarray(x), jnp.asarray(y))
    return mcmc.get_samples()


def usual_moments(draws, x, y, grid):
    """Moments of the mixture over all draws."""
    mean, variance = usual_draws(draws, x, y, grid)
    return mean.mean(0), variance.mean(0) + mean.var(0)


def usual_draws(draws, x, y, grid):
    """Moments of every draw, by vmap."""

    def one(p):
        k = usual_kernel(x, x, p) + (p["noise"] + 1e-6) * jnp.eye(len(x))
        lower = jnp.linalg.cholesky(k)
        cross = jax.scipy.linalg.solve_triangular(lower, usual_kernel(x, grid, p), lower=True)
        white = jax.scipy.linalg.solve_triangular(lower, y, lower=True)
        return white @ cross, p["variance"] - jnp.sum(cross**2, axis=0)

    return jax.vmap(one)(draws)


def quality(x):
    """The largest noise-free value among the measured points."""
    wave = np.sin(6 * x[:, 0]) * np.cos(4 * x[:, 1]) + 0.5 * x[:, 0]
    return float(np.max(wave))


def scanned(report, steps, seeds_count, alone):
    """Whole campaigns in one scan: seconds per campaign-step, alone and vmapped over keys."""
    sampler = nuts(300, 300, thin_to=64, max_tree_depth=10)
    experiment = bayes_opt(gp.exact(2, kernels.rbf, bounds=BOUNDS), sampler, acquisition.log_ei(), candidates())
    obs = buffer_for(observations(*seeds()), steps)
    keys = jax.random.split(KEY, seeds_count)

    def campaign(key):
        return simulate(key, experiment, objective, steps, obs)[1].x

    ways = [(f"vmap over {seeds_count} seeds", seeds_count, jax.vmap(campaign))]
    if alone:
        ways.insert(0, ("one campaign", 1, lambda keys: campaign(keys[0])))
    for name, count, function in ways:
        start = time.perf_counter()
        compiled = jax.jit(function).lower(keys).compile()
        report.result(f"simulate, {name}: compilation", time.perf_counter() - start, "s")
        start = time.perf_counter()
        jax.block_until_ready(compiled(keys))
        report.result(f"simulate, {name}: per campaign-step", (time.perf_counter() - start) / (count * steps), "s")


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 steps of the usual way, 8 of ours, 2 seeds, 2 steps")
    quick = parser.parse_args().quick
    report = Report()
    steps, usual_steps = (8, 2) if quick else (30, 30)
    sampler = nuts(300, 300, thin_to=64, max_tree_depth=10)
    seconds, best = ours(steps, sampler)
    reference, usual_best = usual(usual_steps)
    total, usual_total = seconds.sum(), reference.sum()
    later, usual_later = float(np.median(seconds[1:])), float(np.median(reference[1:]))
    report.result("campaign, compilation included", float(total), "s", float(usual_total) if not quick else None)
    report.result("first step and fit, compilation included", float(seconds[0]), "s", float(reference[0]))
    report.result("one step, once compiled (median)", later, "s", usual_later)
    report.result("best noise-free value found", best, "y", usual_best, best / usual_best)
    report.claim("20 times less per step, once compiled", usual_later >= 20 * later)
    if not quick:
        report.claim("10 times less in total, compilation included", usual_total >= 10 * total)
        warm, _ = ours(steps, nuts(300, 300, thin_to=64, max_tree_depth=10, rewarm=50))
        report.result("one step, warm start with 50 iterations (median)", float(np.median(warm[1:])), "s", usual_later)
    scanned(report, 2 if quick else 30, 2 if quick else 16, alone=not quick)
    report.finish()


if __name__ == "__main__":
    main()
