"""Encoder-decoders between two domains."""

import jax
import numpy as np
import pytest

from gpax_lab.nn import _encoders as encoders
from gpax_lab.nn._im2spec import _train, im2spec

KEY = jax.random.key(0)


def pairs(count=200):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(count, 4, 4))
    level = inputs.mean(axis=(1, 2))
    energy = np.linspace(0, 1, 12)
    spectra = 100.0 + 20.0 * level[:, None] * np.sin(3 * energy)[None] + 0.5 * rng.normal(size=(count, 12))
    return inputs, spectra


def test_it_predicts_in_the_users_units_and_knows_how_well():
    inputs, spectra = pairs()
    found = im2spec(
        KEY, inputs[:150], spectra[:150], encoders.mlp((4, 4), 1, (16,)), (16,), members=3, num_steps=800, noise=0.1
    )
    mean, variance = (np.asarray(part) for part in found.predict(inputs[150:]))
    assert mean.shape == spectra[150:].shape
    assert np.std(mean - spectra[150:]) < 0.6 * np.std(spectra[150:] - spectra[150:].mean(0))
    inside = np.mean(np.abs(mean - spectra[150:]) < 1.6449 * np.sqrt(variance))
    # 50 spectra of strongly related channels count like 50 numbers: 3 binomial standard deviations, 0.13.
    assert 0.9 - 0.13 < inside <= 1.0
    assert found.loss.shape == (3, 40)


def test_the_same_key_gives_the_same_network_and_bad_input_is_refused():
    inputs, spectra = pairs(20)
    encoder = encoders.mlp((4, 4), 1, (4,))
    first, second = (im2spec(KEY, inputs, spectra, encoder, (4,), members=1, num_steps=40) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    with pytest.raises(ValueError, match="takes inputs"):
        im2spec(KEY, inputs[:, :3], spectra, encoder)
    with pytest.raises(ValueError, match="finite"):
        im2spec(KEY, inputs, np.where(spectra > 100, np.nan, spectra), encoder)
    with pytest.raises(ValueError, match="num_steps"):
        im2spec(KEY, inputs, spectra, encoder, num_steps=0)
    with pytest.raises(ValueError, match="5 or more"):
        im2spec(KEY, inputs[:3], spectra[:3], encoder)
    with pytest.raises(ValueError, match="make it smaller"):
        im2spec(KEY, inputs[:6], spectra[:6], encoder, held_out=0.95)
    with pytest.raises(ValueError, match="capacity"):
        im2spec(KEY, inputs, spectra, encoder, capacity=10)
    with pytest.raises(ValueError, match=r"trained with held_out=0\.2"):
        im2spec(KEY, inputs, spectra, encoder, (4,), members=1, num_steps=40, held_out=0.3, start=first)
    with pytest.raises(ValueError, match="start has another"):
        im2spec(KEY, inputs, spectra, encoder, (4,), members=2, num_steps=40, start=first)


def test_spectra_to_images_in_units_of_any_size():
    """spec2im: the level of a patch from its spectrum, both in SI units as small as they come."""
    inputs, spectra = pairs()
    found = im2spec(KEY, 1e-19 * spectra[:150], 1e-24 * inputs[:150], encoders.mlp(12, 1, (16,)), (16,), 2, 600)
    mean, variance = (np.asarray(part) for part in found.predict(1e-19 * spectra[150:]))
    level, truth = mean.mean(axis=(1, 2)), 1e-24 * inputs[150:].mean(axis=(1, 2))
    assert np.corrcoef(level, truth)[0, 1] > 0.9
    inside = np.abs(mean - 1e-24 * inputs[150:]) < 1.6449 * np.sqrt(variance)
    # 800 pixels, all but independent: 3 binomial standard deviations are 0.03; the networks add some.
    assert abs(inside.mean() - 0.9) < 0.06


def test_training_goes_on_where_it_was_and_nothing_is_compiled_anew():
    inputs, spectra = pairs(40)
    encoder = encoders.mlp((4, 4), 1, (8,))
    settings = {"encoder": encoder, "widths": (8,), "members": 1, "num_steps": 40, "capacity": 40}
    found, sizes = None, []
    for count in (20, 21, 30, 40):
        found = im2spec(KEY, inputs[:count], spectra[:count], start=found, **settings)
        sizes.append(_train._cache_size())
    assert sizes[1] == sizes[3]
    alone = im2spec(KEY, inputs, spectra, **settings)
    assert found.loss.min() < alone.loss.min()  # 160 steps against 40
    # Room that is not used changes nothing.
    roomy = im2spec(KEY, inputs, spectra, **(settings | {"capacity": 64}))
    np.testing.assert_allclose(roomy.predict(inputs[:3])[0], alone.predict(inputs[:3])[0], rtol=1e-4)
