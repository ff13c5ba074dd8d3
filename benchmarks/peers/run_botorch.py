"""BoTorch: `SingleTaskGP` by maximum a posteriori, and `SaasFullyBayesianSingleTaskGP`, each with `qLogEI`.

As in its tutorials: float64 tensors, inputs in the unit square, its own `Standardize` of the readings, its own priors,
`fit_gpytorch_mll`, `qLogExpectedImprovement(model, best_f=largest reading)` over the discrete candidates by
`optimize_acqf_discrete` with those measured left out. The fully Bayesian model is sampled by
`fit_fully_bayesian_model_nuts(warmup_steps=512, num_samples=256, thinning=16)`, its documented setting and default,
which keeps 16 draws; since 0.18 this runs numpyro inside, in float32 unless a user changes JAX's settings, which the
tutorials do not (float64 was tried: slower, and no better here). Its model is another one (Matern 5/2, sparse priors),
so its draws are not compared with ours.
"""

import protocol  # first: it pins the threads
from protocol import Method, Predictive

# isort: split
import warnings

import numpy as np
import torch
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.fit import fit_fully_bayesian_model_nuts, fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete
from gpytorch.mlls import ExactMarginalLogLikelihood

warnings.filterwarnings("ignore", category=UserWarning)


class Botorch(Method):
    """A model fitted anew at every step."""

    def fit(self, x, y, seed):
        """The fitted model."""
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    def step(self, x, y, candidates, taken, seed):
        torch.manual_seed(seed)
        self.model = self.fit(torch.tensor(x), torch.tensor(y)[:, None], seed)
        score = qLogExpectedImprovement(self.model, best_f=y.max())
        free = np.flatnonzero(~taken)
        with torch.no_grad():
            chosen, _ = optimize_acqf_discrete(score, q=1, choices=torch.tensor(candidates[free]))
        return int(free[np.argmin(np.sum((candidates[free] - chosen.numpy()) ** 2, axis=1))])

    def predictive(self, points):
        with torch.no_grad():
            found = self.model.posterior(torch.tensor(points), observation_noise=True)
        mean, variance = (np.atleast_2d(t.detach().numpy()[..., 0]) for t in (found.mean, found.variance))
        return Predictive(np.full(len(mean), 1 / len(mean)), mean, variance)


class Saas(Botorch):
    """The fully Bayesian model with sparse axis-aligned priors."""

    def fit(self, x, y, seed):
        model = SaasFullyBayesianSingleTaskGP(x, y, outcome_transform=Standardize(m=1))
        fit_fully_bayesian_model_nuts(
            model, warmup_steps=512, num_samples=256, thinning=16, disable_progbar=True, seed=seed
        )
        return model


if __name__ == "__main__":
    protocol.main({"BoTorch SingleTaskGP": Botorch, "BoTorch SAAS 512 + 256": Saas})
