"""Encoder and decoder of one variational autoencoder, as one Flax module."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._poses import Pose


class Network(nn.Module):
    """Encoder and decoder of one model; what it is made of is decided in `model`.

    Attributes:
        body: (m, *shape) -> (m, width).
        decoder: code (n, c), pose -> (n, *shape).
        raw: numbers that the heads of the latent parts give together.
        classes: number of classes, 0 for none.
        properties: number of continuous properties, 0 for none.
        hidden: width of the layer that joins features and what else is known; 0 for none.
    """

    body: nn.Module
    decoder: nn.Module
    raw: int
    classes: int
    properties: int
    hidden: int

    def setup(self) -> None:
        """The heads."""
        self.latent_head = nn.Dense(self.raw)
        if self.hidden:
            self.joint = nn.Dense(self.hidden)
        if self.classes:
            self.class_head = nn.Dense(self.classes)
        if self.properties:
            self.property_head = nn.Dense(2 * self.properties)

    def features(self, x: Array, condition: Array) -> Array:
        """What the encoder sees: (m, width + conditions)."""
        return jnp.concatenate([self.body(x), condition], axis=-1)

    def class_logits(self, features: Array) -> Array:
        """(m, classes)."""
        return self.class_head(features)

    def property_raw(self, features: Array) -> Array:
        """(m, 2 properties)."""
        return self.property_head(features)

    def latents(self, features: Array, known: Array) -> Array:
        """(..., raw) from features and what is known beside them: class and properties (..., k)."""
        if not self.hidden:
            return self.latent_head(features)
        return self.latent_head(nn.gelu(self.joint(jnp.concatenate([features, known], axis=-1))))

    def decode(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        return jnp.asarray(self.decoder(code, pose))

    def everything(self, x: Array, condition: Array, known: Array, code: Array, pose: Pose) -> None:
        """Touch every parameter once."""
        features = self.features(x, condition)
        if self.classes:
            self.class_logits(features)
        if self.properties:
            self.property_raw(features)
        self.latents(features, known)
        self.decode(code, pose)
