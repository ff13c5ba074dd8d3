"""A campaign as a sequence of records: what a state is in them, and back.

A record is (kind, step, header, arrays). After every measurement is assimilated a `state` record holds the state's
arrays; what follows it (interventions, measurements) is replayed through the same pure functions that ran live, see
`_history`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._observations import Observations
from gpax_lab.experiment._experiment import Experiment, State

Record = tuple[str, int, dict[str, Any], dict[str, np.ndarray]]


@runtime_checkable
class JournalRecord(Protocol):
    """What the fold needs of a journal entry."""

    @property
    def kind(self) -> str:
        """Kind of the record."""

    @property
    def step(self) -> int:
        """Step of the campaign."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Plain values."""

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Arrays."""


class Written(NamedTuple):
    """A record that was just written, for the fold."""

    kind: str
    step: int
    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class Answer(NamedTuple):
    """What a measurement gave.

    Attributes:
        y: value; NaN where it failed.
        noise: its variance.
        position: (d,) where it was measured, as far as it is known.
    """

    y: float
    noise: float
    position: np.ndarray


def position_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(d,) where the model learns a recorded measurement: where it was measured, or else where it was asked."""
    return arrays.get("place", arrays["x"])


def _leaves(state: State) -> list[tuple[str, Array]]:
    """The state's arrays by path, without the factor, which follows from the rest."""
    slim = state._replace(posterior=state.posterior.without_factor())
    return [(_stored(jax.tree_util.keystr(path)), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(slim)[0]]


def _stored(path: str) -> str:
    """A path as journals name it: the status of a fit is written as they have always had it."""
    return path.replace(".info.status", ".info.outcome")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


_ROWS, _VALUES = "#rows", "#values"
_CLOSED = ".candidates.closed"
_OVERHEAD = 128
"""Bytes that a second array costs in a record, about: what fewer rows must save."""


def snapshot(state: State, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What of the state's arrays differs from the `known` ones; keys as their integer data. `merge` takes it in.

    A buffer for n measurements changes in one row a step; written whole, a campaign's journal would grow with n
    squared. So of an array in which few rows have changed only these are given, under two names that begin with its
    own.
    """
    arrays = {name: np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for name, leaf in _leaves(state)}
    changed: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        if name not in known:
            changed[name] = value
        elif not _same(known[name], value):
            changed |= difference(name, known[name], value)
    return changed


def difference(name: str, before: np.ndarray, now: np.ndarray) -> dict[str, np.ndarray]:
    """An array of the state as a record of it holds it: the rows that differ from before, or whole; see `merge`."""
    if before.dtype != now.dtype or before.shape != now.shape or now.ndim == 0 or now.size == 0:
        return {name: now}
    bits = [np.ascontiguousarray(array).view(np.uint8).reshape(len(now), -1) for array in (before, now)]
    rows = np.flatnonzero((bits[0] != bits[1]).any(1)).astype(np.int32)
    part = {f"{name}{_ROWS}": rows, f"{name}{_VALUES}": now[rows]}
    return part if sum(array.nbytes for array in part.values()) + _OVERHEAD < now.nbytes else {name: now}


def merge(arrays: dict[str, np.ndarray], changes: Mapping[str, np.ndarray], own: set[str] | None = None) -> None:
    """Take what `snapshot` gave into the arrays known so far, in place.

    Args:
        arrays: by name.
        changes: whole arrays, or rows of those that are known.
        own: names whose arrays may be written into, and are by nobody else held; names are added. None: all are copied.

    Raises:
        ValueError: rows of an array that is not known or has no such rows: entries before this one are missing.
    """
    for name, value in changes.items():
        if name.endswith(_VALUES):
            continue
        if not name.endswith(_ROWS):
            arrays[name] = value
            if own is not None:
                own.discard(name)
            continue
        whole = name.removesuffix(_ROWS)
        known = arrays.get(whole)
        if known is None or not _fits(known, value, changes.get(f"{whole}{_VALUES}")):
            raise ValueError(
                f"a state in the journal changes rows of {whole!r} that none before it has: it is damaged."
            )
        if own is None or whole not in own:
            known = arrays[whole] = known.copy()
        if own is not None:
            own.add(whole)
        known[value] = changes[f"{whole}{_VALUES}"]


def _fits(known: np.ndarray, rows: np.ndarray, values: np.ndarray | None) -> bool:
    fitting = values is not None and values.shape == (*rows.shape, *known.shape[1:]) and values.dtype == known.dtype
    return fitting and bool(np.all((rows >= 0) & (rows < len(known))))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def restore(experiment: Experiment, arrays: Mapping[str, np.ndarray], template: Any = None) -> State:
    """The state whose arrays these are; its factor is computed anew by the function that made it.

    Args:
        experiment: whose state it is.
        arrays: by name.
        template: shapes of such a state, where they are known: tracing `init` takes a second.

    Raises:
        ValueError: the arrays belong to an experiment of another structure.
    """
    obs = observations_of(arrays)
    arrays = {".asked": arrays[".obs.x"], **arrays}  # journals of before measured, by their own account, where asked
    if template is None:
        template = jax.eval_shape(experiment.init, jax.random.key(0), obs)
    if (closed := arrays.get(_CLOSED)) is not None:  # boxes that people closed since
        shape = jax.ShapeDtypeStruct(closed.shape, closed.dtype)
        template = template._replace(candidates=replace(template.candidates, closed=shape))
    expected = dict(_leaves(template))
    if set(expected) != set(arrays) or any(
        arrays[name].shape != leaf.shape for name, leaf in expected.items() if not _is_key(leaf)
    ):
        raise ValueError(
            "the journal was written by another experiment: its settings or the version of gpax_lab differ. Its "
            "measurements can be read (storage.read) and begin a new campaign; it can not be continued by this one."
        )
    values = [
        jax.random.wrap_key_data(jnp.asarray(arrays[name])) if _is_key(leaf) else jnp.asarray(arrays[name])
        for name, leaf in expected.items()
    ]
    slim = template._replace(posterior=template.posterior.without_factor())
    state = jax.tree.unflatten(jax.tree.structure(slim), values)
    return state._replace(posterior=state.posterior.conditioned(state.obs))


def observations_of(arrays: Mapping[str, np.ndarray]) -> Observations:
    """The observations among the arrays of a state."""
    return Observations(*(jnp.asarray(arrays[f".obs.{name}"]) for name in Observations._fields))


def posterior_summary(state: State) -> dict[str, Any]:
    """Mean and standard deviation of every parameter, and the diagnostics, as plain values."""
    mean, sd = state.posterior.summary()
    info = {name: np.asarray(value).item() for name, value in state.posterior.info._asdict().items()}
    return {
        "mean": {name: value.tolist() for name, value in mean.items()},
        "sd": {name: value.tolist() for name, value in sd.items()},
        "diagnostics": {"outcome" if name == "status" else name: value for name, value in info.items()},
    }
