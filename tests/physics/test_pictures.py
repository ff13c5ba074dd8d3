"""Unit cells and loops of which everything is known."""

import jax
import numpy as np
import pytest

from gpax_lab.physics.loop_family import LINEAR, PINCHED, SWITCHING, loop_family
from gpax_lab.physics.unit_cells import film_of_cells, unit_cells
from gpax_lab.poses import grid
from gpax_lab.spectra.loops import loop_area

KEY = jax.random.key(6)


def test_the_b_column_lies_where_it_says():
    cells = unit_cells(KEY, 8, 41, noise=0.0, jitter=0.0, width=0.1)
    points = grid((41, 41))
    for image, pushed in zip(np.asarray(cells.images), np.asarray(cells.displacement), strict=True):
        middle = np.hypot(*points.T) < 0.45
        weight = image.reshape(-1)[middle]
        np.testing.assert_allclose(weight @ points[middle] / weight.sum(), pushed, atol=0.01)
    length = np.linalg.norm(cells.displacement, axis=1)
    np.testing.assert_allclose(length, 0.15, rtol=1e-5)
    along = np.arctan2(cells.displacement[:, 1], cells.displacement[:, 0]) / (np.pi / 2)
    np.testing.assert_allclose((along - np.asarray(cells.kind)) % 4 % 4, 0, atol=1e-4)


def test_a_turned_cell_is_the_cell_turned():
    still = unit_cells(KEY, 3, 25, noise=0.0, jitter=0.0)
    assert np.all(np.asarray(still.angle) == 0)
    turned = unit_cells(KEY, 3, 25, noise=0.0, jitter=0.0, angle=0.3)
    assert np.std(turned.angle) > 0
    np.testing.assert_allclose(turned.images.sum(axis=(1, 2)), still.images.sum(axis=(1, 2)), rtol=0.05)
    with pytest.raises(ValueError, match="count"):
        unit_cells(KEY, 0)


def test_the_film_has_two_domains_and_a_wall_between():
    film = film_of_cells(KEY, (6, 12), noise=0.0)
    far = np.abs(film.b_columns[:, 1] - film.image.shape[1] / 2) > 60
    np.testing.assert_allclose(np.abs(film.displacement[far, 0]), 1.6, rtol=0.01)
    assert np.all(np.sign(film.displacement[:, 0]) == np.where(film.up, 1, -1))
    rows, columns = np.round(film.b_columns[0]).astype(int)
    assert float(film.image[rows, columns]) > 0.5


def test_loops_switch_where_they_say():
    found = loop_family(KEY, 60, 256, noise=0.0)
    bias, kind = np.asarray(found.bias), np.asarray(found.kind)
    area = np.abs(np.asarray(loop_area(bias, found.loops)))
    assert area[kind == LINEAR].max() < 0.02 * area[kind == SWITCHING].min()
    for number in np.flatnonzero(kind == SWITCHING)[:5]:
        loop = np.asarray(found.loops[number]) - 0.01 * bias
        rising = bias > np.roll(bias, 1)
        low, high = loop.min(), loop.max()
        up = bias[rising][np.argmin(np.abs(loop[rising] - 0.5 * (low + high)))]
        np.testing.assert_allclose(up, found.imprint[number] + found.coercive[number], atol=0.2)
        np.testing.assert_allclose(high - low, found.height[number], rtol=0.1)
    pinched = area[kind == PINCHED] / np.asarray(found.coercive * found.height)[kind == PINCHED]
    whole = area[kind == SWITCHING] / np.asarray(found.coercive * found.height)[kind == SWITCHING]
    np.testing.assert_allclose(np.median(pinched) / np.median(whole), 0.4, rtol=0.1)
    with pytest.raises(ValueError, match="sweep"):
        loop_family(KEY, 3, coercive=(2.0, 9.0))
