"""From the section [acquisition] to the acquisition function."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab import acquisition
from gpax_lab.acquisition._acquisition import as_acquisition, goals
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._kinds import load
from gpax_lab.settings._schema import Acquisition


def acquisition_of(chosen: Acquisition, maximize: bool, penalties: bool = True) -> acquisition.Acquisition:
    """The acquisition function of [acquisition].

    Args:
        chosen: the section.
        maximize: whether large values are wanted.
        penalties: whether what is added in log space is.

    Raises:
        SettingsError: it refuses an option.
    """
    plugin = load("acquisitions", chosen.function)
    given = {name: getattr(chosen, name) for name in type(chosen).options}  # type: ignore[attr-defined]
    try:
        total = plugin_acquisition(plugin, given, maximize)
    except (ValueError, TypeError) as error:
        raise SettingsError(f'acquisition.function = "{chosen.function}": {error}') from error
    if chosen.learn_every > 1 and any(goals(total)):
        total = acquisition.learning(total, chosen.learn_every)
    if not penalties:
        return total
    if chosen.explore:
        total = total + chosen.explore * acquisition.of_moments(_log_std)
    if chosen.travel:
        total = total + acquisition.travel(chosen.travel.speed, chosen.travel.measure_s, chosen.travel.settle_s)
    if chosen.distance_penalty:
        total = total + acquisition.distance_penalty(_radius(chosen.distance_penalty.radius))
    if chosen.feasible:
        total = total + acquisition.feasible(_radius(chosen.feasible.radius), chosen.feasible.strength)
    return total


def plugin_acquisition(plugin: Any, given: Mapping[str, Any], maximize: bool) -> acquisition.Acquisition:
    """What a plug-in makes of its options: an `Acquisition`, or a function of (mean, std)."""
    has_goal = "maximize" in inspect.signature(plugin).parameters
    arrays = {name: np.asarray(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return as_acquisition(plugin(**arrays, **({"maximize": maximize} if has_goal else {})))


def is_logarithm(function: acquisition.Acquisition) -> bool:
    """Whether penalties in log space may be added: by the names of its terms, as `learning` goes by them."""
    return all("log" in name for name in function.names)


def _radius(radius: Any) -> Any:
    return np.asarray(radius) if isinstance(radius, tuple) else radius


def _log_std(mean: Array, std: Array) -> Array:
    return jnp.log(std)
