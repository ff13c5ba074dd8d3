"""Pictures of campaigns, posteriors, maps and studies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.plot._base import BLUE, GREEN, GREY, ORANGE, ORDER, SPREAD, VALUES, Named, blank, named, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def campaign(
    *,
    x: ArrayLike,
    y: ArrayLike,
    places: ArrayLike,
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
        x: (n, d) measured points in order, d = 1 or 2, in the units of `axes`.
        y: (n,) readings; NaN where one failed.
        places: (m, d) where the posterior was evaluated.
        mean: (m,) posterior mean, None before the first fit.
        std: (m,) posterior standard deviation.
        truth: (m,) true values, NaN where unknown; None if there is none.
        best: (steps + 1,) best reading so far, after the seeds and after every step.
        expected: (steps + 1,) best posterior mean over the places.
        axes: name and unit of each input.
        quantity: name and unit of the readings.
        maximize: whether large values are wanted.
        seeds: how many of the points came before the first fit.
        title: written above.

    Raises:
        ValueError: more than two inputs.
    """
    points, readings = np.asarray(x, float), np.asarray(y, float)
    where, labels, what = np.asarray(places, float), [named(axis) for axis in axes], named(quantity)
    maps = [None if values is None else np.asarray(values, float) for values in (truth, mean, std)]
    if where.shape[1] == 1:
        figure, convergence_ax = _rows(points, readings, where, maps, labels[0], what)
    elif where.shape[1] == 2:
        figure, convergence_ax = _maps(points, readings, where, maps, labels, what, maximize, seeds)
    else:
        raise ValueError(f"a picture needs one or two inputs; got {where.shape[1]}.")
    _convergence(convergence_ax, np.asarray(best), np.asarray(expected), maps[0], what, maximize)
    if title:
        figure.suptitle(plain(title), fontweight="bold")
    return figure


def _rows(
    points: np.ndarray, readings: np.ndarray, where: np.ndarray, maps: list[Any], axis: Named, what: Named
) -> "tuple[Figure, Axes]":
    figure = blank(10.0, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    truth, mean, std = maps
    _band(left, where[:, 0], mean, std, points[:, 0], readings, truth)
    left.set(xlabel=axis.label, ylabel=what.label, title="posterior")
    left.legend(frameon=False)
    return figure, right


def _maps(
    points: np.ndarray,
    readings: np.ndarray,
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
              ("posterior standard deviation", std, SPREAD, (0.0, None))]  # fmt: skip
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
    dots = _points(ax, points, readings, seeds)
    figure.colorbar(dots, ax=ax, label="order of measurement")
    _key(figure, truth, mean, readings, seeds, maximize)
    return figure, figure.add_subplot(grid[1, 2:6])


def _frame(ax: "Axes", where: np.ndarray, axes: list[Named], title: str) -> None:
    low, high = where.min(axis=0), where.max(axis=0)
    pad = 0.02 * (high - low)
    ax.set(
        xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]),
        xlabel=axes[0].label, ylabel=axes[1].label, title=title, aspect="equal",
    )  # fmt: skip


def _field(ax: "Axes", where: np.ndarray, values: np.ndarray, colours: str, span: tuple[Any, Any]) -> Any:
    """Values as an image where the places form a grid, as dots elsewhere; grey where there is none."""
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


def _points(ax: "Axes", points: np.ndarray, readings: np.ndarray, seeds: int) -> Any:
    order, good = np.arange(1, len(points) + 1), np.isfinite(readings)
    ax.plot(*points[seeds:].T, color=GREY, lw=0.5, alpha=0.5, zorder=1)
    ax.plot(*points[:seeds].T, "s", ms=9, mfc="none", mec=GREY, mew=1.0, ls="none", zorder=1)
    ax.plot(*points[~good].T, "x", color=ORANGE, ms=8, mew=2.0, ls="none", zorder=3)
    return ax.scatter(
        points[good, 0], points[good, 1], c=order[good], cmap=ORDER, vmin=1, vmax=max(len(points), 2), s=30,
        edgecolors="black", linewidths=0.6, zorder=2,
    )  # fmt: skip


def _key(figure: "Figure", truth: Any, mean: Any, readings: np.ndarray, seeds: int, maximize: bool) -> None:
    """One legend for the marks of all maps."""
    from matplotlib.lines import Line2D

    word = "maximum" if maximize else "minimum"
    rows = (
        (truth is not None, "o", "black", f"true {word}"),
        (mean is not None, "+", "black", f"{word} of the posterior mean"),
        (seeds > 0, "s", GREY, "seed"),
        (not np.isfinite(readings).all(), "x", ORANGE, "failed reading"),
    )
    handles = [
        Line2D([], [], marker=mark, ls="none", ms=9, mfc="none", mec=colour, mew=1.6, label=label)
        for wanted, mark, colour, label in rows
        if wanted
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _convergence(ax: "Axes", best: np.ndarray, expected: np.ndarray, truth: Any, what: Named, maximize: bool) -> None:
    steps, word = np.arange(best.size), "largest" if maximize else "smallest"
    ax.step(steps, best, where="post", color=BLUE, lw=2.0, label=f"{word} reading so far")
    ax.plot(steps, expected, "o-", color=ORANGE, lw=1.5, ms=4, label=f"{word} posterior mean")
    if truth is not None and np.isfinite(truth).any():
        top = np.nanmax(truth) if maximize else np.nanmin(truth)
        ax.axhline(top, color="black", ls="--", lw=1.2, label="truth")
    ax.set(xlabel="step after the seeds", ylabel=what.label, title="convergence")
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right" if maximize else "upper right")


def _band(ax: "Axes", where: Any, mean: Any, std: Any, x: Any, y: Any, truth: Any) -> None:
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
    ax.plot(x[good], y[good], "o", color="black", ms=5, label="reading")
    for spot in x[~good]:
        ax.axvline(spot, color=ORANGE, ls=":", lw=1.5, label="failed reading" if spot == x[~good][0] else None)


def posterior_1d(
    where: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    draws: ArrayLike | None = None,
    next_x: float | None = None,
    axis: tuple[str, str] = ("x", ""),
    quantity: tuple[str, str] = ("y", ""),
    title: str = "",
    ax: "Axes | None" = None,
) -> "Figure":
    """Posterior over one input: mean, 95 percent band, readings, and, where given, truth, draws and the next point.

    Args:
        where: (m,) inputs.
        mean: (m,) and std: (m,), the posterior there.
        x: (n,) and y: (n,), readings; NaN where one failed.
        truth: (m,) true values.
        draws: (k, m) functions drawn from the posterior.
        next_x: the point to be measured next.
        axis: name and unit of the input.
        quantity: name and unit of the readings.
        title: written above.
        ax: axes to draw into; a new figure by default.
    """
    spots, values = np.asarray(where, float), np.asarray(mean, float)
    target = blank(6.4, 4.0).add_subplot() if ax is None else ax
    if draws is not None:
        target.plot(spots, np.asarray(draws, float).T, color=GREEN, lw=0.6, alpha=0.5)
    xs, ys = (None, None) if x is None else (np.asarray(x, float), np.asarray(y, float))
    _band(target, spots, values, np.asarray(std, float), xs, ys, None if truth is None else np.asarray(truth, float))
    if next_x is not None:
        target.axvline(next_x, color=ORANGE, lw=1.5, label="next point")
    target.set(xlabel=named(axis).label, ylabel=named(quantity).label, title=plain(title))
    target.legend(frameon=False, fontsize="small")
    return target.get_figure()  # type: ignore[return-value]


def parameters(
    posterior: Mapping[str, ArrayLike],
    prior: Mapping[str, ArrayLike] | None = None,
    *,
    weight: ArrayLike | None = None,
    units: Mapping[str, str] | None = None,
    truth: Mapping[str, ArrayLike] | None = None,
    bins: int = 30,
) -> "Figure":
    """Marginal distributions of parameters, posterior over prior, one panel for each component.

    Args:
        posterior: name -> (draws, ...) draws.
        prior: the same names -> draws of the prior, for comparison.
        weight: (draws,) weights of the posterior draws; equal by default.
        units: name -> unit.
        truth: name -> true value, shaped like one draw.
        bins: bars of each histogram.
    """
    flat = {name: np.asarray(v, float).reshape(len(np.asarray(v)), -1) for name, v in posterior.items()}
    panels = [(name, k) for name, draws in flat.items() for k in range(draws.shape[1])]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = blank(3.0 * columns, 2.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, k) in zip(grid, panels, strict=False):
        draws, before = flat[name][:, k], None
        if prior is not None:
            before = np.asarray(prior[name], float).reshape(len(np.asarray(prior[name])), -1)[:, k]
        _marginal(ax, draws, before, weight, bins)
        if truth is not None and name in truth:
            ax.axvline(np.ravel(truth[name])[k], color="black", ls="--", lw=1.2, label="truth")
        index = f"[{k}]" if flat[name].shape[1] > 1 else ""
        ax.set(xlabel=Named(f"{name}{index}", (units or {}).get(name, "")).label, yticks=[])
    for ax in grid[len(panels) :]:
        ax.set_axis_off()
    grid[0].legend(frameon=False, fontsize="small")
    return figure


def _marginal(ax: "Axes", draws: np.ndarray, before: np.ndarray | None, weight: Any, bins: int) -> None:
    """Histograms over the range of the posterior and the middle 90 percent of the prior."""
    ends = [draws.min(), draws.max()]
    if before is not None:
        ends += list(np.quantile(before, [0.05, 0.95]))
    edges = np.linspace(min(ends), max(ends) if max(ends) > min(ends) else min(ends) + 1.0, bins + 1)
    if before is not None:
        ax.hist(before, edges.tolist(), density=True, histtype="step", color=GREY, lw=1.5, label="prior")
    ax.hist(draws, edges.tolist(), weights=weight, density=True, color=BLUE, alpha=0.6, label="posterior")


def reconstruction(
    image: ArrayLike, mean: ArrayLike, std: ArrayLike, quantity: tuple[str, str] = ("reading", "")
) -> "Figure":
    """An image with holes, what is believed of all its pixels, and how sure that is.

    Args:
        image: (rows, columns) readings, NaN where nothing was measured.
        mean: (rows, columns) posterior mean, as `Reconstruction.mean`.
        std: (rows, columns) posterior standard deviation.
        quantity: name and unit of the readings.

    Raises:
        ValueError: not three images of one shape.
    """
    seen, centre, spread = (np.asarray(a, float) for a in (image, mean, std))
    if seen.ndim != 2 or seen.shape != centre.shape or seen.shape != spread.shape:
        raise ValueError(
            f"image, mean and std must be (rows, columns); got {seen.shape}, {centre.shape}, {spread.shape}."
        )
    what = named(quantity)
    span = float(np.nanmin([np.nanmin(seen), centre.min()])), float(np.nanmax([np.nanmax(seen), centre.max()]))
    share = 100 * float(np.mean(np.isfinite(seen)))
    figure = blank(12.0, 4.0)
    panels = [
        (f"measured ({share:.0f} percent)", seen, VALUES, span, what),
        ("posterior mean", centre, VALUES, span, what),
        (
            "posterior standard deviation",
            spread,
            SPREAD,
            (0.0, float(spread.max())),
            Named(f"sd of {what.name}", what.unit),
        ),
    ]
    for ax, (title, values, colours, (low, high), of) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), panels, strict=True
    ):
        shown = ax.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        ax.set(title=title, xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=ax, label=of.label)
    return figure


def regret(
    bands: Mapping[str, ArrayLike],
    experiments: Sequence[str],
    objectives: Sequence[str],
    *,
    seeds: int = 0,
    unit: str = "",
) -> "Figure":
    """Regret over points, one panel per objective: mean over keys, its standard error, and the band over keys.

    Args:
        bands: `mean`, `error`, `low` and `high`, each (E, O, n), as `Study.bands` gives them.
        experiments: E names.
        objectives: O names.
        seeds: how many points came before the first decision.
        unit: of the regret.
    """
    mean, error, low, high = (np.asarray(bands[name], float) for name in ("mean", "error", "low", "high"))
    figure = blank(4.2 * len(objectives), 3.6)
    for o, ax in enumerate(figure.subplots(1, len(objectives), squeeze=False).ravel()):
        points = np.arange(1, mean.shape[2] + 1)
        for e, name in enumerate(experiments):
            colour = (BLUE, ORANGE, GREEN, GREY)[e % 4]
            style = ("-", "--", ":", "-.")[e // 4 % 4]
            ax.fill_between(points, low[e, o], high[e, o], color=colour, alpha=0.12, lw=0)
            ax.errorbar(
                points, mean[e, o], error[e, o], color=colour, ls=style, lw=1.5, elinewidth=0.8, label=plain(name)
            )
        if seeds:
            ax.axvspan(0.5, seeds + 0.5, color=GREY, alpha=0.12, lw=0, label="seeds")
        ax.set(xlabel="points measured", ylabel=Named("regret", unit).label, title=plain(objectives[o]))
    figure.axes[0].legend(frameon=False, fontsize="small")
    return figure
