"""A sampler turns observations into weighted draws: `init` once, `update` after every reading."""

from gpax_lab.infer import outcomes
from gpax_lab.infer.bandit import Bandit, bandit
from gpax_lab.infer.checks import PredictiveCheck, predictive_check, comparison_report
from gpax_lab.infer.ensemble import ensemble
from gpax_lab.infer.laplace import laplace
from gpax_lab.infer.nuts import nuts
from gpax_lab.infer.posterior import Info, Posterior, Sampler
from gpax_lab.infer.race import Hypotheses, ModelAverage, hypotheses, model_average
from gpax_lab.infer.recalibrate import coverage, intervals, leave_one_out_scores, recalibration
from gpax_lab.infer.reconstruct import Reconstruction, reconstruct
from gpax_lab.infer.sensitivity import PriorSweep, prior_sweep
from gpax_lab.infer.smc import smc
from gpax_lab.infer.stored import load_posterior
from gpax_lab.infer.terms import TermLibrary, Proposal, Proposals, term_library, discover_laws

__all__ = [
    "Bandit",
    "Hypotheses",
    "Info",
    "TermLibrary",
    "Posterior",
    "PredictiveCheck",
    "PriorSweep",
    "Proposal",
    "Proposals",
    "ModelAverage",
    "Reconstruction",
    "Sampler",
    "bandit",
    "coverage",
    "ensemble",
    "hypotheses",
    "intervals",
    "laplace",
    "leave_one_out_scores",
    "term_library",
    "load_posterior",
    "nuts",
    "outcomes",
    "predictive_check",
    "prior_sweep",
    "discover_laws",
    "model_average",
    "recalibration",
    "reconstruct",
    "smc",
    "comparison_report",
]
