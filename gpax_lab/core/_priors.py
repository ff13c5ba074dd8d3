"""Priors as data: a mapping of parameter names to numpyro distributions, or a numpyro program.

Functions of the library read their parameters from a mapping by name. `parameter_shapes` finds out which names a
function reads, so that defaults fill the gaps and a misspelt name is an error instead of a silent default.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers

from gpax_lab.core._interning import interned
from gpax_lab.core._programs import Program, latent_and_observed, parameter, vetted
from gpax_lab.core._readable_prior import ReadablePrior

Params: TypeAlias = Mapping[str, Array]
"""Values of parameters by name."""
Prior: TypeAlias = Mapping[str, Any] | Program
"""A numpyro distribution or a fixed value for each parameter, by name; or a numpyro program that returns values."""


class Scoped(Mapping[str, Array]):
    """The parameters `prefix/name` of a mapping, seen as `name`."""

    def __init__(self, params: Params, prefix: str):
        self.params, self.prefix = params, f"{prefix}/"

    def __getitem__(self, name: str) -> Array:
        return self.params[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.prefix) for name in self.params if name.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Recorder(Mapping[str, Array]):
    """Answers every name with a placeholder and remembers it with its shape."""

    def __init__(self, dim: int, found: dict[str, tuple[int, ...]], known: Mapping[str, tuple[int, ...]]):
        self.dim, self.found, self.known = dim, found, known

    def __getitem__(self, name: str) -> Array:
        shape = (self.dim,) if name.rsplit("/", 1)[-1] == "lengthscale" else ()
        self.found.setdefault(name, self.known.get(name, shape))
        return jnp.ones(self.found[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def with_dim(params: Params, dim: int) -> Params:
    """The parameters as a function of `dim` inputs sees them (matters only while names are being found)."""
    if isinstance(params, Scoped):
        return Scoped(with_dim(params.params, dim), params.prefix[:-1])
    return _Recorder(dim, params.found, params.known) if isinstance(params, _Recorder) else params


def given_shapes(prior: Prior | None) -> dict[str, tuple[int, ...]]:
    """Shapes of the values that a prior gives, by name.

    Raises:
        ValueError: the program branches on a value that it draws, or returns something else than values by name.
    """
    program = as_program(prior)
    try:
        values = jax.eval_shape(lambda: _by_name(handlers.seed(program, jax.random.key(0))()))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ValueError(
            "the prior program needs a drawn value as a number (in an if, a loop or numpy), and here it is none yet: "
            "write it with jax.numpy (jnp.where for an if), or let each branch be one of `hypotheses`."
        ) from error
    return {name: value.shape for name, value in values.items()}


def _by_name(values: Any) -> dict[str, Array]:
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"a prior program returns its values by name, {{'slope': ...}}; got {type(values).__name__}.")
    return {name: jnp.asarray(value) for name, value in values.items()}


def name_of(function: Any) -> str:
    """What a function is called in an error: its name, or what it prints as."""
    return str(getattr(function, "__name__", None) or repr(function))


_WANTED = {
    1: "a mean or noise function of one point, m(x, params), such as lambda x, p: p['slope'] * x[0]",
    2: "a kernel of two points, k(x, z, params), such as kernels.matern52, or the sum of two of them",
}


def check_function(function: Any, points: int) -> None:
    """Refuse what can not be called as a mean (points=1) or a kernel (points=2).

    Raises:
        TypeError: it is no function, or one of another number of arguments.
    """
    if not callable(function) or isinstance(function, type):
        got = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
        raise TypeError(f"expected {_WANTED[points]}; got {got}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions tell none
        return
    try:
        signature.bind(*[None] * (points + 1))
    except TypeError:
        takes = ", ".join(signature.parameters)
        raise TypeError(f"expected {_WANTED[points]}; {name_of(function)} takes ({takes}).") from None


def parameter_shapes(
    function: Callable[..., Array], points: int, dim: int, known: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters that `function(*x, params)` reads.

    Args:
        function: a mean `m(x, params)` (points=1) or a kernel `k(x, z, params)` (points=2).
        points: how many inputs of shape (dim,) it takes.
        dim: number of inputs d.
        known: shapes of parameters whose prior is given.

    Returns:
        Mapping of name to shape: the known one, else (d,) for a lengthscale and () for everything else.

    Raises:
        TypeError: it is no function, or one of another number of arguments.
        ValueError: the function does not return one number.
    """
    check_function(function, points)
    found: dict[str, tuple[int, ...]] = {}
    recorder = _Recorder(dim, found, known or {})
    try:
        value = jax.eval_shape(lambda *x: jnp.asarray(function(*x, recorder)), *[jnp.zeros(dim)] * points)
    except (TypeError, ValueError) as error:
        shaped = {name: shape for name, shape in (known or {}).items() if name in found and shape != ()}
        if not shaped:
            raise
        raise ValueError(
            f"{name_of(function)} can not be computed with parameters of the shapes {shaped}: {error}"
        ) from error
    if value.shape != ():
        raise ValueError(
            f"{name_of(function)} must return one number, an array of shape (); got {value.shape}. x is a point of "
            f"shape ({dim},): write x[0], x[1], ... where you mean one of its inputs."
        )
    return found


def default(name: str, shape: tuple[int, ...], dim: int) -> dist.Distribution | None:
    """The library's prior for a kernel or noise parameter, for inputs in the unit cube and standardised observations.

    Lengthscales grow as sqrt(d), since distances in the unit cube do (Hvarfner et al. 2024, arXiv:2402.02229).
    Returns None for a name that has no default.

    Args:
        name: of the parameter; what stands before a last `/` does not matter.
        shape: of the parameter.
        dim: number of inputs of the model.

    Returns:
        A distribution of that shape; None where the library has no default for the name.
    """
    median_and_sd = {
        "lengthscale": (0.3 * math.sqrt(dim), 0.7),  # 95 percent in 0.08 to 1.2 of the range for d = 1
        "variance": (1.0, 0.7),  # observations are standardised, so the signal variance is near one
        "noise": (0.01, 1.5),  # 95 percent in 0.02 to 44 percent of the standard deviation squared
        "period": (0.3, 0.7),
        "alpha": (1.0, 1.0),
    }.get(name.rsplit("/", 1)[-1])
    if median_and_sd is None:
        return None
    median, sd = median_and_sd
    # Its values are right: numpyro need not look at them, which takes five small programs.
    middle = np.full(shape, math.log(median))
    middle.flags.writeable = False  # nobody can change it, so that it is compared by value
    return dist.LogNormal(middle, sd, validate_args=False)


def _is_mapping(prior: Any) -> bool:
    return isinstance(prior, Mapping) and all(isinstance(name, str) for name in prior)


def _kind_of(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, dist.Distribution) else repr(value)


def as_program(prior: Prior | None) -> Program:
    """A numpyro program that samples every named distribution; a number instead of one is a fixed value.

    Raises:
        ValueError: the prior is neither a mapping nor a program, or holds what no sampler can treat, see `programs`.
    """
    if isinstance(prior, dist.Distribution | type) or not (prior is None or callable(prior) or _is_mapping(prior)):
        raise ValueError(
            "a prior is a mapping of parameter names to numpyro distributions, such as "
            "{'lengthscale': numpyro.distributions.LogNormal(0.0, 1.0)}, or a numpyro program; got "
            f"{_kind_of(prior)}."
        )
    if callable(prior) and not isinstance(prior, Mapping):
        return vetted(prior)
    named = {name: parameter(name, value) for name, value in (prior or {}).items()}

    def program() -> dict[str, Array]:
        return {
            name: numpyro.sample(name, value) if isinstance(value, dist.Distribution) else jnp.asarray(value)
            for name, value in named.items()
        }

    return program


@interned
def complete(
    prior: Prior | None,
    reads: Mapping[str, tuple[int, ...]],
    dim: int,
    physics: Collection[str] = (),
    own: Mapping[str, dist.Distribution] | None = None,
) -> Program:
    """Fill a prior up with defaults for everything the model's functions read.

    Args:
        prior: mapping or program given by the user; None for defaults only.
        reads: names and shapes the functions read, see `parameter_shapes`.
        dim: number of inputs.
        physics: names that a mean function reads; these have no defaults, whatever they are called.
        own: defaults that a part of the model brings along, by name.

    Returns:
        A program that returns a value for every name in `reads`.

    Raises:
        ValueError: a name has neither a prior nor a default, or a prior names a parameter nobody reads.
    """
    given = as_program(prior)
    values = given_shapes(given)
    unknown = sorted(set(values) - set(reads)) if not callable(prior) else []
    if unknown:
        scoped = [name for name in sorted(reads) if name.rsplit("/", 1)[-1] in unknown]
        hint = f"a part that has a scope has its name before them, {scoped}" if scoped else "check the spelling"
        raise ValueError(f"prior for {unknown}, but the model reads only {sorted(reads)}: {hint}.")
    fill = {
        name: None if name in physics else (own or {}).get(name, default(name, shape, dim))
        for name, shape in reads.items()
        if name not in values
    }
    missing = sorted(name for name, value in fill.items() if value is None)
    if missing:
        raise ValueError(
            f"no prior for {missing}: add a numpyro distribution for each, e.g. prior={{{missing[0]!r}: "
            "numpyro.distributions.Normal(0.0, 1.0)}."
        )

    def program() -> dict[str, Array]:
        return dict(given()) | as_program(fill)()

    return ReadablePrior(program)


def sample(key: Array, program: Program) -> dict[str, Array]:
    """One draw of all parameters from a prior program (constrained values).

    Args:
        key: random key.
        program: e.g. `model.prior`.

    Returns:
        Values of all parameters by name.

    Raises:
        ValueError: the program has observed sites or factors, of which a draw of the sites would know nothing.
    """
    checked = vetted(program)
    _, observed = latent_and_observed(checked)
    if observed:
        raise ValueError(
            f"this prior program has observed {list(observed)}, and a draw of its other sites would not know: draw "
            "from smc(1024).init(key, model, observations(...)) without any observation, the conditioned prior."
        )
    return handlers.seed(checked, key)()
