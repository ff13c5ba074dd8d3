"""Variational autoencoders that know how a picture turns, shifts and grows: arrays in, arrays out."""

from gpax_lab.poses import Pose
from gpax_lab.vae.bounds import ELBOTerms, Weights, elbo, importance_elbo
from gpax_lab.vae.checks import angle_error, circular_correlation, explained, shift_correlation
from gpax_lab.vae.examples import Examples, examples, unit_range
from gpax_lab.vae.files import load, save
from gpax_lab.vae.likelihoods import Likelihood, bernoulli, continuous_bernoulli, gaussian
from gpax_lab.vae.model import VAE, Latents, model
from gpax_lab.vae.networks import Convolutional, Coordinates, Dense, MLPDecoder, FourierDecoder
from gpax_lab.vae.parts import rotation, scaling, translation
from gpax_lab.vae.schedules import annealed
from gpax_lab.vae.stored import Stored, stored
from gpax_lab.vae.training import Epoch, History, Trained, mean_elbo, train
from gpax_lab.vae.use import (
    Encoded,
    anomaly,
    decode,
    encode,
    encode_windows,
    manifold,
    predict,
    reconstruct,
    trajectories,
    traversal,
)

__all__ = [
    "VAE",
    "Convolutional",
    "Coordinates",
    "Dense",
    "Encoded",
    "Epoch",
    "Examples",
    "History",
    "Latents",
    "Likelihood",
    "MLPDecoder",
    "Pose",
    "Stored",
    "ELBOTerms",
    "Trained",
    "FourierDecoder",
    "Weights",
    "angle_error",
    "annealed",
    "anomaly",
    "bernoulli",
    "elbo",
    "circular_correlation",
    "continuous_bernoulli",
    "decode",
    "encode",
    "encode_windows",
    "examples",
    "explained",
    "gaussian",
    "importance_elbo",
    "load",
    "manifold",
    "mean_elbo",
    "model",
    "predict",
    "reconstruct",
    "rotation",
    "save",
    "scaling",
    "shift_correlation",
    "stored",
    "train",
    "trajectories",
    "translation",
    "traversal",
    "unit_range",
]
