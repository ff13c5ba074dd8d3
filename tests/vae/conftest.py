"""Small models and images that several tests share."""

import jax
import numpy as np
import pytest

from gpax_lab import vae
from gpax_lab.simulators import glyphs


@pytest.fixture(scope="session")
def letters():
    """Two letters, turned by up to 0.8 rad and shifted."""
    return glyphs(jax.random.key(3), 400, (16, 16), ("F", "L"), (-0.8, 0.8), 0.08, thickness=0.12)


@pytest.fixture(scope="session")
def turned(letters):
    """A model that knows of turns and shifts, trained on the letter L for a little while."""
    some = np.asarray(letters.classes) == 1
    model = vae.model(
        (16, 16), 1, invariances=[vae.rotation("normal"), vae.translation(0.1)], encoder=vae.MLP((64, 64))
    )
    data = vae.examples(np.asarray(letters.images)[some])
    return vae.train(jax.random.key(0), model, data, epochs=60, batch_size=25, learning_rate=3e-3, progress=False)
