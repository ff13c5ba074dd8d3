"""Pictures over composition show the numbers that were given, where they belong."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from gpax_lab import plot
from gpax_lab.core._compositions import barycentric, simplex_grid

LABELS = ("Ag", "Au", "Pd")
GRID = simplex_grid(3, 6)
VALUES = GRID @ np.array([1.0, 2.0, 4.0])


def named(ax, label):
    return next(artist for artist in ax.collections if artist.get_label() == label)


def test_points_lie_at_their_compositions_with_their_values():
    ax = plot.ternary(GRID, VALUES, LABELS)
    shown = named(ax, "values")
    np.testing.assert_allclose(shown.get_offsets(), barycentric(GRID))
    np.testing.assert_array_equal(shown.get_array(), VALUES)
    assert shown.get_clim() == (1.0, 4.0)


def test_every_corner_carries_its_name_next_to_it():
    ax = plot.ternary(GRID, VALUES, LABELS)
    for corner, label in zip(barycentric(np.eye(3)), LABELS, strict=True):
        text = next(t for t in ax.texts if t.get_text() == label)
        assert np.linalg.norm(np.array(text.get_position()) - corner) < 0.1


def test_ticks_count_the_component_of_the_corner_that_they_approach():
    ax = plot.ternary(GRID, VALUES, LABELS)
    found = np.array([t.get_position() for t in ax.texts if t.get_text() == "80"])
    assert len(found) == 3
    apart = np.linalg.norm(found[:, None] - barycentric(np.eye(3))[None], axis=2)
    assert sorted(apart.argmin(axis=1)) == [0, 1, 2]
    assert (apart.min(axis=1) < 0.25).all()


def test_a_missing_value_is_an_open_circle():
    values = VALUES.copy()
    values[4] = np.nan
    ax = plot.ternary(GRID, values, LABELS)
    assert len(named(ax, "values").get_offsets()) == len(GRID) - 1
    np.testing.assert_allclose(named(ax, "no value").get_offsets(), barycentric(GRID[4:5]))


def test_a_filled_map_has_the_colours_of_its_values_and_its_bar_the_unit():
    ax = plot.ternary(GRID, VALUES, LABELS, filled=True, quantity="resistance (ohm)", limits=(0.0, 5.0))
    image = next(c for c in ax.collections if c.get_array() is not None)
    assert image.get_clim()[0] <= 0.0 < 5.0 <= image.get_clim()[1]
    assert [a.get_ylabel() for a in ax.figure.axes if a.get_label() == "<colorbar>"] == ["resistance (ohm)"]
    # Level lines of a linear property are straight: the band around 2 holds the corner of pure Au.
    where = next(i for i, (a, b) in enumerate(zip(image.levels[:-1], image.levels[1:], strict=True)) if a < 1.99 < b)
    path = image.get_paths()[where + 1]  # the first is for what lies below
    assert np.linalg.norm(path.vertices - barycentric([[0.005, 0.99, 0.005]]), axis=1).min() < 0.1


def test_a_path_is_numbered_in_order():
    ax = plot.ternary(GRID, VALUES, LABELS, path=GRID[[3, 7]])
    line = next(a for a in ax.lines if a.get_label() == "measured")
    np.testing.assert_allclose(line.get_xydata(), barycentric(GRID[[3, 7]]))
    assert {"1", "2"} <= {t.get_text() for t in ax.texts}


def test_a_quaternary_library_shows_four_triangles_on_one_scale():
    grid = simplex_grid(4, 4)
    figure = plot.quaternary(grid, grid[:, 0], ("A", "B", "C", "D"), title="library")
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == [f"ratios without {name}" for name in "ABCD"]
    assert {named(ax, "values").get_clim() for ax in panels} == {(0.0, 1.0)}
    assert len(named(panels[0], "values").get_offsets()) == len(grid) - 1  # pure A has no ratio of the rest


def test_all_is_drawn_without_a_warning(tmp_path):
    plot.ternary(GRID, VALUES, LABELS, filled=True, path=GRID[:3], title="map").figure.savefig(tmp_path / "a.png")
    grid = simplex_grid(4, 3)
    plot.quaternary(grid, grid[:, 0], "ABCD").savefig(tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.ternary(np.eye(4), np.ones(4), "ABCD"), "three components"),
        (lambda: plot.ternary(GRID, VALUES[1:], LABELS), "value each"),
        (lambda: plot.ternary(GRID, np.full(len(GRID), np.nan), LABELS), "nothing to draw"),
        (lambda: plot.ternary(100 * GRID, VALUES, LABELS), "percent"),
        (lambda: plot.ternary(GRID[:2], VALUES[:2], LABELS, filled=True), "three points"),
        (lambda: plot.quaternary(GRID, VALUES, LABELS), "four components"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
