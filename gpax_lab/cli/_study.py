"""`gpax-lab study`: one block of a study for each job of an array, and the table of what is there."""

import importlib
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpax_lab.experiment import Study, study
from gpax_lab.experiment._study_blocks import read_block, read_plan
from gpax_lab.settings import SettingsError

_NEEDED = ("keys", "experiments", "objectives", "domain", "num_steps")


def compute(source: str, folder: Path, index: int | None, block: int, callback: Callable[[str], None]) -> str:
    """Compute what is missing of the study that a function describes, or one block of it; returns the report.

    Args:
        source: `module:function` or `file.py:function`; the function gives the arguments of `study` as a dictionary.
        folder: where blocks are kept.
        index: number of the block; None for all.
        block: keys in a block.
        callback: told after each block.

    Raises:
        SettingsError: there is no such function, or it gives something else.
    """
    plan = _plan(source)
    try:
        study(**plan, folder=folder, block=block, only=None if index is None else [index], callback=callback)
    except ValueError:
        if index is None or read_block(folder, index) is None:
            raise  # otherwise: this block is there, and others are not yet
    return report(folder)


def report(folder: Path) -> str:
    """How many blocks are there, and the table of the keys that all combinations have."""
    plan = read_plan(folder)
    cases = len(plan["experiments"]) * len(plan["objectives"])
    count = cases * -(-len(plan["keys"]) // plan["block"])
    missing = [index for index in range(count) if read_block(folder, index) is None]
    lines = [f"{count - len(missing)} of {count} blocks are in {folder}"]
    if missing:
        lines[0] += f"; missing: {_ranges(missing)}"
    try:
        lines.append(str(Study.load(folder)))
    except ValueError as nothing:
        lines.append(str(nothing))
    return "\n".join(lines)


def _plan(source: str) -> dict[str, Any]:
    place, colon, name = source.rpartition(":")
    if not colon or not name.isidentifier():
        raise SettingsError(f"{source!r}: say module:function or file.py:function, which gives the arguments of study.")
    sys.path.insert(0, str(Path(place).resolve().parent))  # what stands beside it can be imported
    try:
        names = runpy.run_path(place) if place.endswith(".py") else vars(importlib.import_module(place))
    except (ImportError, FileNotFoundError) as error:
        raise SettingsError(f"{place} can not be imported: {error}.") from error
    made = names.get(name)
    if not callable(made):
        raise SettingsError(f"{place} has no function {name!r}.")
    plan = made()
    missing = [key for key in _NEEDED if not isinstance(plan, Mapping) or key not in plan]
    if missing:
        raise SettingsError(
            f"{source} must return a dictionary of the arguments of study; {', '.join(missing)} missing."
        )
    return dict(plan)


def _ranges(numbers: list[int]) -> str:
    """`0-3,5`, as schedulers take it."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
