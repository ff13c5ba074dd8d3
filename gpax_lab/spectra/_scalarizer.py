"""Scalarizers: from a spectrum to one number with its standard deviation, unit and status.

A number that is not good is NaN, a failed measurement, and never a bad number that could be taken for a good one. What
is judged is the quantity: a parameter at its bound is no matter where it does not change the quantity.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import inexact
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.spectra._fit import Fit, judged, transformed

CHUNK = 64
"""Spectra of a map that are evaluated together: bounds the memory."""


@runtime_checkable
class _HasArrays(Protocol):
    """A measurement as instruments hand it back."""

    @property
    def arrays(self) -> Mapping[str, Any]:
        """Raw arrays by name."""


@runtime_checkable
class _HasAxes(Protocol):
    """Measured data with an axis for each dimension, such as `gpax_lab.storage.Dataset`."""

    @property
    def values(self) -> Any:
        """The array."""

    @property
    def axes(self) -> Sequence[Any]:
        """One axis for each dimension, in the order of the array."""

    @property
    def unit(self) -> str:
        """Of the values."""


class Estimate(NamedTuple):
    """A number read from a spectrum, or from each of a batch (...).

    Attributes:
        value: (...) in the unit of the scalarizer; NaN where there is none to be trusted.
        variance: (...) in that unit squared; NaN where the value is, and 0 where nobody knows it.
        status: (...) int8 code of `Status`.
    """

    value: Float[Array, "*batch"]
    variance: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number for each spectrum of a data set, with its unit.

    Attributes:
        name: what it is.
        unit: of `value` and `std`.
        value: (...) NaN where there is none to be trusted.
        std: (...) standard deviation; NaN where the value is, or where the scalarizer states none.
        status: (...) int8 code of `Status`.
        axes: the axes of the data set that are left, one for each dimension of `value`.
    """

    name: str
    unit: str
    value: np.ndarray
    std: np.ndarray
    status: np.ndarray
    axes: tuple[Any, ...]


@dataclass(frozen=True)
class Scalarizer:
    """How a spectrum becomes one number: a pure function of named arrays, and the unit of what it gives.

    The same scalarizer reads the measurements of a campaign (`run(..., scalarize=scalarizer)`: called with a
    measurement it returns value and variance), a loaded file (`evaluate`), and arrays inside jit or vmap (`function`).

    Attributes:
        name: of the quantity.
        function: the arrays of one spectrum -> `Estimate` ().
        arrays: names of the arrays that the function takes, in the order of its arguments.
        unit: of the value. `{bias}` stands for the unit of the array "bias", so that mV in give mV out.

    Example:
        >>> import jax.numpy as jnp
        >>> from gpax_lab.spectra.loops import loop_fit, loop_function, triangle
        >>> opening = Scalarizer.of_fit(
        ...     loop_fit, lambda p: p[2] - p[3], ("bias", "response"), name="opening", unit="{bias}"
        ... )
        >>> bias = triangle(8.0, 64)
        >>> loop = loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
        >>> round(float(opening.function(bias, loop).value), 3), opening.unit_of({"bias": "V", "response": "pm"})
        (5.0, 'V')
    """

    name: str
    function: Callable[..., Estimate]
    arrays: tuple[str, ...]
    unit: str = "1"

    def __post_init__(self) -> None:
        if not self.arrays or isinstance(self.arrays, str):
            raise ValueError('name the arrays that the function takes, as in arrays=("bias", "response").')

    @classmethod
    def of_fit(
        cls,
        fit: Callable[..., Fit],
        quantity: Callable[[Array], Array],
        arrays: tuple[str, ...],
        *,
        name: str = "value",
        unit: str = "1",
        accept: tuple[Status, ...] = (Status.OK,),
        concrete: int = 0,
    ) -> Scalarizer:
        """A fit and a quantity: value f(p), variance (df/dp)^T C (df/dp) by the delta method.

        Args:
            fit: arrays of one spectrum -> `Fit` without batch; compiled once.
            quantity: parameters (p,) -> (), differentiable: one of them, a ratio, a logarithm, an area.
            arrays: names of the arrays that the fit takes.
            name, unit: of the quantity.
            accept: statuses that count as good, of the quantity: `judged` finds it good where the fit could not
                determine all of its parameters if it has an error with these let go, and does not change by more (its
                variance is then that one), and refuses it where other parameters describe the spectrum as well and
                give another one.
            concrete: how many of the first arrays the fit needs as numbers, such as an axis of which it picks a
                window: it is compiled again for other ones.

        Returns:
            A `Scalarizer`; swapping the quantity of a fit costs next to nothing.
        """

        def number(p: Array) -> Array:
            return jnp.reshape(quantity(p), (1,))

        @jax.jit
        def read(found: Fit) -> Estimate:
            one = judged(transformed(found, number))
            good = jnp.any(jnp.stack([one.status[0] == status for status in accept]))
            return checked(one.params[0], one.covariance[0, 0], one.status[0], good)

        def function(*values: Any) -> Estimate:
            first = tuple(_frozen(value) for value in values[:concrete])
            found = _compiled(fit, first)(*values[concrete:])
            if found.status.ndim:
                raise ValueError("a scalarizer takes one spectrum; map it over a batch with jax.vmap.")
            return read(found)

        return cls(name, function, arrays, unit)

    def __call__(self, measurement: _HasArrays) -> tuple[float, float]:
        """Value and variance of a measurement, NaN both if the fit failed: what `run` takes.

        Raises:
            ValueError: the measurement has no array of a name that the scalarizer takes.
        """
        missing = [name for name in self.arrays if name not in measurement.arrays]
        if missing:
            raise ValueError(f"the measurement has no {missing}; it has {sorted(measurement.arrays)}.")
        found = self.function(*(_precise(inexact(measurement.arrays[name], f"{name!r}")) for name in self.arrays))
        return float(found.value), float(found.variance)

    def prepared(self, **prepare: Callable[[Array], Array]) -> Scalarizer:
        """The same number, of arrays that are prepared first.

        Args:
            **prepare: what is done to an array (...) that the scalarizer takes, by its name; compiled.

        Raises:
            ValueError: the scalarizer takes no array of such a name.

        Example:
            >>> from gpax_lab.spectra.loops import LOOP_AREA, despike, triangle
            >>> bias = triangle(8.0, 32)
            >>> LOOP_AREA.function(bias, jnp.ones(32).at[9].set(100.0)).value > 1.0
            Array(True, dtype=bool)
            >>> float(LOOP_AREA.prepared(response=despike).function(bias, jnp.ones(32).at[9].set(100.0)).value)
            0.0
        """
        self._need(prepare)
        each = [jax.jit(prepare[name]) if name in prepare else _as_it_is for name in self.arrays]

        def function(*values: Any) -> Estimate:
            return self.function(*(one(value) for one, value in zip(each, values, strict=True)))

        return replace(self, function=function)

    def rejecting(self, **limits: float) -> Scalarizer:
        """The same number, but none (BAD_INPUT) where an array reaches a limit, as that of an amplifier at its rail.

        Args:
            **limits: magnitude from which on a value of an array (as it is given, before `prepared`) makes the whole
                measurement a failed one, by the name of the array and in its unit.

        Raises:
            ValueError: the scalarizer takes no array of such a name.

        Example:
            >>> from gpax_lab.spectra.loops import LOOP_AREA, triangle
            >>> float(LOOP_AREA.rejecting(response=10.0).function(triangle(8.0, 32), jnp.full(32, 11.0)).value)
            nan
        """
        self._need(limits)

        def function(*values: Any) -> Estimate:
            given = dict(zip(self.arrays, values, strict=True))
            return _rejected(self.function(*values), [given[name] for name in limits], list(limits.values()))

        return replace(self, function=function)

    def _need(self, names: Mapping[str, Any]) -> None:
        if unknown := [name for name in names if name not in self.arrays]:
            raise ValueError(f"{self.name!r} takes {list(self.arrays)}; got {unknown}.")

    def unit_of(self, units: Mapping[str, str], unknown: str | None = None) -> str:
        """The unit of the value, from the units of the arrays by name.

        Args:
            units: of the arrays.
            unknown: what stands for that of an array that is not among them, such as "a.u.".

        Raises:
            ValueError: the unit of an array is not among them, and nothing stands for it.

        Example:
            >>> area = Scalarizer("area", lambda bias, response: ..., ("bias", "response"), "{response} {bias}")
            >>> area.unit_of({"bias": "V", "response": "pm"}), area.unit_of({"bias": "V", "response": "pm/V"})
            ('pm V', 'pm')
        """
        needed = _BRACES.findall(self.unit)
        if unknown is None and (missing := [name for name in needed if name not in units]):
            words = ", ".join(map(repr, missing))
            raise ValueError(f"the unit {self.unit!r} of {self.name!r} needs that of {words}; given {dict(units)}.")
        unit = _BRACES.sub(lambda found: str(units.get(found[1], unknown)), self.unit)
        return re.sub(r"/(\S+) \1(?=$|[\s)])", "", unit)

    def evaluate(self, data: _HasAxes, **axes: str) -> Quantity:
        """The number of every spectrum of a data set, in the unit that follows from those of its axes and values.

        An array that the scalarizer takes is the axis of that name (capitals do not matter), and the one for which
        there is no axis is the values themselves.

        Args:
            data: with an axis for each dimension, as `gpax_lab.storage.load` returns it.
            **axes: names of axes where they are called otherwise: `evaluate(data, bias="Voltage")`.

        Returns:
            `Quantity` over the dimensions that are left: () for one spectrum, (ny, nx) for a map.

        Raises:
            ValueError: an axis that the data do not have, or not exactly one array that is none.
        """
        where, signal = self._bound(data, axes)
        rest = [k for k in range(len(data.axes)) if k not in where.values()]
        order = [*rest, *where.values()]
        values = np.asarray(data.values).transpose(order)
        batch = values.shape[: len(rest)]
        rows = inexact(values.reshape(-1, *values.shape[len(rest) :]), "the values")
        known = tuple((name, _frozen(data.axes[k].values)) for name, k in where.items())
        found = _over_rows(self.function, self.arrays, known)(rows)
        value, variance, status = (np.asarray(leaf).reshape(batch) for leaf in found)
        std = np.where(variance > 0, np.sqrt(np.where(variance > 0, variance, 1.0)), np.nan)
        units = {name: data.axes[k].unit for name, k in where.items()} | {signal: data.unit}
        return Quantity(self.name, self.unit_of(units), value, std, status, tuple(data.axes[k] for k in rest))

    def _bound(self, data: _HasAxes, names: Mapping[str, str]) -> tuple[dict[str, int], str]:
        """The dimension of each array that is an axis, and the name of the one that is the values."""
        there = {axis.name.casefold(): k for k, axis in enumerate(data.axes)}
        unknown = [name for name in names if name not in self.arrays]
        lost = [name for name in names.values() if name.casefold() not in there]
        found = [axis.name for axis in data.axes]
        if unknown or lost:
            raise ValueError(
                f"{self.name!r} takes {list(self.arrays)} and the data have the axes {found}; got {names}."
            )
        wanted = {name: names.get(name, name).casefold() for name in self.arrays}
        where = {name: there[axis] for name, axis in wanted.items() if axis in there}
        values = [name for name in self.arrays if name not in where]
        if len(values) != 1:
            raise ValueError(
                f"{self.name!r} takes {list(self.arrays)}, all but one of them axes, and the axes are {found}: "
                f"say which is which, as in evaluate(data, {self.arrays[0]}={found[-1]!r})."
            )
        return where, values[0]


def stated(value: Array) -> Estimate:
    """A number (...) whose error nobody knows."""
    return checked(value, jnp.zeros_like(value), jnp.int8(Status.OK), jnp.isfinite(value))


def checked(value: Array, variance: Array, status: Array, good: Array) -> Estimate:
    """NaN where a number (...) is not good or not finite, with a status that says so."""
    finite = jnp.isfinite(value) & jnp.isfinite(variance)
    status = jnp.where((status == Status.OK) & ~finite, jnp.int8(Status.UNDEFINED), status)
    good = good & finite
    return Estimate(jnp.where(good, value, jnp.nan), jnp.where(good, variance, jnp.nan), status)


_BRACES = re.compile(r"\{([^{}]+)\}")
"""The name of an array in a unit."""


def _precise(values: Array) -> Array:
    """In the default precision at least: instruments and files hand out float32, in which sums lose digits."""
    return values.astype(jnp.promote_types(values.dtype, jnp.result_type(float)))


def _as_it_is(value: Any) -> Any:
    return value


@jax.jit
def _rejected(found: Estimate, arrays: list[Array], limits: list[Any]) -> Estimate:
    below = [jnp.max(jnp.abs(array), initial=0.0) < limit for array, limit in zip(arrays, limits, strict=True)]
    good = jnp.all(jnp.stack([*below, jnp.isfinite(found.value)]))
    status = jnp.where(jnp.all(jnp.stack(below)), found.status, jnp.int8(Status.BAD_INPUT))
    return checked(found.value, found.variance, status, good)


_Frozen = tuple[bytes, str, tuple[int, ...]]
"""An array as a key: its bytes, dtype and shape."""


def _frozen(values: Any) -> _Frozen:
    array = np.ascontiguousarray(values)
    return array.tobytes(), array.dtype.str, array.shape


def _thawed(key: _Frozen) -> np.ndarray:
    data, dtype, shape = key
    return np.frombuffer(data, dtype).reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


@functools.lru_cache(maxsize=16)
def _compiled(fit: Callable[..., Fit], first: tuple[_Frozen, ...]) -> Callable[..., Fit]:
    """The fit, compiled once for all scalarizers of it; and anew for each value of what it needs as numbers."""
    if not first:
        return jax.jit(fit)
    known = [_thawed(key) for key in first]
    return jax.jit(lambda *rest: fit(*known, *rest))


@functools.lru_cache(maxsize=16)
def _over_rows(
    function: Callable[..., Estimate], arrays: tuple[str, ...], known: tuple[tuple[str, _Frozen], ...]
) -> Callable[[Array], Estimate]:
    """Rows (m, ...) -> `Estimate` (m,), with the axes as numbers."""
    axes = {name: _thawed(key) for name, key in known}

    def one(row: Array) -> Estimate:
        return function(*(axes.get(name, _precise(row)) for name in arrays))

    return jax.jit(lambda rows: jax.lax.map(one, rows, batch_size=CHUNK))
