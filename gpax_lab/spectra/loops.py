"""Hysteresis loops of switching spectroscopy: the nine-parameter loop, its fit, and the numbers read from loops.

A loop is `bias (n,)` in V and `response (..., n)`, one or several full cycles of a triangle sweep, with one or more
values at each bias.
"""

from gpax_lab.spectra._loop import (
    LOG_LOOP_AREA,
    LOOP_AREA,
    LoopParams,
    coercive_biases,
    despike,
    log_loop_area,
    loop_area,
    loop_function,
    on_off,
    remanence,
    triangle,
)
from gpax_lab.spectra._loop_fit import loop_fit
from gpax_lab.spectra._loop_scalars import LoopScalars, loop_scalarizer, loop_scalars, scalars_of_fit

__all__ = [
    "LOG_LOOP_AREA",
    "LOOP_AREA",
    "LoopParams",
    "LoopScalars",
    "coercive_biases",
    "despike",
    "log_loop_area",
    "loop_area",
    "loop_fit",
    "loop_function",
    "loop_scalarizer",
    "loop_scalars",
    "on_off",
    "remanence",
    "scalars_of_fit",
    "triangle",
]
