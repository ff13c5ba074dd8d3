"""The simulated microscope as an instrument that a campaign starts and ends."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from gpax_instruments.drivers import PFM
from gpax_instruments.drivers._bounded import Bounded
from gpax_instruments.twins import Twin, start_pfm
from gpax_lab.core import Axis, Instrument, Measurement

RESPONSE_UNIT = "pm/V"


class SimulatedPFM(Instrument):
    """The simulated piezoresponse force microscope; its process is started by `connect` and ended by `close`.

    Args:
        seed: of the film and of the noise.
        noise: standard deviation of the noise, as a share of a loop's height.
        dwell: time that one loop takes [s].
        vmax: amplitude of the bias waveform [V].
        points: points in one loop.

    Raises:
        ValueError: a number outside its limits.
    """

    AXES: ClassVar[Mapping[str, str]] = {"x": "m", "y": "m"}
    MAX_SEED, MAX_NOISE, MAX_DWELL_S, MAX_BIAS_V, MAX_POINTS = 2**31 - 1, 1.0, 60.0, 20.0, 4096

    seed = Bounded("", 0, "MAX_SEED", whole=True)
    noise = Bounded("", 0.0, "MAX_NOISE")
    dwell = Bounded("s", 0.0, "MAX_DWELL_S")
    vmax = Bounded("V", 0.0, "MAX_BIAS_V", above=True)
    points = Bounded("", 8, "MAX_POINTS", whole=True)

    repeatable = True
    """A new process has a fresh film of the same seed, and its noise follows from the token: repeating is honest."""

    units: ClassVar[Mapping[str, str]] = {"bias": "V", "response": RESPONSE_UNIT}

    def __init__(
        self, seed: int = 0, noise: float = 0.02, dwell: float = 0.0, vmax: float = 8.0, points: int = 64
    ) -> None:
        from gpax_instruments.twins._microscope import SIZE_M

        self.seed, self.noise, self.dwell, self.vmax, self.points = seed, noise, dwell, vmax, points
        self._axes = tuple(Axis(name, unit, 0.0, SIZE_M) for name, unit in self.AXES.items())
        self._twin: Twin | None = None
        self._pfm: PFM | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """x and y in m: the field of view."""
        return self._axes

    @property
    def device(self) -> PFM:
        """The driver of the process that was started. Raises RuntimeError before `connect`."""
        if self._pfm is None:
            raise RuntimeError("the simulated microscope is not connected: call connect() first.")
        return self._pfm

    @property
    def limits(self) -> Mapping[str, float]:
        """`vmax` and `max_bias`, V."""
        return self.device.limits

    @property
    def remembers_token(self) -> bool:
        """Whether it can tell of a token that was used before whether it has acted under it."""
        return self.device.remembers_token

    def connect(self) -> "SimulatedPFM":
        """Start the process, and connect to it."""
        if self._pfm is None:
            self._twin = start_pfm(seed=self.seed, noise=self.noise, dwell=self.dwell)
            self._pfm = PFM(
                self._twin.address, self.axes, vmax=self.vmax, points=self.points,
                loop_timeout_s=30.0 + 2.0 * self.dwell, response_unit=RESPONSE_UNIT, repeatable=True,
            )  # fmt: skip
        self._pfm.connect()
        return self

    def identity(self) -> str:
        """Maker, model, serial number and version."""
        return self.device.identity()

    def measure(self, x: object, token: str) -> Measurement:
        """One loop at x (2,) m; see `PFM.measure`."""
        return self.device.measure(x, token)

    def make_safe(self) -> None:
        """Withdraw the tip and set the bias to 0."""
        if self._pfm is not None:
            self._pfm.make_safe()

    def close(self) -> None:
        """End the process."""
        if self._pfm is not None:
            self._pfm.close()
        if self._twin is not None:
            self._twin.stop()
        self._twin = self._pfm = None

    def truth(self, x: np.ndarray) -> list[Measurement]:
        """Loops without noise at positions x (n, 2) m."""
        import jax
        import jax.numpy as jnp

        from gpax_instruments.twins._microscope import SIZE_M
        from gpax_lab.simulators import ferroelectric
        from gpax_lab.spectra.loops import triangle

        film = jax.jit(ferroelectric.film)(jax.random.key(self.seed), SIZE_M)
        bias = triangle(self.vmax, self.points)
        loops = jax.jit(jax.vmap(lambda at: ferroelectric.loop(film, at, bias)))(jnp.asarray(x))
        arrays = [{"bias": np.asarray(bias), "response": one} for one in np.asarray(loops)]
        return [Measurement(one, self.units, position) for one, position in zip(arrays, x, strict=True)]
