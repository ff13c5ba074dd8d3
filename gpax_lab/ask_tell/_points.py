"""Points that a campaign hands out, with their numbers and the names of their inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Points:
    """Points to measure: an array (n, d) that knows what is what.

    `numpy.asarray(points)` is the array, iteration gives its rows, and `zip(points.ids, points)` both.

    Attributes:
        x: (n, d) the points, in the units of the campaign.
        ids: (n,) their numbers in the campaign, by which an answer may be told.
        names: (d,) of the inputs.
        units: (d,) of the inputs.
        output: name and unit of what is to be measured.
    """

    x: np.ndarray
    ids: tuple[int, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    output: tuple[str, str] = ("y", "1")

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.x)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.x[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.x, dtype) if copy or copy is None else np.asarray(self.x, dtype)

    def to_pandas(self) -> Any:
        """A table with a row a point: its number as index, its inputs, and an empty column for what is measured.

        Raises:
            ImportError: pandas is not installed.
        """
        from gpax_lab.ask_tell._tables import frame

        columns = {name: self.x[:, i] for i, name in enumerate(self.names)}
        columns[self.output[0]] = np.full(len(self), np.nan)
        return frame(
            columns, self.ids, dict(zip(self.names, self.units, strict=True)) | {self.output[0]: self.output[1]}
        )


class Best(NamedTuple):
    """The best point measured so far, by what the model makes of it.

    Attributes:
        id: its number.
        x: (d,) where it was asked for.
        mean: of the quantity there, free of noise.
        std: its standard deviation.
        y: what was measured.
    """

    id: int
    x: np.ndarray
    mean: float
    std: float
    y: float
