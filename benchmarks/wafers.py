"""Which law governs the resistance of real noble-metal wafers, and how few areas are needed to say so.

    python benchmarks/wafers.py DATA [--quick] [--seeds 20]

DATA holds combinatorial/ (by default ../shared/data): co-sputtered Ag-Au-Pd and Ag-Au-Pd-Pt, 342 areas each, the mean
of 30 observations of the resistance of every area. Four laws of composition compete: constant, Vegard, Nordheim and
Redlich-Kister. Their coefficients have normal priors for a resistance between 0 and 1 ohm, with one learned width for
each order of interaction, and are integrated exactly (`mixtures.marginal`); widths and noise are inferred, as the films
follow none of the laws as closely as observations repeat.

All areas: the log evidence by closed form and quadrature over noise and widths, in numpy, and by streaming inference
that samples the coefficients too; leave-one-out errors by least squares; the same ranking for priors of 0.3 and 3 times
the width. Beside them simulated truths, with widths learned and with interactions of 4 ranges.

Campaigns: two random areas, then one at a time, by expected information (one compiled function over the seeds) and at
random from the same two. Counted: areas until Redlich-Kister has a probability of 95 percent for good, until the budget
ends; by the closed form on what was measured, as few particles lose nats where an area surprises. The weight of
learning coefficients (`--within`) was chosen on Ag-Au-Pd with seeds 1000 to 1011 and 56 areas.
"""

import argparse
import csv
from itertools import combinations
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from scipy.special import logsumexp  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import acquisition, bayes_opt, gp, hypotheses, model_average, observations, parametric, smc  # noqa: E402
from gpax_lab.core import Status  # noqa: E402
from gpax_lab.core._compositions import normalized  # noqa: E402
from gpax_lab.experiment._simulate import measure  # noqa: E402
from gpax_lab.laws import mixtures  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

OHM = (0.0, 1.0)
"""What is known of the resistance beforehand: of the order of an ohm."""
EITHER_WAY = 1.5
"""Standard deviation of the logarithm of a learned width."""
MISFIT, SPREAD = 0.02, 2.0
"""Prior of the noise: log-normal variance, median (2 percent of the range)^2, a factor e^2 either way (one sigma)."""
NOISE = dist.LogNormal(2 * np.log(MISFIT), SPREAD)
REPEATS, SEEDS, SURE = 30, 2, 0.95
WAFERS = {  # independent figures: leave-one-out RMSE (ohm) of the laws in order
    "Ag-Au-Pd": ("ccss_0010272/0010272_Ag-Au-Pd", (0.0909, 0.0411, 0.0104, 0.0088)),
    "Ag-Au-Pd-Pt": ("ccss_0010402/0010402_Ag-Au-Pd-Pt", (0.1914, 0.0371, 0.0137, 0.0111)),
}
LAWS = {
    "constant": mixtures.constant,
    "Vegard": mixtures.vegard,
    "Nordheim": mixtures.nordheim,
    "Redlich-Kister": mixtures.redlich_kister,
}
BEST = "Redlich-Kister"


def wafer(folder, name):
    """Fractions (n, k), mean and standard deviation (n,) of the resistance (ohm) of every area; joined by order."""
    stem = str(Path(folder) / "combinatorial" / WAFERS[name][0])
    with Path(f"{stem}_EDX.csv").open(newline="") as text:
        percent = np.array([row[1:] for row in list(csv.reader(text))[1:]], float)
    with Path(f"{stem}_resistance.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    place = np.array([(row["x"], row["y"]) for row in rows], float).reshape(-1, REPEATS, 2)
    if len(place) != len(percent) or np.ptp(place, axis=1).any():
        raise ValueError(f"{stem}: {REPEATS} observations of each of {len(percent)} areas, in order, are expected.")
    ohm = np.array([row["R"] for row in rows], float).reshape(-1, REPEATS)
    return normalized(percent), ohm.mean(axis=1), ohm.std(axis=1, ddof=1)


def models_of(components, noise=NOISE):
    """The competing laws with their coefficients integrated, by name."""
    processes = {name: mixtures.marginal(make(components, OHM)) for name, make in LAWS.items()}
    return hypotheses(
        {
            name: gp.exact(components, p.kernel, p.mean, p.prior | {"noise": noise}, standardize=False)
            for name, p in processes.items()
        }
    )


def columns(x, name):
    """Features (n, p) of a law, written anew, the prior width of each coefficient (its median where it is learned),

    and the order of interaction that it belongs to, 0 where its width is known.
    """
    n, k = x.shape
    if name == "constant":
        return np.ones((n, 1)), np.array([0.5]), np.array([0])
    found, widths, order = [x[:, i] for i in range(k)], [0.5] * k, [0] * k
    for power in range({"Vegard": 0, "Nordheim": 1, "Redlich-Kister": 2}[name]):
        for i, j in combinations(range(k), 2):
            found.append(x[:, i] * x[:, j] * (x[:, i] - x[:, j]) ** power)
            widths.append(1.0)
            order.append(power + 1)
    return np.stack(found, axis=1), np.array(widths), np.array(order)


def closed_form(x, y, name, factor=1.0, misfit=MISFIT, nodes=801, learned=True):
    """Log evidence: coefficients by algebra, noise and widths by quadrature over +-4 and +-3 sigma of their priors."""
    phi, width, order = columns(x, name)
    if not learned:
        width, order = np.where(order > 0, 4.0, width), np.zeros_like(order)
    basis, upper = np.linalg.qr(phi)
    away = y - 0.5
    inside = basis.T @ away
    beside = max(float(away @ away - inside @ inside), 0.0)
    steps = np.meshgrid(*[np.linspace(-3, 3, 13)] * order.max(), indexing="ij")
    steps = np.stack([np.zeros(13 ** order.max()), *(s.ravel() for s in steps)], axis=1)  # order 0 stays as it is
    wide = factor * width * np.exp(EITHER_WAY * steps[:, order])
    left, size, _ = np.linalg.svd(upper * wide[:, None], full_matrices=False)
    along = (inside @ left) ** 2  # in the span of the features, where the coefficients add to the noise
    sigmas = np.linspace(-4, 4, nodes)
    noise = np.exp(2 * np.log(misfit) + SPREAD * sigmas)
    variance = size[:, None] ** 2 + noise[:, None]
    log_density = np.sum(along[:, None] / variance + np.log(variance), axis=2)
    log_density += beside / noise + (len(y) - size.shape[1]) * np.log(noise) + len(y) * np.log(2 * np.pi)
    log_prior = -0.5 * (sigmas**2 + np.sum(steps**2, axis=1, keepdims=True))
    return float(logsumexp(log_prior - 0.5 * log_density) - logsumexp(log_prior))


def left_out(x, y, name):
    """Exact leave-one-out RMSE of least squares."""
    phi, _, _ = columns(x, name)
    hat = phi @ np.linalg.pinv(phi)
    return float(np.sqrt(np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2)))


def whole(report, name, x, y, sd):
    """The verdict of all areas."""
    report.result(f"{name}: areas", len(y), "1", 342)
    report.result(f"{name}: standard deviation of repeats, median", float(np.median(sd)), "ohm")
    for law, expected in zip(LAWS, WAFERS[name][1], strict=True):
        found = left_out(x, y, law)
        report.result(f"{name}, {law}: leave-one-out RMSE", found, "ohm", expected)
        report.claim(f"{name}, {law}: agrees with independent figures", abs(found - expected) < 1e-4)
    for factor in (1.0, 0.3, 3.0):
        evidence = [closed_form(x, y, law, factor) for law in LAWS]
        for law, value in zip(LAWS, evidence, strict=True):
            report.result(f"{name}, {law}: log evidence, closed form, priors x {factor:g}", value, "nat")
        text = f"{name}, priors x {factor:g}: Redlich-Kister > Nordheim > Vegard > constant"
        report.claim(text, bool((np.diff(evidence) > 0).all()))


def simulated(report, truths=30, noise=0.03):
    """Truths that are straight, or bent by interactions of 0.1 to 4 ranges: how probable the law that holds becomes."""
    dice, laws = np.random.default_rng(0), list(LAWS)[1:]
    for count in (10, 20):
        found = {"learned": [], "of 4 ranges": []}
        for i in range(truths):
            x, truth = dice.dirichlet(np.ones(3), count), laws[i % 3]
            phi, _, order = columns(x, truth)
            wide = np.exp(dice.uniform(np.log(0.1), np.log(4.0), 2))[np.maximum(order - 1, 0)]
            coefficients = np.where(order == 0, dice.uniform(size=order.size), wide * dice.normal(size=order.size))
            y = phi @ coefficients + noise * dice.normal(size=count)
            for way, into in found.items():
                each = [closed_form(x, y, law, nodes=161, learned=way == "learned") for law in laws]
                into.append(each[laws.index(truth)] - logsumexp(each))
        mean = {way: float(np.mean(values)) for way, values in found.items()}
        for way, value in mean.items():
            report.result(f"{count} observations, widths {way}: log probability of the law that holds", value, "nat")
        report.claim(f"{count} observations: learned widths find the law sooner", mean["learned"] > mean["of 4 ranges"])


def followed(report, name, x, y):
    """The same evidence where streaming inference samples the coefficients along with the noise."""
    k = x.shape[1]
    laws = {law: make(k, OHM) for law, make in LAWS.items()}
    # Tighter than the defaults: readings that all come at once move the particles far, and those that lag behind cost
    # 2 nats (Ag-Au-Pd, Nordheim, 256 draws) that the standard error does not know of.
    sampler = smc(512, max_correlation=0.1)
    models = {law: parametric(k, m, dict(m.prior) | {"noise": NOISE}, standardize=False) for law, m in laws.items()}
    belief = model_average(sampler).init(jax.random.key(0), hypotheses(models), observations(x, y, capacity=len(y)))
    for law, posterior in zip(LAWS, belief.posteriors, strict=True):
        expected, value = closed_form(x, y, law), float(posterior.log_evidence)
        error = float(posterior.info.evidence_error)
        report.result(f"{name}, {law}: log evidence, smc of all parameters", value, "nat", expected)
        report.result("its standard error", error, "nat")
        report.result("its outcome (0: no trouble)", int(posterior.info.status), "1")
        # More than the stated error, which does not know of particles that lag behind on so long a way.
        trusted = int(posterior.info.status) == Status.OK
        text = "smc finds the evidence to a nat" if trusted else "smc, which says that it did not mix, finds it to 3"
        report.claim(f"{name}, {law}: {text}", abs(value - expected) < (1.0 if trusted else 3.0))
    report.claim(f"{name}: smc ranks the laws alike", bool((np.diff(np.asarray(belief.log_evidence)) > 0).all()))


def exactly(x, y, rows, misfit=MISFIT):
    """(len(rows) - SEEDS + 1, M) exact probabilities of the laws after the seeds and after every further row."""
    counts = range(SEEDS, len(rows) + 1)
    log_p = [[closed_form(x[rows[:n]], y[rows[:n]], law, misfit=misfit, nodes=161) for law in LAWS] for n in counts]
    return np.exp(log_p - logsumexp(log_p, axis=1, keepdims=True))


def histories(experiment, x, y, keys, steps):
    """Campaigns over the areas of a pool x (n, k), y (n,): rows (campaigns, SEEDS + steps) in the order of measurement,

    probabilities (campaigns, steps + 1, M) after the seeds and after every area, and which fits (campaigns, steps) had
    trouble.
    """
    blank = observations(np.zeros((SEEDS, x.shape[1])), np.zeros(SEEDS), capacity=-(-(SEEDS + steps) // 8) * 8)

    @jax.jit
    def every(keys, table, readings, blank):
        def row_of(at):
            return jnp.argmin(jnp.sum((table - at[None]) ** 2, axis=1))

        def read(key, at):
            return readings[row_of(at)]

        def step(state, _):
            state, at = experiment.propose(state)
            state = experiment.observe(state, at, measure(read, state, at))
            return state, (row_of(at[0]), state.posterior.probability, state.posterior.info.status != 0)

        def one(key):
            key_seed, key_go = jax.random.split(key)
            rows = jax.random.choice(key_seed, table.shape[0], (SEEDS,), replace=False)
            obs = blank._replace(x=blank.x.at[:SEEDS].set(table[rows]), y=blank.y.at[:SEEDS].set(readings[rows]))
            state = experiment.init(key_go, obs)
            _, (more, later, trouble) = jax.lax.scan(step, state, None, length=steps)
            return jnp.concatenate([rows, more]), jnp.concatenate([state.posterior.probability[None], later]), trouble

        return jax.lax.map(one, keys)

    return [np.asarray(values) for values in every(keys, jnp.asarray(x), jnp.asarray(y), blank)]


def settled(holds):
    """(campaigns,) areas until what holds (campaigns, steps + 1) holds for good; infinite where it never does."""
    for_good = np.flip(np.logical_and.accumulate(np.flip(holds, axis=1), axis=1), axis=1)
    return np.where(for_good.any(axis=1), SEEDS + for_good.argmax(axis=1), np.inf)


def campaigns(report, name, x, y, experiment, keys, budget, best, misfit=MISFIT):
    """Points until the law `best` is settled, by information and at random from the same two points: (campaigns,) each.

    Judged by the exact evidence of what was measured; what the particles believed on the way is reported beside it.
    """
    index = list(LAWS).index(best)
    rows, believed, trouble = histories(experiment, x, y, keys, budget - SEEDS)
    chance = [
        np.concatenate(
            [row[:SEEDS], np.random.default_rng(i).permutation(np.setdiff1d(np.arange(len(y)), row[:SEEDS]))]
        )
        for i, row in enumerate(rows)
    ]
    exact = {
        "information": np.stack([exactly(x, y, row, misfit) for row in rows]),
        "random": np.stack([exactly(x, y, row[:budget], misfit) for row in chance]),
    }
    when = {way: settled(found[..., index] >= SURE) for way, found in exact.items()}
    report.result(f"{name}: share of fits in trouble", float(trouble.mean()), "1")
    as_believed = settled(believed[..., index] >= SURE)
    report.result(f"{name}, information, as the particles believed: median", float(np.median(as_believed)), "areas")
    for way, found in exact.items():
        report.result(f"{name}, {way}: areas until {best} is settled, median", float(np.median(when[way])), "areas")
        for quantile in (0.1, 0.9):
            value = float(np.quantile(when[way], quantile, method="higher"))
            report.result(f"{name}, {way}: areas until then, {quantile:.0%} of campaigns", value, "areas")
        early = SEEDS + np.where(
            (found[..., index] >= SURE).any(axis=1), (found[..., index] >= SURE).argmax(axis=1), np.inf
        )
        report.result(
            f"{name}, {way}: areas until {best} first has {SURE:.0%}, median", float(np.median(early)), "areas"
        )
        never = float(np.isinf(when[way]).mean())
        report.result(f"{name}, {way}: share of campaigns not settled within {budget}", never, "1")
        other = np.delete(found[:, -1], index, axis=-1).max(axis=-1) >= SURE
        report.result(f"{name}, {way}: share of campaigns sure of another law in the end", float(other.mean()), "1")
    return when


def compare(report, name, when, budget):
    """Paired by seed; a campaign that is never settled counts as the budget."""
    active, chance = (np.minimum(when[way], budget) for way in ("information", "random"))
    saved = chance - active
    error = float(saved.std(ddof=1) / np.sqrt(len(saved)))
    report.result(f"{name}: areas saved against random choice, mean of pairs", float(saved.mean()), "areas")
    report.result("its standard error", error, "areas")
    report.result(f"{name}: share of pairs in which information needs fewer areas", float((saved > 0).mean()), "1")
    report.result(f"{name}: share of pairs in which it needs more", float((saved < 0).mean()), "1")
    report.claim(f"{name}: information settles the law with fewer areas, median", np.median(active) < np.median(chance))
    report.claim(f"{name}: and by more than twice the standard error of the mean", saved.mean() > 2 * error)


def main():
    """Run and report."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="Ag-Au-Pd, 3 seeds, 24 areas, nothing claimed of them")
    line.add_argument("--seeds", type=int, default=20)
    line.add_argument("--first", type=int, default=0, help="number of the first seed")
    line.add_argument("--budget", type=int, default=80, help="areas a campaign may measure")
    line.add_argument("--draws", type=int, default=64, help="of the noise, for each law")
    line.add_argument("--within", type=float, default=0.5, help="weight of learning coefficients")
    line.add_argument("--skip-all", action="store_true", help="campaigns alone, nothing about all areas")
    line.add_argument("--only", choices=list(WAFERS), help="one wafer")
    options = line.parse_args()
    if not (Path(options.data) / "combinatorial").is_dir():
        raise SystemExit(f"{options.data}: no folder combinatorial there; give the one that holds it")
    report = Report()
    names = ["Ag-Au-Pd"] if options.quick else [options.only] if options.only else list(WAFERS)
    seeds, budget = (3, 24) if options.quick else (options.seeds, options.budget)
    keys = jax.vmap(jax.random.key)(jnp.arange(options.first, options.first + seeds))
    if not options.skip_all:
        simulated(report)
    for name in names:
        x, y, sd = wafer(options.data, name)
        if not options.skip_all:
            whole(report, name, x, y, sd)
        if not (options.quick or options.skip_all):
            followed(report, name, x, y)
        model, sampler = models_of(x.shape[1]), model_average(smc(options.draws))
        experiment = bayes_opt(
            model, sampler, acquisition.expected_information_gain(options.within, 16), acquisition.pool(x)
        )
        when = campaigns(report, name, x, y, experiment, keys, budget, BEST)
        if not options.quick:
            compare(report, name, when, budget)
    report.finish()


if __name__ == "__main__":
    main()
