"""Scattered observations by the thousands: the sparse process against the exact one, and at N = 20,000.

A surface of two inputs with noise of standard deviation 0.2, read at random places. Parameters by `laplace` from one
start, mixture of 16 draws. RMSE and coverage are those of the noise-free surface at 2,000 other places; the log score
is that of noisy observations there. Memory is the growth of the peak of this process over the large case.
"""

import argparse
import time
from pathlib import Path

from results import Report, high_water, pin_threads, reset_high_water

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import gp, kernels, laplace, observations, sparse  # noqa: E402
from gpax_lab.core import Status  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

NOISE_SD = 0.2


def surface(x):
    """Six waves across the square."""
    return np.sin(12 * x[:, 0]) * np.cos(9 * x[:, 1]) + x[:, 0]


def judged(report, name, model, count):
    """Fit twice (compilation told apart), predict, report; return the error and the log score."""
    rng = np.random.default_rng(0)
    x, new = rng.random((count, 2)), rng.random((2000, 2))
    y = surface(x) + NOISE_SD * rng.standard_normal(count)
    noisy = surface(new) + NOISE_SD * rng.standard_normal(len(new))
    obs, sampler = observations(x, y, capacity=count), laplace(num_samples=16, starts=1, iterations=20)
    for what in ("first fit, compilation included", "fit, once compiled"):
        start = time.perf_counter()
        posterior = jax.block_until_ready(sampler.init(jax.random.key(0), model, obs))
        report.result(f"{name}: {what}", time.perf_counter() - start, "s")
    mean, variance = (np.asarray(a) for a in posterior.moments(jnp.asarray(new)))
    noise = float(np.exp(np.asarray(posterior.log_weight)) @ np.asarray(posterior.noise_variance(new[:1]))[:, 0])
    rmse = float(np.sqrt(np.mean((mean - surface(new)) ** 2)))
    inside = float(np.mean(np.abs(mean - surface(new)) < 1.96 * np.sqrt(variance)))
    total = variance + noise
    score = float(np.mean(-0.5 * np.log(2 * np.pi * total) - 0.5 * (noisy - mean) ** 2 / total))
    report.result(f"{name}: RMSE of the surface", rmse, "y", NOISE_SD)
    report.result(f"{name}: coverage of the 95 percent interval", inside, "1", 0.95)
    report.result(f"{name}: log score of new observations", score, "nat")
    report.result(f"{name}: learned noise, standard deviation", float(np.sqrt(noise)), "y", NOISE_SD)
    report.claim(f"{name}: {Status.of(posterior.info.status).describe()}", int(posterior.info.status) == Status.OK)
    # Least squares with 120 parameters would err by NOISE_SD sqrt(120 / count); half as much again is allowed.
    bound = 1.5 * NOISE_SD * np.sqrt(120 / count)
    report.claim(f"{name}: the RMSE is below {bound:.3f}", rmse < bound)
    # One surface: its 2,000 places hang together in some hundred patches, so coverage has an error of two percent.
    report.claim(f"{name}: the 95 percent interval holds 88 to 100 percent", inside > 0.88)
    return rmse, score


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 observations, and no large case")
    quick = parser.parse_args().quick
    report = Report()
    if not quick:
        linux = Path("/proc/self/clear_refs").exists()
        if linux:
            reset_high_water()
        before = high_water() if linux else 0
        judged(report, "sparse, N = 20,000", sparse(2, kernels.matern52, inducing=256), 20_000)
        if linux:
            grown = (high_water() - before) / 2**20
            report.result("sparse, N = 20,000: growth of the peak memory, compilation included", grown, "MiB")
            report.claim(
                "sparse, N = 20,000: half of what the Gram matrix alone would take", grown < 4 * 20_000**2 / 2**20
            )
    few = 300 if quick else 1000
    thin = sparse(2, kernels.matern52, inducing=64 if quick else 196)
    ours, score = judged(report, f"sparse, N = {few}", thin, few)
    exact, best = judged(report, f"exact, N = {few}", gp.exact(2, kernels.matern52), few)
    report.result("RMSE of the sparse process, against the exact one", ours, "y", exact)
    report.result("log score, below the exact one's", best - score, "nat")
    if not quick:
        report.claim("the log score is within 0.02 nat of the exact one's", best - score < 0.02)
    report.finish()


if __name__ == "__main__":
    main()
