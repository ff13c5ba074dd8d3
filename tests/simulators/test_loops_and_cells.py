"""Unit cells and loops of which everything is known."""

import jax
import numpy as np
import pytest

from gpax_lab.core._poses import grid
from gpax_lab.simulators import film_of_cells, loop_family, unit_cells
from gpax_lab.simulators._loop_family import LINEAR, PINCHED, SWITCHING
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
    np.testing.assert_allclose((along - np.asarray(cells.classes)) % 4 % 4, 0, atol=1e-4)


def test_a_rotated_cell_is_the_cell_rotated():
    still = unit_cells(KEY, 3, 25, noise=0.0, jitter=0.0)
    assert np.all(np.asarray(still.angle) == 0)
    turned = unit_cells(KEY, 3, 25, noise=0.0, jitter=0.0, angle=0.3)
    assert np.std(turned.angle) > 0
    np.testing.assert_allclose(turned.images.sum(axis=(1, 2)), still.images.sum(axis=(1, 2)), rtol=0.05)
    with pytest.raises(ValueError, match="count"):
        unit_cells(KEY, 0)


def test_a_cell_is_its_columns_rotated_with_the_pose():
    """Gaussians summed by hand at the turned places: the sign of the turn is that of `gpax_lab.core._poses`."""
    cells = unit_cells(KEY, 6, 19, angle=0.5, jitter=0.2, noise=0.0, width=0.15)
    rows, columns = (np.mgrid[:19, :19] - 9.0) / 9.0
    for image, pushed, angle, (a, b) in zip(
        np.asarray(cells.images), cells.displacement, cells.angle, np.asarray(cells.brightness), strict=True
    ):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places = [(a, turn @ np.array([r, c])) for r in (-0.7, 0.7) for c in (-0.7, 0.7)] + [(b, turn @ pushed)]
        wanted = sum(h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * 0.15**2)) for h, (r, c) in places)
        np.testing.assert_allclose(image, wanted, atol=1e-10)


@pytest.mark.parametrize("dose", [20.0, 200.0])
def test_counted_electrons_scatter_as_poissons(dose):
    clean = np.asarray(unit_cells(KEY, 200, 12, noise=0.0).images)
    counted = np.asarray(unit_cells(KEY, 200, 12, noise=0.0, dose=dose).images)
    np.testing.assert_allclose(counted * dose, np.round(counted * dose), atol=1e-6)
    bright = clean > 0.5
    pull = ((counted - clean) / np.sqrt(clean / dose))[bright]
    np.testing.assert_allclose(pull.mean(), 0.0, atol=4 / np.sqrt(pull.size))
    # The fourth moment of a Poisson number is 3 + 1/mean, mean 0.5 dose or more here.
    np.testing.assert_allclose(pull.var(), 1.0, atol=4 * np.sqrt((2 + 2 / dose) / pull.size))


def test_the_film_has_two_domains_and_a_wall_between():
    film = film_of_cells(KEY, (6, 12), noise=0.0)
    far = np.abs(film.b_columns[:, 1] - film.image.shape[1] / 2) > 60
    np.testing.assert_allclose(np.abs(film.displacement[far, 0]), 1.6, rtol=0.01)
    assert np.all(np.sign(film.displacement[:, 0]) == np.where(film.up, 1, -1))
    rows, columns = np.round(film.b_columns[0]).astype(int)
    assert float(film.image[rows, columns]) > 0.5


def test_a_film_is_the_sum_of_its_columns():
    film = film_of_cells(KEY, (2, 3), 10.0, noise=0.0, width=0.15)
    rows, columns = np.mgrid[:30, :40]
    both = [(1.0, p) for p in film.a_columns] + [(0.6, p) for p in film.b_columns]
    wanted = sum(h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * 1.5**2)) for h, (r, c) in both)
    np.testing.assert_allclose(film.image, wanted, atol=1e-10)
    corners = film.b_columns - film.displacement
    near = np.sort(np.linalg.norm(corners[:, None] - film.a_columns[None], axis=-1), axis=1)[:, :4]
    np.testing.assert_allclose(near, 10.0 / np.sqrt(2), err_msg="a B column is pushed from the middle of four A")
    # From the wall, a displacement of tanh(1) = 0.76 lies one cell away along the wall's normal.
    wide = film_of_cells(KEY, (1, 12), 10.0, displacement=2.0, slope=0.0)
    away = (wide.b_columns[:, 1] - 65.0) / 10.0
    np.testing.assert_allclose(wide.displacement[:, 0], 2.0 * np.tanh(away), atol=1e-12)
    with pytest.raises(ValueError, match="spacing"):
        film_of_cells(KEY, spacing=0.0)


def test_loops_switch_where_they_say():
    found = loop_family(KEY, 60, 256, noise=0.0)
    bias, kind = np.asarray(found.bias), np.asarray(found.classes)
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


def test_corners_of_a_switch_are_as_wide_as_they_say():
    found = loop_family(KEY, 30, 512, num_classes=1, noise=0.0, corner=(0.3, 1.2))
    bias = np.asarray(found.bias)
    rising = bias > np.roll(bias, 1)
    corner = np.asarray(found.corner)
    assert corner.min() < 0.4
    assert corner.max() > 1.1
    for loop, wide, half, middle, height in zip(
        np.asarray(found.loops), corner, found.coercive, found.imprint, found.height, strict=True
    ):
        # With equal widths a branch is an error function, whose steepest slope is height/(sqrt(pi) width).
        branch = (loop - 0.01 * bias)[rising][np.argsort(bias[rising])]
        at = np.sort(bias[rising])
        slope = np.gradient(branch, at)
        np.testing.assert_allclose(slope.max(), height / (np.sqrt(np.pi) * wide), rtol=0.02)
        np.testing.assert_allclose(at[slope.argmax()], middle + half, atol=0.05)
    fixed = loop_family(KEY, 30, 512, num_classes=1, noise=0.0)
    assert np.all(np.asarray(fixed.corner) == np.asarray(0.6, fixed.corner.dtype))
    np.testing.assert_array_equal(fixed.coercive, found.coercive)
    with pytest.raises(ValueError, match="corner"):
        loop_family(KEY, 3, corner=(0.0, 1.0))
