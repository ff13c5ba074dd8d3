"""Domain writing on the simulated microscope: a pulse of bias on a fresh cell of film, and an image of what it left.

The radius follows one of the laws of `gpax_lab.laws.domain_writing`, chosen at start and never told over the wire. Its
unit is 10 nm. As with loops, everything random follows from the seed and the token only.
"""

import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_instruments.twins._dialect import ScpiError
from gpax_instruments.twins._results import Results, key_part
from gpax_lab.laws import domain_writing as domains
from gpax_lab.simulators import domain_image
from gpax_lab.simulators._domain_image import written_radius

UNIT_M = 1e-8
"""m: the unit of the radius in which the laws are known."""

BIAS = (1.0, 10.0)  # V
LOG_DURATION = (-3.0, 2.0)  # log10 of s
LARGEST = 6.0
"""The order of the largest radius, in units of 10 nm."""

PIXEL_M, PIXELS = 3e-9, 64  # a frame of 192 nm: room for a domain of 9 units
LATTICE = 10  # cells of a side: 100 cells of 200 nm on a film of 2 um
NUCLEUS, BASE, SHARE = 0.05, 0.2, 0.06  # of written_radius: about 0.4 in the middle, as published for the whole range
WALL_M, ROUGH, JITTER_M, PIXEL_NOISE = 2e-9, 0.04, 4e-9, 0.05

TRUTH = {
    "thermodynamic": (domains.thermodynamic(BIAS, LARGEST), {"rc": 1.0, "r0": 1.5, "Vc": 2.0}),
    "wall_kinetics": (domains.wall_kinetics(BIAS, LARGEST, LOG_DURATION[0]), {"A": 1.0, "al": 1.0, "c": 4.0}),
    "wall_pinning": (
        domains.wall_pinning(BIAS, LARGEST, LOG_DURATION),
        {"h": 4.5, "Vp": 2.0, "t0": -0.5, "mu": 0.6},
    ),
    "charge_injection": (domains.charge_injection(BIAS, LARGEST), {"A": 1.0, "al": 1.1, "be": 0.4}),
}
"""Laws and their parameters: the first as in the hypothesis learning notebook of Ziatdinov et al. 2021."""

_WRITE = 0x57524954  # name of the random stream


class Domain(NamedTuple):
    """A written domain."""

    token: str
    bias: float  # V
    duration: float  # s
    image: np.ndarray  # (PIXELS, PIXELS) float32


def law_of(word: str, seed: int) -> str:
    """The name that a choice stands for: itself, or one drawn by the seed for "random".

    Raises:
        ValueError: no such law.
    """
    if word == "random":
        return str(np.random.default_rng([_WRITE, seed]).choice(list(TRUTH)))
    if word not in TRUTH:
        raise ValueError(f"no law {word!r}; there are {[*TRUTH, 'random']}")
    return word


@partial(jax.jit, static_argnums=0)
def _write(law, x, seed, token):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _WRITE), token)
    key_radius, key_image = jax.random.split(key)
    mean, truth = TRUTH[law]
    r = mean(x, {name: jnp.asarray(value) for name, value in truth.items()})
    radius = UNIT_M * written_radius(key_radius, r, NUCLEUS, BASE, SHARE)
    return domain_image(
        key_image,
        radius,
        n=PIXELS,
        pixel=PIXEL_M,
        wall=WALL_M,
        rough=ROUGH,
        jitter=JITTER_M,
        noise=PIXEL_NOISE,
    )


class Writer(Results[Domain]):
    """State and physics of writing. Methods raise ScpiError to refuse; the caller holds the lock of the microscope.

    Args:
        law: name of the hidden law, or "random".
        seed: every random number.
        cells: how many cells of film there are.
        dwell: seconds that the image of a domain takes.
        pace: seconds of the clock for a second of a pulse; 0 lets the longest pulse pass in no time.

    Raises:
        ValueError: no such law, or no such number of cells.
    """

    def __init__(self, law: str, seed: int = 0, cells: int = LATTICE**2, dwell: float = 0.0, pace: float = 0.0) -> None:
        if not 1 <= cells <= LATTICE**2:
            raise ValueError(f"the film has 1 to {LATTICE**2} cells, got {cells}")
        super().__init__()
        self._law, self.seed, self.cells = law_of(law, seed), seed, cells
        self.dwell, self.pace = dwell, pace
        self.written = 0
        self._compute(BIAS[0], 10.0 ** LOG_DURATION[0], "")  # compiled before anybody waits for it

    def pulse(self, bias: float, duration: float, token: str, move: Callable[[float, float], None]) -> None:
        """Write one domain on the next fresh cell, once per token.

        Args:
            bias: V.
            duration: s.
            token: name of this pulse.
            move: takes the stage to shares (0, 1) of the field of view.

        Raises:
            ScpiError: -213 busy, -221 a used token, -222 out of range, -211 no fresh cell is left.
        """
        if self.busy:
            raise ScpiError(-213)
        if not (BIAS[0] <= bias <= BIAS[1] and 10.0 ** LOG_DURATION[0] <= duration <= 10.0 ** LOG_DURATION[1]):
            raise ScpiError(-222)
        self.check(token)
        if self.written >= self.cells:
            raise ScpiError(-211)
        row, column = divmod(self.written, LATTICE)
        move((column + 0.5) / LATTICE, (row + 0.5) / LATTICE)
        self._tokens.add(token)
        self.written += 1
        domain = Domain(token, bias, duration, self._compute(bias, duration, token))
        self.file(domain, self.dwell + self.pace * duration)

    def _compute(self, bias: float, duration: float, token: str) -> np.ndarray:
        x = jnp.array([bias, math.log10(duration)])
        crc = np.uint32(zlib.crc32(key_part(token)))
        return np.asarray(_write(self._law, x, self.seed, crc)).astype("<f4")
