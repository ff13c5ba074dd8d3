"""A simulated objective behind the face of an instrument."""

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.core import Instrument, Measurement
from gpax_lab.experiment._experiment import Objective, key_of
from gpax_lab.experiment._simulate import as_partial, simulated_measurement

_measured = jax.jit(simulated_measurement)


class Simulated(Instrument):
    """An instrument that measures a pure function (key, x (d,)) -> y (), with the noise `simulate` would draw.

    Use `Simulated.scalarize` with `run` to get its value back.
    """

    repeatable = True

    def __init__(self, objective: Objective):
        self._objective = as_partial(objective)

    def measure(self, x: np.ndarray, token: str) -> Measurement:
        """The objective at x, with the random key that the token spells."""
        value = np.asarray(_measured(self._objective, key_of(token), jnp.asarray(x)), np.float64)
        ok = bool(np.isfinite(value))
        return Measurement({"value": value}, {"value": "1"}, np.asarray(x), ok, "" if ok else "not finite")

    def make_safe(self) -> None:
        """Nothing moves."""

    @staticmethod
    def scalarize(measurement: Measurement) -> float:
        """The value itself."""
        return float(measurement.arrays["value"])
