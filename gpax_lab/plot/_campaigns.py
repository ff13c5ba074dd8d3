"""A campaign in one figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.plot._base import BLUE, DEVIATION, GREY, ORANGE, ORDER, VALUES, Named, band, blank, named, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def campaign(
    *,
    x: ArrayLike,
    y: ArrayLike,
    positions: ArrayLike,
    mean: ArrayLike | None,
    std: ArrayLike | None,
    truth: ArrayLike | None,
    best: ArrayLike,
    expected: ArrayLike,
    axes: Sequence[tuple[str, str]],
    quantity: tuple[str, str],
    maximize: bool = True,
    seeds: int = 0,
    title: str = "",
) -> "Figure":
    """A campaign in one figure: truth, posterior mean and standard deviation, the points in order, and convergence.

    Args:
        x: (n, d) measured points in order, in the units of `axes`. One axis gives a curve, two give maps, more the
            measurements along each axis.
        y: (n,) measurements; NaN where one failed.
        positions: (m, d) where the posterior was evaluated.
        mean: (m,) posterior mean, None before the first fit.
        std: (m,) posterior standard deviation.
        truth: (m,) true values, NaN where unknown; None if there is none.
        best: (steps + 1,) best measurement so far, after the seeds and after every step.
        expected: (steps + 1,) best posterior mean over the positions.
        axes: name and unit of each input.
        quantity: name and unit of the measurements.
        maximize: whether large values are wanted.
        seeds: how many of the points came before the first fit.
        title: written above.
    """
    points, measurements = np.asarray(x, float), np.asarray(y, float)
    where, labels, what = np.asarray(positions, float), [named(axis) for axis in axes], named(quantity)
    maps = [None if values is None else np.asarray(values, float) for values in (truth, mean, std)]
    if where.shape[1] == 1:
        figure, convergence_ax = _rows(points, measurements, where, maps, labels[0], what)
    elif where.shape[1] == 2:
        figure, convergence_ax = _maps(points, measurements, where, maps, labels, what, maximize, seeds)
    else:
        figure, convergence_ax = _each(points, measurements, where, maps[1], labels, what, seeds)
    _convergence(convergence_ax, np.asarray(best), np.asarray(expected), maps[0], what, maximize)
    if title:
        figure.suptitle(plain(title), fontweight="bold")
    return figure


def _rows(
    points: np.ndarray, measurements: np.ndarray, where: np.ndarray, maps: list[Any], axis: Named, what: Named
) -> "tuple[Figure, Axes]":
    figure = blank(10.0, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    truth, mean, std = maps
    band(left, where[:, 0], mean, std, points[:, 0], measurements, truth)
    left.set(xlabel=axis.label, ylabel=what.label, title="posterior")
    left.legend(frameon=False)
    return figure, right


def _maps(
    points: np.ndarray,
    measurements: np.ndarray,
    where: np.ndarray,
    maps: list[Any],
    axes: list[Named],
    what: Named,
    maximize: bool,
    seeds: int,
) -> "tuple[Figure, Axes]":
    truth, mean, std = maps
    figure = blank(12.0, 7.2)
    grid = figure.add_gridspec(2, 6)
    shown = [v for v in (truth, mean) if v is not None]
    limits = (min(map(np.nanmin, shown)), max(map(np.nanmax, shown))) if shown else (0.0, 1.0)
    panels = [("truth", truth, VALUES, limits), ("posterior mean", mean, VALUES, limits),
              ("posterior standard deviation", std, DEVIATION, (0.0, None))]  # fmt: skip
    for column, (name, values, colours, span) in enumerate(panels):
        ax = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        _frame(ax, where, axes, name)
        if values is None:
            ax.text(0.5, 0.5, "unknown", transform=ax.transAxes, ha="center", va="center", color=GREY)
            continue
        image = _field(ax, where, values, colours, span)
        figure.colorbar(image, ax=ax, label=what.label if values is not std else f"sd of {what.label}")
        _mark(ax, where, truth, mean, maximize)
    ax = figure.add_subplot(grid[1, 0:2])
    _frame(ax, where, axes, "points in order")
    dots = _points(ax, points, measurements, seeds)
    figure.colorbar(dots, ax=ax, label="order of measurement")
    _key(figure, truth, mean, measurements, seeds, maximize)
    return figure, figure.add_subplot(grid[1, 2:6])


def _each(
    points: np.ndarray,
    measurements: np.ndarray,
    where: np.ndarray,
    mean: Any,
    axes: list[Named],
    what: Named,
    seeds: int,
) -> "tuple[Figure, Axes]":
    """Measurements, and the posterior mean, along each of many axes."""
    columns = min(4, len(axes))
    rows = -(-len(axes) // columns)
    figure = blank(3.2 * columns, 2.6 * rows + 3.0)
    grid = figure.add_gridspec(rows + 1, columns)
    order = np.arange(1, len(points) + 1)
    good = np.isfinite(measurements)
    for k, axis in enumerate(axes):
        ax = figure.add_subplot(grid[k // columns, k % columns])
        if mean is not None:
            ax.plot(where[:, k], mean, ".", color=GREY, ms=2, alpha=0.4, label="posterior mean")
        ax.scatter(
            points[good, k], measurements[good], c=order[good], cmap=ORDER, s=24, edgecolors="black", linewidths=0.5
        )
        ax.plot(points[:seeds, k], measurements[:seeds], "s", ms=8, mfc="none", mec=GREY, ls="none", label="seed")
        ax.set(xlabel=axis.label, ylabel=what.label if k % columns == 0 else "")
    return figure, figure.add_subplot(grid[rows, :])


def _frame(ax: "Axes", where: np.ndarray, axes: list[Named], title: str) -> None:
    low, high = where.min(axis=0), where.max(axis=0)
    pad = 0.02 * (high - low)
    ax.set(
        xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]),
        xlabel=axes[0].label, ylabel=axes[1].label, title=title, aspect="equal",
    )  # fmt: skip


def _field(ax: "Axes", where: np.ndarray, values: np.ndarray, colours: str, span: tuple[Any, Any]) -> Any:
    """Values as an image where the positions form a grid, as dots elsewhere; grey where there is none."""
    x, y = np.unique(where[:, 0]), np.unique(where[:, 1])
    if x.size * y.size != len(where):
        return ax.scatter(
            where[:, 0], where[:, 1], c=values, cmap=colours, vmin=span[0], vmax=span[1], s=12, linewidths=0
        )
    table = values[np.lexsort((where[:, 0], where[:, 1]))].reshape(y.size, x.size)
    ax.set_facecolor("#D9D9D9")
    return ax.pcolormesh(x, y, table, cmap=colours, vmin=span[0], vmax=span[1], shading="nearest", rasterized=True)


def _mark(ax: "Axes", where: np.ndarray, truth: Any, mean: Any, maximize: bool) -> None:
    """A ring at the true extremum, a cross at the one that the posterior expects."""
    pick = np.nanargmax if maximize else np.nanargmin
    for values, marker, size in ((truth, "o", 13), (mean, "+", 11)):
        if values is not None and np.isfinite(values).any():
            spot = where[pick(values)]
            for width, colour in ((3.2, "black"), (1.6, "white")):
                ax.plot(*spot, marker, ms=size, mfc="none", mec=colour, mew=width, clip_on=False)


def _points(ax: "Axes", points: np.ndarray, measurements: np.ndarray, seeds: int) -> Any:
    order, good = np.arange(1, len(points) + 1), np.isfinite(measurements)
    ax.plot(*points[seeds:].T, color=GREY, lw=0.5, alpha=0.5, zorder=1)
    ax.plot(*points[:seeds].T, "s", ms=9, mfc="none", mec=GREY, mew=1.0, ls="none", zorder=1)
    ax.plot(*points[~good].T, "x", color=ORANGE, ms=8, mew=2.0, ls="none", zorder=3)
    return ax.scatter(
        points[good, 0], points[good, 1], c=order[good], cmap=ORDER, vmin=1, vmax=max(len(points), 2), s=30,
        edgecolors="black", linewidths=0.6, zorder=2,
    )  # fmt: skip


def _key(figure: "Figure", truth: Any, mean: Any, measurements: np.ndarray, seeds: int, maximize: bool) -> None:
    """One legend for the marks of all maps."""
    from matplotlib.lines import Line2D

    word = "maximum" if maximize else "minimum"
    rows = (
        (truth is not None, "o", "black", f"true {word}"),
        (mean is not None, "+", "black", f"{word} of the posterior mean"),
        (seeds > 0, "s", GREY, "seed"),
        (not np.isfinite(measurements).all(), "x", ORANGE, "failed measurement"),
    )
    handles = [
        Line2D([], [], marker=mark, ls="none", ms=9, mfc="none", mec=colour, mew=1.6, label=label)
        for wanted, mark, colour, label in rows
        if wanted
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _convergence(ax: "Axes", best: np.ndarray, expected: np.ndarray, truth: Any, what: Named, maximize: bool) -> None:
    steps, word = np.arange(best.size), "largest" if maximize else "smallest"
    ax.step(steps, best, where="post", color=BLUE, lw=2.0, label=f"{word} measurement so far")
    ax.plot(steps, expected, "o-", color=ORANGE, lw=1.5, ms=4, label=f"{word} posterior mean")
    if truth is not None and np.isfinite(truth).any():
        top = np.nanmax(truth) if maximize else np.nanmin(truth)
        ax.axhline(top, color="black", ls="--", lw=1.2, label="truth")
    ax.set(xlabel="step after the seeds", ylabel=what.label, title="convergence")
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right" if maximize else "upper right")
