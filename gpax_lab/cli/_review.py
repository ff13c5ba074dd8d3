"""What a journal says of a campaign: the points in order, the map believed at the end, the truth where it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab import acquisition
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.experiment._past import past_fits
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._posterior import Posterior
from gpax_lab.settings import Plan, Settings, SettingsError, build, parse
from gpax_lab.settings._instrument import HasPositions, HasTruth
from gpax_lab.settings._quantity import UNKNOWN_UNIT, quantity_of
from gpax_lab.settings._schema import Grid
from gpax_lab.storage import Contents, JournalRecord, read
from gpax_lab.storage._contents import final_measurements

_DRAWN = (40, 40)
"""Points at which the map of a continuous box of two axes is drawn."""
_LINE = 256
"""Likewise of one axis."""
_CLOUD = 2000
"""Likewise of three axes and more, evenly spread."""


class Points(NamedTuple):
    """Measurements in order: x (n, d) in the units of the axes, y (n,) (NaN: failed), seed (n,) bool."""

    x: np.ndarray
    y: np.ndarray
    seed: np.ndarray


class Belief(NamedTuple):
    """The posterior at the positions of the map: mean and sd (m,), in the quantity's unit."""

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Review:
    """A campaign as its journal tells it.

    Attributes:
        plan: what the settings in the journal stand for.
        contents: the journal.
        points: all measurements.
        positions: (m, d) where the map is drawn, in the units of the axes.
        truth: (m,) noise-free values there (of a simulation) or recorded ones (NaN: unusable); None if unknown.
        posterior: the last one, without diagnostics (the journal has them); None before the first fit.
        belief: the posterior at the positions, None before the first fit.
        best: (steps + 1,) best measurement after the seeds and after every step; none before the first fit.
        expected: (steps + 1,) best posterior mean over the positions, likewise.
        obs: what the posterior was fitted to; None before the first fit.
    """

    plan: Plan
    contents: Contents
    points: Points
    positions: np.ndarray
    truth: np.ndarray | None
    posterior: Posterior | HypothesisMixture | None = None
    belief: Belief | None = None
    best: np.ndarray = field(default_factory=lambda: np.zeros(0))
    expected: np.ndarray = field(default_factory=lambda: np.zeros(0))
    obs: Observations | None = None

    @property
    def recorded(self) -> bool:
        """Whether the truth is a record, with its noise."""
        return isinstance(self.plan.driver, HasPositions)


def plan_of(header: Mapping[str, Any], path: Path) -> Plan:
    """The plan from the header of a journal.

    Raises:
        SettingsError: a program of the user's own wrote it, or its settings do not hold here.
    """
    if "settings" not in header:
        raise SettingsError(
            f"{path} was not written by gpax-lab run: go on with it from the program that wrote it. gpax-lab show and "
            "plot tell what it holds, gpax_lab.storage.read(path) gives its records, and export_hdf5 an HDF5 file."
        )
    written = dict(header["settings"])
    # A journal from before points were spent on learning spent none.
    written["acquisition"] = {"learn_every": 0} | dict(written.get("acquisition", {}))
    try:
        return build(parse(written))
    except SettingsError as error:
        raise SettingsError(
            f"{path}: {error} What a package of its own registers needs that package installed here, too. If a former "
            "version of gpax-lab wrote this journal, it can not be continued by this one: gpax_lab.storage.read gives "
            "its measurements."
        ) from None


def in_force(plan: Plan, records: Sequence[JournalRecord]) -> Settings:
    """The settings with which a campaign was gone on with last; at first those that it was begun with."""
    changed = [record.header["settings"] for record in records if record.kind == "settings"]
    return parse(changed[-1]) if changed else plan.settings


def opening(path: Path) -> Contents:
    """The entries of a journal, the one that opens a campaign among them.

    Raises:
        FileNotFoundError, JournalError: no such file, or not a journal.
        SettingsError: nothing was recorded.
    """
    contents = read(path)
    if not contents.records:
        raise SettingsError(f"{path}: the program ended while it created this journal; nothing was recorded.")
    return contents


def finished(records: Sequence[JournalRecord]) -> bool:
    """Whether the campaign came to its end (and was not only paused)."""
    last = [record for record in records if record.kind in ("stop", "intent")][-1:]
    return bool(last) and last[0].kind == "stop" and bool(last[0].header["finished"])


def review(path: Path) -> Review:
    """Read a journal and work out what it means; nothing is written.

    Raises:
        FileNotFoundError, JournalError, SettingsError: no such file, no journal, or not one of the command line's.
    """
    contents = opening(path)
    plan = _with_unit(plan_of(contents.records[0].header, path), contents)
    positions = positions_of(plan)
    begun = Review(plan, contents, points_of(contents, len(plan.axes)), positions, _truth(plan, positions))
    past = past_fits(plan.model, contents.of("state", "intervention"))
    if not past:
        return begun
    sign, where = 1.0 if plan.maximize else -1.0, jnp.asarray(positions)
    expected = np.array([sign * float(jnp.max(sign * _mean(posterior, where))) for posterior, _ in past])
    best = np.array([_best(obs, sign) for _, obs in past])
    belief = Belief(*map(np.asarray, _moments(past[-1].posterior, where)))
    last = past[-1]
    return replace(begun, posterior=last.posterior, belief=belief, best=best, expected=expected, obs=last.obs)


def _with_unit(plan: Plan, contents: Contents) -> Plan:
    """The plan with the unit that the measurements say, where nobody knew it beforehand."""
    units = next((units for one in contents.of("reading") if (units := one.header.get("units"))), None)
    if units is None or plan.quantity["unit"] != UNKNOWN_UNIT:
        return plan
    return replace(plan, quantity=quantity_of(plan.settings.quantity, units))


@jax.jit
def _moments(posterior: Posterior | HypothesisMixture, x: Array) -> tuple[Array, Array]:
    mean, variance = posterior.moments(x)
    return mean, jnp.sqrt(variance)


@jax.jit
def _mean(posterior: Posterior | HypothesisMixture, x: Array) -> Array:
    return posterior.moments(x)[0]


def _best(obs: Observations, sign: float) -> float:
    good = np.asarray(obs.y)[np.asarray(obs.status) == MEASURED]
    return float(sign * np.max(sign * good)) if good.size else np.nan


def points_of(contents: Contents, dim: int) -> Points:
    """All measurements, each as it was read last."""
    records = final_measurements(contents)
    seeds = {record.header["token"] for record in contents.of("intent") if record.header.get("phase") == "seed"}
    x = np.array([record.arrays["x"] for record in records], np.float64).reshape(len(records), dim)
    y = np.array([float(record.arrays["y"]) for record in records])
    return Points(x, y, np.array([record.header["token"] in seeds for record in records], bool))


def positions_of(plan: Plan) -> np.ndarray:
    """(m, d) where the map is drawn: the candidates, or evenly over a continuous box."""
    chosen, dim = plan.settings.acquisition.candidates, len(plan.axes)
    if isinstance(plan.driver, HasPositions):
        return plan.driver.positions
    if isinstance(plan.candidates, acquisition.Pool) and not (isinstance(chosen, Grid) and dim == 2):
        return np.asarray(plan.candidates.points)
    if dim > 2:
        return np.asarray(acquisition.box(plan.bounds).space_filling(jax.random.key(0), _CLOUD))
    shape = (_LINE,) if dim == 1 else chosen.shape_over(dim) if isinstance(chosen, Grid) else _DRAWN
    return np.asarray(acquisition.grid(plan.bounds, shape).points)


def _truth(plan: Plan, positions: np.ndarray) -> np.ndarray | None:
    if not isinstance(plan.driver, HasTruth):
        return None
    found = [plan.scalarize(measurement) for measurement in plan.driver.truth(positions)]
    return np.array([value[0] if isinstance(value, tuple) else value for value in found], np.float64)
