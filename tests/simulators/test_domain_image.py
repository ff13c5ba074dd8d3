"""Domains that are written and looked at: the fourth law, images of known area, and the radius back from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core._priors import as_program, sample
from gpax_lab.images import domain_radius
from gpax_lab.laws import domain_writing as domains
from gpax_lab.simulators import domain_image
from gpax_lab.simulators._domain_image import written_radius

jax.config.update("jax_numpy_rank_promotion", "raise")
KEYS = jax.random.split(jax.random.key(0), 200)
TRUE = {"h": 4.5, "Vp": 2.0, "t0": -0.5, "mu": 0.6}
LAW = domains.wall_pinning((1.0, 10.0), 6.0)


def pinned(v, t, h, Vp, t0, mu):
    """Where the field of a charge falls to the pinning field, times the share of the way done, by bisection."""
    if v <= Vp:
        return 0.0
    low, high = 0.0, 100.0 * h
    for _ in range(200):
        r = 0.5 * (low + high)
        low, high = (r, high) if v / h * (1 + (r / h) ** 2) ** -1.5 > Vp / h else (low, r)
    return low / (1 + (10**t0 / 10**t) ** mu)


@pytest.mark.parametrize(("v", "t"), [(1.0, 0.0), (2.5, -3.0), (5.0, -0.5), (10.0, 2.0)])
def test_wall_pinning_stops_where_the_field_is_the_pinning_field(v, t):
    value = LAW.mean(jnp.array([v, t]), TRUE)
    np.testing.assert_allclose(value, pinned(v, t, **TRUE), atol=1e-8)


def test_wall_pinning_has_a_threshold_and_saturates():
    at = jax.vmap(lambda x: LAW.mean(x, TRUE))
    late = at(jnp.array([[8.0, 4.0], [8.0, 12.0]]))
    assert late[1] / late[0] < 1.01  # eight decades more, and no farther
    early = at(jnp.array([[8.0, -2.0], [8.0, -1.0]]))
    assert early[1] / early[0] > 2.0
    assert at(jnp.array([[1.5, 2.0]]))[0] < 1e-9


def test_wall_pinning_has_finite_gradients_everywhere_and_a_prior_that_covers_the_truth():
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(1.0, 10.0, 19), jnp.linspace(-3.0, 2.0, 6)), -1).reshape(-1, 2)
    draws = jax.vmap(lambda key: sample(key, as_program(LAW.prior)))(KEYS[:50])
    draws = {name: values for name, values in draws.items() if name in LAW.prior}
    for at in (TRUE, jax.tree.map(lambda v: v[3], draws)):
        slopes = jax.vmap(jax.grad(lambda p, x: LAW.mean(x, p)), (None, 0))(at, grid)
        assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(slopes))
    assert all(LAW.prior[name].log_prob(value) > -5.0 for name, value in TRUE.items())
    highest = jax.vmap(lambda p: LAW.mean(jnp.array([10.0, 2.0]), p))(draws)
    assert 2.0 < float(jnp.median(highest)) < 12.0  # of the order of r = 6


def images(radius, **options):
    options = {"n": 64, "pixel": 3.0, "wall": 2.0, "rough": 0.05, "jitter": 3.0, "noise": 0.05} | options
    return jax.vmap(lambda key: domain_image(key, radius, **options))(KEYS)


@pytest.mark.parametrize("radius", [6.5, 15.0, 40.0, 75.0])
def test_radius_comes_back_within_its_stated_error(radius):
    r, sd = jax.vmap(lambda image: domain_radius(image, 3.0))(images(radius))
    assert abs(float(r.mean()) / radius - 1.0) < 0.02
    z = (np.asarray(r) - radius) / np.asarray(sd)
    # Of 200 deviates the standard deviation has a standard error of 5 percent; half a unit is left for the pixels.
    assert 0.8 < np.std(z) < 1.5
    # noise-free discs of smooth walls: only the tail of the wall inside the centre is left
    clean = domain_image(KEYS[0], radius, 64, 3.0, 2.0)
    assert abs(float(domain_radius(clean, 3.0)[0]) / radius - 1.0) < (0.02 if radius < 10.0 else 2e-3)


def test_radius_of_a_disc_counted_by_hand():
    image = np.ones((8, 8))
    image[3:5, 3:5] = -1.0
    image[2, 3] = 0.0  # half reversed
    r, sd = domain_radius(image, 2.0)
    np.testing.assert_allclose(r, np.sqrt(4.5 * 4.0 / np.pi), rtol=1e-12 if r.dtype == np.float64 else 1e-6)
    assert float(sd) == 0.0


def test_no_domain_is_radius_zero_within_noise():
    r, sd = jax.vmap(lambda image: domain_radius(image, 3.0))(images(0.0))
    # the area is above two standard deviations in 2.3 percent of 200 images; 12 is four standard errors more
    assert np.count_nonzero(r) <= 12
    assert np.all(np.asarray(r) <= 2.0 * np.asarray(sd).max())
    assert np.all(np.asarray(sd) < 6.0)  # two pixels


def test_domain_that_leaves_the_image_has_no_radius():
    for image in (domain_image(KEYS[0], 100.0, 64, 3.0, 2.0), np.full((8, 8), np.nan)):
        assert all(np.isnan(v) for v in domain_radius(image, 3.0))
    with pytest.raises(ValueError, match="two rows"):
        domain_radius(np.ones(5), 1.0)


def test_scatter_grows_with_the_radius_and_nothing_nucleates_below_the_threshold():
    for r, expected in ((1.0, 0.25), (6.0, 0.5)):
        written = jax.vmap(lambda key, r=r: written_radius(key, r, 0.1, 0.2, 0.05))(KEYS)
        assert abs(float(written.mean()) - r) < 4 * expected / np.sqrt(200)
        assert abs(float(written.std()) / expected - 1.0) < 4 / np.sqrt(400)
    assert float(written_radius(KEYS[0], 0.05, 0.1, 0.2, 0.05)) == 0.0
    assert float(jax.vmap(lambda key: written_radius(key, 0.11, 0.1, 0.2, 0.05))(KEYS).min()) == 0.0
