"""Plots of what a variational autoencoder has learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.plot._base import GREY, VALUES, Named, blank, named, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gpax_lab.vae._training import History


def manifold(images: ArrayLike, names: tuple[str, str] = ("z1", "z2"), cmap: str = "gray") -> "Figure":
    """What the decoder draws over two latent numbers, or over one (columns) for each class (rows).

    Args:
        images: (rows, columns, h, w) images or (rows, columns, length) spectra, of `vae.manifold` or `vae.traversal`.
        names: of the numbers that grow downwards and to the right.
        cmap: colours of images.
    """
    tiles = np.asarray(images)
    if tiles.ndim not in (3, 4):
        raise ValueError(f"images are (rows, columns, h, w) or (rows, columns, length); got {tiles.shape}.")
    rows, columns = tiles.shape[:2]
    figure = blank(0.7 * columns + 0.6, 0.7 * rows + 0.6)
    low, high = float(tiles.min()), float(tiles.max())
    panels = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            panel, tile = panels[row, column], tiles[row, column]
            panel.set_xticks([])
            panel.set_yticks([])
            if tile.ndim == 2:
                panel.imshow(tile, vmin=low, vmax=high, cmap=cmap)
            else:
                panel.plot(tile, color=style(0)["color"], lw=1.0)
                panel.set_ylim(low, high)
    figure.supylabel(f"{plain(names[0])} grows downwards", fontsize=9)
    figure.supxlabel(f"{plain(names[1])} grows to the right", fontsize=9)
    return figure


def latent_map(
    image: ArrayLike,
    positions: ArrayLike,
    values: ArrayLike,
    name: str | Sequence[str] = "latent",
    cyclic: bool = False,
) -> "Figure":
    """Every object of an image coloured by a latent.

    Args:
        image: (rows, columns).
        positions: (n, 2) row and column in pixels.
        values: (n,) numbers, or integers for classes.
        name: of the values, with their unit.
        cyclic: whether the values are angles, whose colours come full circle.
    """
    pixels, where, colour = np.asarray(image), np.asarray(positions), np.asarray(values)
    if pixels.ndim != 2 or where.shape != (len(colour), 2):
        raise ValueError(
            f"an image, (n, 2) positions and (n,) values; got {pixels.shape}, {where.shape}, {colour.shape}."
        )
    label: Named = named(name)
    figure = blank(5.6, 4.8)
    panel = figure.subplots()
    panel.imshow(pixels, cmap="gray")
    classes = np.issubdtype(colour.dtype, np.integer)
    if classes:
        for number in np.unique(colour):
            some = colour == number
            panel.scatter(where[some, 1], where[some, 0], s=14, color=style(int(number))["color"], label=str(number))
        panel.legend(title=label.label, fontsize=8, loc="upper right")
    else:
        points = panel.scatter(where[:, 1], where[:, 0], c=colour, s=14, cmap="twilight" if cyclic else VALUES)
        figure.colorbar(points, ax=panel, label=label.label)
    panel.set_xlabel("column (px)")
    panel.set_ylabel("row (px)")
    return figure


def training(history: "History") -> "Figure":
    """The bound and its terms in the course of training, nat per example; a line for each member."""
    figure = blank(7.2, 2.8)
    left, right = figure.subplots(1, 2)
    terms = history.terms
    epochs = 1 + np.arange(len(terms.elbo))
    for number, column in enumerate(np.asarray(terms.elbo).reshape(len(epochs), -1).T):
        left.plot(epochs, column, **style(0), lw=1.2, label="training" if number == 0 else None)
    held = np.asarray(history.held_out).reshape(len(epochs), -1)
    if np.isfinite(held).any():
        for number, column in enumerate(held.T):
            left.plot(epochs, column, **style(1), lw=1.2, label="held out" if number == 0 else None)
    left.set_ylabel("bound (nat per example)")
    left.legend(fontsize=8)
    for index, (name, values) in enumerate((("content and pose", terms.kl_continuous), ("classes", terms.kl_discrete))):
        for number, column in enumerate(np.asarray(values).reshape(len(epochs), -1).T):
            right.plot(epochs, column, **style(index), lw=1.2, label=name if number == 0 else None)
    right.set_ylabel("divergence from the prior (nat)")
    right.legend(fontsize=8)
    for panel in (left, right):
        panel.set_xlabel("epoch")
        panel.grid(color=GREY, alpha=0.25, lw=0.5)
    return figure
