"""How the terms of the bound are weighed in the course of training."""

import math

import jax.numpy as jnp
from jax import Array

from gpax_lab.vae._elbo import Weights


def annealed(epochs: int, temperature: float = 50.0, content: float = 200.0, balance: float = 50.0) -> Weights:
    """Weights with which classes are found: deterministic annealing, content last, plain bound at the end.

    With the weight beta_d the best q(class | x) is exp(bound given the class / beta_d), normalised: a temperature, in
    nat. Started high, all classes explain everything; as it falls to 1 (5 to 45 percent of training) they part one by
    one (Rose 1998, Proc. IEEE 86, 2210). At a low one from the start the first class that fits a little better takes
    all. Until 70 percent the content costs `content` times its share, so that it is not what tells kinds apart; until
    80 percent classes are held equally frequent by `balance`. The last tenth raises the plain bound.

    Args:
        epochs: of the whole training.
        temperature: at the start; some tens of nat, what a wrong class costs.
        content: factor of the content's divergence before it opens.
        balance: of the divergence of the classes' frequencies from uniform; 0 where they are far from it.

    Returns:
        `Weights` that are schedules of the epoch, for `train`.

    Example:
        >>> float(annealed(100).discrete(jnp.asarray(45.0)))
        1.0
    """

    def cooling(epoch: Array) -> Array:
        done = jnp.clip((epoch / epochs - 0.05) / 0.4, 0.0, 1.0)
        return jnp.exp((1.0 - done) * math.log(temperature))

    def opening(epoch: Array) -> Array:
        done = epoch / epochs
        return jnp.where(done < 0.7, content, jnp.clip(10.0 * (0.9 - done) / 0.2, 1.0, content))

    def holding(epoch: Array) -> Array:
        return jnp.where(epoch < 0.8 * epochs, balance, 0.0)

    return Weights(discrete=cooling, content=opening, balance=holding)
