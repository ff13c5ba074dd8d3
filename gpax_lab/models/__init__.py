"""A model is a prior, a log-likelihood and a predictor."""

from gpax_lab.models import gp, gridded
from gpax_lab.models.deep_kernel import deep_kernel
from gpax_lab.models.mixture import over_compositions
from gpax_lab.models.model import Model
from gpax_lab.models.noise import HeteroscedasticNoise, StudentNoise
from gpax_lab.models.parametric import parametric
from gpax_lab.models.sparse import inducing_points, sparse
from gpax_lab.models.vector import SpectralBasis, multi_output

__all__ = [
    "Model",
    "HeteroscedasticNoise",
    "SpectralBasis",
    "StudentNoise",
    "deep_kernel",
    "gp",
    "gridded",
    "inducing_points",
    "over_compositions",
    "parametric",
    "sparse",
    "multi_output",
]
