"""Images from a part of their pixels: gridded processes against nearest-neighbour and linear interpolation.

    python benchmarks/reconstruct.py DATA [--quick | --scikit]

Simulated 256 x 256 images with known truth (a smooth field plus a texture of 0.3 of its amplitude, neither drawn from
the model; noise of standard deviation 0.1), of which 10 or 30 percent of the pixels at random or an Archimedean spiral
of 20 turns were read. The error is the root mean square in unmeasured pixels over their standard deviation (1: no
skill), the coverage that of the true value by central intervals. The spiral is judged inside its circle. Times are of
the whole call: of the first image of its kind with everything compiled, and of the next one. A measured spiral in DATA
(by default ../shared/data) is judged by a tenth of its pixels, with their noise in the intervals.

`--scikit` does this alone: the same 1000 pixels of 64 x 64 by scikit-learn's GaussianProcessRegressor, parameters by
maximum likelihood from one start, mean and standard deviation of all pixels; image by image in turn with ours, once
compiled, the whole process on one core (Linux), best of three.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from scipy.interpolate import griddata  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab.inference._reconstruct import reconstruct  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

NOISE_SD = 0.1
LEVELS = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.9600}  # two-sided normal quantiles


def simulated(rng, n):
    """(n, n) truth of unit variance and an image of it."""

    def field(pixels):
        made = gaussian_filter(rng.standard_normal((n, n)), pixels)
        return (made - made.mean()) / made.std()

    truth = field(n / 20) + 0.3 * field(n / 60)
    truth = truth / truth.std()
    return truth, truth + NOISE_SD * rng.standard_normal((n, n))


def spiral(n, turns):
    """(n, n) bool: the pixels under an Archimedean spiral."""
    t = np.sqrt(np.linspace(0.0, 1.0, 40 * n * turns))
    angle, radius = 2 * np.pi * turns * t, 0.5 * (n - 1) * t
    mask = np.zeros((n, n), bool)
    at = [np.round(0.5 * (n - 1) + radius * wave(angle)).astype(int) for wave in (np.cos, np.sin)]
    mask[at[0], at[1]] = True
    return mask


def scan(kind, rng, n):
    """(measured, judged), both (n, n) bool."""
    if kind != "spiral":
        measured = rng.random((n, n)) < kind
        return measured, ~measured
    measured = spiral(n, 20 * n // 256)
    away = np.hypot(*np.meshgrid(*[np.arange(n) - 0.5 * (n - 1)] * 2))
    return measured, ~measured & (away < 0.5 * (n - 1))


def interpolated(image, measured, method):
    """The image by scipy; where linear interpolation knows nothing, the nearest neighbour."""
    places, everywhere = np.argwhere(measured), np.argwhere(np.ones_like(measured))
    filled = griddata(places, image[measured], everywhere, method=method).reshape(image.shape)
    return (
        filled if method == "nearest" else np.where(np.isnan(filled), interpolated(image, measured, "nearest"), filled)
    )


def judge(report, name, image, measured, target, judged, noisy):
    """Reconstruct and report; return error, the better interpolation's error, coverage, outcome and seconds."""
    start = time.perf_counter()
    got = jax.block_until_ready(reconstruct(jax.random.key(0), np.where(measured, image, np.nan)))
    seconds = time.perf_counter() - start

    def error(filled):
        return float(np.sqrt(np.mean((np.asarray(filled) - target)[judged] ** 2)) / target[judged].std())

    ours = error(got.mean)
    others = {method: error(interpolated(image, measured, method)) for method in ("nearest", "linear")}
    for method, value in others.items():
        report.result(f"{name}: error, against {method} interpolation", ours, "of the standard deviation", value)
    std = np.sqrt(np.asarray(got.std) ** 2 + (float(got.noise_std) ** 2 if noisy else 0.0))
    away = np.abs(np.asarray(got.mean) - target)[judged] / std[judged]
    coverage = {level: float(np.mean(away < width)) for level, width in LEVELS.items()}
    for level, value in coverage.items():
        report.result(f"{name}: share of pixels inside the {100 * level:.0f} percent interval", value, "1", level, 1.0)
    report.result(f"{name}: learned noise, standard deviation", float(got.noise_std), "unit of the image")
    report.result(f"{name}: steps of conjugate gradients", int(got.iterations), "steps")
    report.result(f"{name}: worst residual", float(got.residual), "posterior standard deviations")
    report.claim(f"{name}: {got.message}", int(got.status) == 0)
    return ours, min(others.values()), coverage, seconds


def spiral_scan(report, file):
    """A measured spiral (piezoresponse, 128 x 128): a tenth of its pixels is held back."""
    image = np.load(file)
    values, counts = np.unique(image, return_counts=True)
    seen = image != values[counts.argmax()]  # what was not measured holds one constant
    image = (image - image[seen].mean()) / image[seen].std()
    judged = seen & (np.random.default_rng(0).random(image.shape) < 0.1)
    ours, other, _, seconds = judge(report, "measured spiral", image, seen & ~judged, image, judged, noisy=True)
    report.result("measured spiral: whole call", seconds, "s")
    report.claim("measured spiral: better than either interpolation", ours < other)


def regressed(places, readings, everywhere, of_distance):
    """Mean and standard deviation of f by scikit-learn, in the kernel its users write for noisy observations."""
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    kernel = kernels.ConstantKernel(1.0) * of_distance(kernels) + kernels.WhiteKernel(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hyperparameter at its bound
        model = GaussianProcessRegressor(kernel, normalize_y=True).fit(places, readings)
        mean, std = model.predict(everywhere, return_std=True)
    noise = model.kernel_.k2.noise_level * readings.var()
    return mean, np.sqrt(np.maximum(std**2 - noise, 0.0))


def against_scikit(report, n=64, count=1000, repeats=3):
    """The same work on the same pixels, by turns."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kinds = {
        "scikit-learn, RBF": lambda kernels: kernels.RBF([10.0, 10.0]),
        "scikit-learn, Matern 5/2": lambda kernels: kernels.Matern([10.0, 10.0], nu=2.5),
    }
    everywhere = np.argwhere(np.ones((n, n), bool))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth, image = simulated(rng, n)
        measured = np.zeros(n * n, bool)
        measured[rng.choice(n * n, count, replace=False)] = True
        measured = measured.reshape(n, n)
        places = np.argwhere(measured)

        def ours(image=image, measured=measured):
            got = jax.block_until_ready(reconstruct(jax.random.key(0), np.where(measured, image, np.nan)))
            return np.asarray(got.mean), np.asarray(got.std)

        def theirs(of_distance, image=image, measured=measured, places=places):
            return [a.reshape(n, n) for a in regressed(places, image[measured], everywhere, of_distance)]

        ours()  # compiles
        ways = {"reconstruct": ours} | {name: lambda k=kind, f=theirs: f(k) for name, kind in kinds.items()}
        times = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                start = time.perf_counter(), time.process_time()
                mean, std = way()
                times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
                away = np.abs(mean - truth)[~measured]
                found = np.sqrt(np.mean(away**2)) / truth[~measured].std(), np.mean(away < 1.96 * std[~measured])
                if len(times[name]) == repeats:
                    of = f"{count} of {n} x {n} pixels, image {seed}, {name}"
                    report.result(f"{of}: error", found[0], "of the standard deviation")
                    report.result(f"{of}: share of pixels inside the 95 percent interval", found[1], "1", 0.95, 1.0)
        best = {name: np.min(pairs, axis=0) for name, pairs in times.items()}
        for name in kinds:
            for clock, mine, other in zip(("wall", "processor"), best["reconstruct"], best[name], strict=True):
                report.result(f"image {seed}: whole call, {clock} time, against {name}", mine, "s", other)
            report.claim(f"image {seed}: no slower than {name}", best["reconstruct"][1] <= best[name][1])


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--quick", action="store_true", help="64 x 64, one image of two scans")
    parser.add_argument("--scikit", action="store_true", help="against scikit-learn on the same pixels, alone")
    options = parser.parse_args()
    n, repeats, kinds = (64, 1, (0.3, "spiral")) if options.quick else (256, 3, (0.1, 0.3, "spiral"))
    report = Report()
    if options.scikit:
        against_scikit(report)
        report.finish()
    for kind in kinds:
        where = kind if kind == "spiral" else f"{100 * kind:.0f} percent at random"
        runs = []
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            truth, image = simulated(rng, n)
            measured, judged = scan(kind, rng, n)
            name = f"{n} x {n}, {where} ({100 * measured.mean():.0f} percent), image {seed}"
            runs.append(judge(report, name, image, measured, truth, judged, noisy=False))
            report.result(f"{name}: whole call", runs[-1][3], "s")
        name = f"{n} x {n}, {where}"
        report.claim(f"{name}: better than either interpolation", all(ours < other for ours, other, _, _ in runs))
        if not options.quick:
            report.claim(f"{name}: less than a minute a call, once compiled", runs[-1][3] < 60)
        for level in LEVELS:
            mean = float(np.mean([coverage[level] for _, _, coverage, _ in runs]))
            report.result(f"{name}: mean coverage of the {100 * level:.0f} percent interval", mean, "1", level, 1.0)
            if not options.quick:
                report.claim(f"{name}: coverage within 0.08 of {level}", abs(mean - level) < 0.08)
    file = Path(options.data) / "pfm_images" / "spiral_s_00010_2019.npy"
    if file.is_file():
        spiral_scan(report, file)
    else:
        print(f"the measured spiral: skipped, {file} is not here")
    report.finish()


if __name__ == "__main__":
    main()
