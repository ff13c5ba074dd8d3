"""The exact Gaussian process: one dense factor of the covariance of all observations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gpax_lab.core._observations import Observations, as_if_measured
from gpax_lab.core._priors import Params
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.core._types import Float
from gpax_lab.models import _conditioning as conditioning
from gpax_lab.models._exactness import Needs
from gpax_lab.models._process import Process
from gpax_lab.models._scaling import Scale

ANCHORS = 256
"""Points of the unit cube at which a drawn function is exact; in between it follows the kernel's interpolation."""


class GPFactor(NamedTuple):
    """A conditioned process and the scale of its observations."""

    residual: conditioning.Factor
    scale: Scale

    @property
    def ok(self) -> Array:
        """() bool: whether the covariance had a Cholesky factor."""
        return self.residual.ok

    @property
    def finite(self) -> Array:
        """() bool: whether all numbers of the covariance were finite."""
        return self.residual.finite


@dataclass(frozen=True, eq=False, repr=False)
class ExactGP(Process):
    """y(x) = mean(x) + f(x) + noise; build it by `gp.exact`.

    Attributes:
        kernel: k(x, z, params) of f for one pair of points of the unit cube.
        transform: from observations to f and back: units, scale, mean function, noise, priors.
        anchors: params -> (a, d) points in the user's units at which a drawn function is exact; None for 256 that fill
            the box evenly.
    """

    anchors: Callable[[Params], Array] | None = None

    @property
    def needs_noise(self) -> Needs:
        """Observations of the same point, where the model adds no noise of its own."""
        return "repeats" if self.transform.noiseless else "nothing"

    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() log marginal likelihood (R&W 2006, eq. 2.30) of the observations, in the user's units."""
        x, residual, variance, scale = self.transform.parts(params, self._displaced(params, obs))
        value = conditioning.log_marginal(self.kernel, params, x, residual, variance, obs.measured)
        return value - jnp.sum(obs.measured) * jnp.log(scale.scale)

    def condition(self, params: Params, obs: Observations) -> GPFactor:
        """The factor of the observations' covariance, K^-1 r, and the scale."""
        x, residual, variance, scale = self.transform.parts(params, self._displaced(params, obs))
        return GPFactor(conditioning.condition(self.kernel, params, x, residual, variance, obs.measured), scale)

    def condition_on_pending(self, params: Params, factor: GPFactor, obs: Observations) -> GPFactor:
        """The factor with the variances that will hold once the pending points are measured."""
        obs, of = self._displaced(params, obs), self.transform
        variance = of.variance_at(params, obs, obs.x, factor.scale)
        residual = conditioning.condition_on_pending(
            self.kernel, params, factor.residual, of.unit(obs.x), variance, as_if_measured(obs)
        )
        return factor._replace(residual=residual)

    def predict(
        self, params: Params, factor: GPFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and variance (m,) at x (m, d) (R&W 2006, eq. 2.25 and 2.26)."""
        f, variance = conditioning.moments(self.kernel, params, factor.residual, self.transform.unit(x))
        return self._in_units(params, factor.scale, x, f, variance)

    def joint(
        self, params: Params, factor: GPFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) at x (m, d)."""
        f, covariance = conditioning.joint_moments(self.kernel, params, factor.residual, self.transform.unit(x))
        return self._in_units(params, factor.scale, x, f, covariance)

    def paths(
        self, params: Params, factor: GPFactor, obs: Observations, key: Array, count: int, x: Float[Array, "m d"]
    ) -> Float[Array, "count m"]:
        """(count, m) functions drawn from the process, by Matheron's rule (Wilson et al. 2021, JMLR 22, 105)."""
        obs, of = self._displaced(params, obs), self.transform
        variance = of.variance_at(params, obs, obs.x, factor.scale)
        even = additive_recurrence(ANCHORS, self.dim).astype(x.dtype)
        known = even if self.anchors is None else of.unit(self.anchors(params))
        f = conditioning.paths(
            self.kernel, params, factor.residual, of.unit(x), key=key, count=count, noise=variance, anchors=known
        )
        return of.mean_at(params, factor.scale, x)[None] + factor.scale.scale * f

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, " capacity"], Float[Array, " capacity"]]:
        """Mean and variance (capacity,) of each observation given the others (R&W 2006, eq. 5.12)."""
        obs, of = self._displaced(params, obs), self.transform
        x, residual, variance, scale = of.parts(params, obs)
        f, left_out = conditioning.leave_one_out(self.kernel, params, x, residual, variance, obs.measured)
        return self._in_units(params, scale, obs.x, f, of.left_out_variance(params, obs, scale, left_out))

    def _displaced(self, params: Params, obs: Observations) -> Observations:
        """The observations at the points where they were taken."""
        return self.transform.input_noise.where(params, obs)
