"""The simulated microscope: a tip over a film, a bias source and one loop in memory. No wire here.

The loop at commanded position x after n loops is that of the film at (read-back - drift_n), plus noise that follows
from the seed and the token only: the same tokens at the same points give the same numbers, whenever they are asked for.
"""

import struct
import threading
import zlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_instruments.twins import _faults as faults
from gpax_instruments.twins._common import check_target
from gpax_instruments.twins._dialect import ScpiError
from gpax_instruments.twins._results import Results, key_part
from gpax_instruments.twins._writer import Writer
from gpax_lab.simulators import ferroelectric
from gpax_lab.spectra._loop import triangle_at

SIZE_M = 2e-6
"""Side of the field of view, m."""

RAIL = 100.0
"""pm/V: where the converter clips; the largest true response is about a third of it."""

MAX_BIAS = 20.0  # V
MAX_POINTS = 4096
SCANNER_ERROR_M = 2e-12  # closed-loop scanner: read-back differs from the target by picometres
_CHUNK = 256  # loops are computed in multiples of this, so that the usual ones share one compiled function
_NOISE, _DRIFT = 0x4E4F4953, 0x44524946  # names of the random streams, far from the film's own split
_DRIFT_STEPS = 1024


class Loop(NamedTuple):
    """A measured loop."""

    token: str
    bias: np.ndarray  # (n,) float64 V
    response: np.ndarray  # (n,) float32 pm/V


class Wave(NamedTuple):
    """A bias waveform, computed for a round number of points so that the usual ones share compiled functions."""

    vmax: float  # V
    points: int
    bias: np.ndarray  # (room,) V, room >= points
    up: np.ndarray  # (room,) bool, rising branch

    @property
    def values(self) -> np.ndarray:
        """(points,) float64 V."""
        return self.bias[: self.points]


NO_WAVE = Wave(0.0, 0, np.zeros(0), np.zeros(0, bool))


@partial(jax.jit, static_argnums=2)
def _sweep(vmax, points, room):
    phase = jnp.arange(room) / points
    bias = triangle_at(vmax, phase)
    return bias, bias > triangle_at(vmax, phase - 1.0 / points)


def _wave(vmax: float, points: int) -> Wave:
    bias, up = _sweep(vmax, points, -(-points // _CHUNK) * _CHUNK)
    return Wave(vmax, points, np.asarray(bias, np.float64), np.asarray(up))


@jax.jit
def _measure(film, x, bias, up, vmax, *, seed, token, relative):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NOISE), token)
    return ferroelectric.loop(film, x, bias, up, vmax) + ferroelectric.noise(key, bias.shape, relative)


class Microscope(Results[Loop]):
    """State and physics. Methods raise ScpiError to refuse; the caller holds `lock`.

    Args:
        lock: the condition under which commands run.
        armed: faults to look at.
        seed: the film and every random number.
        noise: standard deviation of each point, share of the loop height of a perfect film.
        drift: m per loop, and walk: m per square root of a loop.
        dwell: seconds a loop takes.
        writer: what writes domains; None for a microscope that only takes loops.
    """

    def __init__(
        self,
        lock: threading.Condition,
        armed: faults.Faults,
        *,
        seed: int = 0,
        noise: float = 0.02,
        drift: float = 0.0,
        walk: float = 0.0,
        dwell: float = 0.0,
        writer: Writer | None = None,
    ) -> None:
        super().__init__()
        self.lock, self.faults, self.seed, self.noise, self.dwell = lock, armed, seed, noise, dwell
        self.writer = writer
        self.film = jax.jit(ferroelectric.film)(jax.random.key(seed), SIZE_M)
        self.path = np.zeros((1, 2))
        if drift or walk:
            key = jax.random.fold_in(jax.random.key(seed), _DRIFT)
            self.path = np.asarray(jax.jit(ferroelectric.drift, static_argnums=1)(key, _DRIFT_STEPS, drift, walk))
        self.position = np.full(2, 0.5 * SIZE_M)
        self.engaged, self.bias, self.loops = False, 0.0, 0
        self.wave = NO_WAVE
        self._compute(self.position, _wave(8.0, 64), "")  # compiled before anybody waits for it

    def move(self, x: float, y: float) -> None:
        """Go to (x, y) in m. Raises -221 while a loop is taken, -222 outside the limits or on command."""
        target = check_target(self, x, y, SIZE_M)
        dice = np.random.default_rng(zlib.crc32(struct.pack("<qdd", self.seed, x, y)))
        self.position = np.clip(target + SCANNER_ERROR_M * dice.standard_normal(2), 0.0, SIZE_M)

    def set_bias(self, volts: float) -> None:
        """Constant bias of the tip, V. Raises -222."""
        if not abs(volts) <= MAX_BIAS:
            raise ScpiError(-222)
        self.bias = volts

    def set_wave(self, vmax: float, points: int) -> None:
        """Waveform of a loop: one triangle 0, +vmax, -vmax, 0. Raises -222, and -221 while a loop is taken."""
        if self.busy:
            raise ScpiError(-221)
        if not (0.0 < vmax <= MAX_BIAS and 8 <= points <= MAX_POINTS):
            raise ScpiError(-222)
        self.wave = _wave(vmax, points)

    def trigger(self, token: str) -> None:
        """Take a loop here and now, once per token. Raises -213 busy, -221 no waveform or a used token, -222."""
        if self.busy:
            raise ScpiError(-213)
        if not self.wave.points:
            raise ScpiError(-221)
        self.check(token)
        self.engaged, self._tokens = True, {token}  # it looks back no further
        where = self.position - self.path[min(self.loops, len(self.path) - 1)]
        self.loops += 1
        loop = self._spoil(Loop(token, self.wave.values, self._compute(where, self.wave, token)))
        self.file(loop, self.dwell)
        self.faults.power()

    def pulse(self, bias: float, duration: float, token: str) -> None:
        """Write a domain on fresh film. Raises -213 busy, -113 without a writer, and what `Writer.pulse` raises."""
        if self.writer is None:
            raise ScpiError(-113)
        if self.busy:
            raise ScpiError(-213)
        self.writer.pulse(bias, duration, token, lambda x, y: self.move(x * SIZE_M, y * SIZE_M))
        self.engaged = True
        self.faults.power()

    @property
    def ends(self) -> float | None:
        """When the present loop or pulse ends, as `Results.ends`."""
        loop = super().ends
        return loop if loop is not None or self.writer is None else self.writer.ends

    def read(self) -> Loop:
        """The last loop done. Raises -230 before the first."""
        self._done = self._spoil(super().read())
        return self._done

    def withdraw(self) -> None:
        """Lift the tip; a loop that is being taken is lost, and its token stays used: the pulse had begun."""
        self.engaged = False
        self.abort()
        if self.writer:
            self.writer.abort()
        self.lock.notify_all()

    def make_safe(self) -> None:
        """Withdraw, bias 0."""
        self.withdraw()
        self.bias = 0.0

    def reset(self) -> None:
        """``*RST``: safe, no waveform. What was measured stays: it happened to the sample."""
        self.make_safe()
        self.wave = NO_WAVE

    def forget(self) -> None:
        """What a power failure leaves: the sample as it is, and no memory."""
        self.reset()
        super().forget()
        if self.writer:
            self.writer.forget()

    def _compute(self, where: np.ndarray, wave: Wave, token: str) -> np.ndarray:
        crc = np.uint32(zlib.crc32(key_part(token)))
        random = {"seed": self.seed, "token": crc, "relative": self.noise}
        values = _measure(self.film, where, wave.bias, wave.up, wave.vmax, **random)
        return np.clip(np.asarray(values)[: wave.points], -RAIL, RAIL).astype("<f4")

    def _spoil(self, loop: Loop) -> Loop:
        fault = self.faults.take(faults.LOOP)
        if fault is None:
            return loop
        if fault.name == "SAT":
            return loop._replace(response=np.clip(10.0 * loop.response, -RAIL, RAIL).astype("<f4"))
        response = loop.response.copy()
        response[::5] = np.nan
        return loop._replace(response=response)
