"""gpax_lab: probabilistic models with which an instrument decides what to measure next, in JAX.

A model is a prior, a log-likelihood and a predictor; a sampler turns observations into weighted draws; an experiment
is a pure state machine over them; `simulate` runs one as a compiled function, `run` against an instrument.
"""

from typing import TYPE_CHECKING

from gpax_lab._lazy import lazy

if TYPE_CHECKING:
    from gpax_lab import acquisition, kernels, means, priors
    from gpax_lab._version import __version__
    from gpax_lab.core._environment import setup
    from gpax_lab.core._observations import Observations, observations
    from gpax_lab.experiment import Problem, bayes_opt, recovery, run, simulate, study
    from gpax_lab.hypotheses import comparison_report, formula, hypotheses, model_average
    from gpax_lab.inference import laplace, nuts, reconstruct, smc
    from gpax_lab.models import deep_kernel, gp, parametric, sparse
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            __name__: "acquisition kernels means priors",
            "gpax_lab._version": "__version__",
            "gpax_lab.core._environment": "setup",
            "gpax_lab.core._observations": "Observations observations",
            "gpax_lab.experiment": "Problem bayes_opt recovery run simulate study",
            "gpax_lab.hypotheses": "comparison_report formula hypotheses model_average",
            "gpax_lab.inference": "laplace nuts reconstruct smc",
            "gpax_lab.models": "deep_kernel gp parametric sparse",
        },
    )

__all__ = [
    "Observations",
    "Problem",
    "__version__",
    "acquisition",
    "bayes_opt",
    "comparison_report",
    "deep_kernel",
    "formula",
    "gp",
    "hypotheses",
    "kernels",
    "laplace",
    "means",
    "model_average",
    "nuts",
    "observations",
    "parametric",
    "priors",
    "reconstruct",
    "recovery",
    "run",
    "setup",
    "simulate",
    "smc",
    "sparse",
    "study",
]
