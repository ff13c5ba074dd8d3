"""How often a campaign ends at a wrong optimum and does not know it, and whether its intervals hold.

    python benchmarks/stuck.py [../shared/data] [--quick] [--keys 50] [--samples ...] [--recipes ...]

Six simulated samples, 240 points each, values from 0 to 1, noise 0.05, the optimum is 1:

- one smooth peak;
- two kinds of points that look alike: a tenth of them has almost the same two descriptors as points that give
  nothing, and holds the optimum;
- a needle of standard deviation 0.14 beside a broad hill of half its height (narrower ones are found as often as a
  point that was spent on learning falls on them);
- a ramp, whose optimum is a corner;
- a peak whose top lies in a patch where every observation fails;
- a model average of three descriptions: a wrong one explains all of 94 percent of the points, the right one less
  of them but also
  what the others give, which hold the optimum.

A campaign measures five random points and then 35 chosen ones (laplace, 16 draws). It is **stuck** if at its end

- it is wrong: no measurement from a point within a tenth of the optimum; and
- either it sits in a corner: its last ten choices lie in a box around them, in the space of the descriptors, that
  holds less than a tenth of all points; or it is idle and sure: its last ten choices have improved nothing, and the
  posterior excludes, with 95 percent, every point within a tenth of the optimum.

Regret is the distance of the best measured point from the optimum, without noise. Coverage is the share of 90 percent
intervals of a new observation that hold, over all points that were not measured, as they are and with the standard
deviation times `recalibration`, also where that is below 1 (`intervals` never narrows). Recipes were tuned on other
keys and other points (`--tune`). On the measured maps the same is told of five percent of the positions."""

from results import Report, pin_threads

pin_threads()

import argparse  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402

import jax  # noqa: E402

import gpax_lab  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)
import dkl_active  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import structure_maps as maps  # noqa: E402

from gpax_lab import acquisition, bayes_opt, gp, hypotheses, kernels, laplace, model_average, observations, simulate  # noqa: E402
from gpax_lab.experiment import reach  # noqa: E402
from gpax_lab.experiment._study import initial_observations, over_keys  # noqa: E402
from gpax_lab.inference import coverage, recalibration  # noqa: E402

PLACES, SEEDS, STEPS, LAST, NOISE, NEAR = 240, 5, 35, 10, 0.05, 0.1
WIDTH, CORNER, EDGE = 0.14, 0.1, 1.6449
METHODS = ["GP on brightness", "GP on principal components", "model average of the three", "deep kernel, MLP"]
SAMPLER = laplace(num_samples=16, starts=1, iterations=20, rounds=1)


class Sample(NamedTuple):
    """What is measured: (m, d) points in the unit cube, their truth, whether they fail, what models see.

    `looks` are columns of x for each model; more than one model makes a model average.
    """

    places: np.ndarray
    truth: Callable
    fails: Callable
    looks: tuple[tuple[int, ...], ...]


def bump(x, centre, width):
    """A Gaussian of height one."""
    return jnp.exp(-0.5 * jnp.sum((x - jnp.asarray(centre)) ** 2) / width**2)


def never(x):
    """No measurement fails."""
    return jnp.asarray(False)


def samples(seed: int = 0) -> dict[str, Sample]:
    """All six; another seed scatters other points."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(size=(PLACES, 2))
    both = ((0, 1),)

    hidden = rng.uniform(size=PLACES) < 0.1
    alike = np.column_stack([rng.uniform(size=PLACES), rng.normal(0.5, 0.03, PLACES)])
    alike[hidden] = np.column_stack([rng.uniform(0.15, 0.4, hidden.sum()), rng.normal(0.68, 0.015, hidden.sum())])

    def of_kind(x):
        common = 0.6 * jnp.exp(-0.5 * ((x[0] - 0.8) / 0.2) ** 2)
        return jnp.where(x[1] > 0.6, 1.0 - 2.0 * (x[0] - 0.25) ** 2, common)

    odd = rng.uniform(size=PLACES) < 0.06
    common = 0.7 * rng.uniform(size=PLACES)
    wrong = np.where(odd, rng.uniform(0.05, 0.35, PLACES), common)
    right = np.where(odd, rng.uniform(0.85, 1.0, PLACES), np.clip(common + rng.normal(0.0, 0.06, PLACES), 0.0, 0.77))
    described = np.column_stack([flat, wrong, right])

    return {
        "peak": Sample(flat, lambda x: bump(x, (0.7, 0.35), 0.25), never, both),
        "alike": Sample(alike, of_kind, never, both),
        "needle": Sample(
            flat,
            lambda x: jnp.maximum(0.5 * bump(x, (0.3, 0.3), 0.3), bump(x, flat[flat.sum(1).argsort()[-40]], WIDTH)),
            never,
            both,
        ),
        "ramp": Sample(flat, lambda x: 0.7 * x[0] + 0.3 * x[1], never, both),
        "failures": Sample(flat, lambda x: bump(x, (0.65, 0.6), 0.2), lambda x: jnp.sum((x - 0.7) ** 2) < 0.03, both),
        "average": Sample(
            described,
            lambda x: jnp.where(x[3] > 0.78, 1.0 - 2.0 * (x[3] - 0.95) ** 2, 0.6 * x[2] / 0.7),
            never,
            ((0, 1), (2,), (3,)),
        ),
    }


def models(of: Sample):
    """One process of what is seen, or several that compete; and how to follow them."""
    dim = of.places.shape[1]
    if len(of.looks) == 1:
        return gp.exact(dim), SAMPLER
    rivals = {
        f"columns {look}": gp.exact(dim, kernels.active(look, kernels.matern52), standardize=(0.3, 0.3))
        for look in of.looks
    }
    return hypotheses(rivals), model_average(SAMPLER)


class Recipe(NamedTuple):
    """A score, and how rivals are treated."""

    score: acquisition.Acquisition
    options: dict


TRUSTING = {"floor": 0.0, "apart_every": None}  # rivals as decisions took them before this benchmark
TODAY, DEFAULT = "ucb(1.0)", "seek()"
RECIPES = {
    TODAY: Recipe(acquisition.ucb(1.0), TRUSTING),
    "ucb(2.0)": Recipe(acquisition.ucb(2.0), TRUSTING),
    "log_ei": Recipe(acquisition.log_ei(), TRUSTING),
    DEFAULT: Recipe(acquisition.seek(), {}),
}
MORE = {
    "ucb(3.0)": Recipe(acquisition.ucb(3.0), TRUSTING),
    "ucb(1.0), floor": Recipe(acquisition.ucb(1.0), {}),
    "ucb(2.0), floor": Recipe(acquisition.ucb(2.0), {}),
    "learning(log_ei())": Recipe(acquisition.learning(acquisition.log_ei()), {}),
    "seek(beta=1)": Recipe(acquisition.seek(beta=1.0), {}),
    "seek(every=4)": Recipe(acquisition.seek(every=4), {}),
    "seek(every=5)": Recipe(acquisition.seek(every=5), {}),
}


def of_one_shape(recipes: tuple[Recipe, ...]) -> list[acquisition.Acquisition]:
    """Their scores as sums of the same terms, all but one with weight 0: one compiled campaign serves all."""
    terms = {recipe.score.terms: recipe.score for recipe in recipes}

    def padded(score: acquisition.Acquisition) -> acquisition.Acquisition:
        parts = [1.0 * score if kind == score.terms else 0.0 * other for kind, other in terms.items()]
        return sum(parts[1:], parts[0])

    return [padded(recipe.score) for recipe in recipes]


@dataclass(frozen=True, eq=False)
class Campaign:
    """Points, observations, and the last posterior at all points; see `Ended`."""

    of: Sample
    recipes: tuple[Recipe, ...]
    steps: int

    def __call__(self, domain, key, which):
        model, sampler = models(self.of)
        score = jax.tree.map(lambda *numbers: jnp.stack(numbers)[which], *of_one_shape(self.recipes))
        plan = bayes_opt(model, sampler, score, domain, **self.recipes[0].options)
        key_place, key_seed, key_go = jax.random.split(key, 3)

        def measure(key, x):
            return jnp.where(self.of.fails(x), jnp.nan, self.of.truth(x) + NOISE * jax.random.normal(key))

        x = domain.space_filling(key_place, SEEDS)
        y = jax.vmap(measure)(jax.random.split(key_seed, SEEDS), x)
        state, path = simulate(key_go, plan, measure, self.steps, initial_observations(plan, x, y, self.steps))
        mean, variance = state.posterior.moments(domain.points)
        noise = jnp.exp(state.posterior.log_weight) @ state.posterior.noise_variance(domain.points)
        new = jax.vmap(measure)(jax.random.split(jax.random.fold_in(key, 9), len(domain.points)), domain.points)
        factor = recalibration(state.posterior, state.obs)
        inside, count = coverage(state.posterior, state.obs)
        asked = jnp.concatenate([x, path.x[:, 0]])
        z = (new - mean) / jnp.sqrt(variance + noise)
        return asked, mean, jnp.sqrt(variance), z, factor, inside / count


def judge(of: Sample, ended) -> dict[str, np.ndarray]:
    """What each campaign came to, by name, each (keys,)."""
    asked, mean, std, z, factor, so_far = ended
    truth = np.asarray(jax.vmap(of.truth)(jnp.asarray(of.places)))
    usable = ~np.asarray(jax.vmap(of.fails)(jnp.asarray(of.places)))
    best = truth[usable].max()
    good = usable & (truth > best - NEAR)
    looks = sorted({c for look in of.looks for c in look})[-2:]
    rows = np.argmin(((asked[:, :, None] - of.places[None, None]) ** 2).sum(-1), axis=-1)
    found = {k: [] for k in ("stuck", "wrong", "regret", "coverage", "recalibrated", "factor", "so far")}
    for i, row in enumerate(rows):
        read = np.where(usable[row], truth[row], -np.inf)
        regret = best - read.max()
        last = of.places[row[-LAST:]][:, looks]
        box = np.all((of.places[:, looks] >= last.min(0)) & (of.places[:, looks] <= last.max(0)), axis=1)
        idle = read[-LAST:].max() <= read[:-LAST].max()
        sure = np.all(mean[i][good] + EDGE * std[i][good] < truth[good])
        wrong = regret > NEAR
        rest = usable.copy()
        rest[row] = False
        missed = np.abs(z[i][rest])
        found["stuck"].append(wrong and (box.mean() < CORNER or (idle and sure)))
        found["wrong"].append(wrong)
        found["regret"].append(min(regret, 1.0))
        found["coverage"].append(np.mean(missed < EDGE))
        found["recalibrated"].append(np.mean(missed < EDGE * factor[i]))
        found["factor"].append(factor[i])
        found["so far"].append(so_far[i])
    return {k: np.array(v, float) for k, v in found.items()}


def on_map(of, model, sampler, recipe: Recipe, keys: int) -> dict[str, np.ndarray]:
    """Campaigns on a measured map, five percent of its positions: the best value found, and what intervals hold."""
    many = len(of.values)
    budget = max(15, round(0.05 * many))
    first = max(5, budget // 8)
    batch = max(1, (budget - first) // 15)
    steps = -(-(budget - first) // batch)
    plan = bayes_opt(model, sampler, recipe.score, acquisition.pool(of.positions), batch, **recipe.options)
    table, values = jnp.asarray(of.positions, float), jnp.asarray(of.values)

    def measure(key, x):
        return of.at(x)[0]

    @jax.jit
    def ends(posterior, obs):
        mean, variance = posterior.moments(table)
        noise = jnp.exp(posterior.log_weight) @ posterior.noise_variance(table)
        inside, count = coverage(posterior, obs)
        return jnp.abs(values - mean) / jnp.sqrt(variance + noise), recalibration(posterior, obs), inside / count

    found = {k: [] for k in ("regret", "coverage", "recalibrated", "factor", "so far", "reach")}
    for k in range(keys):
        seeds = np.random.default_rng(k).choice(many, first, replace=False)
        obs = observations(of.positions[seeds], of.values[seeds], capacity=8 * -(-(budget + batch) // 8))
        state, path = simulate(jax.random.key(k), plan, measure, steps, obs)
        index = {tuple(place): i for i, place in enumerate(of.positions.tolist())}
        rows = [*seeds, *(index[tuple(place)] for place in np.asarray(path.x).reshape(-1, 2).tolist())]
        z, factor, so_far = ends(state.posterior, state.obs)
        rest = np.delete(np.asarray(z), rows)
        found["regret"].append(of.values.max() - of.values[rows].max())
        found["coverage"].append(np.mean(rest < EDGE))
        found["recalibrated"].append(np.mean(rest < EDGE * factor))
        found["factor"].append(factor)
        found["so far"].append(so_far)
        found["reach"].append(reach(of.positions, of.positions[rows]).share)
    return {k: np.array(v, float) for k, v in found.items()}


def together(of: Sample, titles: list[str]) -> list[list[str]]:
    """Recipes that may be compiled once: those that treat rivals alike, or all where there are none."""
    groups: dict = {}
    for title in titles:
        groups.setdefault(str((RECIPES | MORE)[title].options) * (len(of.looks) > 1), []).append(title)
    return list(groups.values())


def on_sample(of: Sample, titles: list[str], keys) -> dict[str, dict[str, np.ndarray]]:
    """What campaigns on one sample came to, by recipe."""
    found = {}
    for group in together(of, titles):
        campaign = Campaign(of, tuple((RECIPES | MORE)[title] for title in group), STEPS)
        which = np.repeat(np.arange(len(group)), len(keys))
        ended = over_keys(campaign, acquisition.pool(of.places), jnp.concatenate([keys] * len(group)), which=which)
        found |= {title: judge(of, [leaf[which == k] for leaf in ended]) for k, title in enumerate(group)}
    return found


def tell(report: Report, where: str, found: dict[str, np.ndarray]) -> None:
    """Means over campaigns, and the standard error of the regret."""
    for name, values in found.items():
        report.result(f"{where}: {name}", float(values.mean()), UNITS.get(name, "share"))
    if len(found["regret"]) > 1:
        error = found["regret"].std(ddof=1) / np.sqrt(len(found["regret"]))
        report.result(f"{where}: standard error of the regret", float(error), UNITS["regret"])


UNITS = {"regret": "range of the values", "factor": "1", "reach": "1"}


def claims(report: Report, name: str, found: dict, quick: bool) -> None:
    """What is stood for on one sample."""
    if DEFAULT not in found or TODAY not in found:
        return
    ours, today = found[DEFAULT], found[TODAY]
    gap = ours["regret"] - today["regret"]
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    report.claim(f"{name}: the default's regret is no worse than that of {TODAY}", bool(gap.mean() <= 2 * error))
    report.claim(f"{name}: fewer than 2 percent of the campaigns are stuck", bool(ours["stuck"].mean() < 0.02))
    if not quick:
        held = ours["recalibrated"].mean()
        report.claim(f"{name}: 90 percent intervals, recalibrated, hold 85 to 95 percent", bool(0.85 <= held <= 0.95))


def main() -> None:
    """All samples and recipes, and the measured maps where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"), help="with the measured maps")
    parser.add_argument("--quick", action="store_true", help="one sample, six keys, two recipes")
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--map-keys", type=int, default=8)
    parser.add_argument("--tune", action="store_true", help="the keys and the points on which recipes were chosen")
    parser.add_argument("--samples", nargs="*", default=list(samples()))
    parser.add_argument("--maps", nargs="*", default=["EELS", "BEPS"])
    parser.add_argument("--methods", nargs="*", default=METHODS, help="on the maps")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    given = parser.parse_args()
    if given.quick:
        given.keys, given.samples, given.maps, given.recipes = 6, ["alike"], [], [TODAY, DEFAULT]
    report, known = Report(), samples(1 if given.tune else 0)
    keys = jax.random.split(jax.random.key(1 if given.tune else 0), given.keys)
    for name in given.samples:
        found = on_sample(known[name], given.recipes, keys)
        for title, values in found.items():
            tell(report, f"{name}, {title}", values)
        claims(report, name, found, given.quick)
    for name in given.maps:
        if not given.data.exists():
            print(f"{name}: skipped, {given.data} is not here", file=sys.stderr)
            continue
        of = maps.beps(given.data) if name == "BEPS" else maps.eels(given.data)
        every = dkl_active.methods(of, False)
        for method in given.methods:
            for title in [t for t in given.recipes if t in (TODAY, DEFAULT)]:
                values = on_map(of, *every[method], RECIPES[title], given.map_keys)
                tell(report, f"{name}, {method}, {title}", values)
    report.finish()


if __name__ == "__main__":
    main()
