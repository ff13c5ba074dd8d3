"""One step of hypothesis learning with three models and 30 observations, beside gpax's `hypo.step` for the same models.

    python benchmarks/hypothesis_step.py [--quick] [--folder FOLDER] [--draws 512]

The case of Ziatdinov et al. 2021 (arXiv:2112.06649): y = x^4 below 1.6, x^2.5 above, on [0, 2.5], noise 0.33; the laws
(power, linear), (linear, linear) and (power, power), alone and inside a Matern process. Both sides have the same laws
and the same priors. A step of ours takes an observation into all three posteriors, with their evidence, and scores 100
candidates by expected information; one of gpax calls `hypo.step` (its defaults, 2000 + 2000, variance at 100
candidates) for each of the three. gpax traces and compiles in every call, and so do its users: its first call is left
out all the same. It runs in an environment of its own (see peers/environments.py); where that is missing, or with
--quick, only ours is timed. "one of three" divides gpax by three, as in the steps after its warm-up, which fit one
model.

Quality: mean log density of 400 fresh observations under the posterior of (power, power).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from environments import FOLDER, interpreter  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import (  # noqa: E402
    acquisition,
    bayes_opt,
    gp,
    hypotheses,
    kernels,
    means,
    model_average,
    observations,
    parametric,
    smc,
)

gpax_lab.setup(cache=False, verbose=False)

END, NOISE, WIDTH = 2.5, 0.33, 0.002  # gpax switches at once; ours over 2 thousandths
RUNNER = Path(__file__).parent / "peers" / "run_gpax_hypo.py"


def truth(x):
    """The published curve."""
    return np.where(x < 1.6, np.maximum(x, 0.0) ** 4, x**2.5)


def power():
    """m = x^b, b ~ N(3, 1)."""

    def mean(x, p):
        safe = jnp.where(x[0] > 0, x[0], 1.0)
        return jnp.where(x[0] > 0, safe ** p["b"], 0.0)

    return means.Law(mean, {"b": dist.Normal(3.0, 1.0)}, {"b": "1"}, "x^b", "power law")


def linear():
    """m = k x, k ~ N(3, 1)."""
    return means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(3.0, 1.0)}, {"k": "y / x"}, "k x", "line")


def laws():
    """The three hypotheses."""
    pairs = {"power, linear": (power, linear), "linear, linear": (linear, linear), "power, power": (power, power)}
    return {
        name: means.piecewise(left(), right(), dist.Uniform(0.5, 2.0), WIDTH) for name, (left, right) in pairs.items()
    }


def models(wrapped):
    """The hypotheses alone or inside a process, with gpax's default priors of kernel and noise."""

    def made(law):
        if not wrapped:
            # gpax: the standard deviation of the noise is LogNormal(0, 1), and the variance in its processes.
            prior = dict(law.prior) | {"noise": dist.LogNormal(0.0, 2.0)}
            return parametric(1, law, prior, standardize=False)
        kernel = {
            "lengthscale": dist.Uniform(jnp.zeros(1), 1.0 / END),  # U(0, 1) in the unit of x
            "variance": dist.LogNormal(0.0, 1.0),
            "noise": dist.LogNormal(0.0, 1.0),
        }
        return gp.exact(1, kernels.matern52, law, dict(law.prior) | kernel, bounds=[[0.0, END]], standardize=False)

    return hypotheses({name: made(law) for name, law in laws().items()})


def data(count):
    """Observations, candidates and fresh observations to judge by."""
    rng = np.random.default_rng(0)
    x = rng.permutation(np.linspace(0.0, END, count))
    fresh = rng.uniform(0.0, END, 400)
    return {
        "x": x,
        "y": truth(x) + NOISE * rng.standard_normal(count),
        "candidates": np.linspace(0.0, END, 100),
        "fresh_x": fresh,
        "fresh_y": truth(fresh) + NOISE * rng.standard_normal(400),
    }


def log_score(weight, mean, variance, y):
    """Mean log density of observations y (m,) under a mixture of normals (draws, m)."""
    log_density = -0.5 * (y - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    return float(np.mean(np.logaddexp.reduce(np.log(weight)[:, None] + log_density, axis=0)))


def ours(wrapped, problem, draws, steps):
    """Seconds of the last steps, those of the first step (with compilation), and the log score."""
    domain = acquisition.pool(problem["candidates"][:, None], repeat=True)
    experiment = bayes_opt(models(wrapped), model_average(smc(draws)), acquisition.expected_information_gain(), domain)
    x, y = problem["x"][:, None], problem["y"]
    begin = len(y) - steps
    started = time.perf_counter()
    state = experiment.init(jax.random.key(0), observations(x[:begin], y[:begin], capacity=-(-len(y) // 8) * 8))
    seconds = []
    for i in range(begin, len(y)):
        state = experiment.observe(state, jnp.asarray(x[i : i + 1]), jnp.asarray(y[i : i + 1]))
        after, _ = experiment.propose(state)
        jax.block_until_ready((state, after))
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    posterior = state.posterior.posteriors[2]
    fresh = jnp.asarray(problem["fresh_x"][:, None])
    mean, variance = posterior.predict(fresh)
    weight = np.exp(np.asarray(posterior.log_weight))
    score = log_score(
        weight, np.asarray(mean), np.asarray(variance + posterior.noise_variance(fresh)), problem["fresh_y"]
    )
    return seconds, score, int(state.posterior.info.status), np.asarray(state.posterior.probability)


def gpax(wrapped, problem, folder, calls):
    """Seconds of three `hypo.step` calls, and the log score, from gpax's own environment."""
    with tempfile.TemporaryDirectory() as place:
        given, out = Path(place) / "problem.npz", Path(place) / "out.json"
        np.savez(given, **problem)
        job = {"problem": str(given), "out": str(out), "wrapped": wrapped, "calls": calls}
        (Path(place) / "job.json").write_text(json.dumps(job))
        subprocess.run([str(interpreter(folder, "gpax")), str(RUNNER), str(Path(place) / "job.json")], check=True)
        return json.loads(out.read_text())


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ours alone, 64 draws, laws without a process")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environment of gpax lies")
    parser.add_argument("--draws", type=int, default=512, help="of each hypothesis")
    parser.add_argument("--calls", type=int, default=3, help="of gpax, for each model, after the first")
    parser.add_argument("--alone", action="store_true", help="the laws without a process only")
    options = parser.parse_args()
    report, problem = Report(), data(30)
    beside = not options.quick and interpreter(options.folder, "gpax").exists()
    for wrapped in (False,) if options.quick or options.alone else (False, True):
        title = "in a process" if wrapped else "laws alone"
        draws = 64 if options.quick else options.draws
        seconds, score, outcome, p = ours(wrapped, problem, draws, 12)
        mine = float(np.median(seconds[-6:]))
        theirs = gpax(wrapped, problem, options.folder, options.calls) if beside else None
        step = None if theirs is None else float(np.median(theirs["seconds"]))
        report.result(f"{title}: seconds of a step with three models, {draws} draws each", mine, "s", step)
        report.result(f"{title}: mean of the last six steps", float(np.mean(seconds[-6:])), "s")
        report.result(f"{title}: slowest of the last six steps", max(seconds[-6:]), "s")
        report.result(f"{title}: first step, compilation and the first fit included", seconds[0], "s")
        report.result(f"{title}: outcome of the last fit (0 is good)", outcome, "1")
        report.result(f"{title}: probability of (power, power)", float(p[2]), "1")
        reference = None if theirs is None else theirs["log_score"]
        report.result(f"{title}: log score of fresh observations", score, "nat", reference)
        if step is not None:
            report.result(f"{title}: against one model of three in a step of gpax", mine, "s", step / 3)
            report.result(f"{title}: largest R-hat of gpax's last fits", max(theirs["r_hat"]), "1", 1.0)
            report.claim(f"{title}: 50 times faster than hypo.step of three models", step / mine >= 50)
            report.claim(f"{title}: log score not worse by more than 0.01 nat", score >= theirs["log_score"] - 0.01)
    report.finish()


if __name__ == "__main__":
    main()
