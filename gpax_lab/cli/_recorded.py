"""What can be told of a campaign whose settings are in a program of the user's own: what its journal holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpax_lab import plot
from gpax_lab.cli._review import Points, opening, points_of
from gpax_lab.cli._summary import events, fits, time_spent
from gpax_lab.cli._units import value
from gpax_lab.settings import SettingsError
from gpax_lab.storage import Contents
from gpax_lab.storage._contents import with_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 200
"""Measurements that are listed; the first and last ones of more."""


class Recorded(NamedTuple):
    """A campaign as its journal alone tells it.

    Attributes:
        path: of the journal.
        contents: of the journal.
        points: all measurements.
        axes: name and unit of each.
        quantity: name and unit.
    """

    path: Path
    contents: Contents
    points: Points
    axes: tuple[tuple[str, str], ...]
    quantity: tuple[str, str]


def recorded(path: Path) -> Recorded | None:
    """What a journal holds that `gpax_lab.run` wrote without settings; None where it has those of the command line.

    Raises:
        FileNotFoundError, JournalError, SettingsError: no such file, no journal, or nothing in it.
    """
    contents = opening(path)
    if "settings" in contents.records[0].header:
        return None
    header = with_axes(contents.records[0], contents).header
    measured = contents.of("reading")
    dim = measured[0].arrays["x"].size if measured else len(header.get("axes") or ())
    axes = [(str(axis["name"]), str(axis.get("unit", ""))) for axis in header.get("axes") or ()]
    if len(axes) != dim:
        axes = [(f"x{index}", "") for index in range(dim)]
    quantity = header.get("quantity") or {}
    named = str(quantity.get("name") or "value"), str(quantity.get("unit") or "")
    return Recorded(path, contents, points_of(contents, dim), tuple(axes), named)


def told(found: Recorded) -> str:
    """Several paragraphs of plain text."""
    parts = (_head(found), _list(found), fits(found.contents), events(found.contents), time_spent(found.contents))
    return "\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def _head(found: Recorded) -> Iterator[str]:
    number = len(found.points.y)
    stops = found.contents.of("stop", "reading", "intent", "fault")[-1:]
    orderly = bool(stops) and stops[0].kind == "stop"
    why = stops[0].header["reason"] if orderly else "not stopped in an orderly way, or still under way"
    yield f"{found.path.name}: {number} points measured, {int(found.points.seed.sum())} of them seeds; {why}."
    yield "It was not written by gpax-lab run, so that model and map are not known here: the program that wrote it goes"
    yield "on with it, gpax_lab.storage.read(path) gives all records, gpax_lab.storage.export_hdf5 an HDF5 file."
    yield ""
    good = np.isfinite(found.points.y)
    for word, at in (("Largest", np.nanargmax), ("Smallest", np.nanargmin)) if good.any() else ():
        best = int(at(found.points.y))
        yield f"{word} {found.quantity[0]}: {_number(found.points.y[best], found.quantity[1])} at {_place(found, best)}"
    yield ""


def _list(found: Recorded) -> Iterator[str]:
    number = len(found.points.y)
    if number:
        yield "Measurements"
    for at in range(number):
        if _SHOWN // 2 <= at < number - _SHOWN // 2:
            if at == _SHOWN // 2:
                yield f"  ... {number - _SHOWN // 2 * 2} more"
            continue
        y = found.points.y[at]
        said = _number(y, found.quantity[1]) if np.isfinite(y) else "failed"
        yield f"  {at + 1:>5}{' seed' if found.points.seed[at] else '     '}  {said} at {_place(found, at)}"
    if number:
        yield ""


def _number(number: float, unit: str) -> str:
    return value(number, unit) if unit else f"{number:.6g}"


def _place(found: Recorded, at: int) -> str:
    each = zip(found.axes, found.points.x[at], strict=True)
    return ", ".join(f"{name} {_number(float(x), unit)}" for (name, unit), x in each)


def drawn(found: Recorded) -> "Figure":
    """The measurements in order, without a map.

    Raises:
        SettingsError: nothing was measured yet.
    """
    if not len(found.points.y):
        raise SettingsError(f"{found.path} holds no measurement yet: there is nothing to draw.")
    so_far = np.fmax.accumulate(found.points.y)[max(int(found.points.seed.sum()) - 1, 0) :]
    return plot.campaign(
        x=found.points.x,
        y=found.points.y,
        positions=found.points.x,
        mean=None,
        std=None,
        truth=None,
        best=so_far,
        expected=np.full(len(so_far), np.nan),
        axes=found.axes,
        quantity=found.quantity,
        seeds=int(found.points.seed.sum()),
        title=found.path.stem,
    )
