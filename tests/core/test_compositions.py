"""Compositions against what can be counted and drawn by hand."""

from math import comb

import numpy as np
import pytest

from gpax_lab.core import _compositions as compositions

DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize("components", [2, 3, 4])
def test_points_give_the_fractions_back(components):
    x = DRAWN.dirichlet(np.ones(components), 50)
    corners, points = compositions.CORNERS[components], compositions.barycentric(x)
    rest = np.linalg.solve((corners[1:] - corners[0]).T, (points - corners[0]).T).T
    np.testing.assert_allclose(np.c_[1 - rest.sum(axis=1), rest], x, atol=1e-12)


@pytest.mark.parametrize("components", [2, 3, 4])
def test_pure_components_are_corners_an_edge_apart_and_the_even_mixture_is_their_middle(components):
    corners = compositions.barycentric(np.eye(components))
    apart = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    np.testing.assert_allclose(apart, 1 - np.eye(components), atol=1e-12)
    middle = compositions.barycentric(np.full((1, components), 1 / components), 1e-9)
    np.testing.assert_allclose(middle[0], corners.mean(axis=0), atol=1e-12)


def test_a_ternary_point_has_its_fractions_as_distances_from_the_edges():
    x = DRAWN.dirichlet(np.ones(3), 20)
    place = compositions.barycentric(x)
    height = np.sqrt(3) / 2
    np.testing.assert_allclose(place[:, 1] / height, x[:, 2], atol=1e-12)  # from the edge of the first two
    np.testing.assert_allclose((np.sqrt(3) * place[:, 0] - place[:, 1]) / 2 / height, x[:, 1], atol=1e-12)


@pytest.mark.parametrize(("components", "steps"), [(2, 1), (2, 7), (3, 10), (4, 5), (6, 10)])
def test_the_grid_holds_every_composition_once(components, steps):
    grid = compositions.simplex_grid(components, steps)
    assert grid.shape == (comb(steps + components - 1, components - 1), components)
    counts = np.rint(grid * steps)
    np.testing.assert_allclose(grid * steps, counts, atol=1e-12)
    assert (counts.sum(axis=1) == steps).all()
    assert (counts >= 0).all()
    assert len({tuple(row) for row in counts}) == len(grid)


def test_amounts_become_fractions():
    np.testing.assert_allclose(compositions.normalized([[25.0, 75.0], [1.0, 1.0]]), [[0.25, 0.75], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[20.0, 30.0, 50.0], [10.0, 10.0, 80.01]], "percent"),
        ([[0.2, 0.3, 0.4]], "all components"),
        ([[0.6, 0.5, -0.1]], "negative"),
        ([[0.5, np.nan]], "finite"),
        ([0.5, 0.5], "finite table"),
    ],
)
def test_what_is_no_composition_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        compositions.barycentric(table)


def test_the_tolerance_is_that_of_the_caller():
    rounded = [[0.3333, 0.3333, 0.3333]]
    with pytest.raises(ValueError, match="sums to"):
        compositions.checked(rounded)
    assert compositions.checked(rounded, 1e-3).shape == (1, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compositions.simplex_grid(1, 3), "components >= 2"),
        (lambda: compositions.simplex_grid(3, 0), "one step|steps >= 1"),
        (lambda: compositions.barycentric(np.full((1, 5), 0.2)), "2, 3 or 4"),
        (lambda: compositions.normalized([[0.0, 0.0]]), "nothing"),
        (lambda: compositions.normalized([[1.0, -1.0]]), "negative"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
