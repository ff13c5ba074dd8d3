"""What a trained model is used for, on models small enough to train in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import acquisition, bayes_opt, gp, laplace, observations, plot, simulate, vae
from gpax_lab.simulators import glyphs, loop_family

KEY = jax.random.key(8)


def letter(count, angle, shift, kind="L"):
    return glyphs(KEY, count, (16, 16), (kind,), angle, shift, thickness=0.12)


def test_angle_and_shift_are_found_again_and_their_doubt_is_of_the_right_size(turned):
    truth = letter(200, (-0.8, 0.8), 0.08)
    found = vae.encode(turned, truth.images)
    assert float(vae.circular_correlation(found.pose.angle, truth.angle)) > 0.98
    assert np.all(np.asarray(vae.shift_correlation(found.pose.shift, truth.shift)) > 0.9)
    assert found.pose_sd.angle.shape == (200,)
    assert found.content_sd.shape == (200, 1)
    assert float(jnp.std(found.content)) < 0.3, "with one letter there is nothing for the content to say"
    sines = jnp.stack([jnp.sin(found.pose.angle), jnp.cos(found.pose.angle)], axis=-1)
    assert float(vae.explained(sines, jnp.sin(truth.angle))[0]) > 0.95
    error = np.abs(np.asarray(vae.angle_error(found.pose.angle, truth.angle)))
    assert np.median(error) < 0.1


def test_decoding_what_was_encoded_gives_the_image_back(turned):
    truth = letter(30, (-0.7, 0.7), 0.05)
    again = vae.reconstruct(turned, truth.images)
    assert float(jnp.mean((again - truth.images) ** 2)) < 0.1 * float(jnp.var(truth.images))
    mean, variance = vae.predict(turned, KEY, truth.images, num_samples=16)
    assert mean.shape == variance.shape == (30, 16, 16)
    assert float(variance.min()) >= 0


def test_batches_change_nothing(turned):
    images = letter(23, (-0.7, 0.7), 0.05).images
    whole, pieces = vae.encode(turned, images), vae.encode(turned, images, batch_size=10)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_what_the_training_set_has_nothing_like_is_odd(turned):
    usual = vae.anomaly(turned, KEY, letter(40, (-0.7, 0.7), 0.05).images, num_samples=16)
    odd = vae.anomaly(turned, KEY, letter(40, (-0.7, 0.7), 0.05, "4").images, num_samples=16)
    assert float(jnp.min(odd)) > float(jnp.median(usual))


def test_manifold_and_traversal_go_through_the_prior(turned):
    tiles = vae.manifold(turned, 3, axes=(0, 0))
    assert tiles.shape == (3, 3, 16, 16)
    np.testing.assert_allclose(tiles[1, 1], vae.decode(turned, [[0.0]])[0], atol=1e-6)
    row = vae.traversal(turned, 0, 3)
    np.testing.assert_allclose(row[0, 0], vae.decode(turned, [[-1.959964]])[0], atol=1e-5)
    seen = np.linspace(0.4, 0.8, 101)[:, None]
    over = vae.manifold(turned, 3, axes=(0, 0), over=seen, coverage=1.0)
    np.testing.assert_allclose(over[0, 2], vae.decode(turned, [[0.8]])[0], atol=1e-5)
    with pytest.raises(ValueError, match="axes"):
        vae.manifold(turned, axes=(0, 1))
    with pytest.raises(ValueError, match="scaling"):
        vae.decode(turned, [[0.0]], pose=vae.Pose(scale=1.1))


def test_every_window_of_an_image_is_encoded_where_it_lies(turned):
    image = np.zeros((24, 30), np.float32)
    piece = np.asarray(letter(1, (-0.1, 0.1), 0.0).images[0])
    image[5:21, 8:24] = piece
    centres, found = vae.encode_windows(turned, image, step=1, batch_size=40)
    assert centres.shape == (9, 15, 2)
    at = 5 * 15 + 8
    np.testing.assert_allclose(centres[5, 8], [12.5, 15.5])
    np.testing.assert_allclose(found.pose.angle[at], vae.encode(turned, piece[None]).pose.angle[0], atol=1e-5)
    with pytest.raises(ValueError, match="at least"):
        vae.encode_windows(turned, np.zeros((10, 40)))


def test_examples_that_the_model_can_not_take_are_refused(turned):
    images = letter(3, (-0.1, 0.1), 0.0).images
    with pytest.raises(ValueError, match="classes"):
        vae.encode(turned, vae.examples(images, label=[0, 1, 2]))
    for use in (vae.predict, vae.anomaly):
        with pytest.raises(ValueError, match="sees"):
            use(turned, KEY, images[:, :8, :8])
        with pytest.raises(ValueError, match="conditions"):
            use(turned, KEY, images, condition=jnp.ones(3))
    with pytest.raises(ValueError, match="target"):
        vae.anomaly(turned, KEY, vae.examples(images, target=jnp.zeros((3, 1, 1))))


def test_tracks_join_the_nearest_and_remember_who_is_gone():
    frames = [[[0.0, 0.0], [10.0, 0.0]], [[10.5, 0.2], [0.3, 0.1]], [[0.5, 0.3], [20.0, 0.0]]]
    assert vae.trajectories(frames, 2.0).tolist() == [[0, 1, 0], [1, 0, -1], [-1, -1, 1]]
    assert vae.trajectories([np.zeros((0, 2)), [[1.0, 1.0]]], 1.0).tolist() == [[-1, 0]]
    with pytest.raises(ValueError, match="reach"):
        vae.trajectories(frames, 0.0)


def test_fisher_and_lee_by_brute_force():
    rng = np.random.default_rng(0)
    a = rng.uniform(-np.pi, np.pi, 40)
    b = a + 0.4 * rng.normal(size=40)
    i, j = np.triu_indices(40, 1)
    sa, sb = np.sin(a[i] - a[j]), np.sin(b[i] - b[j])
    wanted = np.sum(sa * sb) / np.sqrt(np.sum(sa**2) * np.sum(sb**2))
    np.testing.assert_allclose(vae.circular_correlation(a, b), wanted, rtol=1e-10)
    np.testing.assert_allclose(vae.circular_correlation(a, b + 2.0), wanted, rtol=1e-10)
    np.testing.assert_allclose(vae.circular_correlation(a, -a), -1.0, rtol=1e-10)
    np.testing.assert_allclose(vae.angle_error(a + 3.0, a), 0.0, atol=1e-10)
    np.testing.assert_allclose(vae.angle_error(a / 4 + np.pi / 2, a / 4, order=4), 0.0, atol=1e-9)


def test_the_centre_of_an_object_is_free_and_taken_out():
    rng = np.random.default_rng(1)
    truth, angle = rng.normal(size=(50, 2)), rng.uniform(-3, 3, 50)
    turned_centre = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * 5.0
    assert np.max(vae.shift_correlation(truth + turned_centre, truth)) < 0.8
    np.testing.assert_allclose(vae.shift_correlation(truth + turned_centre, truth, angle), 1.0, atol=1e-10)


@pytest.mark.slow
def test_conditions_are_known_and_change_the_image():
    found = letter(120, (-0.1, 0.1), 0.0)
    four = glyphs(KEY, 120, (16, 16), ("4",), (-0.1, 0.1), 0.0, thickness=0.12)
    images = jnp.concatenate([found.images, four.images])
    which = jnp.repeat(jnp.eye(2), 120, axis=0)
    model = vae.model((16, 16), 1, conditions=2, encoder=vae.MLP((32,)), decoder=vae.MLPDecoder((16, 16), (32,)))
    trained = vae.train(KEY, model, vae.examples(images, condition=which), 40, 40, 3e-3, progress=False)
    one, other = (vae.decode(trained, [[0.0]], condition=which[k : k + 1])[0] for k in (0, 200))
    mean = [images[:120].mean(axis=0), images[120:].mean(axis=0)]
    assert float(jnp.sum((one - mean[0]) ** 2)) < float(jnp.sum((one - mean[1]) ** 2))
    assert float(jnp.sum((other - mean[1]) ** 2)) < float(jnp.sum((other - mean[0]) ** 2))
    with pytest.raises(ValueError, match="conditions"):
        vae.decode(trained, [[0.0]])
    with pytest.raises(ValueError, match="conditions"):
        vae.encode(trained, images)


@pytest.mark.slow
def test_kinds_of_loops_are_told_apart_by_a_few_labels_and_spectra_have_shifts():
    truth = loop_family(KEY, 240, 32)
    label = np.where(np.arange(240) < 24, truth.classes, -1)
    shaped = vae.ConvNet((8, 8), 32, axes=1)
    model = vae.model(
        32, 2, classes=3, likelihood=vae.gaussian(), encoder=shaped, invariances=[vae.translation(0.1, 1)]
    )
    data = vae.examples(truth.loops, label=label)
    weights = vae.Weights(label=50.0)
    trained = vae.train(KEY, model, data, 30, 40, 3e-3, weights, progress=False)
    found = vae.encode(trained, truth.loops)
    np.testing.assert_allclose(jnp.sum(found.classes, axis=1), 1.0, rtol=1e-5)
    assert np.mean(np.asarray(found.label)[24:] == np.asarray(truth.classes)[24:]) > 0.9
    known = vae.encode(trained, data)
    np.testing.assert_array_equal(known.label[:24], truth.classes[:24])
    assert vae.traversal(trained, 1, 5).shape == (3, 5, 32)


@pytest.mark.slow
def test_a_property_is_inferred_where_it_was_not_measured():
    truth = loop_family(KEY, 300, 32, num_classes=1, noise=0.02)
    coercive = (np.asarray(truth.coercive) - 3.5) / 0.87
    known = np.where(np.arange(300) < 60, coercive, np.nan)
    model = vae.model(32, 1, properties=1, likelihood=vae.gaussian())
    data = vae.examples(truth.loops, properties=known)
    trained = vae.train(KEY, model, data, 40, 50, 2e-3, vae.Weights(label=30.0), progress=False)
    found = vae.encode(trained, truth.loops)
    rest = np.asarray(found.properties)[60:, 0]
    assert np.corrcoef(rest, coercive[60:])[0, 1] > 0.95
    assert found.properties_sd.shape == (300, 1)


def test_one_domain_is_translated_into_the_other():
    truth = loop_family(KEY, 200, 32, num_classes=1, noise=0.02)
    height = np.asarray(truth.coercive)[:, None, None]
    rows = np.arange(12)[None, :, None]
    images = np.broadcast_to(np.clip((height - 2) / 3 * 12 - rows, 0, 1), (200, 12, 12))
    model = vae.model((12, 12), 2, output=32, likelihood=vae.gaussian())
    data = vae.examples(images, target=truth.loops)
    trained = vae.train(KEY, model, data, 40, 40, 2e-3, progress=False)
    mean, variance = vae.predict(trained, KEY, images)
    left = np.mean((np.asarray(mean) - np.asarray(truth.loops)) ** 2)
    assert left < 0.5 * np.var(truth.loops)
    inside = np.abs(np.asarray(mean) - np.asarray(truth.loops)) < 1.645 * np.sqrt(variance)
    assert 0.8 < inside.mean() < 0.99


def test_a_property_is_optimised_over_the_latent_space(turned):
    """A Gaussian process on the latents, and an experiment that measures the most promising image."""
    truth = letter(60, (-0.7, 0.7), 0.05)
    angle = np.asarray(vae.encode(turned, truth.images).pose.angle, float)
    z = jnp.asarray(angle)[:, None]
    value = jnp.asarray(np.cos(np.asarray(truth.angle, float) - 0.3))
    box = np.array([[angle.min() - 0.1, angle.max() + 0.1]])
    plan = bayes_opt(gp.exact(1, bounds=box), laplace(64), acquisition.ucb(1.0), acquisition.pool(z))

    def measure(key, x):
        return value[jnp.argmin(jnp.abs(z[:, 0] - x[0]))]

    start = observations(z[:3], value[:3], capacity=16)
    _, path = simulate(KEY, plan, measure, 8, start)
    assert float(jnp.max(path.y)) > float(jnp.sort(value)[-6])


def test_images_are_drawn(turned):
    truth = letter(12, (-0.7, 0.7), 0.05)
    figure = plot.manifold(vae.manifold(turned, 3, axes=(0, 0)))
    assert len(figure.axes) == 9
    shown = figure.axes[4].images[0].get_array()
    np.testing.assert_allclose(shown, vae.decode(turned, [[0.0]])[0], atol=1e-6)
    spectra = plot.manifold(np.arange(120.0).reshape(2, 3, 20))
    assert len(spectra.axes) == 6
    with pytest.raises(ValueError, match="images"):
        plot.manifold(np.zeros((3, 20)))
    places = np.stack([np.arange(12.0), np.arange(12.0) * 2], axis=-1)
    mapped = plot.latent_map(np.zeros((20, 30)), places, np.asarray(truth.angle), ("angle", "rad"), cyclic=True)
    offsets = mapped.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(offsets, places[:, ::-1])
    assert mapped.axes[1].get_ylabel() == "angle (rad)"
    classes = plot.latent_map(np.zeros((20, 30)), places, np.arange(12) % 3, "class")
    assert [t.get_text() for t in classes.axes[0].get_legend().get_texts()] == ["0", "1", "2"]
    course = plot.training(turned.history)
    np.testing.assert_allclose(course.axes[0].lines[0].get_ydata(), turned.history.terms.elbo)
    with pytest.raises(ValueError, match="positions"):
        plot.latent_map(np.zeros((20, 30)), places[:3], np.zeros(4))


def test_images_are_scaled_together():
    images = 1e-9 * np.arange(32.0).reshape(2, 4, 4)
    found = vae.unit_range(images)
    assert float(found.min()) == 0
    assert float(found.max()) == 1
    assert float(found[1].mean()) > float(found[0].mean())
    np.testing.assert_allclose(vae.unit_range(images, 0.0, 31e-9).reshape(-1), np.arange(32) / 31, rtol=1e-6)
    with pytest.raises(ValueError, match="alike"):
        vae.unit_range(np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match="finite"):
        vae.unit_range(np.full((2, 4, 4), np.nan))
