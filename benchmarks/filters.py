"""Image filters on 256 x 256 pixels: ours, scikit-image's and scipy's, side by side on one core.

    python benchmarks/filters.py [--quick]

Each of our filters is called as users call it, compiled before, blocked until ready; the time to compile is told apart.
Peers are called as users call them, with the settings that make both the same function where there is such a setting.
Calls take turns, and the best of each is reported: other work on the machine can only add to it. The whole process is
pinned to one core (Linux), so that neither side has more threads than the other. Without scikit-image its rows are left
out.

What must be equal is checked in the same run: smoothing and the highest within a window against scipy to rounding;
derivatives, whose cut kernels we put right, and the maps made of them against the same kernels in scipy. Registration
is not claimed to be as fast as its peer: beyond the shift it looks for a second peak and states an error and a flag.
"""

import argparse
import os
import time

from results import Report, pin_threads

pin_threads()
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

from gpax_lab import images  # noqa: E402

try:
    from skimage import feature as peer
    from skimage.registration import phase_cross_correlation
except ImportError:
    peer = None

jax.config.update("jax_enable_x64", True)

SIZE, SIGMA = 256, 2.0


def numpy_smooth(image, sigma, order=(0, 0)):
    """Our definition of `smooth`, tap by tap."""
    t = np.arange(-np.ceil(4 * sigma), np.ceil(4 * sigma) + 1)
    g = np.exp(-(t**2) / (2 * sigma**2))
    g /= g.sum()
    bent = (t**2 - np.sum(t**2 * g)) * g
    kernels = g, t * g / np.sum(t**2 * g), 2 * bent / np.sum(t**2 * bent)
    for axis, which in enumerate(order):
        image = ndimage.correlate1d(image, kernels[which], axis, mode="reflect")
    return image


def numpy_corners(image, sigma, scale):
    """The smaller eigenvalue of the structure tensor."""
    down, right = numpy_smooth(image, scale, (1, 0)), numpy_smooth(image, scale, (0, 1))
    rr, cc, rc = (numpy_smooth(a, sigma) for a in (down**2, right**2, down * right))
    return 0.5 * (rr + cc) - np.sqrt(0.25 * (rr - cc) ** 2 + rc**2)


def numpy_steepness(image, sigma):
    """Length of the gradient."""
    return np.hypot(numpy_smooth(image, sigma, (1, 0)), numpy_smooth(image, sigma, (0, 1)))


def numpy_peaks(image, distance):
    """Heights of local maxima above 0, highest first."""
    high = ndimage.maximum_filter(image, 2 * distance + 1, mode="constant", cval=-np.inf)
    peak = (image >= high) & (image > 0)
    peak[[0, -1]] = peak[:, [0, -1]] = False
    return np.sort(image[peak])[::-1]


def once(function):
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    value = jax.block_until_ready(function())
    return time.perf_counter() - start, value


def race(ours, theirs, repeats):
    """Seconds of our first call, and the best of both afterwards, taking turns."""
    first, value = once(ours)
    if theirs is not None:
        once(theirs)
    best = [np.inf, np.inf]
    for _ in range(repeats):
        best[0] = min(best[0], once(ours)[0])
        if theirs is not None:
            best[1] = min(best[1], once(theirs)[0])
    return first, best[0], best[1] if theirs is not None else None, value


def cases(image):
    """Name, our call, the peer and its call, and what our result must be."""
    given = jnp.asarray(image)
    moved = np.roll(image, (3, -5), (0, 1))
    response = numpy_corners(image, SIGMA, 1.0)
    given_response = jnp.asarray(response)
    few = SIZE * SIZE // 32  # about a quarter more than the noise has peaks

    def heights(found):
        return np.asarray(found.heights)[np.asarray(found.found)]

    yield (
        "smooth",
        lambda: images.smooth(given, SIGMA),
        ("scipy gaussian_filter", lambda: ndimage.gaussian_filter(image, SIGMA)),
        lambda z: (z, ndimage.gaussian_filter(image, SIGMA)),
    )
    yield (
        "smooth, sigma 10",
        lambda: images.smooth(given, 10.0),
        ("scipy gaussian_filter", lambda: ndimage.gaussian_filter(image, 10.0)),
        lambda z: (z, ndimage.gaussian_filter(image, 10.0)),
    )
    yield (
        "a second derivative",
        lambda: images.smooth(given, SIGMA, (2, 0)),
        ("scipy gaussian_filter", lambda: ndimage.gaussian_filter(image, SIGMA, (2, 0))),
        lambda z: (z, numpy_smooth(image, SIGMA, (2, 0))),
    )
    yield (
        "blobs",
        lambda: images.blobs(given, SIGMA),
        ("scipy gaussian_laplace", lambda: ndimage.gaussian_laplace(image, SIGMA)),
        lambda z: (z, -(SIGMA**2) * (numpy_smooth(image, SIGMA, (2, 0)) + numpy_smooth(image, SIGMA, (0, 2)))),
    )
    yield (
        "walls",
        lambda: images.walls(given, SIGMA),
        (
            "six scipy gaussian_filter",
            lambda: [ndimage.gaussian_filter(image, SIGMA, o) for o in np.ndindex(3, 3) if sum(o) < 3],
        ),
        lambda z: (z.steepness, numpy_steepness(image, SIGMA)),
    )
    yield (
        "corners",
        lambda: images.corners(given),
        ("scikit-image corner_shi_tomasi", peer and (lambda: peer.corner_shi_tomasi(image, SIGMA))),
        lambda z: (z, response),
    )
    yield (
        "corners and 64 of their peaks",
        lambda: images.peaks(images.corners(given), 64, 5),
        (
            "scikit-image corner_shi_tomasi, peak_local_max",
            peer and (lambda: peer.peak_local_max(peer.corner_shi_tomasi(image, SIGMA), 5, num_peaks=64)),
        ),
        lambda z: (heights(z), numpy_peaks(response, 5)[:64]),
    )
    for distance in (1, 5, 25):
        yield (
            f"peaks, distance {distance}",
            lambda distance=distance: images.peaks(given_response, few, distance),
            (
                "scikit-image peak_local_max",
                peer and (lambda distance=distance: peer.peak_local_max(response, distance, threshold_abs=0.0)),
            ),
            lambda z, distance=distance: (heights(z), numpy_peaks(response, distance)),
        )
    yield (
        "a shift of the image by parts of a pixel",
        lambda: images.shift_image(given, np.array([0.4, -1.3])),
        ("scipy fourier_shift", lambda: np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), (0.4, -1.3))).real),
        None,
    )
    yield (
        "registration, one look",
        lambda: images.register(given, moved, window=False, whiten=1.0).shift,
        (
            "scikit-image phase_cross_correlation",
            peer and (lambda: phase_cross_correlation(image, moved, upsample_factor=20)),
        ),
        lambda z: (z, np.array([-3.0, 5.0])),
    )
    places = np.random.default_rng(1).uniform(20, SIZE - 20, (500, 2))
    offset = np.stack(np.meshgrid(*2 * [np.arange(16) - 7.5], indexing="ij"))
    grid = np.moveaxis(places[:, :, None, None] + offset[None], 1, 0)
    yield (
        "500 patches of 16 x 16",
        lambda: images.patches(image, places, 16),
        ("scipy map_coordinates", lambda: ndimage.map_coordinates(image, grid, order=1, mode="mirror")),
        lambda z: (z, ndimage.map_coordinates(image, grid, order=1, mode="mirror")),
    )


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="float64 alone, 5 calls of each")
    quick = parser.parse_args().quick
    report, slower = Report(), []
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SIZE, SIZE)), 1.0)
    for dtype in (np.float64,) if quick else (np.float64, np.float32):
        bound = 1e-10 if dtype == np.float64 else 1e-4
        for name, ours, (whose, theirs), equal in cases(noise.astype(dtype)):
            title = f"{name}, {dtype.__name__}"
            first, took, reference, value = race(ours, theirs, 5 if quick else 50)
            report.result(f"{title}: first call, with compiling", first, "s")
            report.result(f"{title}, against {whose}", 1e3 * took, "ms", None if theirs is None else 1e3 * reference)
            if theirs is not None and took > reference and not name.startswith("registration"):
                slower.append(title)
            if equal is not None:
                mine, other = (np.asarray(a, float) for a in equal(value))
                same = mine.shape == other.shape
                error = float(np.max(np.abs(mine - other)) / np.max(np.abs(other))) if same else float("inf")
                report.result(f"{title}: largest relative difference from numpy and scipy", min(error, 1e300), "1")
                report.claim(f"{title} is what numpy and scipy say to {bound:g}; differs by {error:.1e}", error < bound)
    if not quick:  # a few calls measure what else the machine does
        report.claim(f"no filter takes longer than its peer; not: {slower}", not slower)
    report.finish()


if __name__ == "__main__":
    main()
