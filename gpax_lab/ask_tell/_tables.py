"""Tables of people: what a data frame or a data set of xarray says, and a campaign as one."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.experiment._asking import Asking
from gpax_lab.experiment._record import JournalRecord

ID = "id"
"""Name of the index, or of a column, by which a row says which point it answers."""


def library(name: str, what: str) -> Any:
    """A library that is optional.

    Raises:
        ImportError: it is not installed; with how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{what} needs {name}: pip install 'gpax-lab[tables]'.") from error


def frame(columns: Mapping[str, Any], ids: Sequence[int], units: Mapping[str, str]) -> Any:
    """A data frame whose index are numbers of points; units in `attrs`."""
    pandas = library("pandas", "a table")
    table = pandas.DataFrame(dict(columns), index=pandas.Index(list(ids), name=ID, dtype="int64"))
    table.attrs["units"] = dict(units)
    return table


def is_table(value: Any) -> bool:
    """Whether it has named columns: a data frame, or a data set or array of xarray."""
    return hasattr(value, "to_dataframe") or (hasattr(value, "columns") and hasattr(value, "index"))


class Rows(NamedTuple):
    """What a table says, row by row.

    Attributes:
        ids: of the points that rows answer; None for those that say no number.
        x: (n, d) inputs; NaN where a row has none, and needs a number.
        y: (n,) values.
        noise: (n,) variances; 0 where unknown.
    """

    ids: list[int | None]
    x: np.ndarray
    y: np.ndarray
    noise: np.ndarray


def rows_of(table: Any, names: Sequence[str], output: str, y: Any, noise: Any) -> Rows:
    """Read a table; rows without a value are left out, as not measured yet.

    Args:
        table: a pandas data frame, or a Dataset or DataArray of xarray.
        names: of the inputs.
        output: name of the column with the values, unless y says another one.
        y: name of that column, or the values themselves; None for `output`.
        noise: name of a column of variances, the variances themselves, or None.

    Raises:
        ValueError: columns are missing.
    """
    if hasattr(table, "to_dataframe"):
        named = {"name": table.name or output} if hasattr(table, "name") else {}
        output = named.get("name", output)
        table = table.to_dataframe(**named).reset_index()
    elif table.index.name in (ID, *names):
        table = table.reset_index()
    ids = _numbers_of(table)
    missing = [name for name in names if name not in table.columns]
    if missing and ids is None:
        raise ValueError(
            f"the table has no column {missing[0]!r}; it has {[str(c) for c in table.columns]}. Its columns are the "
            f"inputs {list(names)}, or {ID!r} with the numbers of points that were asked for."
        )
    values = _column(table, output if y is None else y, "the measured values")
    variances = np.zeros(len(values)) if noise is None else _column(table, noise, "the variances")
    points = np.full((len(values), len(names)), np.nan)
    if not missing:
        points = np.stack([np.asarray(table[name], np.float64) for name in names], axis=1)
    there = np.isfinite(values)
    given = [None] * len(values) if ids is None else ids
    return Rows([i for i, t in zip(given, there, strict=True) if t], points[there], values[there], variances[there])


def _numbers_of(table: Any) -> list[int | None] | None:
    if ID not in table.columns:
        return None
    return [None if not np.isfinite(number) else int(number) for number in np.asarray(table[ID], np.float64)]


def _column(table: Any, given: Any, what: str) -> np.ndarray:
    if isinstance(given, str):
        if given not in table.columns:
            raise ValueError(
                f"the table has no column {given!r} with {what}; it has {[str(c) for c in table.columns]}."
            )
        given = table[given]
    return np.broadcast_to(np.asarray(given, np.float64), (len(table),))


def columns(asking: Asking, measurements: Iterable[JournalRecord], names: Sequence[str], output: str) -> dict[str, Any]:
    """All points of a campaign, column by column; see `AskTell.to_pandas`."""
    told, tokens = asking.told, asking.tokens
    x = np.array([asking.asked_at(token) for token in tokens]).reshape(-1, len(names))
    answers = [told.answers.get(token) for token in tokens]
    wall = {entry.header.get("token"): getattr(entry, "wall", np.nan) for entry in measurements}
    found: dict[str, Any] = {name: x[:, i] for i, name in enumerate(names)}
    found[output] = np.array([np.nan if a is None else a.y for a in answers])
    more: dict[str, Any] = {
        "variance": np.array([np.nan if a is None else a.noise for a in answers]),
        "status": [standing(asking, token) for token in tokens],
        "asked_as": [told.phases[token] for token in tokens],
        "reason": [told.reasons.get(token, "") for token in tokens],
        "time": np.array([wall.get(token, np.nan) for token in tokens], float),
        "token": list(tokens),
    }
    places = np.array([p if a is None else np.asarray(a.position, float) for p, a in zip(x, answers, strict=True)])
    places = places.reshape(x.shape)
    for i, name in enumerate(names if (places != x).any() else ()):
        more[f"{name}_measured"] = places[:, i]
    # An input may be called time: what is ours gives way.
    return found | {f"{name}_" if name in found else name: values for name, values in more.items()}


def standing(asking: Asking, token: str) -> str:
    """What has become of a point: measured, failed, discarded, or waiting for its answer."""
    told = asking.told
    if token in told.discarded:
        return "discarded"
    if token not in told.answers:
        return "waiting"
    return "measured" if np.isfinite(told.answers[token].y) else "failed"


def dataset(found: Mapping[str, Any], names: Sequence[str], output: str, units: Mapping[str, str]) -> Any:
    """These columns as a Dataset of xarray along `id`, the inputs as coordinates."""
    xarray = library("xarray", "a data set")
    arrays = {
        name: (ID, np.asarray(values), {"units": units[name]} if name in units else {})
        for name, values in found.items()
    }
    coords: dict[str, Any] = {ID: np.arange(len(found[output]))}
    coords |= {name: arrays.pop(name) for name in names}
    return xarray.Dataset(arrays, coords, {"output": output})
