"""What the generators of other programs have in common: points as mappings with an `_id`."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from gpax_lab.ask_tell._campaign import AskTell

ID_KEY = "_id"
ROUNDED = 1e-6
"""Relative difference up to which a position that comes back is the one that was suggested, in single precision."""


class Suggesting:
    """A campaign that suggests points as mappings and takes results as such.

    Args:
        campaign: see `open_campaign`.
        output: key of the quantity among the results.
        constants: what stands in every suggestion beside the inputs.
    """

    returns_id = True

    def __init__(self, campaign: AskTell, output: str, constants: Mapping[str, Any]) -> None:
        self.campaign, self._output, self._constants = campaign, output, dict(constants)

    def __deepcopy__(self, memo: Any) -> Self:
        """The same one: a campaign is one journal, of which there are no two copies. Xopt copies what it is given."""
        return self

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """Points to evaluate next: the inputs by name, constants, and the number of the point as `_id`.

        Args:
            num_points: how many; None lets the campaign decide, see `AskTell.ask`.

        Raises:
            ValueError: so many points can not be handed out now; none is.
        """
        points = self.campaign._ask_exactly(None if num_points is None else int(num_points), self._vet)
        return [
            dict(zip(points.names, map(float, x), strict=True)) | self._constants | {ID_KEY: number}
            for number, x in zip(points.ids, points.x, strict=True)
        ]

    def _vet(self, x: np.ndarray) -> None:
        """Raises ValueError for points (n, d) that are not to be suggested."""

    def ingest(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Results, in any order and portion: with an `_id` those of suggestions, without one those of other points.

        A result that is not finite, masked or None is a failed measurement. The inputs may be left out where there is
        an `_id`; where they come back as others than suggested, it is learned where it was measured.

        Raises:
            ValueError: an `_id` that was not suggested, or a result without a value or without inputs; none is taken.
        """
        rows = [self._row(point) for point in points]
        self.campaign._tell_rows(rows)

    def _row(self, point: Mapping[str, Any]) -> tuple[int | None, np.ndarray | None, float]:
        if self._output not in point:
            raise ValueError(f"a result has no {self._output!r}; it has {sorted(map(str, point))}.")
        value = point[self._output]
        hidden = value is None or np.ma.is_masked(value)
        y = np.nan if hidden else float(np.asarray(value, np.float64).reshape(()))
        names, given = self.campaign.names, point.get(ID_KEY)
        x = np.array([float(point[name]) for name in names]) if all(name in point for name in names) else None
        if given is None:
            if x is None:
                raise ValueError(f"a result without {ID_KEY!r} needs the inputs {list(names)}.")
            return None, x, y
        number = self._number(given)
        if x is not None and np.allclose(x, self.campaign._asked_at(number), rtol=ROUNDED, atol=0.0):
            x = None
        return number, x, y

    @staticmethod
    def _number(given: Any) -> int:
        try:
            number = int(given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{ID_KEY} {given!r} was not suggested by this campaign.") from error
        if number != given:
            raise ValueError(f"{ID_KEY} {given!r} was not suggested by this campaign.")
        return number
