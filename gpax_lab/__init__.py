"""gpax_lab: probabilistic models with which an instrument decides what to measure next, in JAX.

A model is a prior, a log-likelihood and a predictor; a sampler turns observations into weighted draws; an experiment
is a pure state machine over them; `simulate` runs one as a compiled function, `run` against an instrument.
"""

from gpax_lab import acquisition, kernels, means, priors
from gpax_lab.core._environment import setup
from gpax_lab.core._observations import Observations, observations
from gpax_lab.experiment import Problem, Simulated, bayes_opt, reach, recovery, run, simulate, study
from gpax_lab.hypotheses import (
    bandit,
    comparison_report,
    discover_laws,
    formula,
    hypotheses,
    load_posterior,
    model_average,
    predictive_check,
    prior_sweep,
    term_library,
)
from gpax_lab.inference import (
    coverage,
    ensemble,
    intervals,
    laplace,
    nuts,
    recalibration,
    reconstruct,
    smc,
)
from gpax_lab.models import (
    HeteroscedasticNoise,
    StudentNoise,
    deep_kernel,
    gp,
    gridded,
    inducing_points,
    over_compositions,
    parametric,
    sparse,
)

__all__ = [
    "HeteroscedasticNoise",
    "Observations",
    "Problem",
    "Simulated",
    "StudentNoise",
    "acquisition",
    "bandit",
    "bayes_opt",
    "comparison_report",
    "coverage",
    "deep_kernel",
    "discover_laws",
    "ensemble",
    "formula",
    "gp",
    "gridded",
    "hypotheses",
    "inducing_points",
    "intervals",
    "kernels",
    "laplace",
    "load_posterior",
    "means",
    "model_average",
    "nuts",
    "observations",
    "over_compositions",
    "parametric",
    "predictive_check",
    "prior_sweep",
    "priors",
    "reach",
    "recalibration",
    "reconstruct",
    "recovery",
    "run",
    "setup",
    "simulate",
    "smc",
    "sparse",
    "study",
    "term_library",
]
