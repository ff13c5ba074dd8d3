"""What an encoder is, for models that take one; making one is `_encoders`, which loads Flax."""

from collections.abc import Callable
from dataclasses import dataclass

from jax import Array

from gpax_lab.core._structural import Structural


@dataclass(frozen=True, eq=False)
class Encoder(Structural):
    """A network as a pure function; static, its weights are an argument.

    Attributes:
        apply: (weights (size,), inputs (m, ...)) -> (m, features).
        size: number of weights; 0 for a frozen encoder.
        features: numbers that it returns for an input.
        shape: of one input.
        hidden: (weights (size,), inputs (m, ...)) -> (m, width) activations before the last layer; None where the
            encoder has no linear last layer.
        scaled: whether it takes what is seen in any unit, because it was made for a given set of inputs; others are
            made for inputs of order one.
    """

    apply: Callable[[Array, Array], Array]
    size: int
    features: int
    shape: tuple[int, ...]
    hidden: Callable[[Array, Array], Array] | None = None
    scaled: bool = False
