"""The campaign on real data: hysteresis loops of a PbTiO3 film, 50 x 50 pixels, against random sampling.

    python benchmarks/replay_beps.py DATA [--quick]

DATA is the folder that holds loops/BEPS_PTO_50x50.h5, or the file itself (by default ../shared/data). The scalar is
L = log10 |loop area|; a pixel whose response reaches 1e-3 is a failed observation, and costs a point of the budget
in both ways of sampling. What random sampling finds is computed exactly, without drawing.

Neighbouring pixels of this map have little in common, so no interpolation has much skill on it: an error of the map
near its own standard deviation (NRMSE 1) is the right answer, and a large gain would be a mistake. What is claimed of
the largest loop found: never less than chance, and after 100 points more, by twice the standard error of the mean.
"""

import argparse
import time
from math import lgamma
from pathlib import Path
from tempfile import TemporaryDirectory

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab.cli._run_campaign import begin  # noqa: E402
from gpax_lab.core._environment import Stopwatch  # noqa: E402
from gpax_lab.core._observations import observations  # noqa: E402
from gpax_lab.settings import Plan, build, parse  # noqa: E402
from gpax_lab.storage import read  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

FILE = "loops/BEPS_PTO_50x50.h5"
SEEDS, FIRST, WHOLE = 20, 40, 100
GOOD, MEAN, SD, ORACLE = 1704, -3.2344, 0.5912, -2.015  # independent figures: usable pixels, log10(|area| + FLOOR)
FLOOR = 1e-7  # V


def settings(path: Path, steps: int, key: int, sampler: dict) -> dict:
    return {
        "campaign": {"name": "replay", "steps": steps, "seeds": SEEDS, "key": key},
        "instrument": {"kind": "replay", "file": str(path)},
        "quantity": {"scalarizer": "log_loop_area", "reject_above": 1e-3},
        "model": {"kernel": "matern52"},
        "sampler": sampler,
        # Failed pixels come in patches: beside a failed one two of three fail, two pixels (8e-8 m) away every second.
        "acquisition": {
            "function": "log_ei",
            "learn_every": 0,
            "candidates": {"kind": "pool"},
            "feasible": {"radius": 8e-8},
        },
    }


def find(data: str) -> Path:
    path = Path(data)
    for candidate in (path, path / FILE, path / Path(FILE).name):
        if candidate.is_file():
            return candidate
    raise SystemExit(f"{data}: no file {FILE} there; give the folder that holds it, or the file itself")


def random_best(values: np.ndarray, n: int) -> tuple[float, float, float]:
    """Mean and 10 and 90 percent points of the best of n pixels drawn without replacement, failed ones among them.

    P(best <= v) = C(failed + #{L <= v}, n) / C(all, n), given that one observation at least is good.
    """
    good = np.sort(values[np.isfinite(values)])
    below = values.size - good.size + np.arange(1, good.size + 1)

    def log_choose(m: int) -> float:
        return lgamma(m + 1) - lgamma(n + 1) - lgamma(m - n + 1) if m >= n else -np.inf

    chance = np.exp([log_choose(int(m)) - log_choose(values.size) for m in below])
    share = np.diff(np.concatenate([[0.0], chance]))
    low, high = (good[np.searchsorted(chance, q)] for q in (0.1, 0.9))
    return float(share @ good / share.sum()), float(low), float(high)


@jax.jit
def mean_of(posterior, places):
    return posterior.moments(places)[0]


class Study:
    """Campaigns on the recorded values, and the map that any set of points gives.

    The three functions of the experiment are called one after the other, so that all campaigns, all maps and the
    journalled run share what is compiled.
    """

    def __init__(self, plan: Plan, capacity: int) -> None:
        self.plan, self.capacity = plan, capacity
        self.places = np.asarray(plan.candidates.points)
        self.values = np.array([plan.scalarize(plan.driver.measure(p, "whole map"))[0] for p in self.places])

    def observed(self, rows: np.ndarray):
        """The observations of these pixels in a buffer."""
        return observations(self.places[rows], self.values[rows], capacity=self.capacity)

    def campaign(self, key: jax.Array, steps: int) -> np.ndarray:
        """Rows of the pixels in the order in which a campaign measured them."""
        place, go = jax.random.split(key)
        rows = list(np.asarray(jax.random.choice(place, len(self.places), (SEEDS,), replace=False)))
        state = self.plan.experiment.init(go, self.observed(np.array(rows)))
        for _ in range(steps):
            state, x = self.plan.experiment.propose(state)
            rows.append(int(np.argmin(np.linalg.norm(self.places - np.asarray(x), axis=1))))
            state = self.plan.experiment.observe(state, x, jnp.asarray(self.values[rows[-1:]]))
        return np.array(rows)

    def map_error(self, key: jax.Array, rows: np.ndarray) -> float:
        """NRMSE over the usable pixels that were not measured."""
        posterior = self.plan.experiment.init(key, self.observed(rows)).posterior
        mean = np.asarray(mean_of(posterior, jnp.asarray(self.places)))
        rest = np.isfinite(self.values)
        rest[rows] = False
        error = mean[rest] - self.values[rest]
        return float(np.sqrt(np.mean(error**2)) / np.std(self.values[rest]))


def band(values: list[float]) -> tuple[float, float, float, float]:
    """Mean, standard error, and 10 and 90 percent points."""
    array = np.array(values)
    low, high = np.quantile(array, [0.1, 0.9])
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(array.size)), float(low), float(high)


def check_map(values: np.ndarray, report: Report) -> None:
    good = np.log10(10.0 ** values[np.isfinite(values)] + FLOOR)
    report.result("usable pixels", good.size, "1", GOOD)
    report.result("mean of L with that floor", good.mean(), "log10(a.u. V)", MEAN)
    report.result("standard deviation of L with that floor", good.std(), "log10(a.u. V)", SD)
    report.result("largest L", good.max(), "log10(a.u. V)", ORACLE)
    agree = good.size == GOOD and np.allclose([good.mean(), good.std(), good.max()], [MEAN, SD, ORACLE], atol=6e-4)
    report.claim("the scalar and the rule for failed pixels agree with independent figures of this map", bool(agree))


def compare(study: Study, keys: int, budget: int, report: Report) -> None:
    """Best value and map error of campaigns and of random points at equal budget, bands over campaign keys."""
    started, counts = time.perf_counter(), sorted({FIRST, budget})
    rows = [study.campaign(jax.random.key(k), budget - SEEDS) for k in range(keys)]
    report.result("time of a campaign", (time.perf_counter() - started) / keys, "s")
    dice = np.random.default_rng(0)
    chance_rows = [dice.choice(len(study.places), budget, replace=False) for _ in range(keys)]
    for n in counts:
        mean, error, low, high = band([float(np.nanmax(study.values[r[:n]])) for r in rows])
        chance, chance_low, chance_high = random_best(study.values, n)
        report.result(f"best L at {n}, campaign", mean, "log10(a.u. V)", chance, 10 ** (mean - chance))
        for name, value in (("10 percent", low), ("90 percent", high), ("standard error", error)):
            report.result(f"best L at {n}, campaign, {name}", value, "log10(a.u. V)")
        for name, value in (("mean", chance), ("10 percent", chance_low), ("90 percent", chance_high)):
            report.result(f"best L at {n}, random, {name} (exact)", value, "log10(a.u. V)")
        report.claim(f"at {n} points the campaign is not below random by more than twice its standard error",
                     mean > chance - 2 * error)  # fmt: skip
        if n == WHOLE:
            report.claim(f"at {n} points the campaign is above random by more than twice its standard error",
                         mean > chance + 2 * error)  # fmt: skip
        map_errors(study, rows, chance_rows, n, report)


def map_errors(study: Study, rows: list, chance_rows: list, n: int, report: Report) -> None:
    for name, sets in (("campaign", rows), ("random", chance_rows)):
        errors = [study.map_error(jax.random.key(1000 + k), r[:n]) for k, r in enumerate(sets)]
        mean, error, low, high = band(errors)
        report.result(f"NRMSE at {n}, {name}", mean, "1", 1.0, mean)
        report.result(f"NRMSE at {n}, {name}, 10 percent", low, "1")
        report.result(f"NRMSE at {n}, {name}, 90 percent", high, "1")
        report.claim(f"no skill is claimed for the map at {n} points ({name}): NRMSE within 0.9 and 1.3",
                     mean + 2 * error > 0.9 and mean - 2 * error < 1.3)  # fmt: skip


def as_a_user(plan: Plan, values: np.ndarray, report: Report) -> None:
    """Once with the command line's own functions: settings, replay, journal, export."""
    asked = plan.settings
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        ended = begin(asked, Path(folder), Console(stderr=True), Stopwatch(), plan)
        seconds = time.perf_counter() - started
        frames = read(Path(folder) / asked.campaign.journal).of("reading")
        exported = (Path(folder) / "campaign.h5").exists()
    points = asked.campaign.seeds + asked.campaign.steps
    told = np.array([float(frame.arrays["y"]) for frame in frames])
    report.result("run with a journal: observations recorded", len(told), "1", points)
    report.result("run with a journal: failed observations", int(np.isnan(told).sum()), "1")
    for n in sorted({FIRST, points}):
        best, chance = float(np.nanmax(told[:n])), random_best(values, n)[0]
        report.result(f"run with a journal: best L at {n}", best, "log10(a.u. V)", chance, 10 ** (best - chance))
    report.result("run with a journal: time", seconds, "s")
    whole = ended.outcome.finished and exported and len(told) == points
    report.claim("the journalled campaign finishes with every observation recorded and an HDF5 file", whole)


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="two campaigns of 40 points, under a minute")
    line.add_argument("--keys", type=int, default=20, help="campaigns (full run)")
    options = line.parse_args()
    path, report = find(options.data), Report()
    keys, budget = (2, FIRST) if options.quick else (options.keys, WHOLE)
    laplace = {"kind": "laplace", "num_samples": 8, "starts": 2, "iterations": 15}
    nuts = {"kind": "nuts", "num_warmup": 100, "num_samples": 100, "thin_to": 32, "rewarm": 30}
    plan = build(parse(settings(path, budget - SEEDS, 0, laplace)))
    study = Study(plan, 64 if options.quick else 128)
    check_map(study.values, report)
    compare(study, keys, budget, report)
    sampled = plan if options.quick else build(parse(settings(path, budget - SEEDS, 0, nuts)))
    as_a_user(sampled, study.values, report)
    report.finish()


if __name__ == "__main__":
    main()
