"""gpax_lab: probabilistic models with which an instrument decides what to measure next, in JAX.

A model is a prior, a log-likelihood and a predictor; a sampler turns observations into weighted draws; an experiment
is a pure state machine over them; `simulate` runs one as a compiled function, `run` against an instrument.
"""

from typing import TYPE_CHECKING

from gpax_lab._lazy import lazy

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            __name__: "acquisition kernels means priors",
            "gpax_lab.core._environment": "setup",
            "gpax_lab.core._observations": "Observations observations",
            "gpax_lab.experiment": "Problem Simulated bayes_opt reach recovery run simulate study",
            "gpax_lab.hypotheses": (
                "bandit comparison_report discover_laws formula hypotheses load_posterior model_average "
                "predictive_check prior_sweep term_library"
            ),
            "gpax_lab.inference": "coverage ensemble intervals laplace nuts recalibration reconstruct smc",
            "gpax_lab.models": (
                "HeteroscedasticNoise StudentNoise deep_kernel gp gridded inducing_points over_compositions "
                "parametric sparse"
            ),
        },
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
