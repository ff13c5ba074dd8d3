"""Priors of parameters: numpyro distributions by name, or a numpyro program that returns such a mapping.

What is left out of a prior gets the default that the library has for the name; `default` shows it, and `sample` draws
from all priors of a model.
"""

from gpax_lab.core._priors import Params, Prior, default, sample

__all__ = ["Params", "Prior", "default", "sample"]
