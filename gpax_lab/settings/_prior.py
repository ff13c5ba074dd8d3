"""The section [prior]: a distribution, or a fixed value, for a parameter of the model."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gpax_lab.settings._check import Check, SettingsError, as_table, number, one_or_list, suggestion, word
from gpax_lab.settings._tables import DISTRIBUTIONS

_VALUE: Check = one_or_list(number(0.0, above=True))


def priors(value: Any, where: str) -> dict[str, Any]:
    """Parameter -> a positive number or a list of them (fixed), or {distribution, its arguments}; plain values.

    A number stands for all inputs in common; a list gives each input its own.

    Raises:
        SettingsError: an unknown distribution, an unknown or missing argument, or one out of its range.
    """
    return {name: _prior(item, f"{where}.{name}") for name, item in as_table(value, where).items()}


def _prior(value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return _VALUE(value, where)
    if "distribution" not in value:
        raise SettingsError(f"{where}.distribution is missing: give one of {', '.join(DISTRIBUTIONS)}.")
    name = word(*DISTRIBUTIONS)(value["distribution"], f"{where}.distribution")
    limits = DISTRIBUTIONS[name].arguments
    given = {key: item for key, item in value.items() if key != "distribution"}
    for key in given:
        if key not in limits:
            near = suggestion(key, limits)
            raise SettingsError(f"{where}.{key} is unknown: {name} takes {', '.join(limits)}.{near}")
    for key in limits:
        if key not in given:
            raise SettingsError(f"{where}.{key} is missing: {name} takes {', '.join(limits)}.")
    kept = {key: one_or_list(limits[key])(item, f"{where}.{key}") for key, item in given.items()}
    if name == "Uniform" and not jnp.all(jnp.asarray(kept["low"]) < jnp.asarray(kept["high"])):
        raise SettingsError(
            f"{where}.high = {kept['high']!r} is not allowed: give a number above low = {kept['low']!r}."
        )
    return {"distribution": name, **kept}


def distribution(value: Any) -> Any:
    """The numpyro distribution, or the fixed value, of one entry of [prior]."""
    if not isinstance(value, Mapping):
        return jnp.asarray(value, float)
    arguments = {key: jnp.asarray(item, float) for key, item in value.items() if key != "distribution"}
    return DISTRIBUTIONS[value["distribution"]].make(**arguments)
