"""A model is a prior, a log-likelihood and a predictor."""

from gpax_lab.models import gp, gridded
from gpax_lab.models._deep_kernel import DeepKernelGP, deep_kernel
from gpax_lab.models._exact import ExactGP
from gpax_lab.models._kronecker_gp import KroneckerGP
from gpax_lab.models._mixture import over_compositions
from gpax_lab.models._model import ConditionsOnPending, Density, DrawsJointly, DrawsPaths, LeavesOneOut, Model
from gpax_lab.models._multi_output import MultiOutput, SpectralBasis, multi_output
from gpax_lab.models._noise import HeteroscedasticNoise, StudentNoise
from gpax_lab.models._parametric import Parametric, parametric
from gpax_lab.models._sparse import SparseGP, inducing_points, sparse
from gpax_lab.models._structure import descriptions

__all__ = [
    "ConditionsOnPending",
    "DeepKernelGP",
    "Density",
    "DrawsJointly",
    "DrawsPaths",
    "ExactGP",
    "HeteroscedasticNoise",
    "KroneckerGP",
    "LeavesOneOut",
    "Model",
    "MultiOutput",
    "Parametric",
    "SparseGP",
    "SpectralBasis",
    "StudentNoise",
    "deep_kernel",
    "descriptions",
    "gp",
    "gridded",
    "inducing_points",
    "multi_output",
    "over_compositions",
    "parametric",
    "sparse",
]
