"""Images over the latent space, and the latents of every window of an image."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.vae._inference import Encoded, _encode, _one, _unlabelled, decode
from gpax_lab.vae._training import Trained


def manifold(
    trained: Trained,
    count: int = 10,
    axes: tuple[int, int] = (0, 1),
    of_class: int = 0,
    condition: ArrayLike | None = None,
    coverage: float = 0.95,
    over: ArrayLike | None = None,
) -> Float[Array, "count count *output"]:
    """Images (count, count, *output) over two numbers of the content, the first one growing downwards.

    Args:
        trained: a trained model.
        count: images along an axis, at even steps of prior probability.
        axes: which numbers; the others are 0. With one number only, give it twice.
        of_class: class, where the model has classes.
        condition: (conditions,) where the model has any.
        coverage: probability between the outermost images.
        over: (n, latent) contents whose percentiles are taken instead of the prior's; other numbers have their median.

    Returns:
        (count, count, *output) expected values.
    """
    model, _ = _one(trained)
    if not all(0 <= axis < model.latent for axis in axes):
        raise ValueError(f"this model has {model.latent} latent numbers; got axes {axes}.")
    share = jnp.linspace(0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage, count)
    given_z = None if over is None else jnp.asarray(over).reshape(-1, model.latent)
    steps = [norm.ppf(share) if given_z is None else jnp.quantile(given_z[:, axis], share) for axis in axes]
    first, second = jnp.meshgrid(*steps, indexing="ij")
    middle = jnp.zeros(model.latent) if given_z is None else jnp.median(given_z, axis=0)
    z = jnp.broadcast_to(middle[None], (count * count, model.latent))
    z = z.at[:, axes[0]].set(first.ravel()).at[:, axes[1]].set(second.ravel())
    given = None if condition is None else jnp.broadcast_to(jnp.asarray(condition), (len(z), model.conditions))
    return decode(trained, z, of_class, condition=given).reshape(count, count, *model.output)


def traversal(
    trained: Trained, axis: int = 0, count: int = 9, content: ArrayLike | None = None, coverage: float = 0.95
) -> Float[Array, "classes count *output"]:
    """Images (classes or 1, count, *output) along one number of the content, a row for each class.

    Args:
        trained: a trained model.
        axis: which number of the content.
        count: images along it.
        content: (latent,) the other numbers; 0 by default.
        coverage: prior probability between the outermost images.

    Returns:
        (classes or 1, count, *output) expected values.
    """
    model, _ = _one(trained)
    rows = max(model.classes, 1)
    base = jnp.zeros(model.latent) if content is None else jnp.asarray(content)
    if not 0 <= axis < model.latent:
        raise ValueError(f"this model has {model.latent} latent numbers; got axis {axis}.")
    z = jnp.tile(_along(base, axis, count, coverage), (rows, 1))
    images = decode(trained, z, np.repeat(np.arange(rows), count))
    return images.reshape(rows, count, *images.shape[1:])


@partial(jax.jit, static_argnames="count")
def _along(base: Array, axis: int | Array, count: int, coverage: float | Array) -> Array:
    """(count, latent) contents that differ from `base` in one number, at even steps of prior probability."""
    steps = norm.ppf(jnp.linspace(0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage, count))
    return jnp.repeat(base[None], count, axis=0).at[:, axis].set(steps.astype(base.dtype))


def encode_windows(
    trained: Trained, image: ArrayLike, step: int = 1, batch_size: int = 1000
) -> tuple[Float[Array, "rows columns 2"], Encoded]:
    """Every window of an image, encoded, never more than a batch of them in memory.

    Args:
        trained: a model of windows (h, w).
        image: (rows, columns), scaled as the windows were that it was trained on.
        step: pixels between two windows.
        batch_size: windows at a time.

    Returns:
        Centres (rows', columns', 2) in pixels, and what the encoder says, row by row.

    Raises:
        ValueError: an image that is smaller than a window, or a model with conditions.
    """
    model, params = _one(trained)
    if model.conditions:
        raise ValueError(f"this model was trained with {model.conditions} conditions, which windows do not have.")
    pixels = jnp.asarray(image, params["log_sd"].dtype)
    if (
        pixels.ndim != 2
        or len(model.shape) != 2
        or pixels.shape[0] < model.shape[0]
        or pixels.shape[1] < model.shape[1]
    ):
        raise ValueError(f"an image (rows, columns) of at least {model.shape} pixels; got {pixels.shape}.")
    tops = [jnp.arange(0, n - m + 1, step) for n, m in zip(pixels.shape, model.shape, strict=True)]
    corner = jnp.stack(jnp.meshgrid(*tops, indexing="ij"), axis=-1).reshape(-1, 2)

    def encoded(corners: Array) -> Encoded:
        windows = jax.vmap(lambda at: jax.lax.dynamic_slice(pixels, (at[0], at[1]), model.shape))(corners)
        return _encode(model, params, _unlabelled(model, windows, jnp.zeros((len(corners), 0))))

    size, found = min(batch_size, len(corner)), []
    for start in range(0, len(corner), size):
        found.append(encoded(corner[jnp.minimum(jnp.arange(start, start + size), len(corner) - 1)]))
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts)[: len(corner)], *found)
    middle = (np.array(model.shape) - 1) / 2.0
    centres = corner.reshape(len(tops[0]), len(tops[1]), 2) + jnp.asarray(middle)[None, None]
    return centres, whole
