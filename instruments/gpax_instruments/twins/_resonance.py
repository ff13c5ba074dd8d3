"""Band excitation of the simulated film: an image of its domains, and the resonance at a point. No wire here.

The film is the one whose loops the microscope takes; its domains determine resonance, quality and phase up to noise.
"""

import zlib
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from gpax_instruments.twins._dialect import Dialect, ScpiError, integer, number, string
from gpax_instruments.twins._process import Blocks, numbers
from gpax_instruments.twins._results import check_name, key_part
from gpax_lab.simulators import be_sample, be_spectrum

if TYPE_CHECKING:
    from gpax_instruments.twins._microscope import Microscope

PIXELS = 64  # along an edge of the image
NOISE_PM = 30.0  # of the real and the imaginary part of a bin; the peak is some thousand pm high
IMAGE_NOISE = 0.02  # of a pixel, in units of the polarization
_NAME = 0x42455043  # of the random stream, far from the film's own split


class Band(NamedTuple):
    """Attributes: centre and width in Hz, bins."""

    centre: float
    width: float
    bins: int

    @property
    def frequency(self) -> np.ndarray:
        """(bins,) Hz."""
        return np.linspace(self.centre - 0.5 * self.width, self.centre + 0.5 * self.width, self.bins)


class Resonance:
    """State and physics of band excitation on the film of a microscope. Methods raise ScpiError to refuse."""

    def __init__(self, scope: "Microscope") -> None:
        self.scope = scope
        self._key = jax.random.fold_in(jax.random.key(scope.seed), _NAME)
        self.sample = jax.jit(be_sample, static_argnums=(1,))(self._key, PIXELS, scope.film)
        self._spectrum = jax.jit(be_spectrum)
        self.images = 0
        self.forget()
        self._compute(0, 0, "")  # compiled before anybody waits for it

    def set_band(self, centre: float, width: float, bins: int) -> None:
        """Raises -222 out of range."""
        if not (0 < width < 2 * centre <= 4e6 and 8 <= bins <= 1024):
            raise ScpiError(-222)
        self.band = Band(centre, width, bins)

    def trigger(self, token: str) -> None:
        """Excite here and now; bias 0, so nothing changes. Raises -213 busy, -222 for a token that is none."""
        if self.scope.busy:
            raise ScpiError(-213)
        check_name(token)
        row, column = (int(index) for index in self._pixel(self.scope.position))
        self.token, self._done = token, self._compute(row, column, token)
        self.scope.engaged = True

    def spectrum(self) -> np.ndarray:
        """(bins, 2) float32 pm, real and imaginary part. Raises -230 before the first."""
        if not self.token:
            raise ScpiError(-230)
        return np.stack([self._done.real, self._done.imag], axis=-1).astype("<f4")

    def forget(self) -> None:
        """The power has failed: the band is that of the start, and no spectrum is there."""
        self.band, self.token, self._done = Band(350e3, 60e3, 64), "", np.zeros(0, complex)

    def image(self) -> np.ndarray:
        """(n, n) float32: the polarization as it is seen now, with the sample where drift has taken it."""
        self.images += 1
        axis = (np.arange(PIXELS) + 0.5) / PIXELS * self._size()
        rows, columns = (self._pixel(np.stack([axis, axis], axis=-1))[k] for k in (0, 1))
        clean = np.asarray(self.sample.image)[np.ix_(rows, columns)]
        noise = np.random.default_rng([self.scope.seed, _NAME, self.images]).standard_normal(clean.shape)
        return (clean + IMAGE_NOISE * noise).astype("<f4")

    def _size(self) -> float:
        from gpax_instruments.twins._microscope import SIZE_M

        return SIZE_M

    def _pixel(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        path = self.scope.path
        where = position - path[min(self.scope.loops, len(path) - 1)]
        index = np.clip(where / self._size() * PIXELS, 0, PIXELS - 1).astype(int)
        return index[..., 0], index[..., 1]

    def _compute(self, row: int, column: int, token: str) -> np.ndarray:
        amplitude, resonance, q, phase = (np.asarray(part)[row, column] for part in self.sample.sho)
        key = jax.random.fold_in(self._key, np.uint32(zlib.crc32(key_part(token))))
        return np.asarray(self._spectrum(key, self.band.frequency, amplitude, resonance, q, phase, NOISE_PM))


def register_band(dialect: Dialect, resonance: Resonance, blocks: Blocks) -> None:
    """Register the commands of band excitation."""
    dialect.forget.append(resonance.forget)
    dialect.add("BAND", resonance.set_band, number, number, integer)
    dialect.add("BAND?", lambda: f"{numbers(resonance.band.centre, resonance.band.width)},{resonance.band.bins}")
    dialect.add("SCAN:IMAGe?", lambda: blocks.of(resonance.image()))
    dialect.add("SCAN:PIXel?", lambda: f"{resonance._size() / PIXELS!r},{PIXELS}")
    dialect.add("MEASure:BAND", resonance.trigger, string)
    dialect.add("BAND:TOKen?", lambda: f'"{resonance.token}"')
    dialect.add("BAND:DATA?", lambda: blocks.of(resonance.spectrum()))
