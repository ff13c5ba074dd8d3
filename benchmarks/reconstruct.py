"""Images from a part of their pixels: gridded processes against nearest-neighbour and linear interpolation.

    python benchmarks/reconstruct.py DATA [--quick]

Simulated 256 x 256 images with known truth (a smooth field plus a texture of 0.3 of its amplitude, neither drawn from
the model; noise of standard deviation 0.1), of which 10 or 30 percent of the pixels at random or an Archimedean spiral
of 20 turns were read. The error is the root mean square in unmeasured pixels over their standard deviation (1: no
skill), the coverage that of the true value by central intervals. The spiral is judged inside its circle. Times are of
the whole call: of the first image of its kind with everything compiled, and of the next one. A measured spiral in DATA
(by default ../shared/data) is judged by a tenth of its pixels, with their noise in the intervals.
"""

import argparse
import time
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from scipy.interpolate import griddata  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab.infer.reconstruct import reconstruct  # noqa: E402

gpax_lab.setup(cache=False, tell=False)

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
    report.claim(f"{name}: {got.message}", int(got.outcome) == 0)
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


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--quick", action="store_true", help="64 x 64, one image of two scans")
    options = parser.parse_args()
    n, repeats, kinds = (64, 1, (0.3, "spiral")) if options.quick else (256, 3, (0.1, 0.3, "spiral"))
    report = Report()
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
