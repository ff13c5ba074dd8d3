"""Rotating, shifting, magnifying: exact, isometric, and objects lie where they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core._poses import Pose, axes, grid, rotated_back, rotated_views, to_object
from gpax_lab.simulators import glyphs

KEY = jax.random.key(1)


def test_pixels_are_as_wide_as_high():
    rows, columns = axes((20, 40))
    np.testing.assert_allclose(np.diff(rows), np.diff(columns)[0])
    assert columns[0] == -1
    assert columns[-1] == 1
    assert rows[0] == -rows[-1]


def test_a_rotation_keeps_lengths_in_an_image_that_is_not_square():
    points = jnp.asarray(grid((20, 40)))
    turned = to_object(points, Pose(jnp.array([0.6])))[0]
    for a, b in ((0, 39), (0, 760), (17, 433)):
        np.testing.assert_allclose(
            np.linalg.norm(turned[a] - turned[b]), np.linalg.norm(points[a] - points[b]), rtol=1e-12
        )


def test_turns_add_up_and_the_sign_is_from_rows_to_columns():
    points = jnp.asarray(grid((5, 5)))
    once = to_object(points, Pose(jnp.array([0.7])))[0]
    twice = to_object(once, Pose(jnp.array([0.5])))[0]
    np.testing.assert_allclose(twice, to_object(points, Pose(jnp.array([1.2])))[0], atol=1e-12)
    # An object point v = (1, 0) is seen at R(angle) v = (cos, sin).
    seen = jnp.array([[np.cos(0.3), np.sin(0.3)]])
    np.testing.assert_allclose(to_object(seen, Pose(jnp.array([0.3])))[0, 0], [1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("turns", [2, 4])
def test_a_rotated_view_of_a_glyph_is_the_glyph_rotated_back(turns):
    angle, shift = jnp.array([0.4]), jnp.array([[0.12, -0.07]])
    picture = glyph_at(angle, shift)
    for number, copy in enumerate(rotated_views(picture, turns)[0]):
        away = -2 * np.pi * number / turns
        back = rotated_back(Pose(angle, shift), jnp.array([away]))
        np.testing.assert_allclose(copy, glyph_at(back.angle, back.shift)[0], atol=2e-5)
        np.testing.assert_allclose(rotated_back(back, jnp.array([-away])).shift, shift, atol=1e-12)


def glyph_at(angle, shift):
    from gpax_lab.simulators._glyphs import STROKES, _distance, _segments

    assert "F" in STROKES
    points = to_object(jnp.asarray(grid((15, 15))), Pose(angle, shift))[0]
    return jax.nn.sigmoid((0.12 - _distance(points, jnp.asarray(_segments("F")[0]))) / 0.025).reshape(1, 15, 15)


def test_glyphs_lie_where_they_say():
    found = glyphs(KEY, 6, (15, 15), ("F",), shift=0.1, thickness=0.12)
    for k in range(3):
        np.testing.assert_allclose(
            found.images[k], glyph_at(found.angle[k : k + 1], found.shift[k : k + 1])[0], atol=1e-6
        )
    wide = glyphs(KEY, 2, (12, 20), ("4", "7"), noise=0.1)
    assert wide.images.shape == (2, 12, 20)
    assert 0 <= float(wide.images.min()) <= float(wide.images.max()) <= 1
    with pytest.raises(ValueError, match="letters"):
        glyphs(KEY, 2, letters="?")
    with pytest.raises(ValueError, match="count"):
        glyphs(KEY, 0)
