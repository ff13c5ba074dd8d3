"""Which instrument it is, and what it allows: a campaign goes on only with the same one, and with no wider limits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpax_lab.core import Instrument
from gpax_lab.experiment._record import JournalRecord


def description(instrument: Instrument) -> dict[str, Any]:
    """What an instrument says of itself, as far as it does: `identity`, `axes` and `limits`; empty where nothing."""
    told: dict[str, Any] = {}
    if identity := str(instrument.identity()):
        told["identity"] = identity
    if (axes := instrument.axes) is not None:
        told["axes"] = [[str(a.name), str(a.unit), float(a.low), float(a.high)] for a in axes]
    limits = {name: float(value) for name, value in instrument.limits.items()}
    return told | ({"limits": limits} if limits else {})


def recognised(now: Mapping[str, Any], records: Sequence[JournalRecord], another: bool) -> bool:
    """Whether the journal says the same of the instrument already.

    Args:
        now: its `description`.
        records: the journal.
        another: whether another instrument, or wider limits, are what is wanted.

    Raises:
        ValueError: it is another one, or allows more, and nobody said that this is meant.
    """
    told = [record.header for record in records if record.kind == "instrument"]
    if not told:
        return False
    if not another:
        refuse(told[-1], now, "the instrument")
    return dict(told[-1]) == dict(now)


def refuse(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Refuse an instrument that is not the one that was described before, or allows more.

    A limit or an axis that is not told any more, or is no number, allows anything.

    Args:
        before: its `description`, to which it is held.
        now: the one of today.
        what: what is refused, in words.

    Raises:
        ValueError: it is another one, or allows more.
    """
    reasons = [*_wider_axes(before.get("axes"), now.get("axes", ())), *_wider_limits(before, now)]
    if before.get("identity") != now.get("identity"):
        reasons.insert(0, f"it is {now.get('identity')!r}, and the campaign was begun with {before.get('identity')!r}")
    if reasons:
        raise ValueError(
            f"{what} is not the one of this campaign, or allows more: {'; '.join(reasons)}. Restore it, or say "
            "that it is meant: run(..., another_instrument=True), gpax-lab resume --another."
        )


def _wider_axes(before: Sequence[Any] | None, now: Sequence[Any]) -> Iterator[str]:
    if before is None:  # nothing was told, and so nothing allowed less
        return
    old, new = ({name: (unit, low, high) for name, unit, low, high in axes} for axes in (before, now))
    yield from (f"axis {name} is not told any more" for name in old if name not in new)
    for name, (unit, low, high) in new.items():
        if name not in old:
            yield f"axis {name} was not there before"
        elif not (unit == old[name][0] and old[name][1] <= low <= high <= old[name][2]):
            was = f"{old[name][1]!r} to {old[name][2]!r}" + (f" {old[name][0]}" if unit != old[name][0] else "")
            yield f"axis {name} allows {low!r} to {high!r} {unit}, before {was}"


def _wider_limits(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    new = now.get("limits", {})
    for name, value in before.get("limits", {}).items():
        if math.isnan(value):
            continue
        if name not in new:
            yield f"{name} is not told any more, before {value:g}"
        elif not new[name] <= value:
            yield f"{name} is {new[name]:g}, before {value:g}"
