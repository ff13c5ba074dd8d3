"""Mean functions m(x, params): physics written as plain functions of one point in the user's units.

`x` has shape (d,). Write your own with the same signature and give a prior for every parameter it reads. Each one
here names its parameters, with units, and a default prior where the literature has one. A `Law` is a mean function that
brings all of this along; `gpax_lab.laws` has a library of them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import check_key
from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params, Scoped, as_program, name_of, parameter_shapes, sample
from gpax_lab.core._steps import logistic_step
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import Float

__all__ = [
    "Law",
    "Mean",
    "add",
    "constant",
    "dips",
    "growing_oscillation",
    "multiply",
    "piecewise",
    "power_law_switch",
    "scope",
    "two_dips_prior",
    "zero",
]

Mean: TypeAlias = Callable[[Array, Params], Array]
"""m(x, params) for one point x (d,), () in the user's unit; a plain function will do."""


def zero(x: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """m = 0.

    Args:
        x: (d,) point, in the user's units.
        params: none is read.

    Returns:
        () zero.
    """
    return jnp.zeros((), x.dtype)


def constant(x: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """m = level (unit of y).

    Args:
        x: (d,) point, in the user's units.
        params: `level`.

    Returns:
        () in the unit of y.
    """
    return jnp.broadcast_to(params["level"], ())


@interned
def dips(count: int) -> Mean:
    """`count` minima on a level background, each with a cusp-like Lorentzian root profile.

    m(x) = y0 - sum_n A_n / sqrt((x - x0_n)^2 + w_n^2), for one input (Ziatdinov et al. 2021, arXiv:2108.10280).
    Parameters: y0 (unit of y); A, x0, w of shape (count,) in units of y times x, x, and x.

    Args:
        count: number of minima.

    Returns:
        m(x, params), () in the unit of y.
    """

    def mean(x: Array, params: Params) -> Array:
        depth = params["A"] / jnp.sqrt((x[0] - params["x0"]) ** 2 + params["w"] ** 2)
        return params["y0"] - jnp.sum(depth * jnp.ones(count))

    return mean


def two_dips_prior(ordered: bool = True) -> dict[str, dist.Distribution]:
    """The priors of the two-dip problem on x in [0, 1] (Ziatdinov et al. 2021, arXiv:2108.10280).

    Args:
        ordered: x0 ~ U(0.1, 0.5), U(0.5, 0.9), one dip in each half, so that the dips can not swap names;
            otherwise both x0 ~ U(0, 1).

    Returns:
        Distributions of `y0` (), `A`, `x0` and `w` (2,).
    """
    low, high = (jnp.array([0.1, 0.5]), jnp.array([0.5, 0.9])) if ordered else (jnp.zeros(2), jnp.ones(2))
    return {
        "y0": dist.Uniform(-10.0, 10.0),
        "A": dist.LogNormal(jnp.zeros(2), 1.0),
        "x0": dist.Uniform(low, high),
        "w": dist.HalfNormal(0.1 * jnp.ones(2)),
    }


def power_law_switch(x: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """A power law that changes its exponent at t, with a logistic step of width `width` so that gradients see t.

    m(x) = (1 - s) x^beta1 + s x^beta2, s = logistic((x - t) / width), for x >= 0. Parameters: t, width (unit of x),
    beta1, beta2 (dimensionless).

    Args:
        x: (1,) point, not negative.
        params: `t`, `width`, `beta1` and `beta2`.

    Returns:
        () dimensionless.
    """
    late = jax.nn.sigmoid((x[0] - params["t"]) / params["width"])
    # x = 0 has no logarithm; the power there is 0 for the positive exponents of this law.
    safe = jnp.where(x[0] > 0, x[0], 1.0)
    early_value, late_value = safe ** params["beta1"], safe ** params["beta2"]
    return jnp.where(x[0] > 0, (1.0 - late) * early_value + late * late_value, 0.0)


def growing_oscillation(x: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """m(x) = A exp(a x) sin(b x). Parameters: A (unit of y), a and b (1 / unit of x).

    Args:
        x: (1,) point.
        params: `A`, `a` and `b`.

    Returns:
        () in the unit of y.
    """
    return params["A"] * jnp.exp(params["a"] * x[0]) * jnp.sin(params["b"] * x[0])


@dataclass(frozen=True, eq=False, repr=False)
class Law(Structural):
    """A mean function with all that makes it a hypothesis: priors, formula, units and where it comes from.

    It is called like any mean function: `gp.exact(1, mean=law, prior=law.prior)` lets a process absorb what the law
    misses, `parametric(1, mean=law, prior=law.prior)` takes it at its word.

    Attributes:
        mean: m(x, params) for x (dim,) in the user's units.
        prior: distribution, or a fixed value, of each parameter.
        units: unit of each parameter, in terms of `x` (or `x[0]`, `x[1]`) and `y` where it follows theirs.
        formula: the law in one line.
        source: a paper, or what the law is known as.
        dim: number of inputs.

    Raises:
        ValueError: prior, units and mean function do not name the same parameters.

    Example:
        >>> law = Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 1.0)}, {"k": "y / x"}, "m = k x", "Hooke")
        >>> law.draw(jax.random.key(0), jnp.linspace(0.0, 1.0, 5)[:, None], count=3).shape
        (3, 5)
    """

    mean: Mean
    prior: Mapping[str, Any]
    units: Mapping[str, str]
    formula: str
    source: str
    dim: int = 1

    def __post_init__(self) -> None:
        known = {name: jnp.shape(value) for name, value in self.prior.items() if not hasattr(value, "sample")}
        shapes = {name: value.batch_shape for name, value in self.prior.items() if hasattr(value, "sample")}
        reads = set(parameter_shapes(self.mean, 1, self.dim, known | shapes))
        if not reads == set(self.prior) == set(self.units):
            raise ValueError(
                f"the mean function reads {sorted(reads)}, the prior names {sorted(self.prior)} and the units "
                f"{sorted(self.units)}: give every parameter a prior and a unit."
            )

    def __call__(self, x: Array, params: Params) -> Array:
        """m(x, params) at one point x (dim,)."""
        return self.mean(x, params)

    def __str__(self) -> str:
        return f"{self.formula} [{', '.join(f'{name}: {unit}' for name, unit in self.units.items())}] ({self.source})"

    def __repr__(self) -> str:
        return f"<Law {self}>"

    def draw(self, key: Array, x: ArrayLike, count: int = 1) -> Float[Array, "count m"]:
        """(count, m) curves from the prior at x (m, dim): what this law holds possible."""
        check_key(key, "law.draw(key, x)")
        return _draws(self, key, jnp.asarray(x), count)


@functools.partial(jax.jit, static_argnames=("law", "count"))
def _draws(law: Law, key: Array, points: Array, count: int) -> Array:
    program = as_program(law.prior)

    def curve(key: Array) -> Array:
        params = sample(key, program)
        return jax.vmap(lambda a: law.mean(a, params))(points)

    return jax.vmap(curve)(jax.random.split(key, count))


@interned
def scope(name: str, law: Law) -> Law:
    """The law with its parameters called `name/...`, so that two of a kind may stand side by side.

    Args:
        name: put before the name of every parameter.
        law: a law.

    Returns:
        A `Law`.
    """
    _check_laws(law)
    return Law(
        lambda x, params: law.mean(x, Scoped(params, name)),
        {f"{name}/{parameter}": value for parameter, value in law.prior.items()},
        {f"{name}/{parameter}": unit for parameter, unit in law.units.items()},
        f"{name}: {law.formula}",
        law.source,
        law.dim,
    )


@interned
def add(*laws: Law) -> Law:
    """The sum of laws; give those that share names a `scope` first.

    Args:
        *laws: of the same number of inputs, without common names of parameters.

    Returns:
        A `Law`.
    """
    return _combine(laws, " + ", lambda values: functools.reduce(jnp.add, values))


@interned
def multiply(*laws: Law) -> Law:
    """The product of laws; give those that share names a `scope` first.

    Args:
        *laws: of the same number of inputs, without common names of parameters.

    Returns:
        A `Law`.
    """
    return _combine(laws, " * ", lambda values: functools.reduce(jnp.multiply, values))


def _check_laws(*laws: Any) -> None:
    for law in laws:
        if not isinstance(law, Law):
            raise TypeError(
                f"laws combine, which know their priors; got {name_of(law)}. Make one, "
                "Law(mean, prior, units, formula, source), or combine plain functions by hand: "
                "lambda x, p: f(x, p) + g(x, p)."
            )


def _combine(laws: tuple[Law, ...], sign: str, rule: Callable[[list[Array]], Array]) -> Law:
    if not laws:
        raise ValueError("there is no law to combine.")
    _check_laws(*laws)
    names = [name for law in laws for name in law.prior]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two laws both read {twice}: means.scope('a', law) calls the parameters of one a/...")
    if len({law.dim for law in laws}) > 1:
        raise ValueError(f"laws of {[law.dim for law in laws]} inputs do not combine: all need the same number.")

    def mean(x: Array, params: Params) -> Array:
        return rule([law.mean(x, params) for law in laws])

    prior = {name: value for law in laws for name, value in law.prior.items()}
    units = {name: unit for law in laws for name, unit in law.units.items()}
    sources = "; ".join(dict.fromkeys(law.source for law in laws))
    return Law(mean, prior, units, sign.join(f"({law.formula})" for law in laws), sources, laws[0].dim)


@interned
def piecewise(left: Law, right: Law, at: dist.Distribution, width: float, axis: int = 0) -> Law:
    """One law below a point `at`, another one above it: m = (1 - s) left + s right, s = 1 / (1 + exp(-(x - at) / w)).

    Args:
        left: law below; its parameters are called `left/...`.
        right: law above; `right/...`.
        at: prior of the point, in the unit of x.
        width: w, over which one law gives way to the other, in the unit of x: below the distance of two observations,
            and large enough for gradients to see the point.
        axis: the input in which the point lies.

    Returns:
        A `Law` with the parameter `at` beside `left/...` and `right/...`.

    Raises:
        ValueError: the laws have different numbers of inputs, or the width is not positive.

    Source: the piecewise hypotheses of Ziatdinov et al. 2021, arXiv:2112.06649.
    """
    _check_laws(left, right)
    if left.dim != right.dim or not width > 0:
        raise ValueError(f"piecewise needs laws of as many inputs and width > 0; got {left.dim}, {right.dim}, {width}.")
    below, above = scope("left", left), scope("right", right)

    def mean(x: Array, params: Params) -> Array:
        share = logistic_step(x[axis], params["at"], width)
        return (1.0 - share) * below.mean(x, params) + share * above.mean(x, params)

    prior = dict(below.prior) | dict(above.prior) | {"at": at}
    units = dict(below.units) | dict(above.units) | {"at": "x" if left.dim == 1 else f"x[{axis}]"}
    formula = f"{left.formula} below `at`; {right.formula} above"
    return Law(mean, prior, units, formula, "Ziatdinov et al. 2021, arXiv:2112.06649", left.dim)
