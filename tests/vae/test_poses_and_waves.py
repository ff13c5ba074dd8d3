"""Turning, shifting, magnifying: exact, isometric, and with the right slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gpax_lab import vae
from gpax_lab.core._poses import Pose, axes, grid, to_object, turned_back, turned_copies
from gpax_lab.simulators import glyphs
from gpax_lab.vae import _fourier as waves

KEY = jax.random.key(1)


def test_pixels_are_as_wide_as_high():
    rows, columns = axes((20, 40))
    np.testing.assert_allclose(np.diff(rows), np.diff(columns)[0])
    assert columns[0] == -1
    assert columns[-1] == 1
    assert rows[0] == -rows[-1]


def test_a_turn_keeps_lengths_in_a_picture_that_is_not_square():
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


def lattice(shape=(9, 12), reach=(1.7, 1.9), finest=0.5):
    return waves.Lattice(waves.lattice(reach, finest), reach, axes(shape))


def by_hand(of, shape, coefficients, pose):
    """Cosines and sines at every pixel, one by one."""
    v = np.asarray(to_object(jnp.asarray(grid(shape)), pose))
    phase = v @ of.k.T
    c = np.asarray(coefficients)
    picture = np.einsum("nk,npk->np", c[:, : of.count], np.cos(phase))
    return (picture + np.einsum("nk,npk->np", c[:, of.count :], np.sin(phase))).reshape(-1, *shape)


def drawn(of, coefficients, pose):
    cos, sin = jnp.cos(pose.angle) / pose.scale, jnp.sin(pose.angle) / pose.scale
    matrix = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
    return waves.picture(of, coefficients, matrix, pose.shift)


def poses(count):
    keys = jax.random.split(KEY, 3)
    return Pose(
        jax.random.uniform(keys[0], (count,), minval=-3, maxval=3),
        0.3 * jax.random.normal(keys[1], (count, 2)),
        jnp.exp(0.2 * jax.random.normal(keys[2], (count,))),
    )


def test_pictures_of_waves_are_their_sums():
    of, pose = lattice(), poses(3)
    assert np.sum(np.all(of.whole == 0, axis=1)) == 1
    both = {tuple(row) for row in of.whole} & {tuple(-row) for row in of.whole if row.any()}
    assert not both, "a wave and its mirror image are the same"
    coefficients = jax.random.normal(KEY, (3, 2 * of.count))
    np.testing.assert_allclose(drawn(of, coefficients, pose), by_hand(of, (9, 12), coefficients, pose), atol=1e-10)


def test_slopes_of_pictures_are_those_of_differences():
    of, pose = lattice((6, 5), (1.5, 1.5), 0.8), poses(2)
    coefficients = jax.random.normal(KEY, (2, 2 * of.count))
    weight = jax.random.normal(KEY, (2, 6, 5))

    def value(coefficients, pose):
        return jnp.sum(weight * jnp.tanh(drawn(of, coefficients, pose)))

    check_grads(value, (coefficients, pose), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_spectra_of_waves_are_their_sums():
    reach = (1.4,)
    of = waves.Lattice(waves.lattice(reach, 0.2), reach, axes((30,)))
    coefficients = jax.random.normal(KEY, (2, 2 * of.count))
    shift, scale = jnp.array([0.1, -0.2]), jnp.array([1.1, 0.9])
    found = waves.spectrum(of, coefficients, 1 / scale, shift)
    wanted = by_hand(of, (30,), coefficients, Pose(None, shift[:, None], scale))
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("turns", [2, 4])
def test_a_turned_copy_of_a_glyph_is_the_glyph_turned_back(turns):
    angle, shift = jnp.array([0.4]), jnp.array([[0.12, -0.07]])
    picture = glyph_at(angle, shift)
    for number, copy in enumerate(turned_copies(picture, turns)[0]):
        away = -2 * np.pi * number / turns
        back = turned_back(Pose(angle, shift), jnp.array([away]))
        np.testing.assert_allclose(copy, glyph_at(back.angle, back.shift)[0], atol=2e-5)
        np.testing.assert_allclose(turned_back(back, jnp.array([-away])).shift, shift, atol=1e-12)


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
    with pytest.raises(ValueError, match="kinds"):
        glyphs(KEY, 2, letters="?")
    with pytest.raises(ValueError, match="count"):
        glyphs(KEY, 0)


@pytest.mark.parametrize("decoder", ["waves", "coordinates"])
def test_a_decoded_object_turns_with_its_pose(decoder):
    """Turning the pose by a quarter turns the picture by a quarter, whatever the weights."""
    shape = (11, 11)
    module = vae.Coordinates(shape, (16, 16)) if decoder == "coordinates" else None
    model = vae.model(shape, 2, invariances=[vae.rotation(), vae.translation(0.1)], decoder=module)
    params = model.init(KEY, jnp.float64)
    z = jax.random.normal(KEY, (1, 2))
    trained = vae.Trained(model, params, None, "")
    pose = Pose(jnp.array([0.3]), jnp.array([[0.1, 0.2]]))
    picture = vae.decode(trained, z, pose=pose)
    quarter = turned_back(pose, jnp.array([-np.pi / 2]))
    np.testing.assert_allclose(vae.decode(trained, z, pose=quarter), turned_copies(picture, 4)[:, 1], atol=1e-10)
