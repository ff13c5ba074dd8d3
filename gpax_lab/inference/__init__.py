"""A sampler turns observations into weighted draws: `init` once, `update` after every reading."""

from gpax_lab.hypotheses._bandit import Bandit, bandit
from gpax_lab.hypotheses._comparison import PredictiveCheck, comparison_report, predictive_check
from gpax_lab.hypotheses._discovery import Proposal, Proposals, TermLibrary, discover_laws, term_library
from gpax_lab.hypotheses._model_average import Hypotheses, ModelAverage, hypotheses, model_average
from gpax_lab.hypotheses._sensitivity import PriorSweep, prior_sweep
from gpax_lab.inference import outcomes
from gpax_lab.inference._ensemble import ensemble
from gpax_lab.inference._laplace import laplace
from gpax_lab.inference._nuts import nuts
from gpax_lab.inference._posterior import Info, Posterior, Sampler
from gpax_lab.inference._recalibration import coverage, intervals, leave_one_out_scores, recalibration
from gpax_lab.inference._reconstruct import Reconstruction, reconstruct
from gpax_lab.inference._smc import smc
from gpax_lab.inference._stored import load_posterior

__all__ = [
    "Bandit",
    "Hypotheses",
    "Info",
    "ModelAverage",
    "Posterior",
    "PredictiveCheck",
    "PriorSweep",
    "Proposal",
    "Proposals",
    "Reconstruction",
    "Sampler",
    "TermLibrary",
    "bandit",
    "comparison_report",
    "coverage",
    "discover_laws",
    "ensemble",
    "hypotheses",
    "intervals",
    "laplace",
    "leave_one_out_scores",
    "load_posterior",
    "model_average",
    "nuts",
    "outcomes",
    "predictive_check",
    "prior_sweep",
    "recalibration",
    "reconstruct",
    "smc",
    "term_library",
]
