"""An instrument that plays a recorded map: the recorded arrays at the recorded position nearest to the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_lab.core import Axis, Instrument, Measurement, MoveRefused
from gpax_lab.core._axes import check_all


class Replay(Instrument):
    """A recorded map as an instrument.

    Args:
        axes: one for each column of positions; their tolerance says how far a target may lie from a recorded position.
        positions: (n, d) in axis units.
        arrays: by name, (n, ...): row i was recorded at positions[i]; an array without that leading axis is shared
            when named in common.
        units: unit of each array.
        signal: the arrays whose quality decides whether a measurement is ok.
        common: names of arrays that are the same everywhere, such as the bias axis.
        name: what ``identity`` gives.

    Raises:
        ValueError: shapes that do not fit, positions that are not finite.
    """

    repeatable = True
    axes: tuple[Axis, ...] = ()

    def __init__(
        self,
        axes: Sequence[Axis],
        positions: np.ndarray,
        arrays: Mapping[str, np.ndarray],
        units: Mapping[str, str],
        *,
        signal: Sequence[str],
        common: Sequence[str] = (),
        name: str = "recorded map",
    ) -> None:
        self.axes = tuple(axes)
        self.positions = np.array(positions, dtype=np.float64)
        if self.positions.ndim != 2 or self.positions.shape[1] != len(self.axes) or not len(self.positions):
            raise ValueError(f"positions must be (n, {len(self.axes)}) with n > 0, got {self.positions.shape}")
        if not np.isfinite(self.positions).all():
            raise ValueError("positions must be finite")
        for key, value in arrays.items():
            if key not in common and len(value) != len(self.positions):
                raise ValueError(f"array {key!r} has {len(value)} rows for {len(self.positions)} positions")
        missing = {*signal, *common} - set(arrays)
        if missing or set(units) != set(arrays):
            raise ValueError(
                f"arrays {sorted(arrays)}, units {sorted(units)}, missing {sorted(missing)}: they must match"
            )
        self._arrays, self._units, self._name = dict(arrays), dict(units), name
        self._signal, self._common = tuple(signal), frozenset(common)

    @classmethod
    def from_beps(cls, path: str | Path, tolerance: float | None = None) -> "Replay":
        """A band-excitation loop map in pyNSID layout: ``Channel_000/generic/generic`` is (x, y, voltage).

        The voltage there runs 0, +Vmax, -Vmax, almost 0; it is rolled to start at +Vmax.

        Args:
            path: HDF5 file.
            tolerance: metres by which a target may miss a pixel; None: 1 percent of the pixel pitch.

        Raises:
            OSError, KeyError: no such file, or not this layout.
        """
        import h5py

        with h5py.File(path, "r") as file:
            group = file["Channel_000/generic"]
            loops, bias = np.asarray(group["generic"], np.float64), np.asarray(group["Voltage"], np.float64)
            grid = [np.asarray(group[key], np.float64) for key in ("X", "Y")]
        first = int(np.argmax(bias))
        loops, bias = np.roll(loops, -first, axis=2), np.roll(bias, -first)
        axes, positions = _positions("xy", grid, ["m", "m"], tolerance)
        arrays = {"bias": bias, "response": loops.reshape(len(positions), -1)}
        units = {"bias": "V", "response": "a.u."}
        return cls(
            axes, positions, arrays, units, signal=["response"], common=["bias"], name=f"replay of {Path(path).name}"
        )

    @classmethod
    def of(cls, dataset: Any, over: Sequence[str] = ("y", "x"), tolerance: float | None = None) -> "Replay":
        """A recorded map of images, spectra or patterns, such as `gpax_lab.storage.load` returns.

        Args:
            dataset: has `values`, `axes` (each with `name`, `values` and `unit`), `quantity` and `unit`.
            over: names of the axes that are positions; targets are given in their order and units.
            tolerance: by which a target may miss a position, in units of the axes; None: 1 percent of the pitch.

        Returns:
            An instrument whose measurements hold what was measured under the name of the quantity, and the other axes
            under theirs.

        Raises:
            ValueError: an axis that is not there, or has a single position, or shares the quantity's name.
        """
        names = [axis.name for axis in dataset.axes]
        if not over or len(set(over)) != len(over) or not set(over) <= set(names):
            raise ValueError(f"over must name axes of {names}, each once; got {list(over)}")
        where = [names.index(name) for name in over]
        rest = [k for k in range(len(names)) if k not in where]
        shared = {names[k]: np.asarray(dataset.axes[k].values) for k in rest}
        if dataset.quantity in shared:
            raise ValueError(f"the quantity and an axis are both called {dataset.quantity!r}; rename one of them")
        along = [np.asarray(dataset.axes[k].values, np.float64) for k in where]
        if any(len(values) < 2 for values in along):
            raise ValueError(f"each of {list(over)} needs two positions at least")
        axes, positions = _positions(over, along, [dataset.axes[k].unit for k in where], tolerance)
        values = np.transpose(np.asarray(dataset.values), where + rest)
        arrays = {dataset.quantity: values.reshape(len(positions), *values.shape[len(where) :]), **shared}
        units = {dataset.quantity: dataset.unit, **{names[k]: dataset.axes[k].unit for k in rest}}
        name = f"replay of {dataset.title or dataset.quantity}"
        return cls(axes, positions, arrays, units, signal=[dataset.quantity], common=list(shared), name=name)

    def identity(self) -> str:
        """Name of the record and its size."""
        return f"{self._name}, {len(self.positions)} positions"

    def measure(self, x: object, token: str) -> Measurement:
        """The recorded arrays nearest to x, (d,); the position is the recorded one.

        Raises:
            MoveRefused: outside the limits, or no recorded position within every axis' tolerance.
        """
        goal = check_all(self.axes, x)
        allowed = np.array([axis.allowed_error for axis in self.axes])
        miss = np.max(np.abs(self.positions - goal) / allowed, axis=1)
        row = int(np.argmin(miss))
        if miss[row] > 1:
            raise MoveRefused(
                f"nothing was recorded within {allowed.tolist()} of {goal.tolist()}; "
                f"the nearest position is {self.positions[row].tolist()}"
            )
        arrays = {k: np.array(v if k in self._common else v[row]) for k, v in self._arrays.items()}
        judged = [(name, codecs.quality(arrays[name])) for name in self._signal]
        reason = "; ".join(f"{name}: {words}" for name, (good, words, _) in judged if not good)
        flags = tuple(dict.fromkeys(flag for _, (_, _, found) in judged for flag in found))
        return Measurement(arrays, self._units, self.positions[row].copy(), not reason, reason, flags)

    def make_safe(self) -> None:
        """A record is always safe."""

    def close(self) -> None:
        """Nothing is held open."""


def _positions(
    names: Sequence[str], grid: Sequence[np.ndarray], units: Sequence[str], tolerance: float | None
) -> tuple[list[Axis], np.ndarray]:
    """Axes around a grid and its positions (n, d), the last axis fastest.

    The limits leave room for a position that went through single precision.
    """
    slack = [0.01 * float(np.min(np.abs(np.diff(g)))) if tolerance is None else tolerance for g in grid]
    axes = [
        Axis(name, unit, float(g.min()) - s, float(g.max()) + s, tolerance=s)
        for name, unit, g, s in zip(names, units, grid, slack, strict=True)
    ]
    return axes, np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, len(axes))
