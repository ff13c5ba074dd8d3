"""Plots over composition: the triangle of a ternary library, the four faces of a quaternary one.

matplotlib is imported only when a plot is asked for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.core._compositions import CORNERS, barycentric, checked
from gpax_lab.plot._base import GREY, VALUES, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUNDED = 0.02
"""Tables of percent with one digit sum to one within this."""
LONGEST = 0.15
"""Edge of the largest triangle that a filled map spans between points; beyond, nothing was measured."""


def ternary(
    fractions: ArrayLike,
    values: ArrayLike,
    labels: Sequence[str],
    *,
    filled: bool = False,
    quantity: str = "",
    path: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
    colours: str = VALUES,
    title: str = "",
    ax: "Axes | None" = None,
) -> "Axes":
    """A property over the triangle of three components, as points or as a filled map between them.

    Args:
        fractions: (n, 3) compositions.
        values: (n,) colours of the points; one that is NaN is an open grey circle, and no part of a map.
        labels: names of the three corners: left, right, top.
        filled: whether the space between the points is coloured, by linear interpolation.
        quantity: what the colours mean, with its unit; written on the colour bar.
        path: (m, 3) compositions in the order in which they were measured, numbered.
        limits: values at the two ends of the colour scale; None for the range of the values.
        colours: name of a matplotlib colour map.
        title: written above.
        ax: where to draw; None makes a figure (`ax.figure`).

    Raises:
        ValueError: not three components, another number of values than of compositions, all values NaN, or fewer than
            three points for a filled map.
    """
    table, shown = checked(fractions, ROUNDED), np.asarray(values, float)
    if table.shape[1] != 3 or len(labels) != 3:
        raise ValueError(f"a triangle has three components; got {table.shape[1]} and {len(labels)} labels.")
    if shown.shape != table.shape[:1]:
        raise ValueError(f"{len(table)} compositions need a value each; got shape {shown.shape}.")
    good = np.isfinite(shown)
    if not good.any():
        raise ValueError("no value is finite: there is nothing to draw.")
    axes = _axes() if ax is None else ax
    points = barycentric(table, ROUNDED)
    low, high = (float(shown[good].min()), float(shown[good].max())) if limits is None else limits
    _triangle(axes, labels)
    image = _map(axes, points[good], shown[good], low, high, colours) if filled else None
    if image is None:
        image = axes.scatter(
            points[good, 0], points[good, 1], c=shown[good], s=22, cmap=colours, vmin=low, vmax=high, label="values"
        )
    if not good.all():
        axes.scatter(points[~good, 0], points[~good, 1], s=22, facecolors="none", edgecolors=GREY, label="no value")
    if path is not None:
        _path(axes, barycentric(path, ROUNDED))
    axes.figure.colorbar(image, ax=axes, label=plain(quantity), shrink=0.75)
    axes.set_title(plain(title))
    return axes


def quaternary(
    fractions: ArrayLike, values: ArrayLike, labels: Sequence[str], *, quantity: str = "", title: str = ""
) -> "Figure":
    """A property of four components on four triangles: each leaves one component out and shows the ratios of the rest.

    Args:
        fractions: (n, 4) compositions.
        values: (n,) colours of the points; NaN where there is none.
        labels: names of the four components.
        quantity: what the colours mean, with its unit.
        title: written above.

    Raises:
        ValueError: not four components, or values that do not fit.
    """
    from matplotlib.figure import Figure

    table, shown = checked(fractions, ROUNDED), np.asarray(values, float)
    if table.shape[1] != 4 or len(labels) != 4:
        raise ValueError(f"four components are needed; got {table.shape[1]} and {len(labels)} labels.")
    if shown.shape != table.shape[:1] or not np.isfinite(shown).any():
        raise ValueError(f"{len(table)} compositions need a value each, one finite at least; got shape {shown.shape}.")
    limits = float(np.nanmin(shown)), float(np.nanmax(shown))
    figure = Figure(figsize=(9.0, 8.0), layout="constrained")
    for left_out, ax in enumerate(figure.subplots(2, 2).ravel()):
        kept = [i for i in range(4) if i != left_out]
        rest = table[:, kept].sum(axis=1)
        some = rest > ROUNDED  # the pure component left out has no ratio of the others
        ratios = table[np.ix_(some, kept)] / rest[some, None]
        names = [labels[i] for i in kept]
        heading = f"ratios without {labels[left_out]}"
        ternary(ratios, shown[some], names, quantity=quantity, limits=limits, title=heading, ax=ax)
    figure.suptitle(plain(title), fontweight="bold")
    return figure


def _axes() -> "Axes":
    from matplotlib.figure import Figure

    return Figure(figsize=(5.6, 4.6), layout="constrained").subplots()


def _triangle(ax: "Axes", labels: Sequence[str]) -> None:
    """Edges, corner names, and ticks every 20 percent, each in the direction in which its fraction is constant."""
    corners = CORNERS[3]
    ax.plot(*np.vstack([corners, corners[:1]]).T, color="black", lw=1.0)
    for corner, name, side in zip(corners, labels, ("right", "left", "center"), strict=True):
        away = corner - corners.mean(axis=0)
        at = corner + 0.09 * away
        ax.text(at[0], at[1], plain(name), ha=side, va="bottom" if away[1] > 0 else "top", fontweight="bold")
    for i in range(3):
        along, other = corners[(i + 1) % 3], corners[(i + 2) % 3]
        for share in (0.2, 0.4, 0.6, 0.8):
            start, end = (share * corners[i] + (1 - share) * far for far in (along, other))
            ax.plot(*np.stack([start, end]).T, color=GREY, lw=0.4, alpha=0.6, zorder=0)
            at = start + 0.035 * (start - end)
            ax.text(at[0], at[1], f"{100 * share:g}", fontsize=7, color=GREY, ha="center", va="center")
    ax.set(aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.12, 1.0))
    ax.axis("off")


def _map(ax: "Axes", points: np.ndarray, values: np.ndarray, low: float, high: float, colours: str) -> Any:
    """Filled contours between the points; long triangles at the rim, where nothing was measured, stay empty."""
    from matplotlib.tri import Triangulation

    if len(np.unique(points, axis=0)) < 3 or np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-9) < 2:
        raise ValueError("a filled map needs three points or more that are not on one line: use filled=False.")
    mesh = Triangulation(*points.T)
    corner = points[mesh.triangles]
    edge = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).max(axis=1)
    # A coarse library has long edges everywhere; only those far beyond its own spacing are the rim.
    mesh.set_mask(edge > max(LONGEST, 3 * float(np.median(edge))))
    levels = np.linspace(low, high if high > low else low + 1.0, 21)
    return ax.tricontourf(mesh, values, levels=levels, cmap=colours, extend="both")


def _path(ax: "Axes", points: np.ndarray) -> None:
    ax.plot(*points.T, "o", mfc="none", mec="black", ms=7, label="measured")
    for number, at in enumerate(points, start=1):
        ax.annotate(str(number), at, (4, 3), textcoords="offset points", fontsize=7)
