"""Opening a campaign: a new journal, or one that goes on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.ask_tell._campaign import AskTell
from gpax_lab.ask_tell._tables import ID
from gpax_lab.experiment import Experiment
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment._asking import Asking
from gpax_lab.experiment._contracts import Journal
from gpax_lab.experiment._positions import first_points
from gpax_lab.storage import Campaign
from gpax_lab.storage._errors import JournalEmpty

Inputs = Mapping[str, str | tuple[str, float, float]]

_OPEN: "WeakValueDictionary[Path, Campaign]" = WeakValueDictionary()
"""Journals that this process has opened, by their files."""


def open_campaign(
    where: str | Path | Journal,
    experiment: Experiment,
    *,
    key: jax.Array | int | None = None,
    seeds: Any = None,
    inputs: Inputs | None = None,
    output: tuple[str, str] | None = None,
    num_steps: int | None = None,
    extend: Extend | None = None,
    again: bool = True,
) -> AskTell:
    """Begin a campaign in a journal, or go on with the one that is there.

    What is told is in the file before `tell` returns. Who was killed opens the file again and goes on where they were.
    Same key, seeds and answers make the same trajectory as `run` and `simulate`, bit for bit where `num_steps` is the
    same, too. A journal that `run` wrote can be gone on with, and `run` goes on with what was asked and told.

    Args:
        where: file of the journal, by custom with the suffix `.gpxj`; or a journal that is open, such as
            `storage.Campaign`. Where this very process has the file open by this function, as when a cell of a notebook
            is run again, the older campaign is closed.
        experiment: the state machine, e.g. `bayes_opt(...)`; the same one whenever the campaign is opened.
        key: random key, or a number to make one from. A campaign that goes on knows it.
        seeds: (n, d) points to measure first; None where you tell by hand what is known, before you ask. A campaign
            that goes on knows them.
        inputs: name -> unit of each input, in order, `{"x": "um"}`; also name -> (unit, low, high). A campaign that
            goes on knows them.
        output: name and unit of what is measured.
        num_steps: proposals that are planned. The buffer has room for so many from the start, so that nothing is
            compiled anew on the way; it is no limit.
        extend: hypotheses -> this experiment with these, where laws were adopted; see `run`.
        again: whether points that were handed out before the program ended, and have no answer, are handed out first
            when it goes on. False: they stay under way.

    Returns:
        AskTell, a context manager: on leaving it the HDF5 file is written, and the journal is closed.

    Raises:
        ValueError: key, seeds or inputs are missing or differ from those in the journal.
        JournalError: the file is no journal, is damaged, or another program writes it.

    Example:
        >>> import tempfile, pathlib
        >>> from gpax_lab import acquisition, bayes_opt, gp, laplace
        >>> bounds = [[0.0, 10.0]]
        >>> experiment = bayes_opt(gp.exact(1, bounds=bounds), laplace(), acquisition.log_ei(), acquisition.box(bounds))
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "film.gpxj"
        >>> with open_campaign(file, experiment, key=0, seeds=[[2.0], [8.0]], inputs={"x": "um"}) as campaign:
        ...     points = campaign.ask()
        ...     campaign.tell(points, [1.5, float("nan")])
        >>> points.x.tolist(), points.ids
        ([[2.0], [8.0]], (0, 1))
    """
    given = _Given(key, seeds, inputs, output, num_steps)
    if not isinstance(where, str | Path):
        header = where.history[0].header if where.history else {}
        return _asked(experiment, where, _merged(given, header), extend, again)
    path = Path(where)
    journal = _going_on(path)
    begun = journal is None
    if journal is None:
        journal = Campaign.create(path, _header(given))
    _OPEN[path.resolve()] = journal
    try:
        return _asked(experiment, journal, _merged(given, journal.header), extend, again)
    except BaseException:
        journal.journal.close()
        if begun:  # nothing is in it that a better call could need
            path.unlink(missing_ok=True)
        raise


def _going_on(path: Path) -> Campaign | None:
    """The campaign in a file; None where there is no file, or one whose creation was cut short, which is set aside."""
    older = _OPEN.pop(path.resolve(), None)
    if older is not None:
        older.journal.close()
    try:
        return Campaign.open(path) if path.exists() else None
    except JournalEmpty:
        path.replace(path.with_name(f"{path.name}.empty"))
        return None


class _Given:
    """What the caller says of a campaign."""

    def __init__(
        self, key: Any, seeds: Any, inputs: Inputs | None, output: tuple[str, str] | None, num_steps: int | None
    ) -> None:
        self.key = jax.random.key(key) if isinstance(key, int | np.integer) else key
        self.seeds = None if seeds is None or np.size(seeds) == 0 else first_points(seeds)
        self.axes = None if inputs is None else [_axis(name, about) for name, about in inputs.items()]
        self.output, self.num_steps = output, num_steps
        named = [*(axis["name"] for axis in self.axes or ()), *(output or ())[:1]]
        if len(set(named)) < len(named) or ID in named:
            raise ValueError(f"inputs and output need names of their own, of which none is {ID!r}; got {named}.")
        if self.seeds is not None and self.axes is not None and self.seeds.shape[1] != len(self.axes):
            raise ValueError(f"the seeds have {self.seeds.shape[1]} inputs, and {len(self.axes)} are named.")
        if num_steps is not None and not num_steps >= 1:
            raise ValueError(f"num_steps must be 1 or more, or None; got {num_steps}.")


def _axis(name: str, about: str | Sequence[Any]) -> dict[str, Any]:
    if isinstance(about, str):
        return {"name": str(name), "unit": about}
    unit, low, high = tuple(about)
    return {"name": str(name), "unit": str(unit), "low": float(low), "high": float(high)}


def _header(given: _Given) -> dict[str, Any]:
    """Of a new journal."""
    if given.key is None:
        raise ValueError("a campaign begins with a random key: key=jax.random.key(0), or key=0.")
    axes = given.axes
    if axes is None:
        if given.seeds is None:
            raise ValueError('say what the inputs are: inputs={"x": "um", "bias": "V"}.')
        axes = _unnamed(given.seeds.shape[1])
    name, unit = given.output or ("y", "1")
    return {
        "settings": {},
        "axes": axes,
        "quantity": {"name": str(name), "unit": str(unit)},
        "ask_tell": {
            "key": np.asarray(jax.random.key_data(given.key)).tolist(),
            "seeds": [] if given.seeds is None else given.seeds.tolist(),
            "num_steps": given.num_steps,
        },
    }


def _unnamed(count: int) -> list[dict[str, Any]]:
    return [{"name": "x" if count == 1 else f"x{i}", "unit": "1"} for i in range(count)]


class _Whole:
    """What is known of a campaign from its journal and from the caller."""

    def __init__(
        self, key: Any, seeds: Any, axes: list[dict[str, Any]], output: tuple[str, str], num_steps: Any
    ) -> None:
        self.key, self.seeds, self.axes, self.output, self.num_steps = key, seeds, axes, output, num_steps


def _merged(given: _Given, header: Mapping[str, Any]) -> _Whole:
    """What the journal says, where the caller says nothing else.

    Raises:
        ValueError: they contradict each other.
    """
    kept = header.get("ask_tell", {})
    key, seeds, num_steps = given.key, given.seeds, given.num_steps
    if kept:
        if key is not None and np.asarray(jax.random.key_data(key)).tolist() != list(kept["key"]):
            raise ValueError("the journal was begun with another key: leave key out, or begin a new campaign.")
        key = jax.random.wrap_key_data(jnp.asarray(kept["key"], jnp.uint32))
        if seeds is not None and seeds.tolist() != kept["seeds"]:
            raise ValueError("the journal was begun with other seeds: leave seeds out, or begin a new campaign.")
        seeds = np.asarray(kept["seeds"], np.float64) if kept["seeds"] else None
        if num_steps is None:
            num_steps = kept.get("num_steps")
    axes = list(header.get("axes") or []) or given.axes or ([] if seeds is None else _unnamed(seeds.shape[1]))
    if not axes:
        raise ValueError('say what the inputs are: inputs={"x": "um", "bias": "V"}.')
    axes = [{"name": f"x{i}", "unit": "1"} | dict(axis) for i, axis in enumerate(axes)]
    if given.axes is not None and [a["name"] for a in axes] != [a["name"] for a in given.axes]:
        raise ValueError(f"the journal has the inputs {[a['name'] for a in axes]}, in this order.")
    about = header.get("quantity") or {}
    output = (str(about.get("name") or "y"), str(about.get("unit") or "1"))
    if given.output is not None and about and tuple(given.output) != output:
        raise ValueError(f"the journal measures {output[0]!r} [{output[1]}].")
    seeds = np.zeros((0, len(axes))) if seeds is None else seeds
    return _Whole(key, seeds, axes, output if about else given.output or output, num_steps)


def _asked(experiment: Experiment, journal: Journal, whole: _Whole, extend: Extend | None, again: bool) -> AskTell:
    asking = Asking(experiment, journal, whole.key, whole.seeds, whole.num_steps, extend, again)
    names, units = (tuple(str(axis[part]) for axis in whole.axes) for part in ("name", "unit"))
    return AskTell(asking, journal, names, units, whole.output)
