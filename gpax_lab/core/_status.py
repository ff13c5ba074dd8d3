"""What a computation came to: one table of outcomes, each a code that travels through jit and words with a remedy."""

from enum import IntEnum
from typing import Self

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


class Status(IntEnum):
    """What a fit, a sampler or a measurement of an image came to. `describe()` says what to do about it.

    Numbers are written into files and never change their meaning; how bad an outcome is follows the order in which the
    members stand here, from `OK` to what leaves no result at all, and `worst` picks the last one that applies.
    """

    OK = 0
    # Samplers: the draws are there.
    NOT_GAUSSIAN = 7
    MORE_MODES = 12
    NOT_MIXED = 1
    MOVES_NOT_MIXED = 8
    SATURATED = 3
    DIVERGENT = 2
    NOT_CONVERGED = 6
    STILL_CLIMBING = 11
    BRIDGE_NOT_CROSSED = 9
    NOT_SOLVED = 10
    FACTORISATION_FAILED = 4
    CONTRADICTION = 13
    NOT_FINITE = 5

    def describe(self) -> str:
        """What it means and what to do about it.

        Example:
            >>> Status.OK.describe().split(":")[0]
            'The draws can be trusted'
        """
        return _WORDS[self]

    @classmethod
    def of(cls, code: ArrayLike) -> Self:
        """The member of a code () that came out of a compiled function (outside jit)."""
        return cls(int(np.asarray(code)))

    @classmethod
    def worst(cls, *cases: tuple[ArrayLike, "Status"]) -> Array:
        """(...) int8 code of the worst status whose condition (...) holds; `OK` where none does.

        Args:
            *cases: condition, of any shape that broadcasts, and the status that it stands for.

        Example:
            >>> Status.worst((True, Status.NOT_MIXED), (True, Status.NOT_FINITE), (False, Status.DIVERGENT)).item()
            5
        """
        order = list(cls)
        ranked = sorted(cases, key=lambda case: order.index(case[1]))
        code = jnp.int8(cls.OK)
        for condition, status in ranked:
            code = jnp.where(jnp.asarray(condition, bool), jnp.int8(status), code)
        return code


_WORDS = {
    Status.OK: ("The draws can be trusted: none of the checks of this sampler failed."),
    Status.NOT_GAUSSIAN: (
        "The posterior is far from Gaussians around its modes: a few draws carry most of the weight. Use smc, or "
        "more draws."
    ),
    Status.MORE_MODES: (
        "The posterior has more modes than laplace draws around. Use smc; order exchangeable parameters or narrow "
        "their priors."
    ),
    Status.NOT_MIXED: (
        "The chains did not mix (R-hat above the limit or too few effective draws). Take more draws or warm-up; if "
        "it stays so, the posterior has several modes: order exchangeable parameters or narrow their priors."
    ),
    Status.MOVES_NOT_MIXED: (
        "The draws did not move far enough after resampling, so they are fewer than they seem. Raise max_moves or "
        "max_leapfrog, order exchangeable parameters, or fit this state with nuts."
    ),
    Status.SATURATED: (
        "Most trajectories hit the largest tree depth: the posterior is stretched. Rescale parameters whose prior "
        "spans orders of magnitude (put them on a log scale), or raise max_tree_depth."
    ),
    Status.DIVERGENT: (
        "Trajectories diverged in more than 1 percent of the draws: raise target_accept towards 0.95, or loosen a "
        "prior that squeezes a parameter against its edge."
    ),
    Status.NOT_CONVERGED: (
        "The optimiser stopped where the curvature is not that of a maximum (not positive, or not a number). Use "
        "nuts for this posterior; it needs first derivatives only."
    ),
    Status.STILL_CLIMBING: (
        "The optimiser of the parameters stopped before it reached a mode: intervals may be too wide or too narrow. "
        "Narrow the priors of scales, take another key, or raise the iterations of laplace (those of reconstruct "
        "belong to its solver)."
    ),
    Status.BRIDGE_NOT_CROSSED: (
        "The last readings contradict what was believed so much that the bridge to them was not crossed. Look at "
        "these readings; if they are right, raise max_stages or begin anew with init on all readings."
    ),
    Status.NOT_SOLVED: (
        "Conjugate gradients stopped before the asked accuracy: mean and standard deviation are not to be trusted. "
        "Raise iterations or leading; if it stays so, the noise is almost zero: give its prior a floor."
    ),
    Status.FACTORISATION_FAILED: (
        "The covariance of a kept draw had no Cholesky factor: inputs repeat with almost no noise. Give the noise "
        "prior a floor, or pass the known variance of the readings."
    ),
    Status.CONTRADICTION: (
        "Readings whose known variance is zero contradict each other or the law, and the model adds no noise: give "
        "the variances of the readings, or the model noise='inferred'."
    ),
    Status.NOT_FINITE: (
        "The log density was not finite at any starting point: a prior allows values where the mean or kernel is "
        "NaN or infinite. Check the physics function at the edges of its priors."
    ),
}
