"""The table of the differential test: every public pure function of the house, one row or more for each.

A new function joins by one `row` in the file of its family under `rows`, or by a reasoned line in `excluded.py`.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

EVERYWHERE = ("jit", "vmap", "scan", "map", "branch", "grad", "grad branch")
NO_SLOPE = ("jit", "vmap", "scan", "map", "branch")
FEW = ("jit", "vmap", "branch")


FAMILIES = "models", "inference", "acquisition", "spectra", "images", "physics", "vae"


class Row(NamedTuple):
    """A function with arguments, as data.

    Attributes:
        name: the public functions that it stands for, without `gpax_lab.`, and a note.
        covers: these functions.
        make: () -> (function, arguments); the first argument is what contexts repeat and slopes are taken along.
        contexts: those in which it is compiled; the slope is left out where there is none.
        core: those of them that belong to the default suite.
        tolerance: largest relative error.
    """

    name: str
    covers: tuple[str, ...]
    make: Callable[[], tuple[Callable, tuple[Any, ...]]]
    contexts: tuple[str, ...] = EVERYWHERE
    core: tuple[str, ...] = ()
    tolerance: float = 1e-8


def row(
    covers: str,
    make: Callable[[], tuple[Callable, tuple[Any, ...]]],
    note: str = "",
    contexts: tuple[str, ...] = EVERYWHERE,
    core: tuple[str, ...] = (),
    tolerance: float = 1e-8,
) -> Row:
    """A row that stands for the functions `covers`, separated by blanks.

    The tolerance is that of float64 arithmetic of some thousand operations; rows in float32, and such whose result
    magnifies rounding (a small difference, a solve), state their own.
    """
    names = tuple(covers.split())
    return Row(f"{names[0]} {note}".strip(), names, make, contexts, core, tolerance)


def rows(part: str = "") -> list[Row]:
    """The whole table; or the part "models" or "others", which take about as long as each other."""
    chosen = {"models": FAMILIES[:1], "others": FAMILIES[1:]}.get(part, FAMILIES)
    found = [one for family in chosen for one in importlib.import_module(f"rows.{family}").ROWS]
    names = [one.name for one in found]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"two rows are called {twice}"
    return found
