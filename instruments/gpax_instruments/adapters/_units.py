"""Units of axes on both sides: a millimetre that is taken for a metre breaks a stage."""

from collections.abc import Mapping

from gpax_instruments.errors import DeviceError

_SPELLINGS = {"µ": "u", "μ": "u", "Å": "A", "°": "deg", "degree": "deg", "degrees": "deg", "micron": "um"}


def _plain(unit: str) -> str:
    text = unit.strip()
    for one, other in _SPELLINGS.items():
        text = text.replace(one, other) if len(one) == 1 else (other if text == one else text)
    return text


def agree(axis: str, unit: str, told: str, units: Mapping[str, str]) -> None:
    """Raise DeviceError where the other side tells another unit for an axis than ours.

    Args:
        axis: its name.
        unit: ours.
        told: by the other side; empty where it tells none.
        units: of axes, as the other side spells them.
    """
    if told and _plain(told) not in (_plain(unit), _plain(units.get(axis, unit))):
        raise DeviceError(
            f"axis {axis} is in {unit}, the other side says {told}: give the axis in {told}, or, where that is another "
            f'spelling of the same unit, say units = {{ {axis} = "{told}" }}'
        )
