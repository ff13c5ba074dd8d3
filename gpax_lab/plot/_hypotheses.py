"""Plots of laws and of hypotheses that compete."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from gpax_lab.means import Law
from gpax_lab.plot._base import BLUE, GREY, ORANGE, VALUES, Named, blank, named, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(
    x: ArrayLike,
    draws: ArrayLike,
    axis: tuple[str, str] = ("x", ""),
    quantity: tuple[str, str] = ("y", ""),
    title: str = "",
) -> "Figure":
    """Curves drawn from a prior, such as `Law.draw` gives: what a hypothesis holds possible before anything is read.

    Args:
        x: (m,) points.
        draws: (n, m) curves.
        axis: name and unit of x.
        quantity: name and unit of y.
        title: e.g. the formula.

    Raises:
        ValueError: draws are not (n, m) for m points.
    """
    points, lines = np.asarray(x, float).ravel(), np.asarray(draws, float)
    if lines.ndim != 2 or lines.shape[1] != points.size:
        raise ValueError(f"draws must be (n, {points.size}), one curve a row; got {lines.shape}.")
    figure = blank(4.8, 3.4)
    ax = figure.subplots()
    low, middle, high = np.quantile(lines, [0.05, 0.5, 0.95], axis=0)
    ax.fill_between(points, low, high, color=BLUE, alpha=0.15, lw=0, label="90 percent of them")
    ax.plot(points, lines[:20].T, color=BLUE, lw=0.6, alpha=0.5)
    ax.plot(points, middle, color=ORANGE, lw=2.0, label="median")
    # A few wild draws of a wide prior shall not flatten all others.
    pad = 0.5 * float(np.max(high - low)) + np.finfo(float).tiny
    ax.set(
        xlabel=named(axis).label,
        ylabel=named(quantity).label,
        title=plain(title),
        ylim=(float(low.min()) - pad, float(high.max()) + pad),
    )
    ax.legend(frameon=False, fontsize="small")
    return figure


def probabilities(
    points: ArrayLike, probability: ArrayLike, names: Sequence[str], error: ArrayLike | None = None, sure: float = 0.95
) -> "Figure":
    """How probable each hypothesis was as the points came in.

    Args:
        points: (n,) numbers of points measured.
        probability: (n, M) of each hypothesis.
        names: M names.
        error: (n, M) Monte Carlo standard error, as `ModelAverage.probability_error`; None for none.
        sure: a line at this probability.

    Raises:
        ValueError: shapes do not fit.
    """
    counts, p = np.asarray(points, float).ravel(), np.asarray(probability, float)
    if p.shape != (counts.size, len(names)) or (error is not None and np.shape(error) != p.shape):
        raise ValueError(f"probability and error must be ({counts.size}, {len(names)}); got {p.shape}.")
    figure = blank(4.8, 3.4)
    ax = figure.subplots()
    for m, name in enumerate(names):
        ax.plot(counts, p[:, m], **style(m), lw=1.8, label=plain(name))
        if error is not None:
            e = np.asarray(error, float)[:, m]
            low, high = np.clip(p[:, m] - e, 0, 1), np.clip(p[:, m] + e, 0, 1)
            ax.fill_between(counts, low, high, color=style(m)["color"], alpha=0.2, lw=0)
    ax.axhline(sure, color=GREY, lw=0.8, ls=":")
    ax.set(xlabel="points measured", ylabel="probability", ylim=(-0.02, 1.02))
    ax.legend(frameon=False, fontsize="small")
    return figure


def law(
    law: Law, bounds: ArrayLike, units: Mapping[str, str] | None = None, count: int = 200, key: Array | None = None
) -> "Figure":
    """What a law of one or two inputs holds possible: curves, or four maps, drawn from its prior.

    Args:
        law: its formula is the title.
        bounds: (d, 2) where to look.
        units: of "x", "x[0]", "x[1]" and "y", where known.
        count: curves drawn.
        key: random key of the draws.

    Raises:
        ValueError: more than two inputs, or bounds of another number of inputs than the law has.
    """
    box, unit = np.atleast_2d(np.asarray(bounds, float)), dict(units or {})
    if box.shape != (law.dim, 2) or law.dim > 2:
        raise ValueError(f"a law of {law.dim} inputs and bounds of shape {box.shape}: this draws one input, or two.")
    sides = (201,) if law.dim == 1 else (48, 48)
    axes = [np.linspace(low, high, side) for (low, high), side in zip(box, sides, strict=True)]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    many = count if law.dim == 1 else 4
    draws = np.asarray(law.draw(jax.random.key(0) if key is None else key, points, many))
    if law.dim == 1:
        return curves(points[:, 0], draws, ("x", unit.get("x", "")), ("y", unit.get("y", "")), law.formula)
    figure = blank(9.0, 2.6)
    for i, ax in enumerate(figure.subplots(1, 4, sharey=True)):
        extent = (*box[0], *box[1])
        shown = ax.imshow(draws[i].reshape(sides).T, origin="lower", extent=extent, aspect="auto", cmap=VALUES)
        figure.colorbar(shown, ax=ax)
        ax.set(xlabel=Named("x[0]", unit.get("x[0]", "")).label)
    figure.axes[0].set(ylabel=Named("x[1]", unit.get("x[1]", "")).label)
    figure.suptitle(plain(law.formula), fontsize="medium")
    return figure


def recovery(
    points: ArrayLike, rates: Mapping[str, np.ndarray], experiments: Sequence[str], truths: Sequence[str]
) -> "Figure":
    """Share of campaigns in which the truth leads, against the points measured, with its confidence band.

    Args:
        points: (n,) of `Recovery.points`.
        rates: of `Recovery.rates()`.
        experiments: names.
        truths: names; a panel each.
    """
    counts = np.asarray(points, float)
    figure = blank(3.2 * len(truths) + 0.8, 3.0)
    for t, ax in enumerate(figure.subplots(1, len(truths), sharey=True, squeeze=False)[0]):
        for e, name in enumerate(experiments):
            colour = style(e)["color"]
            ax.fill_between(counts, rates["low"][e, t], rates["high"][e, t], color=colour, alpha=0.15, lw=0)
            ax.plot(counts, rates["rate"][e, t], **style(e), lw=1.8, label=plain(name))
        ax.set(xlabel="points measured", title=f"{plain(truths[t])} true", ylim=(-0.02, 1.02))
    figure.axes[0].set(ylabel="share of campaigns that found it")
    figure.axes[0].legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def confusion(shares: ArrayLike, truths: Sequence[str], hypotheses: Sequence[str], title: str = "") -> "Figure":
    """Which hypothesis campaigns end with, by which is true.

    Args:
        shares: (T, M) of one experiment, a row of `Recovery.confusion()`.
        truths: T names.
        hypotheses: M names.
        title: e.g. the experiment.

    Raises:
        ValueError: shapes do not fit.
    """
    table = np.asarray(shares, float)
    if table.shape != (len(truths), len(hypotheses)):
        raise ValueError(f"shares must be ({len(truths)}, {len(hypotheses)}); got {table.shape}.")
    figure = blank(1.2 * len(hypotheses) + 1.6, 0.7 * len(truths) + 1.6)
    ax = figure.subplots()
    ax.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (t, m), share in np.ndenumerate(table):
        ax.text(m, t, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.6 else "black")
    ax.set_xticks(range(len(hypotheses)), [plain(name) for name in hypotheses], rotation=20, ha="right")
    ax.set_yticks(range(len(truths)), [plain(name) for name in truths])
    ax.set(xlabel="found", ylabel="true", title=plain(title))
    return figure


def prior_sweep(
    factors: ArrayLike, log_evidence: ArrayLike, names: Sequence[str], error: ArrayLike | None = None
) -> "Figure":
    """Log evidence of each hypothesis against the width of its priors, as `inference.prior_sweep` gives it.

    Args:
        factors: (F,) multiples of the width.
        log_evidence: (F, M), NaN where it is not known.
        names: M names.
        error: (F, M) Monte Carlo standard errors.

    Raises:
        ValueError: shapes do not fit.
    """
    widths, values = np.asarray(factors, float), np.asarray(log_evidence, float)
    if values.shape != (widths.size, len(names)):
        raise ValueError(f"log_evidence must be ({widths.size}, {len(names)}); got {values.shape}.")
    deviation = np.zeros_like(values) if error is None else np.asarray(error, float)
    figure = blank(4.8, 3.4)
    ax = figure.subplots()
    for m, name in enumerate(names):
        ax.errorbar(widths, values[:, m], deviation[:, m], **style(m), marker="o", ms=4, label=plain(name))
    ax.set(xlabel="width of the priors, times that given", ylabel="log evidence (nat)", xscale="log")
    ax.set_xticks(widths, [f"{w:g}" for w in widths])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize="small")
    return figure
