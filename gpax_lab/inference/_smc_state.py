"""What streaming inference carries: the particles, their moves, and what is kept from one update to the next."""

from typing import NamedTuple, Self

import jax.numpy as jnp
from jax import Array


class Tuning(NamedTuple):
    """What the particles carry on.

    Attributes:
        position: (n, p), unconstrained.
        step_size: () of their moves, in units of their standard deviation.
        log_likelihood: (n,) of the observations that they know.
        evidence_variance: () Monte Carlo variance of the log evidence up to the last resampling.
    """

    position: Array
    step_size: Array
    log_likelihood: Array
    evidence_variance: Array


class Settings(NamedTuple):
    """The static settings; see `smc`."""

    num_samples: int
    resample_below: float
    temper_above: float
    max_stages: int
    max_moves: int
    max_leapfrog: int
    target_accept: float
    max_correlation: float


class SMCState(NamedTuple):
    """Particles at an inverse temperature between the posterior of the old observations and that of all.

    Attributes:
        key: random key.
        z: (n, p) unconstrained particles.
        log_likelihood: (2, n) of all observations, and of the old ones.
        log_weight: (n,) normalised.
        log_evidence: () so far.
        evidence_variance: () Monte Carlo variance of the log evidence up to the last resampling.
        inverse_temperature: () from 0, the old observations, to 1, all of them.
        step_size: () of the moves.
        stage: () tempering steps so far.
        correlation: () the largest correlation that the moves of a stage left.
        acceptance: () the smallest mean acceptance of a stage.
        gradients: () gradient evaluations so far.
        divergences: () divergent trajectories so far.
    """

    key: Array
    z: Array
    log_likelihood: Array
    log_weight: Array
    log_evidence: Array
    evidence_variance: Array
    inverse_temperature: Array
    step_size: Array
    stage: Array
    correlation: Array
    acceptance: Array
    gradients: Array
    divergences: Array

    @classmethod
    def begun(cls, key: Array, tuning: Tuning, log_likelihood: Array, log_weight: Array, log_evidence: Array) -> Self:
        """Before the first stage: at inverse temperature 0, with nothing counted yet."""
        zero, none = jnp.zeros((), tuning.position.dtype), jnp.asarray(0)
        return cls(
            key=key,
            z=tuning.position,
            log_likelihood=log_likelihood,
            log_weight=log_weight,
            log_evidence=log_evidence,
            evidence_variance=tuning.evidence_variance,
            inverse_temperature=zero,
            step_size=tuning.step_size,
            stage=none,
            correlation=zero,
            acceptance=jnp.ones((), tuning.position.dtype),
            gradients=none,
            divergences=none,
        )

    def tuning(self) -> Tuning:
        """What the next update begins with."""
        return Tuning(
            position=self.z,
            step_size=self.step_size,
            log_likelihood=self.log_likelihood[0],
            evidence_variance=self.evidence_variance,
        )


class MoveState(NamedTuple):
    """Particles on their way within one stage.

    Attributes:
        key: random key.
        z: (n, p) unconstrained particles.
        log_likelihood: (2, n) as in `SMCState`.
        step_size: () of the trajectories.
        moves: () trajectories and differential-evolution moves so far.
        trajectories: () trajectories so far.
        correlation: () with where the particles were before the first move.
        acceptance: () mean acceptance of the last trajectory.
        gradients: () gradient evaluations so far.
        divergences: () divergent trajectories so far.
    """

    key: Array
    z: Array
    log_likelihood: Array
    step_size: Array
    moves: Array
    trajectories: Array
    correlation: Array
    acceptance: Array
    gradients: Array
    divergences: Array

    @classmethod
    def begun(cls, key: Array, state: SMCState) -> Self:
        """Before the first move of a stage."""
        one, none = jnp.ones_like(state.inverse_temperature), jnp.asarray(0)
        return cls(
            key=key,
            z=state.z,
            log_likelihood=state.log_likelihood,
            step_size=state.step_size,
            moves=none,
            trajectories=none,
            correlation=one,
            acceptance=one,
            gradients=state.gradients,
            divergences=state.divergences,
        )
