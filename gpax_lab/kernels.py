"""Kernels k(x, z, params): functions of one pair of points; the library vmaps.

`x` and `z` have shape (d,) and lie in the unit cube. A parameter `lengthscale` of shape (d,) gives one scale per
input (ARD), of shape () one for all. Write your own as a plain function with the same signature, naming its parameters
as you like. Kernels add and multiply: `rbf + scope("fast", periodic)`, `matern52 * own_function`. Two plain functions
have no `+` in Python: `add(f, g)` and `multiply(f, g)` take them.

A kernel is passed as it is, `gp.exact(1, kernels.rbf)`: its parameters get priors by name, `prior={"lengthscale":
numpyro.distributions.LogNormal(0.0, 1.0)}`, where a number in place of a distribution is a fixed value.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params, Scoped, check_function, name_of, with_dim
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import Float

__all__ = [
    "Kernel",
    "KernelLike",
    "active",
    "add",
    "coregion",
    "coregion_prior",
    "linear",
    "matern12",
    "matern32",
    "matern52",
    "mixing",
    "multiply",
    "periodic",
    "rational_quadratic",
    "rbf",
    "scope",
]

KernelLike: TypeAlias = Callable[[Array, Array, Params], Array]
"""A `Kernel`, or a plain function k(x, z, params)."""


class Kernel(Structural, ABC):
    """A kernel that adds and multiplies with others, and with plain functions.

    Two are equal if they are made of the same functions in the same way, so that what was compiled for one serves the
    other.
    """

    @abstractmethod
    def __call__(self, x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
        """() covariance of the values at x and z."""

    def __add__(self, other: KernelLike) -> "Kernel":
        """The sum; parameters of equal names are shared, see `scope`."""
        return add(self, _kernel(other))

    def __radd__(self, other: KernelLike) -> "Kernel":
        """The sum with a plain function."""
        return add(_kernel(other), self)

    def __mul__(self, other: KernelLike) -> "Kernel":
        """The product; parameters of equal names are shared, see `scope`."""
        return multiply(self, _kernel(other))

    def __rmul__(self, other: KernelLike) -> "Kernel":
        """The product with a plain function."""
        return multiply(_kernel(other), self)


def _kernel(other: Any) -> KernelLike:
    if isinstance(other, int | float | complex | np.ndarray | np.generic | Array):
        raise TypeError(
            f"a kernel adds and multiplies with kernels k(x, z, params); got {other!r}. A factor is the prior of "
            "`variance`."
        )
    check_function(other, 2)
    return other


def _kernels(given: tuple[Any, ...]) -> tuple[KernelLike, ...]:
    if not given:
        raise ValueError("there is no kernel to combine: give k(x, z, params), such as kernels.rbf.")
    return tuple(_kernel(one) for one in given)


def _scope_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"scope takes a name and a kernel, scope('fast', kernels.rbf); got {name!r} as the name.")
    return name


@dataclass(frozen=True, eq=False, repr=False)
class _Function(Kernel):
    """A kernel of one function, by whose name and docstring it goes."""

    function: KernelLike

    def __post_init__(self) -> None:
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            object.__setattr__(self, name, getattr(self.function, name))
        object.__setattr__(self, "__signature__", inspect.signature(self.function))

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        try:
            inspect.signature(self).bind(*args, **kwargs)
        except TypeError:
            raise TypeError(
                f"kernels.{self} is a function of two points and its parameters, (x, z, params), and is passed as it "
                f"is, without settings: gp.exact(1, kernels.{self}, prior={{'lengthscale': 0.5}}) fixes a parameter, "
                "a numpyro distribution in place of the number is its prior."
            ) from None
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        """Those of this module by their names, so that what is read back is the same one."""
        name = getattr(self.function, "__name__", "")
        return name if globals().get(name) is self else super().__reduce__()

    def __repr__(self) -> str:
        return name_of(self.function)


def _scaled_square(x: Array, z: Array, params: Params) -> Array:
    return jnp.sum(((x - z) / params["lengthscale"]) ** 2)


def _scaled_distance(x: Array, z: Array, params: Params) -> Array:
    square = _scaled_square(x, z, params)
    zero = square == 0
    # sqrt has an infinite slope at 0; the inner where keeps the gradient at duplicate points finite (zero).
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))  # NaN stays NaN


@_Function
def rbf(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Squared exponential: variance exp(-r^2 / 2), r^2 = sum ((x - z) / lengthscale)^2 (R&W 2006, eq. 4.9)."""
    return params["variance"] * jnp.exp(-0.5 * _scaled_square(x, z, params))


@_Function
def matern12(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Matern 1/2 (exponential): variance exp(-r) (R&W 2006, eq. 4.18)."""
    return params["variance"] * jnp.exp(-_scaled_distance(x, z, params))


@_Function
def matern32(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Matern 3/2: variance (1 + sqrt(3) r) exp(-sqrt(3) r) (R&W 2006, eq. 4.17)."""
    r = jnp.sqrt(3.0) * _scaled_distance(x, z, params)
    return params["variance"] * (1.0 + r) * jnp.exp(-r)


@_Function
def matern52(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Matern 5/2: variance (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r) (R&W 2006, eq. 4.17)."""
    r = jnp.sqrt(5.0) * _scaled_distance(x, z, params)
    return params["variance"] * (1.0 + r + r**2 / 3.0) * jnp.exp(-r)


@_Function
def rational_quadratic(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Rational quadratic: variance (1 + r^2 / (2 alpha))^-alpha (R&W 2006, eq. 4.19); RBF as alpha grows."""
    alpha = params["alpha"]
    return params["variance"] * jnp.exp(-alpha * jnp.log1p(0.5 * _scaled_square(x, z, params) / alpha))


@_Function
def periodic(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Periodic: variance exp(-2 sum sin^2(pi (x - z) / period) / lengthscale^2) (R&W 2006, eq. 4.31)."""
    wave = jnp.sin(jnp.pi * (x - z) / params["period"]) / params["lengthscale"]
    return params["variance"] * jnp.exp(-2.0 * jnp.sum(wave**2))


@_Function
def linear(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Linear: variance (1 + sum (x - 1/2)(z - 1/2) / lengthscale^2), centred on the unit cube."""
    return params["variance"] * (1.0 + jnp.sum((x - 0.5) * (z - 0.5) / params["lengthscale"] ** 2))


@_Function
def mixing(x: Float[Array, " d"], z: Float[Array, " d"], params: Params) -> Float[Array, ""]:
    """Straight lines between pure components: pure sum_i x_i z_i, for fractions x that sum to one.

    The covariance of Vegard's law sum_i x_i P_i whose P_i are independent with variance `pure` (R&W 2006, eq. 2.11).
    Its parameter has no default prior.
    """
    return params["pure"] * jnp.sum(x * z)


@dataclass(frozen=True, eq=False, repr=False)
class _Sum(Kernel):
    kernels: tuple[KernelLike, ...]

    def __repr__(self) -> str:
        return " + ".join(name_of(k) for k in self.kernels)

    def __call__(self, x: Array, z: Array, params: Params) -> Array:
        return sum((k(x, z, params) for k in self.kernels[1:]), start=self.kernels[0](x, z, params))


@interned
def add(*kernels: KernelLike) -> Kernel:
    """Sum of kernels, as by `+`. Give each its own parameters with `scope`; names left equal are shared.

    Args:
        *kernels: kernels, or plain functions k(x, z, params).

    Returns:
        A `Kernel`.

    Raises:
        TypeError: one of them is no function of (x, z, params).
    """
    return _Sum(_kernels(kernels))


@dataclass(frozen=True, eq=False, repr=False)
class _Product(Kernel):
    kernels: tuple[KernelLike, ...]

    def __repr__(self) -> str:
        return " * ".join(f"({k!r})" if isinstance(k, _Sum) else name_of(k) for k in self.kernels)

    def __call__(self, x: Array, z: Array, params: Params) -> Array:
        value = self.kernels[0](x, z, params)
        for k in self.kernels[1:]:
            value = value * k(x, z, params)
        return value


@interned
def multiply(*kernels: KernelLike) -> Kernel:
    """Product of kernels, as by `*`. Give each its own parameters with `scope`; names left equal are shared.

    Args:
        *kernels: kernels, or plain functions k(x, z, params).

    Returns:
        A `Kernel`.

    Raises:
        TypeError: one of them is no function of (x, z, params).
    """
    return _Product(_kernels(kernels))


@dataclass(frozen=True, eq=False, repr=False)
class _Scope(Kernel):
    name: str
    kernel: KernelLike

    def __repr__(self) -> str:
        return f"scope({self.name!r}, {name_of(self.kernel)})"

    def __call__(self, x: Array, z: Array, params: Params) -> Array:
        return self.kernel(x, z, Scoped(params, self.name))


@interned
def scope(name: str, kernel: KernelLike) -> Kernel:
    """The same kernel with parameters called `name/lengthscale`, `name/variance`, and so on.

    Args:
        name: put before the name of every parameter.
        kernel: k(x, z, params).

    Returns:
        A `Kernel`.
    """
    return _Scope(_scope_name(name), _kernel(kernel))


@dataclass(frozen=True, eq=False, repr=False)
class _Active(Kernel):
    dims: tuple[int, ...]
    kernel: KernelLike

    def __repr__(self) -> str:
        return f"active({list(self.dims)}, {name_of(self.kernel)})"

    def __call__(self, x: Array, z: Array, params: Params) -> Array:
        if not all(0 <= dim < x.size for dim in self.dims):
            raise ValueError(f"active inputs {list(self.dims)}: a point has inputs 0 to {x.size - 1} only.")
        index = np.asarray(self.dims)
        return self.kernel(x[index], z[index], with_dim(params, len(self.dims)))


@interned
def active(dims: Sequence[int], kernel: KernelLike) -> Kernel:
    """A kernel that sees only the inputs `dims`; its lengthscale has shape (len(dims),).

    Args:
        dims: numbers of the inputs, from 0.
        kernel: k(x, z, params) of those inputs.

    Returns:
        A `Kernel`.

    Raises:
        TypeError: `dims` are no numbers of inputs, or the kernel is none.
        ValueError: when it is called on inputs that lack one of `dims`.
    """
    if callable(dims) or isinstance(dims, str) or not isinstance(dims, Sequence | np.ndarray | Array):
        raise TypeError(f"active takes the inputs and a kernel, active([0, 1], kernels.rbf); got {dims!r} as inputs.")
    return _Active(tuple(int(dim) for dim in dims), _kernel(kernel))


@dataclass(frozen=True, eq=False, repr=False)
class _Coregion(Kernel):
    tasks: int
    kernel: KernelLike

    def __repr__(self) -> str:
        return f"coregion({self.tasks}, {name_of(self.kernel)})"

    def __call__(self, x: Array, z: Array, params: Params) -> Array:
        tasks, shares = self.tasks, params["W"]
        if shares.ndim != 2 or shares.shape[0] != tasks:
            raise ValueError(
                f"coregion reads W ({tasks}, rank) and v ({tasks},): add coregion_prior({tasks}) to the prior."
            )
        s, t = (jnp.clip(jnp.round(point[-1] * (tasks - 1)).astype(int), 0, tasks - 1) for point in (x, z))
        related = jnp.sum(shares[s] * shares[t]) + jnp.where(s == t, params["v"][s], 0.0)
        return related * self.kernel(x[:-1], z[:-1], with_dim(params, x.size - 1))


@interned
def coregion(tasks: int, kernel: KernelLike) -> Kernel:
    """Several related quantities: k(x, z) B[s, t], B = W W^T + diag(v), the task being the last input.

    The intrinsic coregionalisation model (Bonilla et al. 2008; Alvarez et al. 2012, arXiv:1106.6251, sec. 4.2). The
    last input holds the number of the task, 0 to tasks - 1, and has bounds [0, tasks - 1]; `kernel` sees the others.
    Parameters: `W` (tasks, rank) and `v` (tasks,), whose priors are given, e.g. by `coregion_prior`. Sums of several
    such kernels, each with a `scope`, make the linear model of coregionalisation.

    Args:
        tasks: number of quantities, at least 2.
        kernel: k(x, z, params) of the inputs without the last one.

    Returns:
        A `Kernel`.

    Raises:
        ValueError: fewer than two tasks, or no priors for W and v.
    """
    if tasks < 2:
        raise ValueError(f"coregion needs at least two tasks; got {tasks}.")
    return _Coregion(tasks, _kernel(kernel))


def coregion_prior(tasks: int, rank: int = 1) -> dict[str, dist.Distribution]:
    """Priors of `coregion`: W ~ N(0, 1), so that tasks may agree or oppose, and v ~ HalfNormal(0.3).

    Fix the `variance` of the kernel inside (`"variance": 1.0`): B sets the scale.

    Args:
        tasks: number of quantities.
        rank: columns of W: how many patterns the quantities share.

    Returns:
        Distributions of W (tasks, rank) and v (tasks,), to be merged into a prior.
    """
    return {"W": dist.Normal(jnp.zeros((tasks, rank)), 1.0), "v": dist.HalfNormal(0.3 * jnp.ones(tasks))}
