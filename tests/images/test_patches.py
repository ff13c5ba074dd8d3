"""Patches at places that need not be pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gpax_lab.images import around, normalized, patches, pixel_positions

IMAGE = np.random.default_rng(0).normal(size=(9, 7))


def test_at_whole_pixels_an_odd_patch_is_the_pixels_themselves():
    got = patches(IMAGE, jnp.array([[4.0, 3.0], [1.0, 1.0]]), 3)
    np.testing.assert_allclose(got, [IMAGE[3:6, 2:5], IMAGE[:3, :3]], atol=1e-14)


@pytest.mark.parametrize("edge", ["mirror", "nearest", "wrap"])
def test_anywhere_it_is_bilinear_and_the_border_is_as_in_scipy(edge):
    place = np.array([0.3, 5.8])
    offset = np.arange(4) - 1.5
    grid = np.meshgrid(place[0] + offset, place[1] + offset, indexing="ij")
    mode = {"wrap": "grid-wrap"}.get(edge, edge)
    expected = ndimage.map_coordinates(IMAGE, grid, order=1, mode=mode)
    np.testing.assert_allclose(patches(IMAGE, place[None], 4, edge)[0], expected, atol=1e-12)


def test_channels_are_patches_of_their_own_and_vmap_is_the_batch():
    stack = np.stack([IMAGE, IMAGE**2], axis=-1)
    places = jnp.array([[2.5, 3.25], [6.0, 0.0]])
    got = patches(stack, places, 2)
    assert got.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(got[..., 1], patches(IMAGE**2, places, 2), atol=1e-14)
    look = around(IMAGE, 3)
    np.testing.assert_allclose(jax.vmap(look)(places), look(places), atol=1e-14)


def test_positions_leave_a_margin_and_normalized_ignores_spikes():
    assert pixel_positions((5, 6), 2).tolist() == [[2.0, 2.0], [2.0, 3.0]]
    spiked = IMAGE.copy()
    spiked[0, 0] = 1e9
    plain, other = np.asarray(normalized(IMAGE)), np.asarray(normalized(spiked))
    np.testing.assert_allclose(np.median(plain), 0.0, atol=1e-12)
    assert np.median(np.abs(plain - other)) < 0.1
    assert np.all(np.asarray(normalized(np.ones((3, 3)))) == 0)


def test_what_is_no_image_is_refused():
    for bad, words in ((np.ones(4), "image"), (np.full((4, 4), np.nan), "finite"), (np.ones((2, 9)), "3 x 3")):
        with pytest.raises(ValueError, match=words):
            patches(bad, jnp.zeros((1, 2)), 3)
    with pytest.raises(ValueError, match="edge"):
        patches(IMAGE, jnp.zeros((1, 2)), 3, "torus")
    with pytest.raises(ValueError, match="row and column"):
        patches(IMAGE, jnp.zeros((1, 3)), 3)


def test_whole_positions_may_be_integers():
    image = np.random.default_rng(5).normal(size=(9, 8))
    for size in (2, 3):
        look = around(image, size)
        np.testing.assert_array_equal(look(jnp.array([[4, 3]])), look(jnp.array([[4.0, 3.0]])))
