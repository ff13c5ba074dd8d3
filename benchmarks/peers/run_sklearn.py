"""scikit-learn, `GaussianProcessRegressor`, with expected improvement written by the user, as its users do.

Kernel: ConstantKernel * RBF (or Matern 5/2) with one lengthscale an input + WhiteKernel, the way its guide adds noise;
`normalize_y=True`; hyperparameters by maximum likelihood, five random restarts (its examples take 0 to 9). It has
neither priors nor acquisition. Its bounds on hyperparameters are the defaults, 1e-5 to 1e5.
"""

import warnings

import protocol  # first: it pins the threads
from protocol import Image, Method, Predictive, expected_improvement

# isort: split
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # a hyperparameter at its bound

SUBSET = 1000
"""Pixels of an image that it learns from: its cost is cubic, and further ones take minutes."""


def regressor(lengthscale, noise, restarts, seed, of_distance=RBF):
    """The regressor described above."""
    kernel = ConstantKernel(1.0) * of_distance(np.asarray(lengthscale)) + WhiteKernel(noise)
    return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=restarts, random_state=seed)


class Sklearn(Method):
    """A regressor fitted anew at every step."""

    of_distance = RBF

    def step(self, x, y, candidates, taken, seed):
        self.model = regressor([0.3] * x.shape[1], 0.01, 5, seed, self.of_distance).fit(x, y)
        mean, std = self.model.predict(candidates, return_std=True)
        noise = self.noise()
        std = np.sqrt(np.maximum(std**2 - noise, 0.0))  # its prediction holds the white noise
        return int(np.argmax(np.where(taken, -np.inf, expected_improvement(mean, std, y.max()))))

    def noise(self):
        """Noise variance in the unit of the observations squared."""
        return self.model.kernel_.k2.noise_level * self.model._y_train_std**2

    def predictive(self, points):
        mean, std = self.model.predict(points, return_std=True)
        return Predictive(np.ones(1), mean[None], std[None] ** 2)


class Rough(Sklearn):
    """The same with a Matern 5/2 kernel."""

    @staticmethod
    def of_distance(lengthscale):
        return Matern(lengthscale, nu=2.5)


def filled(image, seed):
    """An image from a random subset of its pixels, no restarts."""
    known = np.argwhere(~np.isnan(image))
    chosen = known[np.random.default_rng(seed).choice(len(known), min(SUBSET, len(known)), replace=False)]
    model = regressor([10.0, 10.0], 0.1, 0, seed).fit(chosen, image[tuple(chosen.T)])
    everywhere = np.argwhere(np.ones_like(image, bool))
    parts = [model.predict(p, return_std=True) for p in np.array_split(everywhere, -(-len(everywhere) // 4096))]
    mean, std = (np.concatenate([p[i] for p in parts]).reshape(image.shape) for i in (0, 1))
    return Image(mean, std)


if __name__ == "__main__":
    protocol.main(
        {"scikit-learn": Sklearn, "scikit-learn, Matern 5/2": Rough, f"scikit-learn on {SUBSET} pixels": filled}
    )
