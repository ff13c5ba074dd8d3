"""GPyTorch on an image with holes: structured kernel interpolation (KISS-GP), as GPim's `skreconstructor` uses it.

`GridInterpolationKernel` over an RBF kernel with one lengthscale an axis, a constant mean, inputs scaled to [0, 1], the
grid by GPyTorch's own `choose_grid_size`, Adam with learning rate 0.1 for 50 iterations on the exact marginal
likelihood (GPim's settings), fast predictive variances, float32 (torch's default); readings standardised, without which
its constants do not fit. `GridKernel` asks for a complete grid of observations and cannot take holes.
"""

import protocol  # first: it pins the threads
from protocol import Image

# isort: split
import warnings

import gpytorch
import numpy as np
import torch

warnings.filterwarnings("ignore")

ITERATIONS = protocol.JOB.get("iterations", 50)


class Kiss(gpytorch.models.ExactGP):
    """KISS-GP of two inputs."""

    def __init__(self, x, y, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.GridInterpolationKernel(
            gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=2)),
            grid_size=int(gpytorch.utils.grid.choose_grid_size(x, 1.0)),
            num_dims=2,
        )

    def forward(self, x):
        """The prior at x."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def filled(image, seed):
    """Learn, then predict every pixel in parts."""
    torch.manual_seed(seed)
    known = ~np.isnan(image)
    size = torch.tensor(image.shape) - 1.0
    x = torch.tensor(np.argwhere(known), dtype=torch.float32) / size
    readings = torch.tensor(image[known], dtype=torch.float32)
    location, scale = readings.mean(), readings.std()
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Kiss(x, (readings - location) / scale, likelihood)
    model.train()
    likelihood.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    likelihood_of = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        loss = -likelihood_of(model(x), model.train_targets)
        loss.backward()
        optimiser.step()
    model.eval()
    likelihood.eval()
    everywhere = torch.tensor(np.argwhere(np.ones_like(known)), dtype=torch.float32) / size
    means, variances = [], []
    with torch.no_grad(), gpytorch.settings.fast_pred_var():
        for part in torch.split(everywhere, 4096):
            found = likelihood(model(part))
            means.append(found.mean)
            variances.append(found.variance)
    mean = location + scale * torch.cat(means)
    std = scale * torch.cat(variances).sqrt()
    return Image(mean.numpy().reshape(image.shape), std.numpy().reshape(image.shape))


if __name__ == "__main__":
    protocol.main({"GPyTorch KISS-GP": filled})
