"""What a computation came to: one table of outcomes, each a code that travels through jit and words with a remedy."""

import functools
from enum import IntEnum

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._types import ArrayLike, Int8


class Status(IntEnum):
    """What a fit, a sampler or a measurement of an image came to. `describe()` says what to do about it.

    Numbers are written into files and never change their meaning. The members of a group (samplers, fits, gaps, shifts
    of images) stand in the order of their severity, and `worst` picks the last one that applies.
    """

    OK = 0
    # Samplers.
    NOT_GAUSSIAN = 7
    MORE_MODES = 12
    NOT_MIXED = 1
    MOVES_NOT_MIXED = 8
    SATURATED = 3
    DIVERGENT = 2
    NOT_A_MAXIMUM = 6
    STILL_CLIMBING = 11
    TEMPERING_INCOMPLETE = 9
    NOT_SOLVED = 10
    FACTORISATION_FAILED = 4
    CONTRADICTION = 13
    NOT_POSITIVE_DEFINITE = 14
    NOT_FINITE = 5
    # Fits of curves, spectra and lattices.
    POOR_FIT = 20
    UNCHECKED = 21
    RISING_BACKGROUND = 22
    EMPTY_CHANNELS = 23
    UNRESOLVED = 24
    AT_BOUND = 25
    NOT_CONVERGED = 26
    SINGULAR = 27
    FEW_DISCS = 28
    NO_COUNTS = 29
    # Gaps and peaks in a range.
    THRESHOLD_RECROSSED = 30
    OUTSIDE_RANGE = 31
    NO_GAP = 32
    # Shifts between images.
    UNEVEN_SHIFT = 33
    AMBIGUOUS_SHIFT = 34
    UNRELATED_IMAGES = 35
    # Any of these.
    UNDEFINED = 37
    NO_SIGNAL = 38
    BAD_INPUT = 36

    def describe(self) -> str:
        """What it means and what to do about it.

        Example:
            >>> Status.OK.describe().split(":")[0]
            'Good'
        """
        return _WORDS[self]

    @classmethod
    def of(cls, code: ArrayLike) -> "Status":
        """The member of a code () that came out of a compiled function (outside jit).

        Raises:
            ValueError: several codes, or a number that stands for no status.
        """
        codes = np.asarray(code)
        if codes.ndim:
            raise ValueError(
                f"Status.of takes one code; got an array of shape {codes.shape}: take one element of it, or compare "
                "all of them at once, as in codes == Status.OK."
            )
        return cls(int(codes))

    @classmethod
    def worst(cls, *cases: tuple[ArrayLike, "Status"]) -> Int8[Array, "*shape"]:
        """(...) int8 code of the worst status whose condition (...) holds; `OK` where none does.

        Args:
            *cases: condition, of any shape that broadcasts, and the status that it stands for.

        Raises:
            TypeError: codes without conditions; `worst_of` takes these.

        Example:
            >>> Status.worst((True, Status.NOT_MIXED), (True, Status.NOT_FINITE), (False, Status.DIVERGENT)).item()
            5
        """
        if not all(isinstance(case, tuple) and len(case) == 2 and isinstance(case[1], cls) for case in cases):
            raise TypeError(
                "Status.worst takes pairs of a condition and a Status, as in Status.worst((r_hat > 1.05, "
                "Status.NOT_MIXED)); of codes the worst is Status.worst_of(codes)."
            )
        order = list(cls)
        ranked = sorted(cases, key=lambda case: order.index(case[1]))
        code = jnp.int8(cls.OK)
        for condition, status in ranked:
            code = jnp.where(jnp.asarray(condition, bool), jnp.int8(status), code)
        return code

    @classmethod
    def worst_of(cls, *codes: ArrayLike) -> Int8[Array, "*shape"]:
        """(...) int8 code of the worst of several results, or () of one array of them.

        Args:
            *codes: (...) of `Status`, of any shapes that broadcast. Of one array all elements are looked at, of several
                those in the same place; `Status.of` makes a member of the code.

        Raises:
            TypeError: none is given.

        Example:
            >>> Status.worst_of(Status.OK, Status.SINGULAR, Status.POOR_FIT) == Status.SINGULAR
            Array(True, dtype=bool)
            >>> Status.of(Status.worst_of(np.array([0, 27, 20]))).name
            'SINGULAR'
        """
        if not codes:
            raise TypeError("Status.worst_of takes the codes of one or more results, or one array of them.")
        order = np.asarray(list(cls), np.int8)
        severity = np.zeros(int(order.max()) + 1, np.int8)
        severity[order] = np.arange(len(order))
        ranks = [jnp.asarray(severity)[jnp.asarray(code)] for code in codes]
        worst = functools.reduce(jnp.maximum, ranks) if len(ranks) > 1 else jnp.max(ranks[0], initial=0)
        return jnp.asarray(order)[worst]


_WORDS = {
    Status.OK: "Good: none of the checks failed, and the result can be trusted.",
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
    Status.NOT_A_MAXIMUM: (
        "The optimiser stopped where the curvature is not that of a maximum (not positive, or not a number). Use "
        "nuts for this posterior; it needs first derivatives only."
    ),
    Status.STILL_CLIMBING: (
        "The optimiser of the parameters stopped before it reached a mode: intervals may be too wide or too narrow. "
        "Narrow the priors of scales, take another key, or raise the iterations of laplace (those of reconstruct "
        "belong to its solver)."
    ),
    Status.TEMPERING_INCOMPLETE: (
        "The last observations contradict what was believed so much that tempering did not reach them. Look "
        "at these observations; if they are right, raise max_stages or begin anew with init on all of them."
    ),
    Status.NOT_SOLVED: (
        "Conjugate gradients stopped before the requested accuracy: mean and standard deviation are not to be trusted. "
        "Raise iterations or leading; if it stays so, the noise is almost zero: give its prior a floor."
    ),
    Status.FACTORISATION_FAILED: (
        "The covariance of a kept draw had no Cholesky factor: inputs repeat with almost no noise. Give the noise "
        "prior a floor, or pass the known variance of the observations."
    ),
    Status.CONTRADICTION: (
        "Observations whose known variance is zero contradict each other or the law, and the model adds no noise: "
        "give their variances, or the model noise='inferred'."
    ),
    Status.NOT_POSITIVE_DEFINITE: (
        "The covariance of the observations was finite and had no Cholesky factor at any starting point: the kernel is "
        "not positive definite. Look at the kernel: build it by + and * from kernels that are, and look at the "
        "eigenvalues of its matrix of a few points. A good kernel comes to this only where inputs repeat without "
        "noise: give their variances."
    ),
    Status.NOT_FINITE: (
        "The log density was not finite at any starting point: a prior allows values where the mean or kernel is "
        "NaN or infinite. Check the physics function at the edges of its priors."
    ),
    Status.POOR_FIT: (
        "Poor fit: the model does not describe the data (R^2 or chi^2 is beyond its limit, or what is left is not "
        "noise). Take another model (a second peak, a missing element, other indices, two grains) or another fit "
        "window below all structure; or there is no signal here."
    ),
    Status.UNCHECKED: (
        "Three discs make a lattice, but none is left to tell whether their indices are right: take more discs."
    ),
    Status.RISING_BACKGROUND: (
        "The background rises with energy, as no tail does: the fit window holds structure or too few counts."
    ),
    Status.EMPTY_CHANNELS: ("Channels of the fit window are empty, which biases the logarithm: use method='poisson'."),
    Status.UNRESOLVED: (
        "Unresolved: a corner or width is sharper than the steps of the axis resolve; the other numbers are good."
    ),
    Status.AT_BOUND: (
        "At a bound: a parameter lies at its bound and has no standard deviation. Widen the bound or fix the parameter."
    ),
    Status.NOT_CONVERGED: ("Not converged: give a better start, several starts, more steps or another fit window."),
    Status.SINGULAR: "Singular: the data do not determine the parameters. Take a simpler model.",
    Status.FEW_DISCS: (
        "Fewer than three discs that span the plane have enough counts: a larger dose, window or semi-angle."
    ),
    Status.NO_COUNTS: (
        "No counts, or in fewer than three channels of the fit window: a wider window or a longer dwell time."
    ),
    Status.THRESHOLD_RECROSSED: (
        "Beyond an edge of the gap the conductance falls far below the threshold again: raise it, or smooth more."
    ),
    Status.OUTSIDE_RANGE: (
        "A peak or an edge lies at the end of the measured range or outside: shift or widen the band or the sweep."
    ),
    Status.NO_GAP: "No gap: the conductance at zero bias is above the threshold.",
    Status.UNEVEN_SHIFT: (
        "Parts of the image moved differently (drift during the scan?), or differently from the whole (a spot or "
        "column of the camera that stands still?): scan faster, register smaller parts, or take out what stands still."
    ),
    Status.AMBIGUOUS_SHIFT: (
        "A second peak of the correlation is nearly as high (a lattice?): limit the shift with reach or use a larger "
        "field."
    ),
    Status.UNRELATED_IMAGES: (
        "The images hardly resemble each other: another channel, flattening, or a smaller step between images."
    ),
    Status.UNDEFINED: (
        "Undefined: the quantity or its error is not a finite number here, as the logarithm of what is not positive."
    ),
    Status.NO_SIGNAL: "No signal: what is measured, or divided by, does not stand out of its noise.",
    Status.BAD_INPUT: (
        "Bad input: values that are not finite, too few of them, negative counts, a constant image, or a model that "
        "is not finite at the start. Repair or leave out what is bad."
    ),
}
