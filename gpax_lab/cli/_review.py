"""What a journal says of a campaign: the points in order, the map believed at the end, the truth where it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gpax_instruments.twins import microscope
from jax import Array

from gpax_lab import acquisition
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.experiment._record import past_draws
from gpax_lab.inference._posterior import Posterior, condition_draws
from gpax_lab.settings import Plan, Settings, SettingsError, build, parse
from gpax_lab.settings._schema import Grid, Pool, Twin
from gpax_lab.settings._tables import SCALARIZERS
from gpax_lab.simulators import ferroelectric
from gpax_lab.spectra.loops import triangle
from gpax_lab.storage import Contents, JournalRecord, read
from gpax_lab.storage._contents import final_measurements

_DRAWN = (40, 40)
"""Places at which the map of a continuous box is drawn."""


class Points(NamedTuple):
    """Readings in the order in which they were taken: x (n, 2) m, y (n,) (NaN: failed), seed (n,) bool."""

    x: np.ndarray
    y: np.ndarray
    seed: np.ndarray


class Belief(NamedTuple):
    """The posterior at the drawn places: mean and sd (m,), in the quantity's unit."""

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Review:
    """A campaign as its journal tells it.

    Attributes:
        plan: what the settings in the journal stand for.
        contents: the journal.
        points: all readings.
        posterior: the last one, without diagnostics (the journal has them); None before the first fit.
        places: (m, 2) where the map is drawn, m.
        shape: of the map, or None where the places form no grid.
        belief: the posterior there, None before the first fit.
        truth: (m,) noise-free values there (a simulated film) or recorded ones (NaN: unusable); None if unknown.
        best: (steps + 1,) best reading after the seeds and after every step.
        expected: (steps + 1,) best posterior mean over the places, likewise.
        obs: what the posterior was fitted to; None before the first fit.
    """

    plan: Plan
    contents: Contents
    points: Points
    posterior: Posterior | None
    places: np.ndarray
    shape: tuple[int, int] | None
    belief: Belief | None
    truth: np.ndarray | None
    best: np.ndarray
    expected: np.ndarray
    obs: Observations | None = None


def plan_of(header: Mapping[str, Any], path: Path) -> Plan:
    """The plan from the header of a journal.

    Raises:
        SettingsError: a program of the user's own wrote it, or its settings do not hold here.
    """
    if "settings" not in header:
        raise SettingsError(f"{path} was not written by gpax-lab run: go on with it from the program that wrote it.")
    written = dict(header["settings"])
    # A journal from before points were spent on learning spent none.
    written["acquisition"] = {"learn_every": 0} | dict(written.get("acquisition", {}))
    try:
        return build(parse(written))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


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
    plan = plan_of(contents.records[0].header, path)
    places, shape = _places(plan)
    points, truth, none = _points(contents), _truth(plan, places), np.zeros(0)
    past = _posteriors(plan, contents.of("state"))
    if not past:
        return Review(plan, contents, points, None, places, shape, None, truth, none, none)
    sign, where = 1.0 if plan.maximize else -1.0, jnp.asarray(places)
    expected = np.array([sign * float(jnp.max(sign * _mean(posterior, where))) for posterior, _ in past])
    best = np.array([_best(obs, sign) for _, obs in past])
    belief = Belief(*map(np.asarray, _moments(past[-1][0], where)))
    return Review(plan, contents, points, past[-1][0], places, shape, belief, truth, best, expected, past[-1][1])


@jax.jit
def _moments(posterior: Posterior, x: Array) -> tuple[Array, Array]:
    mean, variance = posterior.moments(x)
    return mean, jnp.sqrt(variance)


@jax.jit
def _mean(posterior: Posterior, x: Array) -> Array:
    return posterior.moments(x)[0]


def _best(obs: Observations, sign: float) -> float:
    good = np.asarray(obs.y)[np.asarray(obs.status) == MEASURED]
    return float(sign * np.max(sign * good)) if good.size else np.nan


def _posteriors(plan: Plan, records: Sequence[JournalRecord]) -> list[tuple[Posterior, Observations]]:
    """The posterior and the observations after the first fit and after every step."""
    found = []
    for params, weight, obs in past_draws(records):
        factor = condition_draws(plan.model, params, obs)
        found.append((Posterior(params, weight, jnp.asarray(jnp.nan), factor, None, None, plan.model), obs))  # type: ignore[arg-type]
    return found


def _points(contents: Contents) -> Points:
    records = final_measurements(contents)
    seeds = {record.header["token"] for record in contents.of("intent") if record.header.get("phase") == "seed"}
    x = np.array([record.arrays["x"] for record in records], np.float64).reshape(-1, 2)
    y = np.array([float(record.arrays["y"]) for record in records])
    return Points(x, y, np.array([record.header["token"] in seeds for record in records], bool))


def _places(plan: Plan) -> tuple[np.ndarray, tuple[int, int] | None]:
    match plan.settings.acquisition.candidates:
        case Pool():
            assert plan.record is not None
            return plan.record.positions, None
        case Grid((nx, ny)):
            shape = nx, ny
        case _:
            shape = _DRAWN
    return np.asarray(acquisition.grid(plan.bounds, shape).points), shape


def _truth(plan: Plan, places: np.ndarray) -> np.ndarray | None:
    chosen = plan.settings.instrument
    if plan.record is not None:
        return np.array([plan.scalarize(plan.record.measure(place, "truth")) for place in places])
    if not isinstance(chosen, Twin):
        return None
    film = jax.jit(ferroelectric.film)(jax.random.key(chosen.seed), microscope.SIZE_M)
    bias, read_loop = triangle(chosen.vmax, chosen.points), SCALARIZERS[plan.settings.quantity.scalarizer].read

    @jax.jit
    def values(x: Array) -> Array:
        return jax.vmap(lambda at: read_loop(bias, ferroelectric.loop(film, at, bias)))(x)

    return np.asarray(values(jnp.asarray(places)))
