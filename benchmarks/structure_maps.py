"""Maps of a quantity with a cheap image beside it: two measured ones, and a simulated one with a known answer."""

from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.images import around, normalized, pixel_positions
from gpax_lab.simulators import be_sample, stem_sample
from gpax_lab.spectra.loops import LoopParams, despike, log_loop_area, loop_area, loop_function, triangle
from gpax_lab.storage import load


class Map(NamedTuple):
    """What a campaign on structure is about.

    Attributes:
        name: of the map.
        image: (h, w) the cheap image, normalised.
        positions: (n, 2) row and column of every measurable place, in pixels of the image.
        values: (n,) what a spectrum there would give, standardised over the map.
        rows: (n,) the row of the map in which a place lies.
        size: edge of a patch, pixels.
    """

    name: str
    image: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    size: int

    def look(self):
        """Positions to patches."""
        return around(self.image, self.size)

    def patches(self) -> np.ndarray:
        """(n, size, size) around every place."""
        return np.asarray(self.look()(jnp.asarray(self.positions)))

    def at(self, x):
        """The value at the place x (2,), and its index."""
        index = jnp.argmin(jnp.sum((jnp.asarray(self.positions) - x[None]) ** 2, axis=1))
        return jnp.asarray(self.values)[index], index


def standard(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()


def beps(data: Path) -> Map:
    """PbTiO3 (50 x 50): the response at the first, zero-bias point, and the log of the loop area.

    Pixels whose loops hold a failed fit of the resonance (above 1e-3 a.u.) are left out: 1704 of 2500 remain.
    """
    group = h5py.File(data / "loops/BEPS_PTO_50x50.h5")["Channel_000/generic"]
    loops, bias = group["generic"][()], group["Voltage"][()]
    values = np.asarray(log_loop_area(bias, despike(loops))).ravel()
    good = (np.abs(loops).max(axis=2) < 1e-3).ravel()
    cheap = np.clip(loops[:, :, 0], *np.quantile(loops[:, :, 0][good.reshape(50, 50)], [0.001, 0.999]))
    positions = np.asarray(pixel_positions((50, 50)))[good]
    image = np.asarray(normalized(cheap))
    return Map("BEPS", image, positions, standard(values[good]), positions[:, 0].astype(int), 5)


def eels(data: Path) -> Map:
    """A perovskite heterostructure (49 x 6): 32 x 32 HAADF pixels a place, binned to 8 x 8, and the Ti-L edge."""
    folder = data / "image_to_spectrum"
    cube = next(iter(load(folder / "SI-EELS.dm3").values())).moved("y", "x", "Energy loss")
    spectra, energy = cube.values.astype(float).reshape(294, 1024), cube.axis("Energy loss").values
    haadf = next(iter(load(folder / "SI-HAADF.dm3").values())).values.astype(float)
    below, edge = (energy >= 405) & (energy < 450), (energy >= 454) & (energy < 474)
    line = np.stack([np.log(energy[below]), np.ones(below.sum())], axis=1)
    slope = np.linalg.lstsq(line, np.log(spectra[:, below].T), rcond=None)[0]
    background = np.exp(np.log(energy[edge])[None] * slope[0][:, None] + slope[1][:, None])
    values = (spectra[:, edge] - background).sum(axis=1)
    image = np.asarray(normalized(haadf.reshape(392, 4, 48, 4).mean(axis=(1, 3))))
    rows, columns = (axis.ravel() for axis in np.meshgrid(np.arange(49), np.arange(6), indexing="ij"))
    positions = np.stack([8 * rows + 3.5, 8 * columns + 3.5], axis=1)
    return Map("EELS", image, positions, standard(values), rows, 8)


def twin(seed: int = 3, n: int = 50) -> Map:
    """A simulated film on which the pattern of domains around a pixel determines its loop; the loop's area."""
    sample = be_sample(jax.random.key(seed), n)
    bias = triangle(8.0, 64)
    area = jax.vmap(jax.vmap(lambda *loop: loop_area(bias, loop_function(bias, LoopParams(*loop)))))(*sample.loop)
    positions = np.asarray(pixel_positions((n, n)))
    values = standard(-np.asarray(area).ravel())
    return Map("twin", np.asarray(normalized(sample.image)), positions, values, positions[:, 0].astype(int), 8)


def particles(seed: int = 3, n: int = 50) -> Map:
    """Simulated particles in a STEM: the image shows how thick they are, the spectrum how much oxide a place holds.

    Oxide is most where the beam grazes the core of a particle: a ring, whichever way its rim runs there. The counts of
    the O-K edge are proportional to the shell's thickness (`stem_sample.eels`).
    """
    of = stem_sample.specimen(jax.random.key(seed))
    positions = np.asarray(pixel_positions((n, n)))
    places = jnp.asarray((positions + 0.5) / n)
    image = jax.vmap(lambda x: stem_sample.haadf(of, x, 0.0))(places).reshape(n, n)
    image = image + 0.02 * jax.random.normal(jax.random.key(seed + 1), image.shape)
    oxide = np.asarray(jax.vmap(lambda x: stem_sample.thickness(of, x)[1])(places))
    return Map("particles", np.asarray(normalized(image)), positions, standard(oxide), positions[:, 0].astype(int), 8)
