"""Images of plane waves: their sums, with the right slopes, whatever the pose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gpax_lab import vae
from gpax_lab.core._poses import Pose, axes, grid, rotated_back, rotated_views, to_object
from gpax_lab.nn import _fourier as waves

KEY = jax.random.key(1)


def lattice(shape=(9, 12), reach=(1.7, 1.9), finest=0.5):
    return waves.Lattice(waves.wave_vectors(reach, finest), reach, axes(shape))


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
    return waves.wave_image(of, coefficients, matrix, pose.shift)


def poses(count):
    keys = jax.random.split(KEY, 3)
    return Pose(
        jax.random.uniform(keys[0], (count,), minval=-3, maxval=3),
        0.3 * jax.random.normal(keys[1], (count, 2)),
        jnp.exp(0.2 * jax.random.normal(keys[2], (count,))),
    )


def test_images_of_waves_are_their_sums():
    of, pose = lattice(), poses(3)
    assert np.sum(np.all(of.whole == 0, axis=1)) == 1
    both = {tuple(row) for row in of.whole} & {tuple(-row) for row in of.whole if row.any()}
    assert not both, "a wave and its mirror image are the same"
    coefficients = jax.random.normal(KEY, (3, 2 * of.count))
    np.testing.assert_allclose(drawn(of, coefficients, pose), by_hand(of, (9, 12), coefficients, pose), atol=1e-10)


def test_slopes_of_images_are_those_of_differences():
    of, pose = lattice((6, 5), (1.5, 1.5), 0.8), poses(2)
    coefficients = jax.random.normal(KEY, (2, 2 * of.count))
    weight = jax.random.normal(KEY, (2, 6, 5))

    def value(coefficients, pose):
        return jnp.sum(weight * jnp.tanh(drawn(of, coefficients, pose)))

    check_grads(value, (coefficients, pose), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_spectra_of_waves_are_their_sums():
    reach = (1.4,)
    of = waves.Lattice(waves.wave_vectors(reach, 0.2), reach, axes((30,)))
    coefficients = jax.random.normal(KEY, (2, 2 * of.count))
    shift, scale = jnp.array([0.1, -0.2]), jnp.array([1.1, 0.9])
    found = waves.wave_spectrum(of, coefficients, 1 / scale, shift)
    wanted = by_hand(of, (30,), coefficients, Pose(None, shift[:, None], scale))
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("decoder", ["waves", "coordinates"])
def test_a_decoded_object_turns_with_its_pose(decoder):
    """Turning the pose by a quarter turns the image by a quarter, whatever the weights."""
    shape = (11, 11)
    module = vae.CoordinateDecoder(shape, (16, 16)) if decoder == "coordinates" else None
    model = vae.model(shape, 2, invariances=[vae.rotation(), vae.translation(0.1)], decoder=module)
    params = model.init(KEY, jnp.float64)
    z = jax.random.normal(KEY, (1, 2))
    trained = vae.Trained(model, params, None, "")
    pose = Pose(jnp.array([0.3]), jnp.array([[0.1, 0.2]]))
    picture = vae.decode(trained, z, pose=pose)
    quarter = rotated_back(pose, jnp.array([-np.pi / 2]))
    np.testing.assert_allclose(vae.decode(trained, z, pose=quarter), rotated_views(picture, 4)[:, 1], atol=1e-10)
