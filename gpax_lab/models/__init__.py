"""A model is a prior, a log-likelihood and a predictor."""

from gpax_lab.models import gp
from gpax_lab.models.model import Model
from gpax_lab.models.noise import SmoothNoise
from gpax_lab.models.parametric import parametric

__all__ = ["Model", "SmoothNoise", "gp", "parametric"]
