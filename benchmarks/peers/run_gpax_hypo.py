"""gpax 0.1.9, `hypo.step`, for the three laws of benchmarks/hypothesis_step.py, with its defaults (2000 + 2000).

Called as `python run_gpax_hypo.py job.json` in the environment of gpax. The laws switch by `jnp.where`, as its notebook
writes them.
"""

import contextlib
import io
import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gpax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from gpax import hypo

gpax.utils.enable_x64()
warnings.filterwarnings("ignore")


def power(x, b):
    """x^b, 0 at 0."""
    return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** b, 0.0)


def linear(x, k):
    """k x."""
    return k * x


def law(left, right):
    """A mean function and its prior program."""

    def mean(x, params):
        x = x.squeeze()
        return jnp.where(x < params["t"], left(x, params["left"]), right(x, params["right"]))

    def prior():
        return {
            "t": numpyro.sample("t", dist.Uniform(0.5, 2.0)),
            "left": numpyro.sample("left", dist.Normal(3.0, 1.0)),
            "right": numpyro.sample("right", dist.Normal(3.0, 1.0)),
        }

    return mean, prior


def kernel_prior():
    """Length U(0, 1), scale LogNormal(0, 1)."""
    length = numpyro.sample("k_length", dist.Uniform(0.0, 1.0))
    return {"k_length": length, "k_scale": numpyro.sample("k_scale", dist.LogNormal(0.0, 1.0))}


LAWS = [law(power, linear), law(linear, linear), law(power, power)]


def step(problem, wrapped):
    """Three calls: the last model, and the largest R-hat."""
    more = {"gp_wrap": True, "gp_kernel": "Matern", "gp_kernel_prior": kernel_prior} if wrapped else {}
    worst, model = 0.0, None
    for mean, prior in LAWS:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            variance, model = hypo.step(
                mean, prior, problem["x"], problem["y"], problem["candidates"], print_summary=False, **more
            )
        np.asarray(variance)
        for name, value in model.get_samples(chain_dim=True).items():
            if name != "mu":
                worst = max(worst, float(np.max(numpyro.diagnostics.split_gelman_rubin(np.asarray(value)))))
    return model, worst


def log_score(model, problem, wrapped):
    """Mean log density of fresh observations under the mixture of its draws."""
    draws = {name: np.asarray(value) for name, value in model.get_samples().items()}
    x, y, count = problem["fresh_x"], problem["fresh_y"], len(draws["noise"])
    mean_of = LAWS[2][0]
    total = np.full(len(y), -np.inf)
    for i in range(0, count, 4):
        params = {name: value[i] for name, value in draws.items()}
        if wrapped:
            mean, covariance = model.get_mvn_posterior(jnp.asarray(x)[:, None], params, noiseless=False)
            mean, variance = np.asarray(mean), np.diagonal(np.asarray(covariance))
        else:
            mean, variance = np.asarray(mean_of(jnp.asarray(x), params)), float(params["noise"]) ** 2
        total = np.logaddexp(total, -0.5 * (y - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance))
    return float(np.mean(total - np.log(len(range(0, count, 4)))))


def main():
    """Do the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text())
    problem, seconds, worst = dict(np.load(job["problem"])), [], []
    for _ in range(job["calls"] + 1):
        started = time.perf_counter()
        model, r_hat = step(problem, job["wrapped"])
        seconds.append(time.perf_counter() - started)
        worst.append(r_hat)
    score = log_score(model, problem, job["wrapped"])
    Path(job["out"]).write_text(json.dumps({"seconds": seconds[1:], "r_hat": worst[1:], "log_score": score}))


if __name__ == "__main__":
    main()
