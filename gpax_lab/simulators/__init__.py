"""Samples and microscopes that exist in the computer: band excitation, ferroelectric films, atomic lattices, spectra.

`diffraction`, `ferroelectric` and `stem_sample` are modules of their own, for their functions have short names.
"""

from gpax_lab.simulators import diffraction, ferroelectric, stem_sample
from gpax_lab.simulators._band_excitation import be_sample, be_spectrum, be_switching
from gpax_lab.simulators._domain_image import domain_image
from gpax_lab.simulators._glyphs import Glyphs, glyphs
from gpax_lab.simulators._graphene import graphene
from gpax_lab.simulators._loop_family import loop_family
from gpax_lab.simulators._unit_cells import film_of_cells, unit_cells

__all__ = [
    "Glyphs",
    "be_sample",
    "be_spectrum",
    "be_switching",
    "diffraction",
    "domain_image",
    "ferroelectric",
    "film_of_cells",
    "glyphs",
    "graphene",
    "loop_family",
    "stem_sample",
    "unit_cells",
]
