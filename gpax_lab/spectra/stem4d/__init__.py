"""Four-dimensional STEM: from the diffraction pattern at every position to images, fields, charges and strain.

A data set is `patterns (..., n, m)`: scan axes first, detector rows and columns last. Everything works on one pattern
and on any stack of them; sets larger than memory go through `spectra.streams`.
"""

from gpax_lab.spectra.stem4d._detectors import (
    annular,
    centre_of_mass,
    deflection,
    segment,
    virtual_detector,
)
from gpax_lab.spectra.stem4d._fields import (
    align_detector,
    charge,
    charge_variance,
    potential,
    projected_field,
    rotate_vectors,
    without_descan,
)
from gpax_lab.spectra.stem4d._strain import Discs, Lattice, Strain, find_discs, fit_lattice, strain

__all__ = [
    "Discs",
    "Lattice",
    "Strain",
    "align_detector",
    "annular",
    "centre_of_mass",
    "charge",
    "charge_variance",
    "deflection",
    "find_discs",
    "fit_lattice",
    "potential",
    "projected_field",
    "rotate_vectors",
    "segment",
    "strain",
    "virtual_detector",
    "without_descan",
]
