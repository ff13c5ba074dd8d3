"""Which hypothesis is true: how often and how soon the evidence says so, with the published reward beside it.

    python benchmarks/hypotheses.py [--quick] [--campaigns 100]

Whole campaigns in one compiled function, over as many keys; the same keys for both ways of learning.

blindness: a straight line (wrong) against a parabola (true) with curvature q, noise known, 12 points. The reward is for
a small predictive variance, which the line always has.

transition: order parameter over a composition spread like Sm-doped BiFeO3, x in [0, 0.2], 25 compositions of which each
may be measured again, transition at 0.11, noise 5 percent of the range and inferred; first order (a jump) against second order (none), either of them
true. Evidence: points measured until the truth has a probability of 95 percent for good. Reward: points until the
truth has the largest mean reward for good.
"""

import argparse

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from gpax_lab import acquire, bandit, bayes_opt, hypotheses, observations, parametric, race, smc  # noqa: E402
from gpax_lab.experiment.simulate import measure  # noqa: E402
from gpax_lab.physics import shapes, transitions  # noqa: E402

jax.config.update("jax_enable_x64", True)

SEEDS, SURE = 2, 0.95


def histories(experiment, objective, keys, steps, domain):
    """(campaigns, steps + 1, M) what is believed after the seeds and after every step; True where a fit had trouble."""
    blank = observations(np.zeros((SEEDS, 1)), np.zeros(SEEDS), capacity=-(-(SEEDS + steps) // 8) * 8)

    def one(key):
        key_seed, key_read, key_go = jax.random.split(key, 3)
        rows = jax.random.choice(key_seed, domain.points.shape[0], (SEEDS,), replace=False)
        x = domain.points[rows]
        y = jax.vmap(objective)(jax.random.split(key_read, SEEDS), x)
        obs = blank._replace(x=blank.x.at[:SEEDS].set(x), y=blank.y.at[:SEEDS].set(y))
        state = experiment.init(key_go, obs)

        def step(state, _):
            state, x = experiment.propose(state)
            state = experiment.observe(state, x, measure(objective, state, x))
            return state, (believed(state.posterior), state.posterior.info.outcome != 0)

        first = believed(state.posterior)
        _, (later, trouble) = jax.lax.scan(step, state, None, length=steps)
        return jnp.concatenate([first[None], later]), trouble

    found, trouble = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    return np.asarray(found), np.asarray(trouble)


def believed(posterior):
    """(M,) probabilities of a race, mean rewards of a bandit."""
    return posterior.reward if hasattr(posterior, "reward") else posterior.probability


def settled(holds):
    """(campaigns,) points until what holds (campaigns, steps + 1) holds for good; infinite where it never does."""
    for_good = np.flip(np.logical_and.accumulate(np.flip(holds, axis=1), axis=1), axis=1)
    return np.where(for_good.any(axis=1), SEEDS + for_good.argmax(axis=1), np.inf)


def share(report, name, holds, reference=None):
    """Report a share of campaigns; return it."""
    value = float(np.mean(holds))
    report.result(name, value, "1", reference)
    report.result("its standard error", float(np.sqrt(max(value * (1 - value), 0.25 / len(holds)) / len(holds))), "1")
    return value


def ways(models, domain, draws):
    """The two ways of learning, on the same hypotheses and with the same inference."""
    return {
        "evidence": bayes_opt(models, race(smc(draws)), acquire.information(), domain),
        "published reward": bayes_opt(models, bandit(smc(draws), domain.points), acquire.uncertainty(), domain),
    }


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
    domain, keys = acquire.grid([x], (41,)), jax.random.split(jax.random.key(0), count)
    for curvature, published in curvatures.items():

        def read(key, x, curvature=curvature):
            return 0.5 + x[0] + curvature * x[0] ** 2 + noise * jax.random.normal(key)

        for way, experiment in ways(models, domain, draws).items():
            found, trouble = histories(experiment, read, keys, steps, domain)
            right = share(
                report,
                f"known noise, curvature {curvature}: {way} picks the parabola after {SEEDS + steps} points",
                found[:, -1, 1] > found[:, -1, 0],
                published if way == "evidence" else 0.0,
            )
            report.result("share of fits in trouble", float(trouble.mean()), "1")
            if way == "published reward":
                report.claim(f"curvature {curvature}: the reward is blind to the truth", right < 0.2)
            elif curvature == 1.0:
                report.claim("curvature 1: evidence finds the truth in 95 of 100 campaigns", right >= 0.95)


def transition(report, count, draws, steps):
    """First- against second-order transition across a composition spread."""
    x, y, noise = (0.0, 0.2), (0.0, 1.0), 0.05
    laws = {"first order": transitions.first_order(x, y), "second order": transitions.second_order(x, y)}
    truths = {
        "first order": {"S0": 1.0, "x0": 0.14, "xc": 0.11, "C0": 0.1, "C1": 0.0},
        "second order": {"S0": 1.0, "xc": 0.11, "C": 0.0},
    }
    models = hypotheses({name: parametric(1, law, law.prior, standardize=(0.0, 1.0)) for name, law in laws.items()})
    domain, keys = acquire.grid([x], (25,), repeat=True), jax.random.split(jax.random.key(1), count)
    for index, (truth, params) in enumerate(truths.items()):
        known = {name: jnp.asarray(value) for name, value in params.items()}

        def read(key, x, law=laws[truth], known=known):
            return law(x, known) + noise * jax.random.normal(key)

        median = {}
        for way, experiment in ways(models, domain, draws).items():
            found, trouble = histories(experiment, read, keys, steps, domain)
            mine, others = found[..., index], np.delete(found, index, axis=-1).max(axis=-1)
            right = share(
                report, f"{truth} true: {way} picks it after {SEEDS + steps} points", mine[:, -1] > others[:, -1]
            )
            when = settled(mine >= SURE if way == "evidence" else mine > others)
            median[way] = float(np.median(when))
            report.result(f"{truth} true: points until {way} is settled on it, median", median[way], "points")
            report.result("share of campaigns that never are", float(np.isinf(when).mean()), "1")
            report.result("share of fits in trouble", float(trouble.mean()), "1")
            if way == "evidence":
                report.claim(f"{truth} true: evidence picks it in 95 of 100 campaigns", right >= 0.95)
        half = 2 * median["evidence"] <= median["published reward"]
        report.claim(f"{truth} true: half the points that the published reward needs, or fewer", half)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 campaigns of one curvature, none of transitions")
    parser.add_argument("--campaigns", type=int, default=100)
    parser.add_argument("--draws", type=int, default=128, help="of each hypothesis")
    options = parser.parse_args()
    report = Report()
    if options.quick:
        blindness(report, 20, options.draws, {1.0: 1.0})
    else:
        blindness(report, options.campaigns, options.draws, {0.3: 0.59, 1.0: 1.0})
    if not options.quick:
        transition(report, options.campaigns, options.draws, 28)
    report.finish()


if __name__ == "__main__":
    main()
