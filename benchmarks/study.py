"""A study of many campaigns in one call, against separate campaigns run the usual way.

The campaign of `bo_step.py` (5 seeds, 30 steps, 2 inputs, 1000 candidates), fully Bayesian by streaming inference with
128 draws, from 64 keys in one `study` call. The usual way (a fresh `numpyro` run of NUTS 300 + 300 at every step) is
measured on a few steps at the beginning, the middle and the end, and its time for 64 campaigns is extrapolated from
their mean: it is never run in full. Regret over keys is compared with random points and with expected improvement.
"""

import argparse
import time

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from bo_step import BOUNDS, candidates, objective, usual_fit, usual_moments  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import Problem, acquisition, bayes_opt, gp, kernels, smc, study  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

SEEDS = 5


def truth(x):
    """The noise-free surface of `objective`."""
    return jnp.sin(6 * x[0]) * jnp.cos(4 * x[1]) + 0.5 * x[0]


def usual_step(n):
    """Seconds of one step of the usual way with n observations, tracing and compiling included."""
    rng = np.random.default_rng(n)
    x = rng.random((n, 2))
    y = np.array([float(truth(jnp.asarray(p))) for p in x]) + 0.05 * rng.standard_normal(n)
    y = (y - y.mean()) / y.std()
    start = time.perf_counter()
    draws = usual_fit(jax.random.key(n), x, y)
    jax.block_until_ready(usual_moments(draws, x, y, candidates().points))
    return time.perf_counter() - start


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 keys, 10 steps, one step of the usual way")
    quick = parser.parse_args().quick
    report, (keys, steps) = Report(), (8, 10) if quick else (64, 30)
    model, domain = gp.exact(2, kernels.rbf, bounds=BOUNDS), candidates()
    experiments = {
        "log EI": bayes_opt(model, smc(128), acquisition.log_ei(), domain),
        "uncertainty": bayes_opt(model, smc(128), acquisition.uncertainty(), domain),
    }
    if quick:
        del experiments["uncertainty"]
    found = study(
        jax.random.split(jax.random.key(0), keys), experiments, {"surface": Problem(objective, truth)}, domain, steps,
        seeds=SEEDS, callback=lambda text: print(text, flush=True),
    )  # fmt: skip
    ours = float(found.seconds[0, 0])
    sizes = [SEEDS + steps // 2] if quick else [SEEDS, SEEDS + steps // 2, SEEDS + steps - 1]
    theirs = float(np.mean([usual_step(n) for n in sizes])) * keys * steps
    report.result(f"{keys} campaigns of {steps} steps, compilation included", ours, "s", theirs)
    report.result("per campaign-step, compilation included", ours / (keys * steps), "s", theirs / (keys * steps))
    bands = found.bands()
    random_regret = chance(keys, SEEDS + steps)
    for e, name in enumerate(found.experiments):
        mean, error = (float(bands[part][e, 0, -1]) for part in ("mean", "error"))
        report.result(f"regret after {SEEDS + steps} points, {name}", mean, "y", random_regret, None)
        report.result(f"regret after {SEEDS + steps} points, {name}, standard error over keys", error, "y")
        report.result(f"share of fits in trouble, {name}", float(found.trouble[e, 0].mean()), "1")
    report.claim("a study takes less than a twentieth of the time of separate campaigns", 20 * ours < theirs)
    report.claim("expected improvement beats random points", float(bands["mean"][0, 0, -1]) < random_regret)
    report.finish()


def chance(keys, points):
    """Mean regret of the best of that many random candidates."""
    values = np.asarray(jax.vmap(truth)(candidates().points))
    rng = np.random.default_rng(0)
    picks = np.array([values[rng.choice(values.size, points, replace=False)].max() for _ in range(50 * keys)])
    return float(values.max() - picks.mean())


if __name__ == "__main__":
    main()
