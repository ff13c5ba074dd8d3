"""Does the installed compiler make right numbers out of right code? Asked once, at the first fit.

XLA's CPU backend in jaxlib 0.10.1 to 0.12.0.1 may let the result of the last fused loop share its memory with an
operand that is still read at other places. A Gram matrix plus a jitter taken from its own diagonal then comes out
wrong, by factors and without a word. The versions that this package asks for are right (`benchmarks/compiled.py`);
whoever has forced another one in is told.
"""

import warnings
from functools import cache

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import Array

MEASURED_RIGHT = ("0.9.2", "0.10.0")
"""Versions of jaxlib on which the whole differential test has no failure; they need no test at run time."""


def _gram(log_scale: Array, x: Array) -> Array:
    """A Matern 3/2 Gram matrix of x (n, 1) with a jitter relative to its diagonal: the form that comes out wrong."""
    x = x / 60.0
    square = ((x[:, None, 0] - x[None, :, 0]) / jnp.exp(log_scale)) ** 2
    r = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    k = (1.0 + r) * jnp.exp(-r)
    return k + jnp.diag(1e-10 * jnp.sum(jnp.diagonal(k)) * jnp.ones(x.shape[0]))


def largest_error() -> float:
    """How far the compiled form is from what numpy makes of it: rounding, or 0.6 where the compiler is at fault."""
    log_scale, x = np.array(-0.9), np.linspace(0.0, 5.0, 8)[:, None]
    with jax.enable_x64(True):  # the fault is the compiler's, in whatever precision the user computes
        compiled = jax.jit(_gram).lower(log_scale, x).compile()(log_scale, x)
    r = np.abs(x - x.T) / 60.0 / np.exp(log_scale)
    return float(np.max(np.abs(np.asarray(compiled) - (1.0 + r) * np.exp(-r) - 8e-10 * np.eye(8))))


@cache
def warn_once() -> None:
    """Warn, once in a process, if the compiler makes wrong numbers: a tenth of a second, nothing on a known version."""
    if jaxlib.__version__ in MEASURED_RIGHT:
        return
    error = largest_error()
    if error > 1e-4:
        warnings.warn(
            f"jaxlib {jaxlib.__version__} compiles right code to wrong numbers here (a matrix of ones is off by "
            f"{error:.2g}): posteriors, predictions and evidence can be wrong without another word. Install a "
            'version that is right: pip install "jax==0.10.0" "jaxlib==0.10.0".',
            RuntimeWarning,
            stacklevel=2,
        )
