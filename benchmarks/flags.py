"""Flags of loops: how many whose numbers are right are accepted, and how many whose numbers are wrong.

    python benchmarks/flags.py [DATA] [--quick]

A number is right if it lies within three of its stated standard deviations of the truth, wrong beyond five. The truth
never comes from the fit that is judged:

- Simulated loops of eight kinds: the area of the same loop without noise over the measured sweep, the response of its
  branches at zero bias, and the bias where it has switched by half, if that lies within the sweep. Two kinds are not of
  the fitted form: pinched ones, and ones whose branches bend beyond the switch. Three draws, none of which was used to
  choose a limit.
- Measured shapes (DATA, by default ../shared/data): loops of the BEPS map, smoothed by their first 8 principal
  components, are the truth, and what these leave is the size of the noise that is added.
- Measured loops: every second reading is fitted, and the area compared with the sum over the others (spikes
  repaired), of loops as measured and with spikes repaired. The two sweeps differ by a step, which the reference counts
  as an error.

Shares of counts are given with 95 percent intervals (Clopper, Pearson), and claims hold at their unfavourable end; with
`--quick`, whose counts are too small for that, at the favourable one: they are not refuted.
"""

import argparse
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from scipy.stats import binomtest  # noqa: E402

from gpax_lab.core import Status  # noqa: E402
from gpax_lab.spectra import Scalarizer  # noqa: E402
from gpax_lab.spectra.loops import (  # noqa: E402  # noqa: E402
    LoopScalars,
    despike,
    loop_area,
    loop_fit,
    loop_function,
    loop_scalars,
    scalars_of_fit,
    triangle,
)

jax.config.update("jax_enable_x64", True)

RIGHT, WRONG = 3.0, 5.0  # stated standard deviations
NORMAL = 0.0027  # of normal numbers beyond three
DRAWS = 101, 102, 103
BIAS = np.asarray(triangle(8.0, 64))
NAMES = "area", "coercive_up", "coercive_down", "imprint", "remanence_up", "remanence_down", "switchable"

# Low and high of a0, a1, a2, a3, a4, the widths, and the noise, for height 2 and biases up to 8 V.
USUAL = {"a0": (-1.2, -0.8), "a1": (1.8, 2.2), "up": (1.5, 3.0), "down": (-3.0, -1.5), "a4": (0.0, 0.03)}
USUAL |= {"width": (0.5, 1.2), "noise": (0.02, 0.1)}
KINDS = {
    "usual": {},
    "sharp": {"width": (0.01, 0.1)},
    "slanted": {"width": (2.0, 5.0), "a4": (-0.2, 0.3)},
    "wide": {"up": (6.0, 9.0), "down": (-9.0, -6.0)},
    "noisy": {"noise": (0.3, 1.0)},
    "shifted": {"up": (4.0, 8.5), "down": (1.0, 3.5)},
    "pinched": {},
    "bent": {"width": (0.5, 2.0)},
}


def simulated(kind, count, draw):
    """Noise-free loops (count, 64), noisy ones, and the parameters behind them."""
    dice = np.random.default_rng([list(KINDS).index(kind), draw])
    ranges = USUAL | KINDS[kind]
    drawn = {name: dice.uniform(*limits, count) for name, limits in ranges.items()}
    widths = dice.uniform(*ranges["width"], (4, count))
    truth = np.stack([drawn["a0"], drawn["a1"], drawn["up"], drawn["down"], drawn["a4"], *widths], axis=1)
    loops = jax.jit(jax.vmap(lambda p: loop_function(BIAS, p)))
    clean = np.asarray(loops(truth))
    if kind == "pinched":  # two films, one with an imprint up, one down
        away = dice.uniform(1.0, 3.0, count)
        moved = [truth + s * away[:, None] * np.isin(np.arange(9), (2, 3)) for s in (1, -1)]
        clean = 0.5 * sum(np.asarray(loops(p)) for p in moved)
    if kind == "bent":
        clean = clean + dice.uniform(-0.01, 0.01, count)[:, None] * BIAS**2
    return clean, clean + drawn["noise"][:, None] * dice.normal(size=clean.shape), truth


def interval(k, n):
    """95 percent interval of a share, k of n."""
    return binomtest(int(k), int(n)).proportion_ci(method="exact") if n else (0.0, 1.0)


def counted(value, std, flag, truth, spare=0.0):
    """Right, right and accepted, wrong, wrong and accepted, all, accepted, accepted beyond three deviations."""
    away = np.abs(value - truth) / np.sqrt(std**2 + spare**2)
    good, right, wrong = flag == Status.OK, away <= RIGHT, ~(away <= WRONG)
    parts = right, right & good, wrong, wrong & good
    return np.array([*(v.sum() for v in parts), away.size, good.sum(), (good & ~right).sum()])


def told(name, sums, report):
    """Report the shares of `counted` numbers."""
    right, kept, wrong, passed, count, good, beyond = sums
    report.result(f"{name}: right", right / count, "1")
    report.result(f"{name}: accepted of the right ones", kept / max(right, 1), "1")
    report.result(f"{name}: wrong", float(wrong), "1")
    report.result(f"{name}: accepted though wrong", float(passed), "1")
    report.result(f"{name}: beyond {RIGHT:g} of their errors, of the accepted", beyond / max(good, 1), "1")


def claims(name, sums, report, quick=False):
    """At least 95 percent of the right ones accepted, at most 2 of the wrong ones, and errors that are true."""
    told(name, sums, report)
    right, kept, wrong, passed, _, good, beyond = sums
    report.claim(f"{name}: at least 95 percent of the right ones are accepted", interval(kept, right)[quick] >= 0.95)
    low, high = interval(passed, wrong)
    report.result(f"{name}: accepted of the wrong ones, low", low, "1")
    report.result(f"{name}: accepted of the wrong ones, high", high, "1")
    if wrong >= 200:  # of fewer, 2 percent cannot be told from none
        report.claim(f"{name}: at most 2 percent of the wrong ones are accepted", (low if quick else high) <= 0.02)
    report.claim(
        f"{name}: accepted ones are beyond three errors no more often than normal numbers, or by less than one "
        "in a hundred",
        interval(beyond, good)[0] <= NORMAL or interval(beyond, good)[not quick] <= 0.01,
    )


def truths(kind, clean, truth):
    """(count, 7) of NAMES, NaN where there is none."""
    found = np.asarray(jax.vmap(lambda p: loop_scalars(p, BIAS))(truth))
    found = np.stack([found[:, LoopScalars._fields.index(name)] for name in NAMES], axis=1)
    found[:, 0] = loop_area(BIAS, clean)
    beyond = np.abs(found[:, 1:3]) >= 8.0
    found[:, 1:3][beyond] = np.nan
    found[beyond.any(axis=1), 3] = np.nan
    if kind == "pinched":  # which has two of each
        found[:, 1:] = np.nan
    return found


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="fewer loops, and none of the measured ones")
    options = line.parse_args()
    report, count = Report(), 200 if options.quick else 2000
    sums = {name: np.zeros(7) for name in NAMES}
    for kind in KINDS:
        here = {name: np.zeros(7) for name in NAMES}
        pulls, unflagged = [], []
        for draw in DRAWS:
            clean, noisy, params = simulated(kind, count, draw)
            fit = loop_fit(BIAS, noisy)
            found, truth = scalars_of_fit(fit, BIAS), truths(kind, clean, params)
            unflagged.append(np.mean(np.asarray(fit.status) == Status.OK))
            for k, name in enumerate(NAMES):
                known = np.isfinite(truth[:, k])
                place = LoopScalars._fields.index(name)
                numbers = [np.asarray(v)[known, place] for v in (found.params, found.std, found.status)]
                here[name] += counted(*numbers, truth[known, k])
                pulls += [(numbers[0] - truth[known, 0]) / numbers[1]] if name == "area" else []
        report.result(f"{kind}: fits without any flag", float(np.mean(unflagged)), "1")
        spread = float(np.std(np.concatenate(pulls)))
        report.result(f"{kind}: scatter of areas over their errors", spread, "1")
        if kind == "usual":  # a standard deviation of n normal numbers is known to 1 / sqrt(2 n)
            report.claim("usual: errors of areas are true", abs(spread - 1.0) < 4 / np.sqrt(6 * count) + 0.05)
        for name in NAMES:
            sums[name] += here[name]
            if here[name][4]:
                told(f"{kind}: {name}", here[name], report)
    for name in NAMES:
        told(f"simulated: {name}", sums[name], report)
    claims("simulated: areas", sums["area"], report, options.quick)
    claims("simulated: coercive biases", sums["coercive_up"] + sums["coercive_down"], report, options.quick)
    claims("simulated: imprints", sums["imprint"], report, options.quick)
    claims("simulated: responses at zero bias", sums["remanence_up"] + sums["remanence_down"], report, options.quick)
    alike(200 if options.quick else 1000, report, options.quick)
    nothing(count, report, options.quick)
    folder = Path(options.data) / "loops"
    if folder.is_dir() and not options.quick:
        measured(folder, report)
    report.finish()


def alike(count, report, quick):
    """A scalarizer of the same quantity accepts the same loops, and says the same."""
    for name in ("area", "coercive_up", "imprint"):
        k = LoopScalars._fields.index(name)
        scalar = Scalarizer.of_fit(lambda y: loop_fit(BIAS, y), lambda p, k=k: loop_scalars(p, BIAS)[k], ("response",))
        differ = 0
        for kind in KINDS:
            noisy = simulated(kind, count, 104)[1]
            found = scalars_of_fit(loop_fit(BIAS, noisy), BIAS)
            value, variance = (np.asarray(v) for v in jax.vmap(scalar.function)(noisy)[:2])
            good = np.asarray(found.status)[:, k] == Status.OK
            numbers = (value, found.params[:, k], 1e-3), (variance, found.std[:, k] ** 2, 1e-2)
            same = np.all([np.isclose(one, other, rtol=close) for one, other, close in numbers], axis=0)
            differ += int(np.sum((np.isfinite(value) != good) | (good & ~same)))
        share = differ / (count * len(KINDS))
        report.result(f"{name}: loops of which a scalarizer says something else", share, "1")
        # What parts them is the last step of a fit in another batch, so that the count itself is claimed.
        bound = interval(differ, count * len(KINDS))[0] if quick else share
        report.claim(f"{name}: a scalarizer and `scalars_of_fit` agree on 999 of 1000 loops", bound <= 1e-3)


def nothing(count, report, quick):
    """Straight lines in noise switch nowhere, and their area is none within its error."""
    dice = np.random.default_rng(105)
    tilt = dice.uniform(-0.3, 0.3, (count, 1))
    found = scalars_of_fit(loop_fit(BIAS, tilt * BIAS + dice.normal(size=(count, 64))), BIAS)
    flag, names = np.asarray(found.status), LoopScalars._fields
    for name in ("coercive_up", "coercive_down", "imprint", "nucleation_up", "nucleation_down"):
        k = int(np.sum(flag[:, names.index(name)] == Status.OK))
        report.result(f"lines in noise: {name} accepted", k / count, "1")
        report.claim(f"lines in noise: at most 2 percent have a {name}", interval(k, count)[not quick] <= 0.02)
    sums = counted(*(np.asarray(v)[:, 0] for v in (found.params, found.std, found.status)), 0.0)
    told("lines in noise: area", sums, report)


def measured(folder, report):
    """The BEPS map; amplitudes above 1e-3 are failed resonance fits."""
    import h5py

    with h5py.File(folder / "BEPS_PTO_50x50.h5") as file:
        group = file["Channel_000/generic"]
        bias, response = np.array(group["Voltage"][()]), np.array(group["generic"][()]).reshape(2500, 64)
    good = np.max(np.abs(response), axis=-1) < 1e-3
    repaired = np.asarray(despike(response))
    shapes(bias, repaired[good], report)
    even, odd = np.arange(0, 64, 2), np.arange(1, 64, 2)
    reference = np.asarray(loop_area(bias[odd], repaired[good][:, odd]))
    weight = 0.5 * (np.roll(bias[odd], -1) - np.roll(bias[odd], 1))
    # The noise of the observations, and a switch that lies anywhere within a step, on two branches.
    left = (repaired - np.asarray(jax.vmap(lambda p: loop_function(bias, p))(loop_fit(bias, repaired).params)))[good]
    height = np.quantile(repaired[good], 0.9, axis=1) - np.quantile(repaired[good], 0.1, axis=1)
    step = np.abs(np.diff(bias[odd])).mean()
    spare = np.sqrt(np.var(left, axis=1) * (weight @ weight) + 2.0 * (height * step) ** 2 / 12.0)
    for name, loops in (("as measured", response[good]), ("spikes repaired", repaired[good])):
        found = scalars_of_fit(loop_fit(bias[even], loops[:, even]), bias[even])
        numbers = (np.asarray(v)[:, 0] for v in (found.params, found.std, found.status))
        claims(f"BEPS map, {name}, every second reading", counted(*numbers, reference, spare), report)


def shapes(bias, loops, report):
    """Loops of measured shape whose truth is known, in noise of measured size and in three times as much."""
    mean = loops.mean(axis=0)
    left, size, right = np.linalg.svd(loops - mean, full_matrices=False)
    clean = mean + (left[:, :8] * size[:8]) @ right[:8]
    noise = np.std(loops - clean, axis=1, keepdims=True)
    truth = np.asarray(loop_area(bias, clean))
    for times in (1.0, 3.0):
        sums = np.zeros(7)
        for draw in range(4):
            dice = np.random.default_rng([106, draw])
            found = scalars_of_fit(loop_fit(bias, clean + times * noise * dice.normal(size=clean.shape)), bias)
            sums += counted(*(np.asarray(v)[:, 0] for v in (found.params, found.std, found.status)), truth)
        claims(f"measured shapes, noise x {times:g}: area", sums, report)


if __name__ == "__main__":
    main()
