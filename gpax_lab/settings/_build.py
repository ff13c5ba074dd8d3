"""From settings to the objects of a campaign. Nothing here starts an instrument; see `connect`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gpax_instruments.drivers.replay import Replay
from gpax_instruments.twins import microscope
from jax import Array

from gpax_lab import acquisition, inference
from gpax_lab.acquisition._candidates import Candidates
from gpax_lab.core import Axis
from gpax_lab.experiment import Experiment, State, bayes_opt, stopping
from gpax_lab.experiment.stopping import Rule
from gpax_lab.models import gp
from gpax_lab.models._model import Model
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._prior import distribution
from gpax_lab.settings._schema import (
    Acquisition,
    Grid,
    Laplace,
    Nuts,
    Pfm,
    Pool,
    Quantity,
    Recorded,
    Settings,
    Smc,
    Twin,
)
from gpax_lab.settings._tables import ACQUISITIONS, KERNELS, SCALARIZERS
from gpax_lab.spectra.loops import despike

TWIN_RESPONSE = "pm/V"
"""Unit of the simulated microscope's response."""


@dataclass(frozen=True)
class Plan:
    """A campaign ready to run.

    Attributes:
        settings: what it was built from.
        axes: limits of the instrument, m.
        experiment: the state machine.
        model: the model inside it.
        candidates: where points may lie.
        seeds: (n, 2) points to measure first, m.
        key: random key of the campaign.
        scalarize: reading -> value in the quantity's unit, NaN where the reading is to be rejected.
        rules: reasons to stop early.
        quantity: name and unit of the value.
        record: the recorded map, for a replay.
    """

    settings: Settings
    axes: tuple[Axis, ...]
    experiment: Experiment
    model: Model
    candidates: Candidates
    seeds: np.ndarray
    key: Array
    scalarize: Callable[[Any], float]
    rules: tuple[Rule, ...]
    quantity: dict[str, str]
    record: Replay | None

    @property
    def maximize(self) -> bool:
        """Whether large values are wanted."""
        return self.settings.quantity.goal == "maximize"

    @property
    def bounds(self) -> np.ndarray:
        """(2, 2) low and high of each axis, m."""
        return np.array([[axis.low, axis.high] for axis in self.axes])


def build(settings: Settings) -> Plan:
    """All objects of a campaign from its settings.

    Raises:
        SettingsError: the recorded map cannot be read, or holds fewer places than points are asked for.
    """
    record = _record(settings)
    axes = record.axes if record else _axes(settings)
    bounds = np.array([[axis.low, axis.high] for axis in axes])
    model = gp.exact(
        2,
        KERNELS[settings.model.kernel],
        prior={name: distribution(value) for name, value in settings.prior.items()},
        bounds=bounds,
        standardize=settings.model.standardize,
    )
    maximize = settings.quantity.goal == "maximize"
    candidates = _candidates(settings, bounds, record)
    experiment = bayes_opt(model, sampler(settings), acquisition_of(settings.acquisition, maximize), candidates)
    place, key = jax.random.split(jax.random.key(settings.campaign.key))
    return Plan(
        settings, axes, experiment, model, candidates, _seeds(settings, candidates, bounds, place), key,
        scalarizer(settings.quantity), _rules(settings, maximize), _quantity(settings), record,
    )  # fmt: skip


def going_on(plan: Plan, settings: Settings) -> Plan:
    """The plan of a campaign that goes on with other settings, which `changes` allows.

    Model, seeds and candidates stay those of the start, by which the journal is understood; what is asked from now on
    lies within the limits of now.

    Raises:
        SettingsError: no candidate lies within them.
    """
    axes = plan.axes if plan.record else _axes(settings)
    bounds = np.array([[axis.low, axis.high] for axis in axes])
    experiment = plan.experiment
    if not np.array_equal(bounds, plan.bounds):
        experiment = _asking_within(experiment, _within(plan.candidates, _inside(bounds)))
    rules = _rules(settings, plan.maximize)
    return replace(plan, settings=settings, axes=axes, experiment=experiment, rules=rules)


def _within(candidates: Candidates, bounds: np.ndarray) -> Candidates:
    """Those candidates that lie within bounds (2, 2)."""
    if isinstance(candidates, acquisition.Box):
        low, high = np.maximum(candidates.low, bounds[:, 0]), np.minimum(candidates.high, bounds[:, 1])
        return replace(candidates, low=jnp.asarray(low), high=jnp.asarray(high))
    points = np.asarray(candidates.points)
    left = points[np.all((points >= bounds[None, :, 0]) & (points <= bounds[None, :, 1]), axis=1)]
    if len(left) == 0:
        raise SettingsError("no candidate of this campaign lies within the limits of now: widen them, or begin anew.")
    fewer = acquisition.pool(left, candidates.repeat)
    return replace(candidates, points=fewer.points, twins=fewer.twins)


def _asking_within(experiment: Experiment, candidates: Candidates) -> Experiment:
    """The experiment, whose proposals are among other candidates than those that its state remembers."""

    def propose(state: State) -> tuple[State, Array]:
        after, x = experiment.propose(state._replace(candidates=candidates))
        return after._replace(candidates=state.candidates), x

    return experiment._replace(propose=propose)


def _record(settings: Settings) -> Replay | None:
    if not isinstance(settings.instrument, Recorded):
        return None
    file = settings.instrument.file
    try:
        record = Replay.from_beps(file)
    except (OSError, KeyError) as error:
        raise SettingsError(f"instrument.file = {file!r} is not a recorded loop map: {error}.") from None
    asked, held = settings.campaign.steps + settings.campaign.seeds, len(record.positions)
    if asked > held:
        raise SettingsError(f"campaign.steps and campaign.seeds ask for {asked} points; {file} holds {held} places.")
    return record


def _axes(settings: Settings) -> tuple[Axis, ...]:
    if isinstance(settings.instrument, Twin):
        return tuple(Axis(name, "m", 0.0, microscope.SIZE_M) for name in "xy")
    spans = {name: getattr(settings.instrument, name) for name in ("x", "y")}
    return tuple(Axis(name, "m", **asdict(span)) for name, span in spans.items())


def _inside(bounds: np.ndarray) -> np.ndarray:
    """Bounds of candidates: less by 1e-12 of the span, so that rounding can not lead beyond a limit of the axis."""
    return np.stack([bounds[:, 0], bounds[:, 1] - 1e-12 * (bounds[:, 1] - bounds[:, 0])], axis=1)


def _candidates(settings: Settings, bounds: np.ndarray, record: Replay | None) -> Candidates:
    match settings.acquisition.candidates:
        case Grid(shape):
            return acquisition.grid(_inside(bounds), shape)
        case Pool():
            assert record is not None
            return acquisition.pool(record.positions)
        case box:
            return acquisition.box(_inside(bounds), box.starts, box.refine, box.iterations)


def _seeds(settings: Settings, candidates: Candidates, bounds: np.ndarray, key: Array) -> np.ndarray:
    """Points that fill the field evenly; of a recorded map, random places."""
    source = candidates if isinstance(settings.acquisition.candidates, Pool) else acquisition.box(_inside(bounds))
    return np.asarray(source.space_filling(key, settings.campaign.seeds))


def sampler(settings: Settings) -> inference.Sampler:
    """The sampler of [sampler]."""
    makers: dict[type, Callable[..., inference.Sampler]] = {
        Nuts: inference.nuts,
        Smc: inference.smc,
        Laplace: inference.laplace,
    }
    return makers[type(settings.sampler)](**asdict(settings.sampler))


def acquisition_of(chosen: Acquisition, maximize: bool) -> acquisition.Acquisition:
    """The score of [acquisition], penalties included."""
    row = ACQUISITIONS[chosen.function]
    given = {name: getattr(chosen, name) for name in row.arguments if getattr(chosen, name) is not None}
    total = row.make(**given, **({"maximize": maximize} if row.has_goal else {}))
    if row.has_goal and chosen.learn_every:
        total = acquisition.learning(total, chosen.learn_every)
    if chosen.explore:
        total = total + chosen.explore * acquisition.of_moments(_log_std)
    if chosen.travel:
        total = total + acquisition.travel(chosen.travel.speed, chosen.travel.measure_s, chosen.travel.settle_s)
    if chosen.distance_penalty:
        total = total + acquisition.distance_penalty(chosen.distance_penalty.radius)
    if chosen.feasible:
        total = total + acquisition.feasible(chosen.feasible.radius, chosen.feasible.strength)
    return total


def _log_std(mean: Array, std: Array) -> Array:
    return jnp.log(std)


def scalarizer(quantity: Quantity) -> Callable[[Any], float]:
    """Reading -> value; NaN, a failed reading, where the response reaches `reject_above`."""
    row = SCALARIZERS[quantity.scalarizer]

    @jax.jit
    def value(bias: Array, response: Array) -> Array:
        return row.read(bias, despike(response) if quantity.despike else response)

    def scalarize(reading: Any) -> float:
        response = np.asarray(reading.arrays["response"], np.float64)
        if quantity.reject_above is not None and not np.max(np.abs(response)) < quantity.reject_above:
            return np.nan
        return float(value(jnp.asarray(reading.arrays["bias"], float), jnp.asarray(response)))

    return scalarize


def _rules(settings: Settings, maximize: bool) -> tuple[Rule, ...]:
    stop = settings.stop
    wanted = (
        stop.budget is not None and stopping.budget(stop.budget),
        stop.target is not None and stopping.target(stop.target, maximize, stop.confidence),
        stop.no_more_gain is not None and stopping.no_more_gain(stop.no_more_gain, maximize),
    )
    return tuple(rule for rule in wanted if rule)


def _response_unit(settings: Settings) -> str:
    match settings.instrument:
        case Twin():
            return TWIN_RESPONSE
        case Pfm(response_unit=unit):
            return unit
    return "a.u."  # what a recorded map says


def _quantity(settings: Settings) -> dict[str, str]:
    row = SCALARIZERS[settings.quantity.scalarizer]
    unit = row.unit.format(_response_unit(settings)).replace("/V V", "")
    return {"name": settings.quantity.name or row.name, "unit": settings.quantity.unit or unit}
