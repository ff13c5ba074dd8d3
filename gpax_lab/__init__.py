"""gpax_lab: probabilistic models with which an instrument decides what to measure next, in JAX.

A model is a prior, a log-likelihood and a predictor; a sampler turns observations into weighted draws; an experiment
is a pure state machine over them; `simulate` runs one as a compiled function, `run` against an instrument.
"""

from gpax_lab import acquire, kernels, means, priors
from gpax_lab.experiment import Problem, Simulated, bayes_opt, run, simulate, study
from gpax_lab.infer import laplace, nuts, smc
from gpax_lab.models import SmoothNoise, gp, parametric
from gpax_lab.observations import Observations, observations

__all__ = [
    "Observations",
    "Problem",
    "Simulated",
    "SmoothNoise",
    "acquire",
    "bayes_opt",
    "gp",
    "kernels",
    "laplace",
    "means",
    "nuts",
    "observations",
    "parametric",
    "priors",
    "run",
    "simulate",
    "smc",
    "study",
]
