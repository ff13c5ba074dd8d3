"""A sampler turns observations into weighted draws: `init` once, `update` after every observation."""

from gpax_lab.inference._arviz import to_arviz
from gpax_lab.inference._ensemble import ensemble
from gpax_lab.inference._laplace import laplace
from gpax_lab.inference._nuts import nuts
from gpax_lab.inference._posterior import Info, Posterior, Sampler
from gpax_lab.inference._recalibration import coverage, intervals, leave_one_out_scores, recalibration
from gpax_lab.inference._reconstruct import Reconstruction, reconstruct
from gpax_lab.inference._smc import smc

__all__ = [
    "Info",
    "Posterior",
    "Reconstruction",
    "Sampler",
    "coverage",
    "ensemble",
    "intervals",
    "laplace",
    "leave_one_out_scores",
    "nuts",
    "recalibration",
    "reconstruct",
    "smc",
    "to_arviz",
]
