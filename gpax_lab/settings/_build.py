"""From settings to the objects of a campaign. Nothing here starts an instrument; see `connect`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab import acquisition, inference
from gpax_lab.acquisition._candidates import Candidates
from gpax_lab.core import Axis
from gpax_lab.experiment import Experiment, State, bayes_opt, stopping
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment.stopping import Rule
from gpax_lab.hypotheses import Hypotheses, bandit, model_average
from gpax_lab.models._model import Model
from gpax_lab.settings._acquisition import acquisition_of
from gpax_lab.settings._build_model import model_of
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._instrument import HasArrays, HasPositions, HasUnits, axis_count, driver_of
from gpax_lab.settings._options import made
from gpax_lab.settings._quantity import check_arrays, quantity_of, scalarizer_of
from gpax_lab.settings._rules import agree_on_axes
from gpax_lab.settings._schema import Bandit, Grid, Pool, Settings


@dataclass(frozen=True)
class Plan:
    """A campaign ready to run.

    Attributes:
        settings: what it was built from.
        driver: of the instrument, which is not connected.
        experiment: the state machine.
        model: the model inside it, or the hypotheses that compete.
        candidates: where points may lie.
        seeds: (n, d) points to measure first, in units of the axes.
        key: random key of the campaign.
        scalarizers: measurement -> value in the quantity's unit, by name; the first one counts until a person chooses
            another one.
        rules: reasons to stop early.
        quantity: name and unit of the value.
        extend: the same experiment with other hypotheses.
    """

    settings: Settings
    driver: Any
    experiment: Experiment
    model: Model | Hypotheses
    candidates: Candidates
    seeds: np.ndarray
    key: Array
    scalarizers: Mapping[str, Callable[[Any], Any]]
    rules: tuple[Rule, ...]
    quantity: dict[str, str]
    extend: Extend

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the instrument, with their limits and units."""
        return tuple(self.driver.axes)

    @property
    def scalarize(self) -> Callable[[Any], Any]:
        """Measurement -> value, NaN where it is to be rejected."""
        return next(iter(self.scalarizers.values()))

    @property
    def maximize(self) -> bool:
        """Whether large values are wanted."""
        return self.settings.quantity.goal == "maximize"

    @property
    def bounds(self) -> np.ndarray:
        """(d, 2) low and high of each axis, in its unit."""
        return _bounds(self.axes)


def build(settings: Settings) -> Plan:
    """All objects of a campaign from its settings.

    Raises:
        SettingsError: the driver refuses a setting, or fields contradict each other.
    """
    driver = driver_of(settings.instrument)
    axes = tuple(driver.axes)
    if axis_count(settings.instrument) != len(axes):
        agree_on_axes(settings, len(axes))
    bounds = _bounds(axes)
    model = model_of(settings, axes)
    maximize = settings.quantity.goal == "maximize"
    candidates = _candidates(settings, bounds, driver)

    def experiment_of(model: Model | Hypotheses) -> Experiment:
        return _experiment(settings, model, candidates)

    experiment = experiment_of(model)
    key_seeds, key = jax.random.split(jax.random.key(settings.campaign.key))
    units = driver.units if isinstance(driver, HasUnits) else {}
    if isinstance(driver, HasArrays):
        check_arrays(settings.quantity, driver.arrays)
        for other in settings.quantity.alternatives.values():
            check_arrays(other, driver.arrays)
    return Plan(
        settings=settings,
        driver=driver,
        experiment=experiment,
        model=model,
        candidates=candidates,
        seeds=_seeds(settings, candidates, bounds, key_seeds),
        key=key,
        scalarizers=_scalarizers(settings),
        rules=_rules(settings, maximize),
        quantity=quantity_of(settings.quantity, units),
        extend=experiment_of,
    )


def continued(plan: Plan, settings: Settings) -> Plan:
    """The plan of a campaign that goes on with other settings, which `changes` allows.

    Model, seeds and candidates stay those of the start, by which the journal is understood; what is asked from now on
    lies within the limits of now.

    Raises:
        SettingsError: no candidate lies within them.
    """
    driver = plan.driver if settings.instrument == plan.settings.instrument else driver_of(settings.instrument)
    bounds = _bounds(driver.axes)
    experiment = plan.experiment
    if not isinstance(driver, HasPositions) and not np.array_equal(bounds, plan.bounds):
        experiment = _asking_within(experiment, _within(plan.candidates, _inside(bounds)))
    rules = _rules(settings, plan.maximize)
    return replace(plan, settings=settings, driver=driver, experiment=experiment, rules=rules)


def _experiment(settings: Settings, model: Model | Hypotheses, candidates: Candidates) -> Experiment:
    chosen = settings.acquisition
    maximize = settings.quantity.goal == "maximize"
    try:
        return bayes_opt(
            model,
            sampler_of(settings, candidates),
            acquisition_of(chosen, maximize),
            candidates,
            batch_size=chosen.batch_size,
            by_travel=chosen.by_travel,
            num_samples=chosen.thin_to,
            floor=chosen.floor,
            apart_every=chosen.apart_every or None,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error


def sampler_of(settings: Settings, candidates: Candidates | None = None) -> inference.Sampler:
    """The sampler of [sampler], which follows all hypotheses where several compete.

    Raises:
        SettingsError: it refuses an option, or can not compare hypotheses.
    """
    try:
        single = made(settings.sampler)
        if settings.hypotheses is None:
            return single
        follow = settings.hypotheses.follow
        if not isinstance(follow, Bandit):
            return model_average(single)
        points = candidates.points if isinstance(candidates, acquisition.Pool) else None
        if points is None:
            raise SettingsError('hypotheses.follow.kind = "bandit" needs candidates that are a grid or a pool.')
        return bandit(single, points, **asdict(follow))
    except (ValueError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"[sampler]: {error}") from error


def _within(candidates: Candidates, bounds: np.ndarray) -> Candidates:
    """Those candidates that lie within bounds (d, 2)."""
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
        within = replace(candidates, closed=state.candidates.closed)
        after, x = experiment.propose(state._replace(candidates=within))
        return after._replace(candidates=state.candidates), x

    return experiment._replace(propose=propose)


def _bounds(axes: Any) -> np.ndarray:
    return np.array([[axis.low, axis.high] for axis in axes])


def _inside(bounds: np.ndarray) -> np.ndarray:
    """Bounds of candidates: less by 1e-12 of the span, so that rounding can not lead beyond a limit of the axis."""
    return np.stack([bounds[:, 0], bounds[:, 1] - 1e-12 * (bounds[:, 1] - bounds[:, 0])], axis=1)


def _candidates(settings: Settings, bounds: np.ndarray, driver: Any) -> Candidates:
    match settings.acquisition.candidates:
        case Grid() as grid:
            return acquisition.grid(_inside(bounds), grid.shape_over(len(bounds)))
        case Pool(None):
            points = driver.positions
            asked = settings.campaign.steps * settings.acquisition.batch_size + settings.campaign.seeds
            if asked > len(points):
                file = getattr(settings.instrument, "file", "the record")
                raise SettingsError(
                    f"campaign.steps and campaign.seeds ask for {asked} points; {file} holds {len(points)} positions."
                )
            return acquisition.pool(points)
        case Pool(points):
            inside = np.asarray(points)
            if not np.all((inside >= bounds[:, 0]) & (inside <= bounds[:, 1])):
                raise SettingsError("acquisition.candidates.points: some lie outside the limits of the axes.")
            return acquisition.pool(inside)
        case box:
            return acquisition.box(_inside(bounds), box.starts, box.refine, box.iterations)


def _seeds(settings: Settings, candidates: Candidates, bounds: np.ndarray, key: Array) -> np.ndarray:
    """Points that fill the box evenly; of a pool, random ones."""
    source = candidates if isinstance(settings.acquisition.candidates, Pool) else acquisition.box(_inside(bounds))
    return np.asarray(source.space_filling(key, settings.campaign.seeds))


def _scalarizers(settings: Settings) -> dict[str, Callable[[Any], Any]]:
    found = {settings.quantity.scalarizer: scalarizer_of(settings.quantity)}
    return found | {name: scalarizer_of(one) for name, one in settings.quantity.alternatives.items()}


def _rules(settings: Settings, maximize: bool) -> tuple[Rule, ...]:
    stop = settings.stop
    wanted = (
        stop.budget is not None and stopping.budget(stop.budget),
        stop.target is not None and stopping.target(stop.target, maximize, stop.confidence),
        stop.no_more_gain is not None and stopping.no_more_gain(stop.no_more_gain, maximize),
    )
    return tuple(stopping.Ask(rule) if stop.ask else rule for rule in wanted if rule)
