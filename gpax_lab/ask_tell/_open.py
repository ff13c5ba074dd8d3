"""Opening a campaign: a new journal, or one that goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.ask_tell._campaign import AskTell
from gpax_lab.ask_tell._tables import ID
from gpax_lab.experiment import Experiment
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment._asking import Asking
from gpax_lab.experiment._contracts import Journal
from gpax_lab.experiment._experiment import check_begin
from gpax_lab.experiment._positions import first_points
from gpax_lab.storage import Campaign
from gpax_lab.storage._errors import JournalEmpty

Inputs = Mapping[str, str | tuple[str, float, float]]

NAMELESS = ("y", "1")
"""Name and unit of what is measured, where nobody says it."""

_OPEN: dict[Path, AskTell] = {}
"""Campaigns that this process has opened and not closed, by their files."""


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
    key = jax.random.key(key) if isinstance(key, int | np.integer) else key
    check_begin(jax.random.key(0) if key is None else key, experiment)
    given = _Setup(
        key=key,
        seeds=None if seeds is None or np.size(seeds) == 0 else first_points(seeds),
        axes=() if inputs is None else tuple(_axis(name, about) for name, about in inputs.items()),
        output=output,
        num_steps=num_steps,
    )
    given.check()
    if isinstance(where, str | Path):
        return _in_file(Path(where), experiment, given, extend, again)
    header = where.history[0].header if where.history else {}
    return _asked(experiment, where, given.with_kept(header), extend, again)


def _in_file(path: Path, experiment: Experiment, given: "_Setup", extend: Extend | None, again: bool) -> AskTell:
    journal = _going_on(path)
    begun = journal is None
    if journal is None:
        journal = Campaign.create(path, given.header())
    try:
        opened = _asked(experiment, journal, given.with_kept(journal.header), extend, again)
    except BaseException:
        journal.journal.close()
        if begun:  # nothing is in it that a better call could need
            path.unlink(missing_ok=True)
        raise
    _OPEN[path.resolve()] = opened
    return opened


def _going_on(path: Path) -> Campaign | None:
    """The campaign in a file; None where there is no file, or one whose creation was cut short, which is set aside."""
    for place in [place for place, campaign in _OPEN.items() if campaign.closed]:
        del _OPEN[place]
    older = _OPEN.pop(path.resolve(), None)
    if older is not None:
        older._give_up()
    try:
        return Campaign.open(path) if path.exists() else None
    except JournalEmpty:
        path.replace(path.with_name(f"{path.name}.empty"))
        return None


def _asked(experiment: Experiment, journal: Journal, setup: "_Setup", extend: Extend | None, again: bool) -> AskTell:
    seeds = np.zeros((0, len(setup.axes))) if setup.seeds is None else setup.seeds
    asking = Asking(experiment, journal, setup.key, seeds, setup.num_steps, extend, again)
    names, units = (tuple(str(axis[part]) for axis in setup.axes) for part in ("name", "unit"))
    return AskTell(asking, journal, names, units, setup.output or NAMELESS)


def _axis(name: str, about: str | Sequence[Any]) -> dict[str, Any]:
    if isinstance(about, str):
        return {"name": str(name), "unit": about}
    unit, low, high = tuple(about)
    return {"name": str(name), "unit": str(unit), "low": float(low), "high": float(high)}


def _unnamed(count: int) -> tuple[dict[str, Any], ...]:
    return tuple({"name": "x" if count == 1 else f"x{i}", "unit": "1"} for i in range(count))


@dataclass(frozen=True)
class _Setup:
    """What is said of a campaign, by the caller and by its journal.

    Attributes:
        key: random key, or None.
        seeds: (n, d) points, or None.
        axes: name and unit of each input, and limits where they are told; empty where nothing is.
        output: name and unit, or None.
        num_steps: planned, or None.
    """

    key: Any
    seeds: np.ndarray | None
    axes: tuple[dict[str, Any], ...]
    output: tuple[str, str] | None
    num_steps: int | None

    def check(self) -> None:
        """Refuse what contradicts itself."""
        named = [*(axis["name"] for axis in self.axes), *(self.output or ())[:1]]
        if len(set(named)) < len(named) or ID in named:
            raise ValueError(f"inputs and output need names of their own, of which none is {ID!r}; got {named}.")
        if self.seeds is not None and self.axes and self.seeds.shape[1] != len(self.axes):
            raise ValueError(f"the seeds have {self.seeds.shape[1]} inputs, and {len(self.axes)} are named.")
        if self.num_steps is not None and not self.num_steps >= 1:
            raise ValueError(f"num_steps must be 1 or more, or None; got {self.num_steps}.")

    def header(self) -> dict[str, Any]:
        """Of a new journal.

        Raises:
            ValueError: something that it needs is not said.
        """
        if self.key is None:
            raise ValueError("a campaign begins with a random key: key=jax.random.key(0), or key=0.")
        name, unit = self.output or NAMELESS
        return {
            "axes": list(self._axes()),
            "quantity": {"name": str(name), "unit": str(unit)},
            "ask_tell": {
                "key": np.asarray(jax.random.key_data(self.key)).tolist(),
                "seeds": [] if self.seeds is None else self.seeds.tolist(),
                "num_steps": self.num_steps,
            },
        }

    def _axes(self) -> tuple[dict[str, Any], ...]:
        axes = self.axes or (() if self.seeds is None else _unnamed(self.seeds.shape[1]))
        if not axes:
            raise ValueError('say what the inputs are: inputs={"x": "um", "bias": "V"}.')
        return axes

    def with_kept(self, header: Mapping[str, Any]) -> "_Setup":
        """The same with what the journal says.

        Raises:
            ValueError: they contradict each other, or both are silent.
        """
        kept = header.get("ask_tell")
        return (self if kept is None else self._begun_as(kept))._named_as(header)

    def _begun_as(self, kept: Mapping[str, Any]) -> "_Setup":
        if self.key is not None and np.asarray(jax.random.key_data(self.key)).tolist() != list(kept["key"]):
            raise ValueError("the journal was begun with another key: leave key out, or begin a new campaign.")
        if self.seeds is not None and self.seeds.tolist() != kept["seeds"]:
            raise ValueError("the journal was begun with other seeds: leave seeds out, or begin a new campaign.")
        return replace(
            self,
            key=jax.random.wrap_key_data(jnp.asarray(kept["key"], jnp.uint32)),
            seeds=np.asarray(kept["seeds"], np.float64) if kept["seeds"] else None,
            num_steps=kept.get("num_steps") if self.num_steps is None else self.num_steps,
        )

    def _named_as(self, header: Mapping[str, Any]) -> "_Setup":
        axes = tuple({"name": f"x{i}", "unit": "1"} | dict(axis) for i, axis in enumerate(header.get("axes") or ()))
        kept, given = ([(axis["name"], axis["unit"]) for axis in one] for one in (axes, self.axes))
        if kept and given and kept != given:
            raise ValueError(f"the journal has the inputs {kept}, in this order; got {given}.")
        about = header.get("quantity")
        output = (str(about.get("name") or "y"), str(about.get("unit") or "1")) if about else self.output
        if self.output is not None and tuple(self.output) != output:
            raise ValueError(f"the journal measures {output}; got {self.output}.")
        return replace(self, axes=axes or self._axes(), output=output)
