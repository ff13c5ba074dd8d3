"""Which hypothesis is true: how often and how soon the evidence says so, with the published reward beside it.

    python benchmarks/hypotheses.py [--quick] [--campaigns 100] [--part PART]

Whole campaigns in one compiled function, over as many keys; the same keys for every way of learning.

blindness: a straight line (wrong) against a parabola (true) with curvature q, noise known, 12 points. The reward is for
a small predictive variance, which the line always has.

transition: order parameter over a composition spread like Sm-doped BiFeO3, x in [0, 0.2], 25 compositions of which each
may be measured again, transition at 0.11, noise 5 percent of the range and inferred; first order (a jump) against
second order (none), either of them true. Evidence: points measured until the truth has a probability of 95 percent for
good. Reward: points until the truth has the largest mean reward for good; it leans to the law with fewer parameters
whichever is true, so that where this one is true it needs no points at all. What can be relied on is the number of
points after which 95 of 100 campaigns name the truth, whichever it is. Beside the default (expected information), in a
quarter of the campaigns: posterior sampling, epsilon-greedy, the uncertainty of all models together, and chance.

none of these: the same two hypotheses and the flexible process, where the truth is a peak.

published case: y = x^4 below 1.6, x^2.5 above, on [0, 2.5], noise 0.33, 4 seeds, 3 warm-up and 12 further steps; the
laws (power, linear), (linear, linear) and (power, power) inside a Matern process, epsilon 0.4. Counted: in how many of
the 15 fits the reward chooses (power, power), which is true (published: 13, of one campaign), and what the evidence
makes of it.
"""

import argparse
import sys

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, hypotheses, model_average, parametric, recovery, simulate, smc  # noqa: E402
from gpax_lab.experiment._study import initial_observations  # noqa: E402
from gpax_lab.hypotheses import bandit  # noqa: E402
from gpax_lab.laws import shapes, transitions  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

SEEDS = 2
EVIDENCE, REWARD = "evidence", "published reward"
X, Y = (0.0, 0.2), (0.0, 1.0)
LAWS = {"first order": transitions.first_order(X, Y), "second order": transitions.second_order(X, Y)}
TRUTHS = {
    "first order": (LAWS["first order"], {"S0": 1.0, "x0": 0.14, "xc": 0.11, "C0": 0.1, "C1": 0.0}),
    "second order": (LAWS["second order"], {"S0": 1.0, "xc": 0.11, "C": 0.0}),
}
PEAK = (shapes.peak(X, Y), {"C": 0.1, "A": 0.8, "x0": 0.08, "w": 0.02})


def reading(law, params, noise):
    """A simulated measurement of a law."""
    known = {name: jnp.asarray(value) for name, value in params.items()}
    return lambda key, x: law(x, known) + noise * jax.random.normal(key)


def tell(report, found, references, about=""):
    """Report rates, points until settled and trouble of every way and truth; return rates and points."""
    rates, soon = found.rates(), found.settled()
    for t, truth in enumerate(found.truths):
        for e, way in enumerate(found.experiments):
            low, rate, high = (float(rates[part][e, t, -1]) for part in ("low", "rate", "high"))
            title = f"{about}{truth} true: {way}"
            report.result(f"{title} picks it after {found.points[-1]} points", rate, "1", references.get((truth, way)))
            report.result(f"{title}, 95 percent band from {low:.3f} to", high, "1")
            report.result(f"{title}, points until settled, median", float(np.median(soon[e, t])), "points")
            report.result(f"{title}, share never settled", float(np.isinf(soon[e, t]).mean()), "1")
            report.result(f"{title}, share of fits in trouble", float(found.trouble[e, t].mean()), "1")
        for e, way in enumerate(found.experiments):
            shares = ", ".join(f"{n} {s:.2f}" for n, s in zip(found.hypotheses, found.confusion()[e, t], strict=True))
            print(f"{truth} true, {way} ends with: {shares}", file=sys.stderr, flush=True)
    return rates["rate"][..., -1], soon


def blindness(report, count, draws, curvatures):
    """A line against a parabola with known noise: the share of campaigns that pick the parabola after 12 points."""
    noise, steps, x, y = 0.15, 10, (-1.0, 1.0), (-2.0, 2.0)
    laws = {"line": shapes.line(x, y), "parabola": shapes.parabola(x, y)}
    models = hypotheses(
        {
            name: parametric(1, law, dict(law.prior) | {"noise": noise**2}, standardize=False)
            for name, law in laws.items()
        }
    )
    domain, keys = acquisition.grid([x], (41,)), jax.random.split(jax.random.key(0), count)
    for curvature, published in curvatures.items():

        def read(key, x, curvature=curvature):
            return 0.5 + x[0] + curvature * x[0] ** 2 + noise * jax.random.normal(key)

        found = recovery(keys, ways(models, domain, draws), {"parabola": read}, domain, steps, seeds=SEEDS)
        title = f"known noise, curvature {curvature}: "
        rate, _ = tell(report, found, {("parabola", EVIDENCE): published, ("parabola", REWARD): 0.0}, title)
        report.claim(
            f"curvature {curvature}: the reward picks the truth in 5 of 100 campaigns or fewer", rate[1, 0] <= 0.05
        )
        if curvature == 1.0:
            report.claim("curvature 1: evidence finds the truth in 95 of 100 campaigns", rate[0, 0] >= 0.95)


def ways(models, domain, draws):
    """The default and the published way of learning, on the same hypotheses and with the same inference."""
    return {
        EVIDENCE: bayes_opt(models, model_average(smc(draws)), acquisition.expected_information_gain(), domain),
        REWARD: bayes_opt(models, bandit(smc(draws), domain.points), acquisition.uncertainty(), domain),
    }


def other_policies(models, domain, draws):
    """Other ways to choose a point, with the evidence as judge."""
    scores = {
        "posterior sampling": acquisition.uncertainty_of_one(),
        "epsilon-greedy": acquisition.uncertainty_of_one(0.4, jnp.inf),
        "all models": acquisition.uncertainty(),
        "at random": acquisition.random(),
    }
    return {name: bayes_opt(models, model_average(smc(draws)), score, domain) for name, score in scores.items()}


def transition(report, count, draws, steps):
    """First- against second-order transition across a composition spread."""
    models = hypotheses(LAWS, bounds=[X], scale=(0.0, 1.0), flexible=False)
    domain, keys = acquisition.grid([X], (25,), repeat=True), jax.random.split(jax.random.key(1), count)
    truths = {name: reading(*truth, 0.05) for name, truth in TRUTHS.items()}
    found = recovery(keys, ways(models, domain, draws), truths, domain, steps, seeds=SEEDS, callback=progress)
    rate, soon = tell(report, found, {})
    for t, truth in enumerate(found.truths):
        report.claim(f"{truth} true: evidence picks it in 95 of 100 campaigns", rate[0, t] >= 0.95)
    least = found.rates()["rate"].min(axis=1) >= 0.95  # (E, n)
    holds = np.flip(np.logical_and.accumulate(np.flip(least, axis=1), axis=1), axis=1)
    sure = np.where(holds.any(axis=1), found.points[holds.argmax(axis=1)], np.inf)
    for way, points in zip(found.experiments, sure, strict=True):
        report.result(f"points until {way} names the truth, whichever, in 95 of 100 campaigns", float(points), "points")
    report.claim(
        "evidence: half the points that the published reward needs, or fewer",
        bool(np.isfinite(sure[0]) and 2 * sure[0] <= sure[1]),
    )
    first = np.median(soon[:, 0], axis=1)
    report.claim(
        "first order true: two thirds of the points of the published reward, or fewer",
        bool(np.isfinite(first[0]) and 3 * first[0] <= 2 * first[1]),
    )


def policies(report, count, draws, steps):
    """Other ways to choose the points of the same transition."""
    models = hypotheses(LAWS, bounds=[X], scale=(0.0, 1.0), flexible=False)
    domain, keys = acquisition.grid([X], (25,), repeat=True), jax.random.split(jax.random.key(1), count)
    truths = {name: reading(*truth, 0.05) for name, truth in TRUTHS.items()}
    others = other_policies(models, domain, draws)
    tell(report, recovery(keys, others, truths, domain, steps, seeds=SEEDS, callback=progress), {})


def published(report, count, draws):
    """The case of the notebook that came with the publication."""
    from hypothesis_step import END, NOISE, models

    def read(key, x):
        curve = jnp.where(x[0] < 1.6, x[0] ** 4, x[0] ** 2.5)
        return curve + NOISE * jax.random.normal(key)

    rivals, domain = models(True), acquisition.grid([(0.0, END)], (100,))
    keys = jax.random.split(jax.random.key(3), count)
    experiments = ways(rivals, domain, draws)
    found = recovery(keys, experiments, {"power, power": read}, domain, 14, seeds=4, callback=progress)
    tell(report, found, {}, "published case: ")

    @jax.jit
    def chosen(key):
        key_place, key_read = jax.random.split(jax.random.fold_in(key, 1))
        x = domain.space_filling(key_place, 4)
        y = jax.vmap(read)(jax.random.split(key_read, 4), x)
        state, _ = simulate(key, experiments[REWARD], read, 14, initial_observations(experiments[REWARD], x, y, 14))
        return state.posterior.pulls

    pulls = np.asarray(jax.lax.map(chosen, keys))[:, 2]
    title = "published case: fits of 15 in which the reward chose the truth"
    report.result(f"{title}, median", float(np.median(pulls)), "1", 13)
    for quantile in (0.1, 0.9):
        report.result(f"{title}, {quantile:.0%} of campaigns", float(np.quantile(pulls, quantile)), "1")


def progress(text):
    """To the terminal, beside the results."""
    print(text, file=sys.stderr, flush=True)


def strangers(report, count, draws, steps):
    """Neither hypothesis holds: is it noticed, and is the alarm silent where one of them does?"""
    models = hypotheses(LAWS, bounds=[X], scale=(0.0, 1.0))
    domain, keys = acquisition.grid([X], (25,), repeat=True), jax.random.split(jax.random.key(2), count)
    truths = {"a peak": reading(*PEAK, 0.05)} | {name: reading(*truth, 0.05) for name, truth in TRUTHS.items()}
    experiments = {
        EVIDENCE: bayes_opt(models, model_average(smc(draws)), acquisition.expected_information_gain(), domain)
    }
    rate, _ = tell(report, recovery(keys, experiments, truths, domain, steps, seeds=SEEDS), {})
    report.claim("a peak, which is none of them, is noticed in 95 of 100 campaigns", rate[0, 0] >= 0.95)
    report.claim(
        "with the flexible process among the hypotheses the true law still wins 9 times in 10", rate[0, 1:].min() >= 0.9
    )


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 campaigns of one curvature, none of transitions")
    parser.add_argument("--campaigns", type=int, default=100)
    parser.add_argument("--draws", type=int, default=128, help="of each hypothesis")
    parser.add_argument("--part", choices=["blindness", "transition", "policies", "strangers", "published"])
    options = parser.parse_args()
    report, count, draws = Report(), options.campaigns, options.draws
    parts = {
        "blindness": lambda: blindness(report, count, draws, {0.3: 0.59, 1.0: 1.0}),
        "transition": lambda: transition(report, count, draws, 28),
        "policies": lambda: policies(report, max(1, count // 4), draws, 28),
        "strangers": lambda: strangers(report, max(1, count // 2), draws, 28),
        "published": lambda: published(report, max(1, count // 5), draws),
    }
    if options.quick:
        blindness(report, 20, 64, {1.0: 1.0})
    else:
        for name in [options.part] if options.part else parts:
            parts[name]()
    report.finish()


if __name__ == "__main__":
    main()
