"""A model is a prior, a log-likelihood and a predictor."""

from gpax_lab.models import gp, gridded
from gpax_lab.models._deep_kernel import deep_kernel
from gpax_lab.models._mixture import over_compositions
from gpax_lab.models._model import Model
from gpax_lab.models._multi_output import SpectralBasis, multi_output
from gpax_lab.models._noise import HeteroscedasticNoise, StudentNoise
from gpax_lab.models._parametric import parametric
from gpax_lab.models._sparse import inducing_points, sparse

__all__ = [
    "HeteroscedasticNoise",
    "Model",
    "SpectralBasis",
    "StudentNoise",
    "deep_kernel",
    "gp",
    "gridded",
    "inducing_points",
    "multi_output",
    "over_compositions",
    "parametric",
    "sparse",
]
