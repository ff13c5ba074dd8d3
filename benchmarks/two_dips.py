"""The two-dip problem: does a physics-informed mean find the global minimum with fewer points?

f(x) = (5x - 2)^2 sin(12x - 4) on [0, 1] (a modified Forrester function with a local and a global minimum), 100 grid
points, observations with noise of standard deviation 1, four seed points on the side of the local minimum, minimisation
by expected improvement. Structured Gaussian process with the mean of two dips and its published priors (Ziatdinov et
al. 2021, arXiv:2108.10280) against a plain Gaussian process with the same kernel priors, one with this library's
default priors, and random sampling, over the same seeds and noise keys.
"""

import argparse

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, gp, kernels, means, nuts, observations, simulate  # noqa: E402
from gpax_lab.experiment._simulate import buffer_for  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

GRID = np.linspace(0.0, 1.0, 100)
NOISE_SD = 1.0
KERNEL_PRIORS = {name: dist.LogNormal(0.0, 1.0) for name in ("variance", "noise")} | {
    "lengthscale": dist.LogNormal(jnp.zeros(1), 1.0)
}


def truth(x):
    """The noise-free function."""
    return (5 * x - 2) ** 2 * jnp.sin(12 * x - 4)


def objective(key, x):
    """One noisy reading."""
    return truth(x[0]) + NOISE_SD * jax.random.normal(key, dtype=x.dtype)


VALUES = np.asarray(truth(GRID))
LOCAL_VALUE = float(VALUES[GRID < 0.6].min())
"""Value of the other minimum; the basin of the global one is where f lies below it."""
CLOSE = float(VALUES.min() + 0.01 * np.ptp(VALUES))
"""Within one percent of the range of f above its minimum: "found"."""


def models():
    """The contenders that model something."""
    return {
        "structured GP": gp.exact(
            1, kernels.matern52, means.dips(2), means.two_dips_prior() | KERNEL_PRIORS, standardize=False
        ),
        "structured GP, exchangeable dips": gp.exact(
            1, kernels.matern52, means.dips(2), means.two_dips_prior(ordered=False) | KERNEL_PRIORS, standardize=False
        ),
        "plain GP, same kernel priors": gp.exact(1, kernels.matern52, prior=KERNEL_PRIORS, standardize=False),
        "plain GP, default priors": gp.exact(1, kernels.matern52),
    }


def seed_readings(key):
    """Four points at random around the local minimum, in [0, 0.5], and their observations."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.choice(key_x, jnp.asarray(GRID[GRID <= 0.5]), (4,), replace=False)[:, None]
    return x, jax.vmap(objective)(jax.random.split(key_y, 4), x)


def campaign(model, steps, sampler):
    """key -> measured x (steps,), and the minimum of the final posterior mean."""
    experiment = bayes_opt(model, sampler, acquisition.log_ei(maximize=False), acquisition.grid([[0.0, 1.0]], (100,)))
    template = buffer_for(observations(np.zeros((4, 1)), np.zeros(4)), steps)

    def one(key):
        key_seed, key_run = jax.random.split(key)
        x, y = seed_readings(key_seed)
        obs = template._replace(x=template.x.at[:4].set(x), y=template.y.at[:4].set(y))
        state, trajectory = simulate(key_run, experiment, objective, steps, obs)
        mean, _ = state.posterior.moments(jnp.asarray(GRID)[:, None])
        return trajectory.x[:, 0, 0], jnp.asarray(GRID)[jnp.argmin(mean)], trajectory.info.r_hat[-1]

    return jax.jit(lambda keys: jax.lax.map(one, keys))


def first_hit(x, below, steps):
    """Step (1-based) of the first point where f lies below `below`, steps + 1 if there is none, per seed."""
    inside = np.interp(x, GRID, VALUES) < below
    return np.where(inside.any(axis=1), inside.argmax(axis=1) + 1, steps + 1)


def show(report, name, x, steps):
    """Report when the minimum was found; return the steps per seed."""
    found, basin = (first_hit(x, below, steps) for below in (CLOSE, LOCAL_VALUE))
    count = len(x)
    report.result(
        f"{name}: median points until within 1 percent of the global minimum", float(np.median(found)), "points"
    )
    report.result(f"{name}: campaigns that get there in {steps} points", int((found <= steps).sum()), f"of {count}")
    report.result(f"{name}: median points until the basin of the global minimum", float(np.median(basin)), "points")
    return found


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="6 seeds, 10 steps, two models, short chains")
    quick = parser.parse_args().quick
    seeds, steps = (6, 10) if quick else (20, 20)
    sampler = nuts(100, 100, thin_to=32, max_tree_depth=6) if quick else nuts(200, 200, thin_to=64, max_tree_depth=6)
    keys = jax.random.split(jax.random.key(2108), seeds)
    report = Report()
    found = {}
    for name, model in models().items():
        if quick and name.startswith(("structured GP, ex", "plain GP, same")):
            continue
        x, minimum, r_hat = (np.asarray(part) for part in campaign(model, steps, sampler)(keys))
        found[name] = show(report, name, x, steps)
        right = int((np.interp(minimum, GRID, VALUES) < LOCAL_VALUE).sum())
        report.result(f"{name}: final minimum in the right basin", right, f"of {seeds}")
        report.result(f"{name}: median R-hat of the last fit", float(np.median(r_hat)), "1")
    rng = np.random.default_rng(0)
    found["random"] = show(report, "random", np.stack([rng.permutation(GRID)[:steps] for _ in range(seeds)]), steps)
    ours = np.median(found["structured GP"])
    for name in ("plain GP, default priors", "random"):
        theirs = np.median(found[name])
        report.result(f"structured GP against {name}", float(ours), "points", float(theirs))
        report.claim(f"structured GP needs fewer points than {name}", ours <= theirs if quick else ours < theirs)
    report.finish()


if __name__ == "__main__":
    main()
