"""What a trained model is used for: latents with their uncertainty, images from latents, anomalies."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import check_key, traced
from gpax_lab.core._poses import Pose
from gpax_lab.core._types import ArrayLike, Float, Int
from gpax_lab.vae._elbo import encoder_output, importance_elbo, split
from gpax_lab.vae._examples import Examples, examples
from gpax_lab.vae._model import VAE, Latents, Params
from gpax_lab.vae._parts import Angle, GaussianRotation, Scale, Shift
from gpax_lab.vae._training import Trained


class Encoded(NamedTuple):
    """What the encoder says of n examples; where classes are unknown, given the most probable one.

    Attributes:
        content: (n, latent) posterior mean.
        content_sd: (n, latent).
        pose: means, given the most probable rotated view: angle in rad, shift in half widths, scale.
        pose_sd: their standard deviations (of the logarithm, for the scale).
        classes: (n, classes) probabilities; 0 columns without classes.
        properties: (n, properties) mean.
        properties_sd: (n, properties).
    """

    content: Float[Array, "n latent"]
    content_sd: Float[Array, "n latent"]
    pose: Pose
    pose_sd: Pose
    classes: Float[Array, "n classes"]
    properties: Float[Array, "n properties"]
    properties_sd: Float[Array, "n properties"]

    @property
    def label(self) -> Int[Array, " n"]:
        """(n,) most probable class."""
        return jnp.argmax(self.classes, axis=1)


def encode(
    trained: Trained,
    x: ArrayLike | Examples,
    condition: ArrayLike | None = None,
    batch_size: int = 1000,
) -> Encoded:
    """What the encoder says of images or spectra.

    Args:
        trained: a trained model (one member: `Trained.best`).
        x: (n, *shape), or examples, whose known labels and properties are taken as known.
        condition: (n, conditions), where the model has any.
        batch_size: examples at a time.

    Returns:
        An `Encoded`.

    Raises:
        ValueError: shapes that do not fit, or several members.
    """
    model, params = _one(trained)
    data = _given(model, x, condition)
    return Encoded(*_batched(partial(_encode, model, params), data, batch_size))


def _one(trained: Trained) -> tuple[VAE, Params]:
    if trained.members is not None:
        raise ValueError("these are several models: take one by `.best()` or `.member(k)`.")
    return trained.model, trained.params


def _given(model: VAE, x: ArrayLike | Examples, condition: ArrayLike | None) -> Examples:
    """Examples that the encoder can take."""
    data = x if isinstance(x, Examples) else _unlabelled(model, x, condition)
    have = data.condition.shape[1], data.properties.shape[1]
    if data.x.shape[1:] != model.shape or have != (model.conditions, model.properties):
        raise ValueError(
            f"this model sees {model.shape}, {model.conditions} conditions and {model.properties} properties; "
            f"got {data.x.shape[1:]}, {have[0]} and {have[1]}."
        )
    top = -1 if traced(data.label) else int(jnp.max(data.label))
    if top >= 0 and top >= model.classes:
        raise ValueError(f"labels go up to {top}, this model has {model.classes} classes.")
    return data


def _unlabelled(model: VAE, x: ArrayLike, condition: ArrayLike | None) -> Examples:
    inputs = jnp.asarray(x)
    blank = np.full((inputs.shape[0], model.properties), np.nan)
    return examples(inputs, condition=condition, properties=blank)


def _batched(function: Callable, data: Examples, batch: int):
    """In batches of one size, so that it is compiled once; the last one is filled up and cut."""
    count = len(data)
    size = min(batch, count)
    found = []
    for start in range(0, count, size):
        index = jnp.minimum(jnp.arange(start, start + size), count - 1)
        found.append(function(data.take(index)))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *found)


@partial(jax.jit, static_argnames="model")
def _encode(model: VAE, params: Params, data: Examples) -> Encoded:
    encoded = encoder_output(model, params, data.x, data.condition)
    count = data.x.shape[0]
    classes = jnp.exp(encoded.log_class) if model.classes else jnp.zeros((count, 0), data.x.dtype)
    best, label = classes, jnp.zeros(count, jnp.int32)
    if model.classes:
        eye = jnp.eye(model.classes, dtype=data.x.dtype)
        classes = jnp.where(data.label[:, None] >= 0, eye[jnp.maximum(data.label, 0)], classes)
        label = jnp.argmax(classes, axis=1)
        best = eye[label]
    row = jnp.arange(count)
    view = jnp.argmax(encoded.log_branch[row, :, label], axis=1)
    known = ~jnp.isnan(data.properties)
    properties = jnp.where(known, data.properties, encoded.property_mean)
    properties_sd = jnp.where(known, 0.0, encoded.property_sd)
    parts = split(model, params, encoded.features[row, view], jnp.concatenate([best, properties], axis=-1))
    z = jnp.concatenate([mean for mean, _ in parts], axis=-1)
    pose = model.latents(z, best, data.condition, properties, view).pose
    widths: dict[str, Array] = {}
    for part, (_, sd) in zip(model.parts, parts, strict=True):
        match part:
            case Shift():
                widths["shift"] = part.sd * sd
            case Scale():
                widths["scale"] = part.sd * sd[:, 0]
            case GaussianRotation():
                widths["angle"] = part.sd * sd[:, 0]
            case Angle():
                widths["angle"] = sd[:, 0]
    return Encoded(parts[0][0], parts[0][1], pose, Pose(**widths), classes, properties, properties_sd)


def decode(
    trained: Trained,
    content: ArrayLike,
    classes: ArrayLike | None = None,
    pose: Pose | None = None,
    condition: ArrayLike | None = None,
    properties: ArrayLike | None = None,
) -> Float[Array, " n *output"]:
    """Expected images (n, *output) for latents.

    Args:
        trained: a trained model.
        content: (n, latent).
        classes: (n,) integers or (n, classes) weights; class 0 by default.
        pose: whatever is left out lies as the object itself: angle 0, no shift, scale 1.
        condition: (n, conditions), needed where the model has any.
        properties: (n, properties); 0 by default.

    Returns:
        (n, *output) expected values.

    Raises:
        ValueError: shapes that do not fit, a class that the model does not have, or a condition that is missing.
    """
    model, params = _one(trained)
    z = jnp.atleast_2d(jnp.asarray(content, params["log_sd"].dtype))
    if z.shape[1] != model.latent:
        raise ValueError(f"content is (n, {model.latent}); got {z.shape}.")
    count = len(z)
    if model.conditions and condition is None:
        raise ValueError(f"this model was trained with {model.conditions} conditions: say for which to decode.")
    return _decode(
        model,
        params,
        Latents(
            z,
            _full_pose(model, pose or Pose(), count, z.dtype),
            _weights_of(model, classes, count, z.dtype),
            _table(condition, count, model.conditions, z.dtype),
            _table(properties, count, model.properties, z.dtype),
        ),
    )


def _weights_of(model: VAE, classes: ArrayLike | None, count: int, dtype: jnp.dtype) -> Array:
    given = np.zeros(count, np.int32) if classes is None else classes
    if np.ndim(given) < 2 and model.classes:
        eye = np.eye(model.classes, dtype=dtype)
        if traced(given):
            given = jnp.asarray(eye)[jnp.broadcast_to(jnp.asarray(given), (count,))]
        else:
            given = eye[_numbered(given, count, model.classes)]
    return _table(given if model.classes else None, count, model.classes, dtype)


def _numbered(classes: ArrayLike, count: int, known: int) -> np.ndarray:
    numbers = np.broadcast_to(np.asarray(classes), (count,))
    if ((numbers < 0) | (numbers >= known)).any():
        raise ValueError(f"classes are numbered 0 to {known - 1}; got {np.unique(numbers).tolist()}.")
    return numbers


def _table(values: ArrayLike | None, count: int, columns: int, dtype: jnp.dtype) -> Array:
    if values is None:
        return jnp.asarray(np.zeros((count, columns), dtype))
    table = values if traced(values) else np.asarray(values)
    table = jnp.asarray(table, dtype)
    table = table.reshape(count, -1) if table.shape[:1] == (count,) else jnp.broadcast_to(table, (count, columns))
    if table.shape != (count, columns):
        raise ValueError(f"expected ({count}, {columns}) numbers; got {table.shape}.")
    return table


def _full_pose(model: VAE, pose: Pose, count: int, dtype: jnp.dtype) -> Pose:
    names = {part.name for part in model.invariances}
    for name, have in (("rotation", pose.angle), ("translation", pose.shift), ("scaling", pose.scale)):
        if have is not None and name not in names:
            raise ValueError(f"this model knows no {name}; it knows {sorted(names) or 'no pose'}.")
    axes = len(model.output)
    angle = jnp.broadcast_to(jnp.asarray(0.0 if pose.angle is None else pose.angle, dtype), (count,))
    shift = jnp.broadcast_to(jnp.asarray(0.0 if pose.shift is None else pose.shift, dtype), (count, axes))
    scale = jnp.broadcast_to(jnp.asarray(1.0 if pose.scale is None else pose.scale, dtype), (count,))
    return Pose(
        angle if "rotation" in names else None,
        shift if "translation" in names else None,
        scale if "scaling" in names else None,
    )


@partial(jax.jit, static_argnames="model")
def _decode(model: VAE, params: Params, of: Latents) -> Array:
    return model.likelihood.mean(model.decode(params, of))


def reconstruct(
    trained: Trained, x: ArrayLike | Examples, condition: ArrayLike | None = None
) -> Float[Array, " n *output"]:
    """(n, *output) the images that the posterior means stand for; with another domain, the translation into it.

    Args:
        trained: a trained model.
        x: (n, *shape), or examples.
        condition: (n, conditions), where the model has any.

    Returns:
        (n, *output) expected values.
    """
    found = encode(trained, x, condition)
    given = x.condition if isinstance(x, Examples) else condition
    classes = found.label if trained.model.classes else None
    return decode(trained, found.content, classes, found.pose, given, found.properties)


def predict(
    trained: Trained, key: Array, x: ArrayLike | Examples, condition: ArrayLike | None = None, num_samples: int = 64
) -> tuple[Float[Array, " n *output"], Float[Array, " n *output"]]:
    """Mean and variance (n, *output) of the decoder's images over draws of the latents.

    With `output` in another domain this is a variational encoder-decoder, image to spectrum or back. The variance holds
    what the latents leave open and, with a Gaussian likelihood, the noise.

    Args:
        trained: a trained model.
        key: random key.
        x: (n, *shape), or examples.
        condition: (n, conditions), where the model has any.
        num_samples: draws of the latents.

    Returns:
        Mean and variance, (n, *output) each.
    """
    check_key(key, "predict(trained, key, x)")
    model, params = _one(trained)
    data = _given(model, x, condition)
    return _predict(model, params, key, data, num_samples)


@partial(jax.jit, static_argnames=("model", "draws"))
def _predict(model: VAE, params: Params, key: Array, data: Examples, draws: int) -> tuple[Array, Array]:
    encoded = encoder_output(model, params, data.x, data.condition)
    count = data.x.shape[0]

    def one(sums: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        key_class, key_property, key_z = jax.random.split(key, 3)
        branch = jax.random.categorical(key_class, encoded.log_branch.reshape(count, -1))
        view, label = jnp.divmod(branch, encoded.log_branch.shape[2])
        classes = jax.nn.one_hot(label, model.classes, dtype=data.x.dtype)
        noise = jax.random.normal(key_property, encoded.property_mean.shape, data.x.dtype)
        properties = encoded.property_mean + encoded.property_sd * noise
        parts = split(
            model, params, encoded.features[jnp.arange(count), view], jnp.concatenate([classes, properties], axis=-1)
        )
        keys = jax.random.split(key_z, len(parts))
        draw = [m + s * jax.random.normal(k, m.shape, m.dtype) for k, (m, s) in zip(keys, parts, strict=True)]
        latents = model.latents(jnp.concatenate(draw, axis=-1), classes, data.condition, properties, view)
        image = model.likelihood.mean(model.decode(params, latents))
        return (sums[0] + image, sums[1] + image**2), None

    zero = jnp.zeros((count, *model.output), data.x.dtype)
    (total, squares), _ = jax.lax.scan(one, (zero, zero), jax.random.split(key, draws))
    mean = total / draws
    variance = jnp.maximum(squares / draws - mean**2, 0.0) * draws / max(draws - 1, 1)
    return mean, variance + (jnp.exp(2.0 * params["log_sd"]) if model.likelihood.noisy else 0.0)


def anomaly(
    trained: Trained, key: Array, x: ArrayLike | Examples, condition: ArrayLike | None = None, num_samples: int = 64
) -> Float[Array, " n"]:
    """(n,) minus the importance-weighted bound on log p(x), nat: high for what the training set has nothing like.

    Args:
        trained: a trained model.
        key: random key.
        x: (n, *shape), or examples.
        condition: (n, conditions), where the model has any.
        num_samples: draws for every example.

    Returns:
        (n,) nat.
    """
    check_key(key, "anomaly(trained, key, x)")
    model, params = _one(trained)
    data = _given(model, x, condition)
    if data.target.shape[1:] != model.output:
        raise ValueError(f"this model gives {model.output}: give examples(x, target=...) of that shape.")
    return _batched(lambda part: -importance_elbo(model, params, key, part, num_samples), data, 500)
