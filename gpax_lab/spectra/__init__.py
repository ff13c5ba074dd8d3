"""Spectra to physics: fits of curves for whole maps at once, and numbers with standard deviation, unit and status.

Techniques have modules of their own: `loops` and `forc` (hysteresis), `sho` (band excitation), `peaks`, `eels`, `edx`,
`sts` (tunnelling), `streams` (long records), `stem4d` (diffraction patterns).
"""

from gpax_lab.spectra._combinations import combine, difference, log10, ratio
from gpax_lab.spectra._fit import Fit, curve_fit, judged, transformed
from gpax_lab.spectra._scalarizer import Estimate, Quantity, Scalarizer

__all__ = [
    "Estimate",
    "Fit",
    "Quantity",
    "Scalarizer",
    "combine",
    "curve_fit",
    "difference",
    "judged",
    "log10",
    "ratio",
    "transformed",
]
