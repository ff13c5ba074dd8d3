"""Atoms are found where they are, and pieces around them are cut there."""

from pathlib import Path

import jax
import numpy as np
import pytest

from gpax_lab.images.atoms import around_atoms, find_atoms
from gpax_lab.physics.graphene import CARBON, FOREIGN, MOLECULE, graphene
from gpax_lab.physics.unit_cells import film_of_cells

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


def test_atoms_of_a_honeycomb_are_found_and_pieces_are_centred_on_them():
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


def test_pieces_that_stick_out_are_left_out():
    image = np.zeros((20, 20))
    _, which = around_atoms(image, [[2.0, 10.0], [10.0, 10.0], [np.nan, 3.0]], 7)
    assert which.tolist() == [1]
    with pytest.raises(ValueError, match="smaller"):
        around_atoms(image, [[1.0, 1.0]], 7)
    with pytest.raises(ValueError, match="contrast"):
        find_atoms(image, 2.0, contrast=2.0)


def test_a_honeycomb_holds_what_it_says():
    sheet = graphene(KEY, (192, 192), vacancies=0.0, foreign=0.1, molecules=1, thermal=0.0)
    lattice = sheet.positions[sheet.kind != MOLECULE]
    distance = np.linalg.norm(lattice[:, None] - lattice[None], axis=-1) + 1e9 * np.eye(len(lattice))
    np.testing.assert_allclose(distance.min(axis=1), sheet.bond, atol=1e-9)
    inner = np.all((lattice > 20) & (lattice < 172), axis=1)
    assert np.all(np.sum(distance < 1.01 * sheet.bond, axis=1)[inner] == 3), "every carbon has three neighbours"
    assert np.sum(sheet.kind == MOLECULE) == 6
    bright = [np.asarray(sheet.image)[tuple(np.round(p).astype(int))] for p in lattice[inner]]
    kinds = sheet.kind[sheet.kind != MOLECULE][inner]
    assert np.median(np.array(bright)[kinds == FOREIGN]) > 1.4 > np.median(np.array(bright)[kinds == CARBON])
    with pytest.raises(ValueError, match="shares"):
        graphene(KEY, vacancies=2.0)


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
