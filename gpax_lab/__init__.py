"""gpax_lab: probabilistic models with which an instrument decides what to measure next, in JAX.

A model is a prior, a log-likelihood and a predictor; a sampler turns observations into weighted draws; an experiment
is a pure state machine over them; `simulate` runs one as a compiled function, `run` against an instrument.
"""

from gpax_lab import acquire, kernels, means, priors
from gpax_lab.environment import setup
from gpax_lab.experiment import Problem, Simulated, bayes_opt, reach, recovery, run, simulate, study
from gpax_lab.formulas import formula
from gpax_lab.infer import (
    bandit,
    coverage,
    ensemble,
    hypotheses,
    intervals,
    laplace,
    term_library,
    load_posterior,
    nuts,
    predictive_check,
    prior_sweep,
    discover_laws,
    model_average,
    recalibration,
    reconstruct,
    smc,
    comparison_report,
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
from gpax_lab.observations import Observations, observations

__all__ = [
    "Observations",
    "Problem",
    "Simulated",
    "HeteroscedasticNoise",
    "StudentNoise",
    "acquire",
    "bandit",
    "bayes_opt",
    "coverage",
    "deep_kernel",
    "ensemble",
    "formula",
    "gp",
    "gridded",
    "hypotheses",
    "inducing_points",
    "intervals",
    "kernels",
    "laplace",
    "term_library",
    "load_posterior",
    "means",
    "nuts",
    "observations",
    "over_compositions",
    "parametric",
    "predictive_check",
    "prior_sweep",
    "priors",
    "discover_laws",
    "model_average",
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
    "comparison_report",
]
