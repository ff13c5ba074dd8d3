"""A campaign in one figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.plot._base import BLUE, DEVIATION, GREY, ORANGE, ORDER, VALUES, Named, band, blank, named, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Campaign(NamedTuple):
    """What is drawn: measurements in order, what was believed at the positions, and the words at the axes."""

    points: np.ndarray
    measurements: np.ndarray
    positions: np.ndarray
    truth: np.ndarray | None
    mean: np.ndarray | None
    std: np.ndarray | None
    axes: list[Named]
    quantity: Named
    maximize: bool
    seeds: int


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
    this = _Campaign(
        points=np.asarray(x, float),
        measurements=np.asarray(y, float),
        positions=np.asarray(positions, float),
        truth=None if truth is None else np.asarray(truth, float),
        mean=None if mean is None else np.asarray(mean, float),
        std=None if std is None else np.asarray(std, float),
        axes=[named(axis) for axis in axes],
        quantity=named(quantity),
        maximize=maximize,
        seeds=seeds,
    )
    draw = {1: _curve, 2: _maps}.get(this.positions.shape[1], _each)
    figure, convergence_ax = draw(this)
    _convergence(convergence_ax, np.asarray(best), np.asarray(expected), this)
    if title:
        figure.suptitle(plain(title), fontweight="bold")
    return figure


def _curve(this: _Campaign) -> "tuple[Figure, Axes]":
    figure = blank(10.0, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    x, at = this.positions[:, 0], this.points[:, 0]
    band(left, x, this.mean, this.std, at, this.measurements, this.truth)
    left.set(xlabel=this.axes[0].label, ylabel=this.quantity.label, title="posterior")
    left.legend(frameon=False)
    return figure, right


def _maps(this: _Campaign) -> "tuple[Figure, Axes]":
    truth, mean, std, label = this.truth, this.mean, this.std, this.quantity.label
    figure = blank(12.0, 7.2)
    grid = figure.add_gridspec(2, 6)
    shown = [v for v in (truth, mean) if v is not None]
    limits = (min(map(np.nanmin, shown)), max(map(np.nanmax, shown))) if shown else (0.0, 1.0)
    panels = [("truth", truth, VALUES, limits), ("posterior mean", mean, VALUES, limits),
              ("posterior standard deviation", std, DEVIATION, (0.0, None))]  # fmt: skip
    for column, (name, values, colours, span) in enumerate(panels):
        ax = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        _frame(ax, this, name)
        if values is None:
            ax.text(0.5, 0.5, "unknown", transform=ax.transAxes, ha="center", va="center", color=GREY)
            continue
        image = _field(ax, this.positions, values, colours, span)
        figure.colorbar(image, ax=ax, label=label if values is not std else f"sd of {label}")
        _mark(ax, this)
    ax = figure.add_subplot(grid[1, 0:2])
    _frame(ax, this, "points in order")
    dots = _points(ax, this)
    figure.colorbar(dots, ax=ax, label="order of measurement")
    _key(figure, this)
    return figure, figure.add_subplot(grid[1, 2:6])


def _each(this: _Campaign) -> "tuple[Figure, Axes]":
    """Measurements, and the posterior mean, along each of many axes."""
    points, measurements = this.points, this.measurements
    columns = min(4, len(this.axes))
    rows = -(-len(this.axes) // columns)
    figure = blank(3.2 * columns, 2.6 * rows + 3.0)
    grid = figure.add_gridspec(rows + 1, columns)
    order = np.arange(1, len(points) + 1)
    good = np.isfinite(measurements)
    for k, axis in enumerate(this.axes):
        ax = figure.add_subplot(grid[k // columns, k % columns])
        if this.mean is not None:
            ax.plot(this.positions[:, k], this.mean, ".", color=GREY, ms=2, alpha=0.4, label="posterior mean")
        ax.scatter(
            points[good, k], measurements[good], c=order[good], cmap=ORDER, s=24, edgecolors="black", linewidths=0.5
        )
        seeds = points[: this.seeds, k], measurements[: this.seeds]
        ax.plot(*seeds, "s", ms=8, mfc="none", mec=GREY, ls="none", label="seed")
        ax.set(xlabel=axis.label, ylabel=this.quantity.label if k % columns == 0 else "")
    return figure, figure.add_subplot(grid[rows, :])


def _frame(ax: "Axes", this: _Campaign, title: str) -> None:
    low, high = this.positions.min(axis=0), this.positions.max(axis=0)
    pad = 0.02 * (high - low)
    ax.set(
        xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]),
        xlabel=this.axes[0].label, ylabel=this.axes[1].label, title=title, aspect="equal",
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


def _mark(ax: "Axes", this: _Campaign) -> None:
    """A ring at the true extremum, a cross at the one that the posterior expects."""
    pick = np.nanargmax if this.maximize else np.nanargmin
    for values, marker, size in ((this.truth, "o", 13), (this.mean, "+", 11)):
        if values is not None and np.isfinite(values).any():
            spot = this.positions[pick(values)]
            for width, colour in ((3.2, "black"), (1.6, "white")):
                ax.plot(*spot, marker, ms=size, mfc="none", mec=colour, mew=width, clip_on=False)


def _points(ax: "Axes", this: _Campaign) -> Any:
    points, seeds = this.points, this.seeds
    order, good = np.arange(1, len(points) + 1), np.isfinite(this.measurements)
    ax.plot(*points[seeds:].T, color=GREY, lw=0.5, alpha=0.5, zorder=1)
    ax.plot(*points[:seeds].T, "s", ms=9, mfc="none", mec=GREY, mew=1.0, ls="none", zorder=1)
    ax.plot(*points[~good].T, "x", color=ORANGE, ms=8, mew=2.0, ls="none", zorder=3)
    return ax.scatter(
        points[good, 0], points[good, 1], c=order[good], cmap=ORDER, vmin=1, vmax=max(len(points), 2), s=30,
        edgecolors="black", linewidths=0.6, zorder=2,
    )  # fmt: skip


def _key(figure: "Figure", this: _Campaign) -> None:
    """One legend for the marks of all maps."""
    from matplotlib.lines import Line2D

    word = "maximum" if this.maximize else "minimum"
    rows = (
        (this.truth is not None, "o", "black", f"true {word}"),
        (this.mean is not None, "+", "black", f"{word} of the posterior mean"),
        (this.seeds > 0, "s", GREY, "seed"),
        (not np.isfinite(this.measurements).all(), "x", ORANGE, "failed measurement"),
    )
    handles = [
        Line2D([], [], marker=mark, ls="none", ms=9, mfc="none", mec=colour, mew=1.6, label=label)
        for wanted, mark, colour, label in rows
        if wanted
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _convergence(ax: "Axes", best: np.ndarray, expected: np.ndarray, this: _Campaign) -> None:
    truth, maximize = this.truth, this.maximize
    steps, word = np.arange(best.size), "largest" if maximize else "smallest"
    ax.step(steps, best, where="post", color=BLUE, lw=2.0, label=f"{word} measurement so far")
    ax.plot(steps, expected, "o-", color=ORANGE, lw=1.5, ms=4, label=f"{word} posterior mean")
    if truth is not None and np.isfinite(truth).any():
        top = np.nanmax(truth) if maximize else np.nanmin(truth)
        ax.axhline(top, color="black", ls="--", lw=1.2, label="truth")
    ax.set(xlabel="step after the seeds", ylabel=this.quantity.label, title="convergence")
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right" if maximize else "upper right")
