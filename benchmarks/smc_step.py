"""A step of streaming inference against a fit by NUTS, and against a long run for the truth of both.

The campaign of `bo_step.py` (2 inputs, 1000 candidates, RBF kernel, log expected improvement), 5 seed points and
45 further ones, so that the last steps run at N = 50. A step is propose and observe; compilation is told apart. The
posteriors at the end are compared with a long run of NUTS on the same observations: means in units of the posterior
standard deviation, and the effective size of 64 draws taken from either.
"""

import argparse
import time

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from bo_step import BOUNDS, KEY, candidates, objective, quality, seeds  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, gp, kernels, nuts, observations, smc  # noqa: E402
from gpax_lab.core import Status  # noqa: E402
from gpax_lab.experiment._buffer import buffer_for  # noqa: E402
from gpax_lab.experiment._simulate import measure  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

MODEL = gp.exact(2, kernels.rbf, bounds=BOUNDS)


def campaign(sampler, steps):
    """Seconds of every step, the first fit in the first; the last state; the outcome of every fit."""
    experiment = bayes_opt(MODEL, sampler, acquisition.log_ei(), candidates())
    times, codes, start = [], [], time.perf_counter()
    state = experiment.init(KEY, buffer_for(observations(*seeds()), steps))
    for _ in range(steps):
        state, x = experiment.propose(state)
        state = experiment.observe(state, x, measure(objective, state, x))
        jax.block_until_ready(state.posterior.params)
        times.append(time.perf_counter() - start)
        codes.append(int(state.posterior.info.status))
        start = time.perf_counter()
    return np.array(times), state, codes


def flat(posterior):
    """Log parameters (draws, p) and weights (draws,)."""
    columns = [np.log(np.asarray(v)).reshape(len(v), -1) for _, v in sorted(posterior.params.items())]
    return np.hstack(columns), np.exp(np.asarray(posterior.log_weight))


def distance(posterior, reference):
    """Largest difference of a mean and of a standard deviation from the reference, in its standard deviations."""
    (a, w), (b, _) = flat(posterior), flat(reference)
    mean, sd = b.mean(axis=0), b.std(axis=0)
    centre = w @ a
    spread = np.sqrt(w @ (a - centre) ** 2)
    return float(np.max(np.abs(centre - mean) / sd)), float(np.max(np.abs(spread - sd) / sd))


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 steps, a short reference run")
    quick = parser.parse_args().quick
    report, steps, draws = Report(), 10 if quick else 45, 128
    streamed, state, codes = campaign(smc(draws), steps)
    sampled, other, _ = campaign(nuts(300, 300, thin_to=64), steps)
    tail = slice(-5 if quick else -15, None)
    ours, theirs = float(np.median(streamed[tail])), float(np.median(sampled[tail]))
    n = 5 + steps
    report.result(f"smc: a step near N = {n} (median)", ours, "s", theirs)
    report.result(
        f"smc: the slowest step near N = {n}", float(np.max(streamed[tail])), "s", float(np.max(sampled[tail]))
    )
    report.result("smc: first step, compilation included", float(streamed[0]), "s", float(sampled[0]))
    best, other_best = quality(state.obs.x), quality(other.obs.x)
    report.result("smc: best noise-free value found", best, "y", other_best, best / other_best)
    report.result("smc: fits whose outcome is not OK", sum(c != Status.OK for c in codes), "fits", 0)
    long = nuts(1000, 1000 if quick else 20000, thin_to=None).init(jax.random.key(7), MODEL, state.obs)
    short = nuts(300, 300, thin_to=64).init(jax.random.key(8), MODEL, state.obs)
    mean, sd = distance(state.posterior, long)
    mean_nuts, sd_nuts = distance(short, long)
    report.result("smc: largest error of a mean, in posterior sd", mean, "sd", mean_nuts)
    report.result("smc: largest relative error of an sd", sd, "1", sd_nuts)
    effective = float(state.posterior.info.ess_bulk) / 2
    error = 5 * np.sqrt(1 / effective + 10 / len(flat(long)[0]))
    report.claim("smc's means agree with a long run of NUTS within five Monte Carlo standard errors", mean < error)
    report.claim("no fit reported trouble", all(c == Status.OK for c in codes))
    if not quick:  # a few short steps measure what else the machine does
        report.claim("a step of smc costs at most a third of one of NUTS 300 + 300", 3 * ours <= theirs)
    again = [float(smc(1024).init(jax.random.key(k), MODEL, state.obs).log_evidence) for k in range(2 if quick else 5)]
    gap = float(state.posterior.log_evidence) - float(np.mean(again))
    report.result("smc: log evidence of the stream, above that of fresh clouds of 1024", gap, "nat")
    report.result("scatter of the fresh clouds", float(np.std(again)), "nat")
    # Each reweighting leaves at least temper_above of the draws; most observations need none.
    report.claim(
        "the evidence agrees with fresh clouds within five Monte Carlo standard errors",
        abs(gap) < 5 * np.sqrt(n / (0.3 * draws)),
    )
    report.finish()


if __name__ == "__main__":
    main()
