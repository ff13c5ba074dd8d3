"""Atoms are found where they are, and pieces around them are cut there."""

from pathlib import Path

import jax
import numpy as np
import pytest

from gpax_lab.images import around_atoms, find_atoms
from gpax_lab.simulators import film_of_cells, graphene
from gpax_lab.simulators._graphene import CARBON, EDGE, FOREIGN, MOLECULE

KEY = jax.random.key(4)
ATOMS = Path(__file__).resolve().parents[2] / "../shared/data/atoms"


def matched(found, truth):
    """Distance of every true place from the nearest one that was found."""
    return np.linalg.norm(truth[:, None] - found[None], axis=-1).min(axis=1)


def test_columns_of_a_film_are_found_to_a_fraction_of_a_pixel():
    film = film_of_cells(KEY, (6, 8), 16.0, noise=0.05)
    peaks = find_atoms(film.image, 2.4, 200)
    found = np.asarray(peaks.positions)[np.asarray(peaks.found)]
    assert len(found) == 7 * 9 + 6 * 8
    assert np.sqrt(np.mean(matched(found, film.a_columns) ** 2)) < 0.25
    assert np.sqrt(np.mean(matched(found, film.b_columns) ** 2)) < 0.4


def test_positions_come_near_the_best_that_noise_allows():
    """Cramer-Rao: a Gaussian of height a and known width in white noise s is placed to s/a sqrt(2/pi) along an axis."""
    film = film_of_cells(KEY, (10, 12), 20.0, displacement=0.0, noise=0.0, width=0.1)
    exact, away = [], []
    for noise, into in ((0.0, exact), (0.05, away)):
        image = film.image + noise * jax.random.normal(KEY, film.image.shape)
        peaks = find_atoms(image, 2.0, 400)
        found = np.asarray(peaks.positions)[np.asarray(peaks.found)]
        assert len(found) == len(film.a_columns) + len(film.b_columns)
        into.extend(matched(found, columns) for columns in (film.a_columns, film.b_columns))
    assert max(e.max() for e in exact) < 0.03
    for distance, height in zip(away, (1.0, 0.6), strict=True):
        best = 0.05 / height * np.sqrt(2 / np.pi) * np.sqrt(2)
        error = np.sqrt(np.mean(distance**2))
        # Four standard errors of a root mean square of 2 n normal numbers.
        spread = 4 / np.sqrt(4 * len(distance))
        assert best * (1 - spread) < error < 1.25 * best * (1 + spread)


def test_few_atoms_in_noise_are_found_by_a_threshold():
    truth = np.array([[30.4, 40.2], [60.7, 90.5], [100.1, 30.9], [95.5, 100.0]])
    rows, columns = np.mgrid[:128, :128]
    image = sum(np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * 3.0**2)) for r, c in truth)
    np.testing.assert_allclose(find_atoms(image, 3.0, 4).heights, 0.5, rtol=0.02, err_msg="half the height of an atom")
    image = image + 0.1 * np.random.default_rng(0).normal(size=image.shape)
    peaks = find_atoms(image, 3.0, threshold=0.25)
    assert int(peaks.total) == 4
    assert matched(np.asarray(peaks.positions)[:4], truth).max() < 0.5
    assert int(find_atoms(image, 3.0).total) == 4, "the noise of the pixels says how high its peaks come"


def spots(places, shape=(64, 64), sigma=2.0, height=1.0):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    heights = np.broadcast_to(height, len(places))
    return sum(
        h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * sigma**2))
        for h, (r, c) in zip(heights, places, strict=True)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_there_is_nothing_there_are_no_atoms(dtype):
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:64, :64]
    edge = np.where(rows < 31, 4000.0, 1000.0)
    blank = [np.full((64, 64), v) for v in (0.0, 0.1, 7.0, 65535.0, -3e4)]
    tilted = [0.1 * rows + 0.2 * columns + offset for offset in (0.0, 1e4)]
    counts = [rng.poisson(mean, (64, 64)) for mean in (0.02, 1.0, 300.0)]
    edges = [edge, edge.T, edge[::-1], np.where(rows + 0.4 * columns < 40, 4000.0, 1000.0)]
    edges += [rng.poisson(edge), edge + 3000 * (rows > 50)]
    for image in [*blank, *tilted, *counts, *edges, rng.normal(size=(64, 64))]:
        for sigma in (1.6, 3.0):
            assert int(find_atoms(np.asarray(image, dtype), sigma).total) == 0


def test_sparse_atoms_are_found_in_noise_and_at_any_offset_and_unit():
    rng = np.random.default_rng(2)
    truth = np.array([[12.3, 15.1], [40.8, 20.2], [30.1, 50.6]])
    image = spots(truth, height=[1.0, 0.8, 0.6])
    for scale, offset, noise in ((1.0, 0.0, 0.0), (1.0, 0.0, 0.05), (1e-9, 1e-8, 0.02), (5000.0, 20000.0, 0.05)):
        seen = scale * (image + noise * rng.normal(size=image.shape)) + offset
        peaks = find_atoms(seen.astype(np.float32), 2.0)
        assert int(peaks.total) == 3
        assert matched(np.asarray(peaks.positions)[:3], truth).max() < 0.3
    shots = find_atoms(rng.poisson(0.3 + 30 * image), 2.0)
    assert int(shots.total) == 3
    torn = image + 0.02 * rng.normal(size=image.shape)
    torn[50, 10] = 1e3
    peaks = find_atoms(torn, 2.0)
    found = np.asarray(peaks.positions)[np.asarray(peaks.found)]
    assert int(peaks.total) == len(found) == 4, "the three atoms and the hot pixel"
    assert matched(found, truth).max() < 0.3
    assert matched(found, np.array([[50.0, 10.0]])).max() < 0.1


def test_a_valley_between_the_heights_keeps_faint_atoms_and_a_contrast_does_not():
    grid = [(r, c) for r in np.arange(8.0, 60, 12) for c in np.arange(8.0, 60, 12)]
    height = np.where(np.arange(len(grid)) % 2, 1.0, 0.12)
    image = spots(grid, height=height) + 0.002 * np.random.default_rng(3).normal(size=(64, 64))
    assert int(find_atoms(image, 2.0).total) == len(grid)
    assert int(find_atoms(image, 2.0, contrast=0.2).total) == np.sum(height == 1.0)
    few = find_atoms(image, 2.0, capacity=5)
    assert few.positions.shape == (5, 2)
    assert int(few.total) == len(grid)


@pytest.mark.parametrize("lost", [np.s_[30, 30], np.s_[40:]])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(lost, value):
    image = spots([(20.0, 20.0), (28.0, 32.0)])
    image[lost] = value
    with pytest.raises(ValueError, match=r"pixels are not finite.*median"):
        find_atoms(image, 2.0)


def test_atoms_of_a_honeycomb_are_found_and_patches_are_centred_on_them():
    sheet = graphene(KEY, (96, 96), molecules=0, noise=0.05)
    peaks = find_atoms(sheet.image, 2.2, 500)
    found = np.asarray(peaks.positions)[np.asarray(peaks.found)]
    away = np.all((sheet.positions > 5) & (sheet.positions < 90), axis=1)
    assert np.mean(matched(found, sheet.positions[away]) < 1.0) > 0.98
    pieces, which = around_atoms(sheet.image, found, 9)
    assert pieces.shape == (len(which), 9, 9)
    middle = np.asarray(pieces)[:, 3:6, 3:6].mean(axis=(1, 2))
    assert np.all(middle > np.asarray(pieces).mean(axis=(1, 2)))
    whole = np.round(found[which[0]])
    piece, _ = around_atoms(sheet.image, whole[None], 9)
    r, c = whole.astype(int)
    np.testing.assert_allclose(piece[0], np.asarray(sheet.image)[r - 4 : r + 5, c - 4 : c + 5])


def test_patches_that_stick_out_are_left_out():
    image = np.zeros((20, 20))
    _, which = around_atoms(image, [[2.0, 10.0], [10.0, 10.0], [np.nan, 3.0]], 7)
    assert which.tolist() == [1]
    with pytest.raises(ValueError, match="smaller"):
        around_atoms(image, [[1.0, 1.0]], 7)
    with pytest.raises(ValueError, match="contrast"):
        find_atoms(image, 2.0, contrast=2.0)


def test_a_honeycomb_holds_what_it_says():
    sheet = graphene(KEY, (192, 192), vacancies=0.0, foreign=0.1, molecules=1, thermal=0.0)
    lattice = sheet.positions[sheet.classes != MOLECULE]
    distance = np.linalg.norm(lattice[:, None] - lattice[None], axis=-1) + 1e9 * np.eye(len(lattice))
    np.testing.assert_allclose(distance.min(axis=1), sheet.bond, atol=1e-9)
    inner = np.all((lattice > 20) & (lattice < 172), axis=1)
    assert np.all(np.sum(distance < 1.01 * sheet.bond, axis=1)[inner] == 3), "every carbon has three neighbours"
    assert np.sum(sheet.classes == MOLECULE) == 6
    bright = [np.asarray(sheet.image)[tuple(np.round(p).astype(int))] for p in lattice[inner]]
    kinds = sheet.classes[sheet.classes != MOLECULE][inner]
    assert np.median(np.array(bright)[kinds == FOREIGN]) > 1.4 > np.median(np.array(bright)[kinds == CARBON])
    with pytest.raises(ValueError, match="shares"):
        graphene(KEY, vacancies=2.0)


def test_a_honeycomb_is_the_sum_of_its_atoms_rotated_by_its_angle():
    sheet = graphene(KEY, (90, 100), bond=10.0, angle=0.3, vacancies=0.0, foreign=0.1, thermal=0.0, noise=0.0)
    rows, columns = np.mgrid[30:60, 30:70]
    height = np.array([1.0, 1.0, 1.8, 0.8])[sheet.classes]
    wanted = sum(
        h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * 2.8**2))
        for h, (r, c) in zip(height, sheet.positions, strict=True)
    )
    np.testing.assert_allclose(np.asarray(sheet.image)[30:60, 30:70], wanted, atol=1e-6)
    lattice = sheet.positions[sheet.classes != MOLECULE]
    gap = lattice[:, None] - lattice[None]
    bonds = gap[np.isclose(np.linalg.norm(gap, axis=-1), 10.0)]
    turn = np.arctan2(bonds[:, 1], bonds[:, 0])
    np.testing.assert_allclose(np.mod(turn - 0.3 + 0.1, np.pi / 3), 0.1, atol=1e-6)
    ring = sheet.positions[sheet.classes == MOLECULE][:6]
    np.testing.assert_allclose(np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1), 10.0)


def test_atoms_beside_a_vacancy_are_those_that_miss_a_neighbour():
    sheet = graphene(KEY, (160, 160), vacancies=0.03, foreign=0.0, molecules=0, thermal=0.0)
    distance = np.linalg.norm(sheet.positions[:, None] - sheet.positions[None], axis=-1)
    neighbours = np.sum((distance > 0) & (distance < 1.1 * sheet.bond), axis=1)
    inner = np.all((sheet.positions > 12) & (sheet.positions < 148), axis=1)
    assert np.sum(neighbours[inner] < 3) > 10
    np.testing.assert_array_equal(sheet.classes[inner] == EDGE, neighbours[inner] < 3)


def test_heat_moves_atoms_by_as_much_as_it_says():
    still, hot = (graphene(KEY, vacancies=0.0, foreign=0.0, molecules=0, thermal=t) for t in (0.0, 0.05))
    inner = np.all((still.positions > 10) & (still.positions < 180), axis=1)
    away = matched(hot.positions, still.positions[inner])
    two = 2 * inner.sum()
    np.testing.assert_allclose(np.sqrt(np.mean(away**2) / 2), 0.05 * still.bond, rtol=4 / np.sqrt(2 * two))


@pytest.mark.skipif(not ATOMS.exists(), reason="the images ../shared/data/atoms are not here")
def test_columns_of_strontium_titanate_are_found_without_tuning():
    h5py = pytest.importorskip("h5py")
    with h5py.File(ATOMS / "STO_test_image.hf5") as file:
        image = file["Measurement_000/Channel_000/STO_test_image/STO_test_image"][()]
    peaks = find_atoms(image, 4.0)
    # 550 lie 8 pixels or more from the border; at most a row and a column more lie nearer to it.
    places = np.asarray(peaks.positions)[np.asarray(peaks.found)]
    inner = np.all((places > 8) & (places < np.array(image.shape) - 9), axis=1)
    assert abs(int(inner.sum()) - 550) <= 11
    # The reference's nearest neighbour is 18.63 pixels (0.2712 nm) away: a Ti-O column from its Sr columns.
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    np.testing.assert_allclose(np.median(distance.min(axis=1)), 18.63, rtol=0.01)
    pieces, which = around_atoms(image, places, 24)
    assert len(which) == len(pieces) < len(places)
    # The mean piece has its highest pixels where the atom was said to be: the four in the middle of 24.
    mean = np.asarray(pieces).mean(axis=0)
    assert mean[11:13, 11:13].min() >= np.sort(mean.ravel())[-5]


@pytest.mark.skipif(not ATOMS.exists(), reason="the images ../shared/data/atoms are not here")
@pytest.mark.parametrize("contrast", [0.1, 0.2, 0.5])
def test_columns_of_molybdenum_disulfide_are_found_whatever_the_contrast(contrast):
    image = np.load(ATOMS / "MoS2_stem_Exp-001-5.npy")
    peaks = find_atoms(image, 6.0, contrast=contrast)
    places = np.asarray(peaks.positions)[np.asarray(peaks.found)]
    inner = np.all((places > 8) & (places < np.array(image.shape) - 9), axis=1)
    assert abs(int(inner.sum()) - 462) <= 8, "462 by an independent program, 460 to 468 over its thresholds"
