"""Priors in settings: a distribution, or a fixed value, for each parameter."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gpax_lab.settings._check import Check, SettingsError, as_table, number, one_or_list, suggestion, word
from gpax_lab.settings._tables import ANY_SIGN, DISTRIBUTIONS, POSITIVE, Named


def _priors(words: Mapping[str, Named], fixed: Check) -> Check:
    def test(value: Any, where: str) -> dict[str, Any]:
        table = as_table(value, where)
        order = sorted(table) if words is ANY_SIGN else table  # of a law as journals keep it: the draws follow it
        return {name: _prior(table[name], f"{where}.{name}", words, fixed) for name in order}

    return Check(test, f"a table of numbers, or {{ distribution = ... }} of {', '.join(words)}")


priors = _priors(DISTRIBUTIONS, one_or_list(POSITIVE))
"""Parameter of kernel or noise -> a positive number or a list of them (fixed), or {distribution, its arguments}.

A number stands for all inputs in common; a list gives each input its own.
"""

law_priors = _priors(ANY_SIGN, number())
"""Parameter of a law -> a number (fixed), or {distribution, its arguments}."""


def _prior(value: Any, where: str, words: Mapping[str, Named], fixed: Check) -> Any:
    if not isinstance(value, Mapping):
        return fixed(value, where)
    if "distribution" not in value:
        raise SettingsError(f"{where}.distribution is missing: give one of {', '.join(words)}.")
    name = word(*words)(value["distribution"], f"{where}.distribution")
    limits = words[name].arguments
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
    """The numpyro distribution, or the fixed value, of one entry of a table of priors."""
    if not isinstance(value, Mapping):
        return jnp.asarray(value, float)
    arguments = {key: jnp.asarray(item, float) for key, item in value.items() if key != "distribution"}
    return ANY_SIGN[value["distribution"]].make(**arguments)
