"""The simulated electron microscope: a beam over a specimen that it damages. No wire here.

What is measured at a point follows from the specimen, the dose that the point has had, the seed and the token only.
"""

import threading
import time
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_instruments.twins import _faults as faults
from gpax_instruments.twins._common import check_target
from gpax_instruments.twins._dialect import ScpiError
from gpax_instruments.twins._results import Results, key_part
from gpax_lab.simulators import diffraction, stem_sample

SIZE_M = 100e-9
"""Side of the field of view, m."""

PIXELS = 64  # of an image, and of the map of the dose
CURRENT = 1.0e8  # electrons per second: 16 pA
EXPOSURE_S = {"EELS": 0.05, "DIFF": 0.01}  # beam on the point, whatever the clock says
IMAGE_S = 0.01  # beam on the whole field of view
SPOT_M = 1.5e-9  # standard deviation of what the beam damages around its position
LATTICE_NM, CELLS, GRID = 0.4, 3, 32  # of the crystal in a diffraction pattern
VOLTAGE, SEMI_ANGLE = 80e3, 12.0  # V, mrad


class Shot(NamedTuple):
    """What was measured under a token."""

    token: str
    kind: str
    values: np.ndarray  # float32: counts over energies, or over rows and columns of the pattern
    dose: float  # e/nm^2 at the point, before the shot


@jax.jit
def _image(specimen, points, dose, key):
    clean = jax.vmap(stem_sample.haadf, in_axes=(None, 0, 0))(specimen, points, dose)
    return clean + 0.01 * jax.random.normal(key, clean.shape)


@jax.jit
def _eels(specimen, point, dose, electrons, key):
    expected = 1e-4 * electrons * stem_sample.eels(specimen, point, dose)
    return jax.random.poisson(key, expected).astype(jnp.float32)


@jax.jit
def _pattern(specimen, point, dose, electrons, key):
    whole, shell = stem_sample.thickness(specimen, point)
    left = jnp.exp(-dose / stem_sample.CRITICAL_DOSE)
    # The shell pulls the columns off their sites; what the beam has damaged is a weaker crystal.
    moved = 0.04 * shell / (whole + 0.1) * jnp.array([1.0, 0.3])
    crystal = 0.2 * whole * (0.3 + 0.7 * left) * diffraction.perovskite(CELLS, GRID, LATTICE_NM, moved, width=0.05)
    spot = diffraction.probe(GRID, CELLS * LATTICE_NM, VOLTAGE, SEMI_ANGLE)
    where = jnp.array([0.1, 0.15])
    return diffraction.pattern(spot, crystal, where, electrons * 1e-3, key).astype(jnp.float32)


class Scope(Results[Shot]):
    """State and physics. Methods raise ScpiError to refuse; the caller holds `lock`.

    Args:
        lock: the condition under which commands run.
        armed: faults to look at.
        seed: the specimen and every random number.
        drift: m per shot or image, along x and half of it along y.
        dwell: seconds of the clock that a shot takes.
    """

    def __init__(
        self, lock: threading.Condition, armed: faults.Faults, seed: int = 0, drift: float = 0.0, dwell: float = 0.0
    ) -> None:
        super().__init__()
        self.lock, self.faults, self.seed, self.dwell = lock, armed, seed, dwell
        self.specimen = jax.jit(stem_sample.specimen)(jax.random.key(seed))
        self.drift = np.array([drift, 0.5 * drift])
        self.position = np.full(2, 0.5 * SIZE_M)
        self.blanked, self.electrons, self.exposures = True, 0.0, 0
        axis = (np.arange(PIXELS) + 0.5) / PIXELS
        self._points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
        self.dose = np.zeros((PIXELS, PIXELS))
        self._since = 0.0
        self.image: np.ndarray | None = None
        for kind in EXPOSURE_S:  # compiled before anybody waits for it
            self._compute(kind, np.full(2, 0.5), 0.0, "")
        self._take_image()

    def move(self, x: float, y: float) -> None:
        """Send the beam to (x, y) in m. Raises -221 while a shot is taken, -222 outside the limits or on command."""
        target = check_target(self, x, y, SIZE_M)
        self._idle_dose()
        self.position = target

    def unblank(self) -> None:
        """Let the beam through; from now on it damages where it stands."""
        self._idle_dose()
        if self.blanked:
            self.blanked, self._since = False, time.monotonic()

    def blank(self) -> None:
        """Stop the beam."""
        self._idle_dose()
        self.blanked = True

    def trigger(self, kind: str, token: str) -> None:
        """Take a spectrum or a pattern here, once per token. Raises -213 busy, -221 blanked or a used token, -222."""
        if self.busy:
            raise ScpiError(-213)
        if self.blanked:
            raise ScpiError(-221)
        self.check(token)
        self._idle_dose()
        self._tokens.add(token)
        point = (self.position - self.drift * self.exposures) / SIZE_M
        had = self.dose_at(point)
        shot = self._spoil(Shot(token, kind, self._compute(kind, point, had, token), had))
        self._expose(point, CURRENT * EXPOSURE_S[kind])
        self.exposures += 1
        self.file(shot, self.dwell)
        if (end := self.ends) is not None:
            self._since = end  # the exposure is counted; what follows it is not yet
        self.faults.power()

    def scan(self) -> None:
        """Take an image of the field of view: its dose is spread over all of it. Raises -213 busy."""
        if self.busy:
            raise ScpiError(-213)
        self._idle_dose()
        self.image = self._take_image()
        electrons = CURRENT * IMAGE_S
        self.electrons += electrons
        self.dose += electrons / (SIZE_M * 1e9) ** 2
        self.exposures += 1

    def last_image(self) -> np.ndarray:
        """The last image, (n, n) float32. Raises -230 before the first."""
        if self.image is None:
            raise ScpiError(-230)
        return self.image

    def make_safe(self) -> None:
        """Blank; a shot that is being taken is lost, and its token stays used."""
        self.blank()
        self.abort()
        self.lock.notify_all()

    def reset(self) -> None:
        """``*RST``: safe. What was measured stays: it happened to the specimen."""
        self.make_safe()

    def forget(self) -> None:
        """What a power failure leaves: the specimen as it is, a dark beam, counters at 0, and no memory."""
        self.make_safe()
        super().forget()
        self.image, self.electrons = None, 0.0

    def dose_at(self, point: np.ndarray) -> float:
        """e/nm^2 so far at a point in shares of the field of view."""
        row, column = np.clip((point * PIXELS).astype(int), 0, PIXELS - 1)
        return float(self.dose[row, column])

    def _idle_dose(self) -> None:
        """What an unblanked beam has done since it was last looked at."""
        if not self.blanked and not self.busy:
            now = time.monotonic()
            self._expose((self.position - self.drift * self.exposures) / SIZE_M, CURRENT * (now - self._since))
            self._since = now

    def _expose(self, point: np.ndarray, electrons: float) -> None:
        square = np.sum((self._points - point) ** 2, axis=-1) * (SIZE_M / SPOT_M) ** 2
        share = np.exp(-0.5 * square)
        total = share.sum()
        self.electrons += electrons
        if total > 0:
            self.dose += electrons * share / total / (SIZE_M * 1e9 / PIXELS) ** 2

    def _key(self, token: str):
        return jax.random.fold_in(jax.random.key(self.seed), np.uint32(zlib.crc32(key_part(token))))

    def _take_image(self) -> np.ndarray:
        points = (self._points - self.drift * self.exposures / SIZE_M).reshape(-1, 2)
        values = _image(self.specimen, points, self.dose.ravel(), self._key(f"image {self.exposures}"))
        return np.asarray(values, "<f4").reshape(PIXELS, PIXELS)

    def _compute(self, kind: str, point: np.ndarray, dose: float, token: str) -> np.ndarray:
        function = _eels if kind == "EELS" else _pattern
        return np.asarray(function(self.specimen, point, dose, CURRENT * EXPOSURE_S[kind], self._key(token)), "<f4")

    def _spoil(self, shot: Shot) -> Shot:
        if self.faults.take(faults.LOOP) is None:
            return shot
        values = shot.values.copy()
        values.flat[::5] = np.nan
        return shot._replace(values=values)
