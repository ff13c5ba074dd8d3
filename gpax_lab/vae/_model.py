"""A variational autoencoder put together from its parts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from gpax_lab.core._interning import interned
from gpax_lab.core._poses import Pose, rotated_back
from gpax_lab.nn._decoders import FourierDecoder, MLPDecoder
from gpax_lab.nn._layers import MLP
from gpax_lab.vae._examples import Examples
from gpax_lab.vae._likelihoods import Likelihood, bernoulli
from gpax_lab.vae._network import Network
from gpax_lab.vae._parts import Angle, Gaussian, GaussianRotation, Part, Scale, Shift

Params = dict


class Latents(NamedTuple):
    """What an example is thought to be, for the decoder.

    Attributes:
        content: (..., latent) numbers with the prior N(0, 1).
        pose: rotation, shift and magnification, in rad, half widths and times.
        classes: (..., classes) one-hot or probabilities; 0 columns for none.
        condition: (..., conditions).
        properties: (..., properties).
    """

    content: Array
    pose: Pose
    classes: Array
    condition: Array
    properties: Array


Physics = Callable[[Latents, Array], Array]


@dataclass(frozen=True, eq=False)
class VAE:
    """A model; static, its parameters are an argument. Made by `model`.

    Attributes:
        shape: of what the encoder sees.
        output: shape of what the decoder gives.
        parts: of the latent space, the content first.
        classes: number of classes, 0 for none.
        conditions: number of known numbers beside every example.
        properties: number of continuous properties that some examples are labelled with.
        likelihood: how images are scattered around the decoder's.
        physics: (latents, decoded) -> () or (n,), added to the bound; None for nothing.
        gumbel: temperature of a relaxed draw of the class; 0 sums over all classes.
        network: encoder and decoder.
        views: of an image, rotated by 2 pi/views, that the encoder sees.
    """

    shape: tuple[int, ...]
    output: tuple[int, ...]
    parts: tuple[Part, ...]
    classes: int
    conditions: int
    properties: int
    likelihood: Likelihood
    physics: Physics | None
    gumbel: float
    network: Network
    views: int = 1

    @property
    def branches(self) -> int:
        """What the bound is summed over: rotated views times classes."""
        return self.views * (1 if self.gumbel else max(self.classes, 1))

    @property
    def latent(self) -> int:
        """Numbers of the content."""
        return self.parts[0].size

    @property
    def invariances(self) -> tuple[Part, ...]:
        """The parts that make the pose."""
        return self.parts[1:]

    def init(self, key: Array, dtype: DTypeLike = jnp.float32) -> Params:
        """Parameters at random."""
        return self._init(key, jnp.dtype(dtype))

    @partial(jax.jit, static_argnames=("self", "kind"))
    def _init(self, key: Array, kind: jnp.dtype) -> Params:
        x = jnp.zeros((2, *self.shape), kind)
        known = jnp.zeros((2, self.classes + self.properties), kind)
        z = jnp.zeros((2, sum(part.size for part in self.parts)), kind)
        made = self.latents(z, known[:, : self.classes], x[:, :0].reshape(2, 0), known[:, self.classes :])
        condition = jnp.zeros((2, self.conditions), kind)
        made = made._replace(condition=condition)
        network = self.network.init(key, x, condition, known, self.code(made), made.pose, method="everything")
        network = jax.tree.map(lambda leaf: leaf.astype(kind), network)
        # `seen` is what the encoder subtracts and divides by; `train` sets it to their mean and standard deviation.
        log_sd = jnp.full((), -1.0 if self.likelihood.noisy else 0.0, kind)
        return {"network": network, "log_sd": log_sd, "seen": jnp.array([0.0, 1.0], kind)}

    def latents(
        self, z: Array, classes: Array, condition: Array, properties: Array, view: Array | None = None
    ) -> Latents:
        """Latents from the sampled numbers (n, sum of sizes) of all parts and what is known.

        Args:
            z: (n, sum of sizes).
            classes: (n, classes).
            condition: (n, conditions).
            properties: (n, properties).
            view: (n,) which rotated view z describes; None for the image as it is.
        """
        found: dict[str, Array] = {}
        start = 0
        for part in self.parts:
            value = z[..., start : start + part.size]
            start += part.size
            match part:
                case Shift():
                    found["shift"] = part.sd * value
                case Scale():
                    found["scale"] = jnp.exp(part.sd * value[..., 0])
                case GaussianRotation():
                    found["angle"] = part.sd * value[..., 0]
                case Angle():
                    found["angle"] = value[..., 0]
                case Gaussian():
                    found["content"] = value
        content = found.pop("content")
        pose = Pose(**found)
        if view is not None and self.views > 1:
            pose = rotated_back(pose, view.astype(z.dtype) * (2 * math.pi / self.views))
        return Latents(content, pose, classes, condition, properties)

    def code(self, of: Latents) -> Array:
        """(n, c) what the decoder is given beside the pose."""
        return jnp.concatenate([of.content, of.classes, of.condition, of.properties], axis=-1)

    def decode(self, params: Params, of: Latents) -> Array:
        """(n, *output) of the decoder, before the likelihood's mean is taken."""
        return jnp.asarray(self.network.apply(params["network"], self.code(of), of.pose, method="decode"))

    def check(self, data: Examples) -> None:
        """Whether examples fit.

        Raises:
            ValueError: they do not; the message says what to change.
        """
        if data.x.shape[1:] != self.shape or data.target.shape[1:] != self.output:
            raise ValueError(
                f"this model sees {self.shape} and gives {self.output}; "
                f"got x {data.x.shape[1:]} and target {data.target.shape[1:]}."
            )
        for name, have, want in (
            ("condition", data.condition.shape[1], self.conditions),
            ("properties", data.properties.shape[1], self.properties),
        ):
            if have != want:
                raise ValueError(f"this model has {want} columns of {name}; got {have}.")
        top = int(jnp.max(data.label))
        if top >= self.classes and top >= 0:
            raise ValueError(f"labels go up to {top}, this model has {self.classes} classes.")
        low, high = float(jnp.min(data.target)), float(jnp.max(data.target))
        if self.likelihood.unit and not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"a {self.likelihood.name} likelihood needs values in [0, 1]; got {low:.3g} to {high:.3g}. "
                "Scale them (`unit_range`), or take `gaussian()`."
            )
        sd = float(jnp.std(data.target))
        if self.likelihood.noisy and not 1e-2 < sd < 1e2:
            raise ValueError(
                f"the values have a standard deviation of {sd:.3g}: scale them to order one, or all alike, "
                "there is nothing to learn from."
            )


@interned
def model(
    shape: int | Sequence[int],
    latent: int = 2,
    *,
    classes: int = 0,
    conditions: int = 0,
    properties: int = 0,
    invariances: Sequence[Part] = (),
    likelihood: Likelihood | None = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    output: int | Sequence[int] | None = None,
    physics: Physics | None = None,
    gumbel: float = 0.0,
) -> VAE:
    """A variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) from its parts.

    What is known of the examples decides the rest: without labels, `classes` are found (joint model); with some, it is
    semi-supervised (Kingma et al. 2014, arXiv:1406.5298); with all, a generative classifier. The same for continuous
    `properties`. Whatever is known of every example is a condition.

    Args:
        shape: of what the encoder sees: (h, w), (h, w, channels), or a length.
        latent: continuous numbers beside pose and class, the content.
        classes: number of classes with equal prior probability; 0 for none.
        conditions: columns of `condition` in the examples.
        properties: columns of `properties` in the examples, with the prior N(0, 1).
        invariances: of `rotation`, `translation` and `scaling`, at most one each.
        likelihood: `bernoulli` (default), `continuous_bernoulli` or `gaussian`.
        encoder: a Flax module (m, *shape) -> (m, width); `MLP()` by default.
        decoder: a Flax module (code, pose) -> (n, *output); `FourierDecoder` by default with invariances, else
            `MLPDecoder`.
        output: shape of what the decoder gives, where it is another domain; `shape` by default.
        physics: (Latents, decoded (n, *output)) -> () or (n,), a term that is added to the bound, in nat.
        gumbel: temperature of a relaxed draw of the class (Jang et al. 2017, arXiv:1611.01144), whose cost does not
            grow with the number of classes; 0 sums over the classes exactly.

    Returns:
        A VAE.

    Raises:
        ValueError: counts below 0, nothing latent, invariances that a spectrum cannot have, or one that is named twice.

    Example:
        >>> from gpax_lab import vae
        >>> model = vae.model((28, 28), latent=2, classes=4, invariances=[vae.rotation(), vae.translation(0.1)])
        >>> [part.name for part in model.parts]
        ['content', 'rotation', 'translation']
    """
    form = _shape(shape)
    out = form if output is None else _shape(output)
    parts = _parts(latent, tuple(invariances), out)
    if min(classes, conditions, properties) < 0 or classes == 1 or gumbel < 0:
        raise ValueError("classes are 0 or 2 and more; conditions, properties and the temperature are not negative.")
    if not sum(part.size for part in parts) and not classes:
        raise ValueError("nothing is latent: give latent, classes or invariances.")
    body = MLP() if encoder is None else encoder
    if decoder is None:
        decoder = FourierDecoder(out, _reach(parts, out)) if invariances else MLPDecoder(out)
    known = classes + properties
    raw = sum(part.raw for part in parts)
    views = _views(parts, form, out)
    network = Network(body, decoder, raw, classes if classes or views == 1 else 1, properties, 64 if known else 0)
    return VAE(
        shape=form,
        output=out,
        parts=parts,
        classes=classes,
        conditions=conditions,
        properties=properties,
        likelihood=likelihood or bernoulli(),
        physics=physics,
        gumbel=gumbel,
        network=network,
        views=views,
    )


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    form = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    if not 1 <= len(form) <= 3 or min(form) < 1:
        raise ValueError(f"a shape is (h, w), (h, w, channels) or a length; got {shape}.")
    return form


def _parts(latent: int, invariances: tuple[Part, ...], out: tuple[int, ...]) -> tuple[Part, ...]:
    if latent < 0:
        raise ValueError(f"latent must not be negative; got {latent}.")
    names = [part.name for part in invariances]
    if len(set(names)) < len(names):
        raise ValueError(f"each invariance once; got {names}.")
    if len(out) == 3 and invariances:
        raise ValueError("images with channels have no invariances yet: leave the channels out, or the invariances.")
    for part in invariances:
        if part.name == "rotation" and len(out) == 1:
            raise ValueError("a spectrum cannot be rotated: leave `rotation` out.")
        if isinstance(part, Shift) and part.size != len(out):
            raise ValueError(f"this decoder gives {len(out)} axes: use translation(sd, axes={len(out)}).")
    return (Gaussian("content", latent), *invariances)


def _views(parts: tuple[Part, ...], form: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Rotated views that the encoder sees: the number given, or as many as the order and the image admit."""
    angle = next((part for part in parts if isinstance(part, Angle)), None)
    if angle is None:
        return 1
    if angle.views == 1 or form != out:
        if (angle.views or 1) > 1:
            raise ValueError("rotated views need a decoder of the encoder's own images: use views=1.")
        return 1
    most = 4 if form[0] == form[1] else 2
    if angle.views is not None:
        if angle.views > most:
            raise ValueError(
                f"an image of {form[0]} x {form[1]} pixels can be rotated by 180 degrees only: use views=2 or 1."
            )
        return angle.views
    return most if angle.order == 1 and not angle.concentration else 1


def _reach(parts: tuple[Part, ...], out: tuple[int, ...]) -> tuple[float, ...]:
    """Half a period: what the image can see of the object at the ends of the priors, and a little more."""
    longest = max(max(out) - 1, 1)
    half = [max(n - 1, 1) / longest for n in out]
    far = math.hypot(*half) if any(part.name == "rotation" for part in parts) and len(out) == 2 else None
    shift = max((2.5 * part.sd for part in parts if isinstance(part, Shift)), default=0.0)
    scale = max((float(np.exp(2.0 * part.sd)) for part in parts if isinstance(part, Scale)), default=1.0)
    return tuple(1.1 * scale * ((far or h) + shift) for h in half)
