"""Plots of posteriors, reconstructed images and studies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.plot._base import BLUE, DEVIATION, GREEN, GREY, ORANGE, VALUES, Named, band, blank, named, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    """Posterior over one input: mean, 95 percent band, measurements, and, where given, truth, draws and the next point.

    Args:
        where: (m,) inputs.
        mean: (m,) and std: (m,), the posterior there.
        x: (n,) and y: (n,), measurements; NaN where one failed.
        truth: (m,) true values.
        draws: (k, m) functions drawn from the posterior.
        next_x: the point to be measured next.
        axis: name and unit of the input.
        quantity: name and unit of the measurements.
        title: written above.
        ax: axes to draw into; a new figure by default.
    """
    spots, values = np.asarray(where, float), np.asarray(mean, float)
    target = blank(6.4, 4.0).add_subplot() if ax is None else ax
    if draws is not None:
        target.plot(spots, np.asarray(draws, float).T, color=GREEN, lw=0.6, alpha=0.5)
    xs, ys = (None, None) if x is None else (np.asarray(x, float), np.asarray(y, float))
    band(target, spots, values, np.asarray(std, float), xs, ys, None if truth is None else np.asarray(truth, float))
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
    image: ArrayLike, mean: ArrayLike, std: ArrayLike, quantity: tuple[str, str] = ("measurement", "")
) -> "Figure":
    """An image with holes, what is believed of all its pixels, and how sure that is.

    Args:
        image: (rows, columns) measurements, NaN where nothing was measured.
        mean: (rows, columns) posterior mean, as `Reconstruction.mean`.
        std: (rows, columns) posterior standard deviation.
        quantity: name and unit of the measurements.

    Raises:
        ValueError: not three images of one shape.
    """
    seen, centre, deviation = (np.asarray(a, float) for a in (image, mean, std))
    if seen.ndim != 2 or seen.shape != centre.shape or seen.shape != deviation.shape:
        raise ValueError(
            f"image, mean and std must be (rows, columns); got {seen.shape}, {centre.shape}, {deviation.shape}."
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
            deviation,
            DEVIATION,
            (0.0, float(deviation.max())),
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
