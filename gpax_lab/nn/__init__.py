"""Neural networks that deep kernels and autoencoders share: encoders, training without labels, im2spec.

An `Encoder` turns what is seen at a point (a patch, a spectrum) into a few features, on which a deep kernel acts
(`gpax_lab.deep_kernel`); `im2spec` predicts a spectrum from a patch, or a patch from a spectrum.
"""

from typing import TYPE_CHECKING

from gpax_lab._lazy import lazy

if TYPE_CHECKING:
    from gpax_lab.nn._encoder import Encoder
    from gpax_lab.nn._encoders import (
        body,
        convolutional,
        encoder,
        frozen,
        last_layer,
        linear,
        mlp,
        rotation_pooled,
    )
    from gpax_lab.nn._im2spec import Im2Spec, im2spec
    from gpax_lab.nn._pretrain import Pretrained, autoencoder, principal_components

__all__ = [
    "Encoder",
    "Im2Spec",
    "Pretrained",
    "autoencoder",
    "body",
    "convolutional",
    "encoder",
    "frozen",
    "im2spec",
    "last_layer",
    "linear",
    "mlp",
    "principal_components",
    "rotation_pooled",
]

# Flax takes a second to load, and is needed where networks are made only: models and samplers do without.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "gpax_lab.nn._encoder": "Encoder",
        "gpax_lab.nn._encoders": "body convolutional encoder frozen last_layer linear mlp rotation_pooled",
        "gpax_lab.nn._im2spec": "Im2Spec im2spec",
        "gpax_lab.nn._pretrain": "Pretrained autoencoder principal_components",
    },
)
