"""Plots: arrays in, a matplotlib figure out. matplotlib is imported only when a plot is asked for."""

from gpax_lab.plot._campaigns import campaign
from gpax_lab.plot._hypotheses import confusion, curves, law, prior_sweep, probabilities, recovery
from gpax_lab.plot._latent import latent_map, manifold, training
from gpax_lab.plot._posteriors import parameters, posterior_1d, reconstruction, regret
from gpax_lab.plot._ternary import quaternary, ternary

__all__ = [
    "campaign",
    "confusion",
    "curves",
    "latent_map",
    "law",
    "manifold",
    "parameters",
    "posterior_1d",
    "prior_sweep",
    "probabilities",
    "quaternary",
    "reconstruction",
    "recovery",
    "regret",
    "ternary",
    "training",
]
