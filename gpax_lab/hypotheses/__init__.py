"""Which law is right: competing hypotheses, how probable each is, what they owe to their priors, and new ones."""

from gpax_lab.hypotheses._bandit import Bandit, bandit
from gpax_lab.hypotheses._comparison import PredictiveCheck, comparison_report, predictive_check
from gpax_lab.hypotheses._discovery import Proposals, TermLibrary, discover_laws, term_library
from gpax_lab.hypotheses._formulas import formula
from gpax_lab.hypotheses._mixture import Hypotheses, HypothesisMixture, hypotheses
from gpax_lab.hypotheses._model_average import ModelAverage, model_average
from gpax_lab.hypotheses._sensitivity import PriorSweep, prior_sweep
from gpax_lab.hypotheses._stored import load_posterior

__all__ = [
    "Bandit",
    "Hypotheses",
    "HypothesisMixture",
    "ModelAverage",
    "PredictiveCheck",
    "PriorSweep",
    "Proposals",
    "TermLibrary",
    "bandit",
    "comparison_report",
    "discover_laws",
    "formula",
    "hypotheses",
    "load_posterior",
    "model_average",
    "predictive_check",
    "prior_sweep",
    "term_library",
]
