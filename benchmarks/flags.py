"""Flags of loops: how many whose numbers are right are accepted, and how many whose numbers are wrong.

    python benchmarks/flags.py [DATA] [--quick]

A number is right if it lies within three of its stated standard deviations of the truth, wrong beyond five. Simulated
loops of eight kinds have a truth: the area of the same loop without noise over the measured sweep, and the bias where
it has switched by half, if that lies within the sweep. Two kinds are not of the fitted form: pinched ones, and ones
whose branches bend beyond the switch. DATA (by default ../shared/data): the measured loops of the BEPS map, as they are
and with spikes repaired; their areas are compared with the sum over the readings, which needs no fit.
"""

import argparse
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from gpax_lab.spectra.fit import OK  # noqa: E402
from gpax_lab.spectra.loop_fit import LoopScalars, loop_fit, loop_scalars, scalars  # noqa: E402
from gpax_lab.spectra.loops import despike, loop_area, loop_function, triangle  # noqa: E402

jax.config.update("jax_enable_x64", True)

RIGHT, WRONG = 3.0, 5.0  # stated standard deviations
BIAS = np.asarray(triangle(8.0, 64))

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


def simulated(kind, count):
    """Noise-free loops (count, 64), noisy ones, and the parameters behind them."""
    dice = np.random.default_rng(list(KINDS).index(kind))
    ranges = USUAL | KINDS[kind]
    draw = {name: dice.uniform(*limits, count) for name, limits in ranges.items()}
    widths = dice.uniform(*ranges["width"], (4, count))
    truth = np.stack([draw["a0"], draw["a1"], draw["up"], draw["down"], draw["a4"], *widths], axis=1)
    loops = jax.jit(jax.vmap(lambda p: loop_function(BIAS, p)))
    clean = np.asarray(loops(truth))
    if kind == "pinched":  # two films, one with an imprint up, one down
        away = dice.uniform(1.0, 3.0, count)
        moved = [truth + s * away[:, None] * np.isin(np.arange(9), (2, 3)) for s in (1, -1)]
        clean = 0.5 * sum(np.asarray(loops(p)) for p in moved)
    if kind == "bent":
        clean = clean + dice.uniform(-0.01, 0.01, count)[:, None] * BIAS**2
    return clean, clean + draw["noise"][:, None] * dice.normal(size=clean.shape), truth


def shares(name, value, std, flag, truth, report, spare=0.0):
    """Report the shares and return (right, right and accepted, wrong, wrong and accepted)."""
    away = np.abs(value - truth) / np.sqrt(std**2 + spare**2)
    good, right, wrong = flag == OK, away <= RIGHT, ~(away <= WRONG)
    report.result(f"{name}: right within {RIGHT:g} stated standard deviations", float(right.mean()), "1")
    report.result(f"{name}: accepted of those that are right", float(good[right].mean()), "1")
    report.result(f"{name}: wrong by more than {WRONG:g}", float(wrong.sum()), "1")
    report.result(f"{name}: accepted though wrong, of all", float((wrong & good).mean()), "1")
    return np.array([right.sum(), (right & good).sum(), wrong.sum(), (wrong & good).sum(), len(away)])


def claims(name, sums, report):
    right, kept, wrong, passed, count = sums
    report.result(f"{name}: accepted of the right ones", kept / right, "1")
    report.result(f"{name}: accepted of the wrong ones", passed / max(wrong, 1), "1")
    report.claim(f"{name}: at least 95 percent of the right ones are accepted", kept >= 0.95 * right)
    report.claim(f"{name}: at most 2 percent of all are wrong and accepted", passed <= 0.02 * count)
    if wrong >= 100:  # fewer tell nothing
        report.claim(f"{name}: at most 5 percent of the wrong ones are accepted", passed <= 0.05 * wrong)


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="fewer loops, and none of the measured ones")
    options = line.parse_args()
    report, count = Report(), 200 if options.quick else 2000
    area, bias = np.zeros(5), np.zeros(5)
    for kind in KINDS:
        clean, noisy, truth = simulated(kind, count)
        fit = loop_fit(BIAS, noisy)
        found = scalars(fit, BIAS)
        value, std, flag = (np.asarray(part) for part in (found.params, found.std, found.flag))
        report.result(f"{kind}: fits without any flag", float(np.mean(np.asarray(fit.flag) == OK)), "1")
        true = np.asarray(loop_area(BIAS, clean))
        area += shares(f"{kind}: area", value[:, 0], std[:, 0], flag[:, 0], true, report)
        if kind != "pinched":  # which has two of each
            half = np.asarray(jax.vmap(lambda p: loop_scalars(p, BIAS))(truth))
            for name in ("coercive_up", "coercive_down"):
                k = LoopScalars._fields.index(name)
                inside = np.abs(half[:, k]) < 8.0
                numbers = (v[inside, k] for v in (value, std, flag, half))
                bias += shares(f"{kind}: {name}", *numbers, report)
    claims("simulated areas", area, report)
    claims("simulated coercive biases", bias, report)
    folder = Path(options.data) / "loops"
    if folder.is_dir() and not options.quick:
        measured(folder, report)
    report.finish()


def measured(folder, report):
    """The BEPS map against the sum over the readings; amplitudes above 1e-3 are failed resonance fits."""
    import h5py

    with h5py.File(folder / "BEPS_PTO_50x50.h5") as file:
        group = file["Channel_000/generic"]
        bias, response = jnp.array(group["Voltage"][()]), jnp.array(group["generic"][()]).reshape(2500, 64)
    weight = 0.5 * np.asarray(jnp.roll(bias, -1) - jnp.roll(bias, 1))
    for name, loops in (("as measured", response), ("spikes repaired", despike(response))):
        fit = loop_fit(bias, loops)
        found = scalars(fit, bias)
        report.result(f"BEPS map, {name}: fits without any flag", float(np.mean(np.asarray(fit.flag) == OK)), "1")
        spare = np.sqrt(np.asarray(fit.chi_square)) * np.linalg.norm(weight)
        numbers = (np.asarray(v)[:, 0] for v in (found.params, found.std, found.flag))
        good = np.asarray(jnp.max(jnp.abs(loops), axis=-1) < 1e-3)
        chosen = [np.asarray(v)[good] for v in (*numbers, loop_area(bias, loops))]
        claims(f"BEPS map, {name}", shares(f"BEPS map, {name}", *chosen, report, spare[good]), report)


if __name__ == "__main__":
    main()
