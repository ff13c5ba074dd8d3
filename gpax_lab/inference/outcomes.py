"""What an inference run came to: a code that travels through jit, and the remedy in words."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

OK, NOT_MIXED, DIVERGENT, SATURATED, FACTORISATION_FAILED, NOT_FINITE, NOT_CONVERGED, NOT_GAUSSIAN = range(8)
MOVES_NOT_MIXED, BRIDGE_NOT_CROSSED, NOT_SOLVED, STILL_CLIMBING, MORE_MODES = 8, 9, 10, 11, 12
CONTRADICTION = 13

MESSAGES: Sequence[str] = (
    "The draws can be trusted: none of the checks of this sampler failed.",
    "The chains did not mix (R-hat above the limit or too few effective draws). Take more draws or warm-up; if it "
    "stays so, the posterior has several modes: order exchangeable parameters or narrow their priors.",
    "Trajectories diverged in more than 1 percent of the draws: raise target_accept towards 0.95, or loosen a prior "
    "that squeezes a parameter against its edge.",
    "Most trajectories hit the largest tree depth: the posterior is stretched. Rescale parameters whose prior spans "
    "orders of magnitude (put them on a log scale), or raise max_tree_depth.",
    "The covariance of a kept draw had no Cholesky factor: inputs repeat with almost no noise. Give the noise prior "
    "a floor, or pass the known variance of the readings.",
    "The log density was not finite at any starting point: a prior allows values where the mean or kernel is NaN or "
    "infinite. Check the physics function at the edges of its priors.",
    "The optimiser stopped where the curvature is not that of a maximum (not positive, or not a number). Use nuts for "
    "this posterior; it needs first derivatives only.",
    "The posterior is far from Gaussians around its modes: a few draws carry most of the weight. Use smc, or more "
    "draws.",
    "The draws did not move far enough after resampling, so they are fewer than they seem. Raise max_moves or "
    "max_leapfrog, order exchangeable parameters, or fit this state with nuts.",
    "The last readings contradict what was believed so much that the bridge to them was not crossed. Look at these "
    "readings; if they are right, raise max_stages or begin anew with init on all readings.",
    "Conjugate gradients stopped before the asked accuracy: mean and standard deviation are not to be trusted. Raise "
    "iterations or leading; if it stays so, the noise is almost zero: give its prior a floor.",
    "The optimiser of the parameters stopped before it reached a mode: intervals may be too wide or too narrow. "
    "Narrow the priors of scales, take another key, or raise the iterations of laplace (those of reconstruct belong to "
    "its solver).",
    "The posterior has more modes than laplace draws around. Use smc; order exchangeable parameters or narrow their "
    "priors.",
    "Readings whose known variance is zero contradict each other or the law, and the model adds no noise: give the "
    "variances of the readings, or the model noise='inferred'.",
)


def message(outcome: ArrayLike) -> str:
    """The outcome in words, with its remedy.

    Example:
        >>> message(OK).split(":")[0]
        'The draws can be trusted'
    """
    return MESSAGES[int(np.asarray(outcome))]
