"""When we say 80 percent, is the hypothesis true 80 percent of the time?

    python benchmarks/hypothesis_calibration.py [--quick] [--campaigns 500]

Every campaign draws a hypothesis by its prior probability (a level, a line, a parabola, a step, or the flexible process
that is none of them), its parameters and the noise from their priors, and readings from it; the next point is where the
expected information about the hypothesis is largest. Stated probabilities are compared with how often they came true,
after half of the points and after all of them: by bins, and over all campaigns for the most probable hypothesis
(number of hits against its expectation; Spiegelhalter 1986, Stat. Med. 5, 421, for the spread). Adaptive choice of the
points must not bend them.
"""

import argparse
from functools import partial
from itertools import pairwise

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, hypotheses, model_average, observations, smc  # noqa: E402
from gpax_lab.core._linalg import cholesky  # noqa: E402
from gpax_lab.core._observations import EMPTY  # noqa: E402
from gpax_lab.core._priors import sample  # noqa: E402
from gpax_lab.laws import shapes  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

X, Y, SEEDS, BINS = (0.0, 1.0), (-1.0, 1.0), 2, (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
LAWS = {name: getattr(shapes, name)(X, Y) for name in ("flat", "line", "parabola", "step")}
RIVALS = hypotheses(LAWS, {"flat": 1.0, "line": 2.0, "parabola": 2.0, "step": 2.0}, bounds=[X], scale=(0.0, 1.0))
DOMAIN = acquisition.grid([X], (17,), repeat=True)


def functions(key, blank):
    """(M, points) a function from the prior of each hypothesis, and the standard deviation of its observations."""
    values, spreads = [], []
    for k, model in zip(jax.random.split(key, len(RIVALS.names)), RIVALS.models.values(), strict=True):
        key_params, key_function = jax.random.split(k)
        params = sample(key_params, model.prior)
        factor = model.condition(params, blank)
        mean, covariance = model.joint(params, factor, DOMAIN.points)
        lower, _ = cholesky(covariance + 1e-9 * jnp.eye(mean.size))
        values.append(mean + lower @ jax.random.normal(key_function, mean.shape))
        spreads.append(jnp.sqrt(model.noise_variance(params, factor, DOMAIN.points)))
    return jnp.stack(values), jnp.stack(spreads)


@partial(jax.jit, static_argnames=("experiment", "steps"))
def campaigns(keys, experiment, steps):
    """For every key: the true hypothesis, probabilities (steps, M), and outcomes (steps,)."""
    blank = observations(np.zeros((SEEDS, 1)), np.zeros(SEEDS), capacity=-(-(SEEDS + steps) // 8) * 8)
    nothing = blank._replace(status=jnp.full_like(blank.status, EMPTY))

    def one(key):
        key_which, key_truth, key_seed, key_read, key_go = jax.random.split(key, 5)
        true = jax.random.categorical(key_which, jnp.log(jnp.asarray(RIVALS.prior)))
        values, spreads = (table[true] for table in functions(key_truth, nothing))

        def read(key, row):
            return values[row] + spreads[row] * jax.random.normal(key)

        rows = jax.random.choice(key_seed, DOMAIN.points.shape[0], (SEEDS,), replace=False)
        y = jax.vmap(read)(jax.random.split(key_read, SEEDS), rows)
        x = DOMAIN.points[rows]
        state = experiment.init(key_go, blank._replace(x=blank.x.at[:SEEDS].set(x), y=blank.y.at[:SEEDS].set(y)))

        def step(state, key):
            state, x = experiment.propose(state)
            row = jnp.argmin(jnp.abs(DOMAIN.points[:, 0] - x[0, 0]))
            state = experiment.observe(state, x, read(key, row)[None])
            return state, (state.posterior.probability, state.posterior.info.status)

        _, (p, codes) = jax.lax.scan(step, state, jax.random.split(jax.random.fold_in(key_read, 1), steps))
        return true, p, codes

    return jax.lax.map(one, keys)


def judge(report, title, true, p):
    """Bins of stated probabilities, and the tests over all campaigns."""
    hit = true[:, None] == np.arange(p.shape[1])[None]
    for low, high in pairwise(BINS):
        inside = (p >= low) & ((p < high) | (high == 1.0))
        if inside.sum() < 10:
            continue
        stated, seen = p[inside].mean(), hit[inside].mean()
        error = np.sqrt(np.sum(p[inside] * (1 - p[inside]))) / inside.sum()
        report.result(f"{title}: came true where {low:g} to {high:g} was stated", float(seen), "1", float(stated))
        report.result(f"standard error of that, over {inside.sum()} statements", float(error), "1")
        # Three standard errors, and half a case where hardly any is expected.
        close = abs(seen - stated) < 3 * error + 0.5 / inside.sum()
        report.claim(f"{title}: {low:g} to {high:g} comes true as often as stated", close)
    best = p.max(axis=1)
    right = true == p.argmax(axis=1)
    variance = best * (1 - best)
    hits = np.sum(right - best) / np.sqrt(variance.sum())
    spread = np.sum((right - best) * (1 - 2 * best)) / np.sqrt(np.sum((1 - 2 * best) ** 2 * variance))
    report.result(f"{title}: the most probable hypothesis is true", float(right.mean()), "1", float(best.mean()))
    report.result(f"{title}: hits above expectation, standard errors", float(hits), "1", 0.0)
    report.result(f"{title}: Spiegelhalter's z", float(spread), "1", 0.0)
    report.claim(f"{title}: hits as often as stated (99 percent)", abs(hits) < 2.58)
    report.claim(f"{title}: Spiegelhalter's z within 99 percent", abs(spread) < 2.58)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 campaigns of 4 steps, 64 draws")
    parser.add_argument("--campaigns", type=int, default=500)
    parser.add_argument("--draws", type=int, default=256, help="of each hypothesis")
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    if options.quick:
        options.campaigns, options.draws, options.steps = 60, 64, 4
    report = Report()
    experiment = bayes_opt(RIVALS, model_average(smc(options.draws)), acquisition.expected_information_gain(), DOMAIN)
    keys = jax.random.split(jax.random.key(0), options.campaigns)
    true, p, codes = (np.asarray(part) for part in campaigns(keys, experiment, options.steps))
    report.result("share of steps in which a fit reported trouble", float(np.mean(codes != 0)), "1")
    for step in (options.steps // 2, options.steps):
        judge(report, f"{SEEDS + step} points", true, p[:, step - 1])
    report.finish()


if __name__ == "__main__":
    main()
