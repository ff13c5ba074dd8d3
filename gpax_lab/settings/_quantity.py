"""From the section [quantity] to scalarizers: functions of named arrays of a measurement."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpax_lab.settings._check import SettingsError, suggestion
from gpax_lab.settings._kinds import arrays_of, load
from gpax_lab.settings._schema import Alternative, Quantity
from gpax_lab.spectra import Scalarizer

UNKNOWN_UNIT = "a.u."
"""Unit of a quantity of which neither settings nor instrument nor scalarizer say one."""


def scalarizer_of(chosen: Quantity | Alternative) -> Callable[[Any], Any]:
    """Measurement -> value, or (value, variance); NaN for a failed one.

    A plug-in is a `Scalarizer`, a function that makes one of its options, or a plain function whose positional
    parameters name the arrays that it takes; one called `measurement` stands for all of it.

    Raises:
        SettingsError: the plug-in refuses an option.
        ValueError: by the returned function, where the measurement has no such array.
    """
    plugin = load("scalarizers", chosen.scalarizer)
    if isinstance(plugin, Scalarizer):
        return plugin
    options = {name: getattr(chosen, name) for name in type(chosen).options}  # type: ignore[union-attr]
    names = arrays_of(plugin)
    if not names:
        try:
            return plugin(**options)
        except (ValueError, TypeError) as error:
            raise SettingsError(f'quantity.scalarizer = "{chosen.scalarizer}": {error}') from error

    def scalarize(measurement: Any) -> Any:
        if names == ("measurement",):
            return plugin(measurement, **options)
        missing = [name for name in names if name not in measurement.arrays]
        if missing:
            raise ValueError(
                f"the scalarizer {chosen.scalarizer} takes {', '.join(missing)}, which the measurement has not: it has "
                f"{', '.join(sorted(measurement.arrays))}."
            )
        return plugin(*(measurement.arrays[name] for name in names), **options)

    return scalarize


def check_arrays(chosen: Quantity | Alternative, there: Sequence[str]) -> None:
    """Refuse a scalarizer of arrays that the instrument has not, before anything is measured.

    Args:
        chosen: a section that names a scalarizer.
        there: names of all arrays of a measurement.

    Raises:
        SettingsError: it takes an array of another name.
    """
    name, scalarizer = chosen.scalarizer, scalarizer_of(chosen)
    wanted = scalarizer.arrays if isinstance(scalarizer, Scalarizer) else arrays_of(load("scalarizers", name))
    missing = [array for array in wanted if array not in there and array != "measurement"]
    if missing:
        raise SettingsError(
            f'quantity.scalarizer = "{name}" takes {", ".join(missing)}, and measurements of this instrument have '
            f"{', '.join(there)}.{suggestion(missing[0], there)}"
        )


def quantity_of(chosen: Quantity, units: Mapping[str, str]) -> dict[str, str]:
    """Name and unit of the quantity.

    Args:
        chosen: the section.
        units: unit of each array of the instrument, as far as they are known.
    """
    found = scalarizer_of(chosen)
    if not isinstance(found, Scalarizer):
        plugin = load("scalarizers", chosen.scalarizer)
        name = getattr(plugin, "quantity", chosen.scalarizer.replace("_", " "))
        found = Scalarizer(name, found, ("measurement",), getattr(plugin, "unit", UNKNOWN_UNIT))
    return {"name": chosen.name or found.name, "unit": chosen.unit or found.unit_of(units, unknown=UNKNOWN_UNIT)}
