"""What a page draws of the states of a campaign, one after the other, and of the measurements between them."""

from collections import deque
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.acquisition._candidates import with_room
from gpax_lab.core._observations import FAILED, MEASURED
from gpax_lab.experiment import State
from gpax_lab.experiment._reach import reach_of
from gpax_lab.live import _view as view
from gpax_lab.live._digest import plain

LAYERS = ("mean", "std", "acquisition")
_STATES = 4
"""Last states that a measurement is compared with: the journal tells of it a little later than the loop."""
_SHOWN = 300
"""Points of a series that are sent to a page."""


class Reading(NamedTuple):
    """A measurement: its number among all, its token, where (d,) and what value it has (NaN: failed)."""

    number: int
    token: str
    x: np.ndarray
    y: float


class Painter:
    """Maps and series for a page.

    Args:
        x: (m, d) positions of the maps.
        maximize: whether large values are wanted.

    Attributes:
        layers: (m,) float32 by name.
        value: what belongs to the maps, as plain values.
    """

    def __init__(self, x: np.ndarray, maximize: bool) -> None:
        self.x, self._sign = x, 1.0 if maximize else -1.0
        self.layers: dict[str, np.ndarray] = {}
        self.value: dict[str, Any] = {}
        self._states: deque[tuple[int, State]] = deque(maxlen=_STATES)
        self._open: list[Reading] = []
        self._series: dict[str, list[Any]] = {"expected": [], "probability": [], "surprise": []}

    def draw(self, state: State, wished: State, step: int) -> None:
        """Draw a state.

        Args:
            state: as it is.
            wished: the same with what people wish.
            step: of the campaign.
        """
        if not self._states or self._states[-1][1] is not state:
            self._states.append((_answers(state), state))
        where = jnp.asarray(self.x, state.obs.x.dtype)
        wished = wished._replace(candidates=with_room(wished.candidates))  # the first veto of a box compiles nothing
        found = jax.tree.map(np.asarray, view.maps(wished, where))
        best = int(np.argmax(self._sign * found.mean))
        self._put("expected", step, float(found.mean[best]))
        if (p := view.probabilities(state.posterior)) is not None:
            self._put("probability", step, p)
        self.layers = {name: np.ascontiguousarray(getattr(found, name), "<f4") for name in LAYERS}
        self.value = {
            "step": step,
            "next": [self.x[i].tolist() for i in view.likely_next(found, self.x)],
            "best": self.x[best].tolist(),
            "weights": view.weights(wished),
            "reach": reach_of(state).describe(),
        }
        self._tell()

    def compare(self, readings: list[Reading]) -> bool:
        """Compare measurements with what was predicted before them; returns whether there is something new."""
        self._open += readings
        if not self._states:
            return False
        newest = self._states[-1][0]
        due = [one for one in self._open if one.number < newest]
        self._open = [one for one in self._open if one.number >= newest]
        told = False
        for one in due:
            before = next((state for count, state in reversed(self._states) if count <= one.number), None)
            if before is not None:
                self._series["surprise"].append(_surprise(one, before))
                told = True
        if told:
            self._tell()
        return told

    def _tell(self) -> None:
        shown = {name: _thinned(series) for name, series in self._series.items() if name != "surprise"}
        self.value = plain({**self.value, **shown, "surprise": self._series["surprise"][-_SHOWN:]})

    def _put(self, name: str, step: int, value: Any) -> None:
        series = self._series[name]
        if series and series[-1][0] == step:
            series[-1] = [step, value]
        else:
            series.append([step, value])


def _surprise(reading: Reading, before: State) -> dict[str, Any]:
    where = jnp.asarray(reading.x[None], before.obs.x.dtype)
    mean, std = (float(one[0]) for one in view.predicted(before.posterior, where))
    z = (reading.y - mean) / std if std > 0 and np.isfinite(reading.y) else None
    return {"token": reading.token, "y": reading.y, "mean": mean, "std": std, "z": z}


def _thinned(series: list[Any]) -> list[Any]:
    return [series[i] for i in np.unique(np.linspace(0, len(series) - 1, _SHOWN).astype(int))] if series else []


def _answers(state: State) -> int:
    status = np.asarray(state.obs.status)
    return int(np.sum((status == MEASURED) | (status == FAILED)))
