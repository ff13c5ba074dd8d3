"""Variational autoencoders that know how a picture turns, shifts and grows: arrays in, arrays out."""

from gpax_lab.vae.bounds import Terms, Weights, bound, importance_bound
from gpax_lab.vae.examples import Examples, examples
from gpax_lab.vae.likelihoods import Likelihood, bernoulli, continuous_bernoulli, gaussian
from gpax_lab.vae.model import VAE, Latents, model
from gpax_lab.vae.networks import Convolutional, Coordinates, Dense, Plain, Waves
from gpax_lab.vae.parts import rotation, scaling, translation
from gpax_lab.poses import Pose
from gpax_lab.vae.stored import Stored, stored
from gpax_lab.vae.training import Epoch, History, Trained, mean_bound, train

__all__ = [
    "VAE",
    "Convolutional",
    "Coordinates",
    "Dense",
    "Epoch",
    "Examples",
    "History",
    "Latents",
    "Likelihood",
    "Plain",
    "Pose",
    "Stored",
    "Terms",
    "Trained",
    "Waves",
    "Weights",
    "bernoulli",
    "bound",
    "continuous_bernoulli",
    "examples",
    "gaussian",
    "importance_bound",
    "mean_bound",
    "model",
    "rotation",
    "scaling",
    "stored",
    "train",
    "translation",
]
