"""What all plots share: colours, names with units, figures.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color, 2008) and the perceptually uniform maps of matplotlib, so
that every plot reads in grey and by eyes that confuse colours.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
VALUES, DEVIATION, ORDER = "viridis", "magma", "cividis"
_GREEK = {"um": "µm", "1": ""}


def plain(text: str) -> str:
    """A user's words as a label that shows them as they are: matplotlib takes what stands between two $ for a formula,
    and refuses the whole plot where it can not read that.

    Example:
        >>> plain("cost in $")
        'cost in \\\\$'
    """
    return str(text).replace("$", r"\$")


class Named(NamedTuple):
    """What an axis shows: a name and a unit ("1" or "" for none)."""

    name: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Text for an axis."""
        unit = _GREEK.get(self.unit, self.unit)
        return plain(f"{self.name} ({unit})" if unit else self.name)


def named(given: str | Sequence[str]) -> Named:
    """A name, or a name and a unit."""
    return Named(given) if isinstance(given, str) else Named(*given)


def blank(width: float, height: float) -> "Figure":
    """An empty figure, inches wide and high. matplotlib is imported only now."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style(index: int) -> dict[str, Any]:
    """Colour and dashes of the line with this number."""
    return {"color": (BLUE, ORANGE, GREEN, GREY)[index % 4], "ls": ("-", "--", ":", "-.")[index // 4 % 4]}


def band(ax: "Axes", where: Any, mean: Any, std: Any, x: Any, y: Any, truth: Any) -> None:
    """Posterior over one input: mean, 95 percent band, measurements, truth."""
    order = np.argsort(where)
    if truth is not None:
        ax.plot(where[order], truth[order], color="black", ls="--", lw=1.2, label="truth")
    if mean is not None:
        ax.plot(where[order], mean[order], color=BLUE, lw=2.0, label="posterior mean")
        low, high = mean - 1.96 * std, mean + 1.96 * std
        ax.fill_between(where[order], low[order], high[order], color=BLUE, alpha=0.25, lw=0, label="95 % band")
    if x is None:
        return
    good = np.isfinite(y)
    ax.plot(x[good], y[good], "o", color="black", ms=5, label="measurement")
    for spot in x[~good]:
        ax.axvline(spot, color=ORANGE, ls=":", lw=1.5, label="failed measurement" if spot == x[~good][0] else None)
