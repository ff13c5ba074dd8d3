"""Filters, patches, descriptors, registration."""

import jax.numpy as jnp
import numpy as np
from table import EVERYWHERE, FEW, Row, row

from gpax_lab.images import _descriptors, _domains, _features, _frames, _patches, _registration

R, C = np.mgrid[:14, :12]
IMAGE = np.sin(0.7 * R) * np.cos(0.9 * C) + 0.3 * np.sin(0.31 * R * C) + 0.01 * R
DOMAIN = np.tanh(np.hypot(R - 6.6, C - 5.4) - 3.0) + 0.02 * IMAGE
PLACES = np.asarray([[4.2, 5.1], [7.7, 6.3], [1.1, 9.4]])
QUARTERED = np.sin(0.37 * np.add.outer(np.arange(34), 1.3 * np.arange(32))) + np.random.default_rng(8).normal(
    size=(34, 32)
)
STACK = np.random.default_rng(6).normal(size=(5, 6, 6))


def put(name: str, function, first, contexts: tuple[str, ...] = ("jit", "vmap", "grad"), **rest) -> Row:
    return row(f"images.{name}", lambda: (function, (first,)), contexts=contexts, **rest)


def shifted(image):
    return _registration.register(image, jnp.roll(image, 1, axis=0) + 0.01 * image**2, upsample=4, passes=1)


def found(image):
    return _features.peaks(image, 5, 1, 0.0)


def analysed(stack):
    seen = _descriptors.principal(stack, 2)
    scores = _descriptors.scores(seen, stack)
    return scores, _descriptors.scores(seen, stack, whiten=True), _descriptors.restored(seen, scores)


ROWS = [
    put("_features.smooth", lambda z: _features.smooth(z, 1.0), IMAGE, EVERYWHERE, core=("jit",)),
    put("_features.corners", lambda z: _features.corners(z, 1.0), IMAGE),
    put("_features.walls", lambda z: _features.walls(z, 1.0), IMAGE, ("jit", "vmap")),
    put("_features.blobs", lambda z: _features.blobs(z, 1.0), IMAGE),
    put("_features.blob_scale", lambda z: _features.blob_scale(z, (1.0, 1.5)), IMAGE),
    put("_features.peaks", found, IMAGE, FEW, core=("jit",)),
    put("_frames.shift_image", lambda s: _frames.shift_image(jnp.asarray(IMAGE), s), np.asarray([0.4, -1.2])),
    put(
        "_frames.fourier_shift images._frames.shift_spectrum images._frames.waves",
        lambda z: _frames.fourier_shift(z, jnp.asarray([0.4, 1.3])),
        IMAGE,
    ),
    put("_frames.flatten", lambda z: _frames.flatten(z, order=1), IMAGE),
    put("_frames.plane", _frames.plane, IMAGE),
    put("_patches.patches images._patches.around", lambda p: _patches.patches(IMAGE, p, 3), PLACES, EVERYWHERE),
    put("_patches.normalized", _patches.normalized, IMAGE),
    put(
        "_descriptors.principal images._descriptors.scores images._descriptors.restored",
        analysed,
        STACK,
        ("jit", "branch"),
    ),
    put("_descriptors.fourier_magnitude", lambda z: _descriptors.fourier_magnitude(z, radial=True), STACK),
    put("_domains.domain_radius", lambda z: _domains.domain_radius(z, 0.5), DOMAIN, FEW),
    put(
        "_registration.register images._correlation.locate images._correlation.bound images._correlation.ranked "
        "images._correlation.hann",
        shifted,
        IMAGE,
        ("jit", "vmap"),
        tolerance=1e-6,
    ),
    # Quarters are registered in single precision.
    row("images._registration.register", lambda: (shifted, (QUARTERED,)), "quarters", ("jit",), tolerance=2e-5),
]
