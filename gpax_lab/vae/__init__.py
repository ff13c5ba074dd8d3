"""Variational autoencoders (VAE) that know how an object is rotated, shifted and magnified: arrays in, arrays out."""

from gpax_lab.core._poses import Pose
from gpax_lab.nn._checkpoints import CheckpointMismatch
from gpax_lab.nn._decoders import CoordinateDecoder, FourierDecoder, MLPDecoder
from gpax_lab.nn._layers import MLP, ConvNet
from gpax_lab.vae._elbo import ELBOTerms, Weights, elbo, importance_elbo
from gpax_lab.vae._examples import Examples, examples, unit_range
from gpax_lab.vae._files import load, save
from gpax_lab.vae._inference import Encoded, anomaly, decode, encode, predict, reconstruct
from gpax_lab.vae._latent_maps import encode_windows, manifold, traversal
from gpax_lab.vae._likelihoods import Likelihood, bernoulli, continuous_bernoulli, gaussian
from gpax_lab.vae._metrics import angle_error, circular_correlation, explained, shift_correlation
from gpax_lab.vae._model import VAE, model
from gpax_lab.vae._parts import rotation, scaling, translation
from gpax_lab.vae._schedules import annealed
from gpax_lab.vae._stored import Stored, stored
from gpax_lab.vae._training import History, Trained, mean_elbo, train
from gpax_lab.vae._trajectories import trajectories

__all__ = [
    "MLP",
    "VAE",
    "CheckpointMismatch",
    "ConvNet",
    "CoordinateDecoder",
    "ELBOTerms",
    "Encoded",
    "Examples",
    "FourierDecoder",
    "History",
    "Likelihood",
    "MLPDecoder",
    "Pose",
    "Stored",
    "Trained",
    "Weights",
    "angle_error",
    "annealed",
    "anomaly",
    "bernoulli",
    "circular_correlation",
    "continuous_bernoulli",
    "decode",
    "elbo",
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
