"""Posteriors by importance sampling in plain numpy: the guard that depends on no compiler and on none of our samplers.

Densities are written down anew (Rasmussen & Williams 2006, eq. 2.30 and 4.17), draws come from the prior first and then
from Student's t around what these have found, so that a second mode is not missed; their effective number is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy import special, stats

from gpax_lab import gp, kernels, observations, parametric

KERNELS = {
    "rbf": lambda r: np.exp(-0.5 * r**2),
    "matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
}

DRAWS = 30_000


@dataclass(frozen=True)
class Reference:
    """Means (p,) and standard deviations (p,) of the unconstrained parameters, log evidence, and how sure these are."""

    mean: np.ndarray
    sd: np.ndarray
    log_evidence: float
    effective: float


@dataclass(frozen=True)
class Case:
    """A model of ours, observations, and the same in numpy.

    Attributes:
        name: what it is called.
        model: of ours.
        x: (n, d) inputs in the unit cube, y: (n,).
        slots: capacity of the buffer.
        priors: name -> (number of entries, logarithm of the density of unconstrained values (m, k), draws).
        mean: (unconstrained values by name, each (m, k)) -> (m, n), or None.
        kernel: one of `KERNELS`, or None for a law alone.
    """

    name: str
    model: object
    x: np.ndarray
    y: np.ndarray
    slots: int
    priors: dict
    mean: Callable | None = None
    kernel: str | None = "matern52"
    low: float = 0.0
    width: float = 1.0
    standardized: bool = True
    seed: int = field(default=0)

    @property
    def obs(self):
        """As our model sees them."""
        return observations(self.low + self.width * self.x, self.y, capacity=self.slots)

    def split(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Unconstrained values by name."""
        edges = np.cumsum([size for size, *_ in self.priors.values()])[:-1]
        return dict(zip(self.priors, np.split(z, edges, axis=1), strict=True))

    def log_joint(self, z: np.ndarray) -> np.ndarray:
        """(m,) log of prior times likelihood at z (m, p), Jacobian included."""
        prior = self.log_prior(z)
        return np.concatenate([prior[i : i + 500] + self._likelihood(z[i : i + 500]) for i in range(0, len(z), 500)])

    def _likelihood(self, z: np.ndarray) -> np.ndarray:
        at, n = self.split(z), len(self.y)
        scale = self.y.std() if self.standardized else 1.0
        location = self.y.mean() if self.standardized else 0.0
        r = (self.y[None] - (location if self.mean is None else self.mean(at))) / scale
        noise = np.exp(at["noise"][:, 0])
        if self.kernel is None:
            return -0.5 * (r**2).sum(axis=1) / noise - 0.5 * n * np.log(2 * np.pi * noise) - n * np.log(scale)
        gap = (self.x[:, None] - self.x[None])[None] / np.exp(at["lengthscale"])[:, None, None, :]
        k = np.exp(at["variance"])[..., None] * KERNELS[self.kernel](np.sqrt((gap**2).sum(axis=3)))
        jitter = np.finfo(float).eps ** 0.625 * np.exp(at["variance"][:, 0])
        lower = np.linalg.cholesky(k + (noise + jitter)[:, None, None] * np.eye(n))
        white = np.linalg.solve(lower, r[..., None])[..., 0]
        log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        return -0.5 * (white**2).sum(axis=1) - log_det - 0.5 * n * np.log(2 * np.pi) - n * np.log(scale)

    def log_prior(self, z: np.ndarray) -> np.ndarray:
        """(m,) log density of the prior at z (m, p)."""
        at = self.split(z)
        return sum(density(at[name]) for name, (_, density, _) in self.priors.items())

    def from_prior(self, rng, count: int) -> np.ndarray:
        """(count, p) draws of the prior."""
        return np.concatenate([draws(rng, count) for _, _, draws in self.priors.values()], axis=1)

    @cached_property
    def reference(self) -> Reference:
        """By importance sampling: draws of the prior, then three rounds that learn from the last.

        A third of the draws stays with the prior, so that no tail and no mode is missed however narrow the rest is.
        """
        rng = np.random.default_rng(self.seed)
        z = self.from_prior(rng, DRAWS)
        ratio = self.log_joint(z) - self.log_prior(z)
        for _ in range(3):
            weight = np.exp(ratio - special.logsumexp(ratio))
            centres = z[rng.choice(len(z), 40, p=weight)]
            mean = weight @ z
            spread = ((z - mean).T * weight) @ (z - mean) + 1e-12 * np.eye(z.shape[1])
            # A third around the whole, a third around forty of the draws, which finds the shape of what is bent.
            parts = [stats.multivariate_t(mean, 1.2 * spread, df=6)]
            parts += [stats.multivariate_t(centre, 0.3 * spread, df=6) for centre in centres]
            counts = [DRAWS // 3] + [DRAWS // 120] * 40
            drawn = [
                part.rvs(count, random_state=rng).reshape(count, -1) for part, count in zip(parts, counts, strict=True)
            ]
            z = np.concatenate([*drawn, self.from_prior(rng, DRAWS - sum(counts))])
            each = [part.logpdf(z) + np.log(count / DRAWS) for part, count in zip(parts, counts, strict=True)]
            each.append(self.log_prior(z) + np.log(1 - sum(counts) / DRAWS))
            ratio = self.log_joint(z) - special.logsumexp(each, axis=0)
        total = special.logsumexp(ratio)
        weight = np.exp(ratio - total)
        mean = weight @ z
        sd = np.sqrt(weight @ (z - mean) ** 2)
        return Reference(mean, sd, total - np.log(DRAWS), 1 / (weight**2).sum())


def normal(loc: float, scale: float, size: int = 1):
    """The prior of the logarithm of a log-normal parameter, or of a normal one."""
    return (
        size,
        lambda z: stats.norm.logpdf(z, loc, scale).sum(axis=1),
        lambda rng, m: rng.normal(loc, scale, (m, size)),
    )


def half_normal(scale: float):
    """Of the logarithm of a half-normal parameter."""
    return (
        1,
        lambda z: (stats.halfnorm.logpdf(np.exp(z), scale=scale) + z).sum(axis=1),
        lambda rng, m: np.log(np.abs(rng.normal(0, scale, (m, 1)))),
    )


def uniform(low: float, high: float):
    """Of the logit of a uniform parameter."""
    return (
        1,
        lambda z: (-np.logaddexp(0, -z) - np.logaddexp(0, z)).sum(axis=1),
        lambda rng, m: special.logit(rng.random((m, 1))),
    )


def process_priors(dim: int) -> dict:
    """The defaults of `priors.default`."""
    return {
        "lengthscale": normal(np.log(0.3 * np.sqrt(dim)), 0.7, dim),
        "noise": normal(np.log(0.01), 1.5),
        "variance": normal(0.0, 0.7),
    }


def process(dim: int, count: int, slots: int, kernel: str = "matern52", seed: int = 1) -> Case:
    """A process over a smooth function with a little noise."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, dim))
    y = 5.0 + 2.0 * np.sin(6 * x.sum(axis=1)) + 0.2 * rng.normal(size=count)
    model = gp.exact(dim, getattr(kernels, kernel), bounds=[[300.0, 360.0]] * dim)
    name = f"{kernel}, {dim} inputs, {count} of {slots}"
    return Case(name, model, x, y, slots, process_priors(dim), kernel=kernel, low=300.0, width=60.0)


def resonance(process: bool) -> Case:
    """A peak with four observations, alone or with a process around it: bent, and with more than one mode."""
    x, y = np.array([305.0, 318.0, 331.0, 352.0]), np.array([0.1, 0.9, 2.6, 0.2])

    def peak(x, p):
        return p["height"] / (1 + ((x[0] - p["centre"]) / p["width"]) ** 2)

    def mean(at):
        centre = 300 + 60 * special.expit(at["centre"])
        return np.exp(at["height"]) / (1 + ((x[None] - centre) / np.exp(at["width"])) ** 2)

    ours = {"height": dist.HalfNormal(5.0), "centre": dist.Uniform(300.0, 360.0), "width": dist.LogNormal(1.0, 0.5)}
    priors = {"centre": uniform(300, 360), "height": half_normal(5.0), "width": normal(1.0, 0.5)}
    if process:
        model = gp.exact(1, mean=peak, prior=ours, bounds=[[300.0, 360.0]])
        priors = priors | process_priors(1)
    else:
        model = parametric(1, peak, ours | {"noise": dist.LogNormal(jnp.log(0.01), 1.5)}, standardize=False)
        priors = priors | {"noise": normal(np.log(0.01), 1.5)}
    name = "a peak within a process, 4 of 8" if process else "a peak alone, 4 of 8"
    kernel = "matern52" if process else None
    return Case(name, model, (x[:, None] - 300) / 60, y, 8, priors, mean, kernel, 300.0, 60.0, standardized=process)


CORE = process(1, 9, 16)
CASES = (
    process(1, 3, 8),
    CORE,
    process(1, 9, 16, "matern32"),
    process(1, 12, 24),
    process(1, 9, 64),
    process(1, 30, 32, "rbf"),
    process(2, 5, 16),
    process(2, 12, 24),
    process(3, 6, 8),
    process(3, 30, 64),
    resonance(process=False),
    resonance(process=True),
)
"""Models x (readings, slots). Those with 8, 16 and 24 slots and one input are what a faulty compiler got wrong."""


def unconstrained(case: Case, params: dict) -> np.ndarray:
    """(draws, p) our constrained draws in the coordinates of the reference."""
    columns = []
    for name in case.priors:
        value = np.asarray(params[name], float).reshape(len(params[name]), -1)
        columns.append(special.logit((value - 300) / 60) if name == "centre" else np.log(value))
    return np.concatenate(columns, axis=1)
