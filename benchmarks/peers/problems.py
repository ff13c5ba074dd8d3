"""The data that every method gets: the surface of `bo_step.py` for steps and campaigns; an image with holes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from bo_step import candidates
from pools import SEEDS, pool_of
from study import truth

NOISE = 0.05
"""Standard deviation of an observation of the surface, as in `bo_step.objective`."""
IMAGE_NOISE = 0.1
"""Standard deviation of a pixel, for an image of unit variance."""


def surface(x):
    """Noise-free values (n,) at x (n, 2)."""
    return np.asarray(jax.vmap(truth)(jax.numpy.asarray(x)))


def step(readings=50, tests=1000):
    """Observations at random points, held-out observations at others, the candidates."""
    rng = np.random.default_rng(50)
    x, test = rng.random((readings, 2)), rng.random((tests, 2))
    clean = surface(test)
    return {
        "x": x,
        "y": surface(x) + NOISE * rng.standard_normal(readings),
        "candidates": np.asarray(candidates().points),
        "test": test,
        "test_truth": clean,
        "test_y": clean + NOISE * rng.standard_normal(tests),
    }


def campaigns(seeds, steps, start=5):
    """Random seed points with their observations, the truth of every candidate, and the noise of every step to come."""
    points = np.asarray(candidates().points)
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng([7, seed])
        x = rng.random((start, 2))
        clean = surface(x)
        rows.append((x, clean + NOISE * rng.standard_normal(start), clean, NOISE * rng.standard_normal(steps)))
    names = ("start_x", "start_y", "start_truth", "noise")
    found = {name: np.stack([row[i] for row in rows]) for i, name in enumerate(names)}
    return found | {"candidates": points, "truth": surface(points)}


def pool(file, seeds, steps):
    """Campaigns on recorded experiments: random designs to start from, and what was read at every other one."""
    designs, values = pool_of(file)
    start = np.stack([np.random.default_rng([11, seed]).permutation(len(values))[:SEEDS] for seed in range(seeds)])
    return {
        "start": start,
        "start_x": designs[start],
        "start_y": values[start],
        "start_truth": values[start],
        "noise": np.zeros((seeds, steps)),
        "candidates": designs,
        "truth": values,
    }


def image(size, share=0.3):
    """A smooth field with a finer texture, of which a share of the pixels at random was read; the others are NaN."""
    rng = np.random.default_rng(size)

    def field(cycles):
        """A random field with no power above so many cycles an image."""
        wave = np.fft.fftfreq(size) * size
        radius = np.hypot(wave[:, None], wave[None])
        made = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * np.exp(-0.5 * (radius / cycles) ** 2)).real
        return (made - made.mean()) / made.std()

    clean = field(3.0) + 0.3 * field(8.0)
    clean /= clean.std()
    readings = clean + IMAGE_NOISE * rng.standard_normal((size, size))
    holes = rng.random((size, size)) >= share
    return {"image": np.where(holes, np.nan, readings), "image_truth": clean, "image_y": readings}
