"""Deep kernels against plain algebra, and their contract with samplers and campaigns."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flax import linen as nn
from scipy.ndimage import gaussian_filter

from gpax_lab import acquisition, bayes_opt, gp, laplace, nuts, observations, simulate
from gpax_lab.images import around, pixel_positions
from gpax_lab.inference import ensemble
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.kernels import linear as linear_kernel
from gpax_lab.models import SpectralBasis, multi_output
from gpax_lab.models._deep_kernel import REACH, deep_kernel, embed
from gpax_lab.models._multi_output import mixture_moments
from gpax_lab.models._structure import BRIGHTNESS, PATTERN, POSITION, descriptions
from gpax_lab.nn import _encoders as encoders
from gpax_lab.nn import _layers as layers
from gpax_lab.nn import _pretrain as pretrain
from gpax_lab.priors import sample

KEY = jax.random.key(0)
IMAGE = np.asarray(jax.random.normal(KEY, (16, 16)))
PLACES = pixel_positions((16, 16))
SMALL = encoders.mlp((4, 4), 2, (8,))
PARAMS = {"lengthscale": jnp.array([0.3, 0.4]), "variance": jnp.array(1.2), "noise": jnp.array(0.05)}
WEIGHTS = jax.random.normal(jax.random.key(1), (SMALL.size,))


def readings(count=6, capacity=8):
    x = np.asarray(PLACES[:: 256 // count][:count])
    return observations(x, np.sin(np.arange(count)), capacity=capacity)


def test_the_density_is_that_of_a_process_on_the_features():
    look, obs = around(IMAGE, 4), readings()
    model = deep_kernel(SMALL, look, standardize=False)
    z = np.asarray(embed(SMALL, look, WEIGHTS, obs.x))[:6]
    unit = (z + REACH) / (2 * REACH) / np.array([0.3, 0.4])
    r = np.linalg.norm(unit[:, None] - unit[None], axis=-1)
    k = 1.2 * (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r) + 0.05 * np.eye(6)
    y = np.sin(np.arange(6))
    k += np.finfo(float).eps ** 0.625 * 1.2 * np.eye(6)
    expected = -0.5 * (y @ np.linalg.solve(k, y) + np.linalg.slogdet(k)[1] + 6 * np.log(2 * np.pi))
    got = model.log_likelihood({**PARAMS, "weights": WEIGHTS}, obs)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_a_mean_function_sees_the_point_and_the_kernel_only_the_features():
    look, obs = around(IMAGE, 4), readings()
    mean = lambda x, p: p["slope"] * x[0]  # noqa: E731
    model = deep_kernel(SMALL, look, mean=mean, prior={"slope": dist.Normal(0.0, 1.0)}, standardize=False)
    bare = deep_kernel(SMALL, look, standardize=False)
    params = {**PARAMS, "weights": WEIGHTS}
    less = obs._replace(y=obs.y - 0.3 * obs.x[:, 0])
    with_mean = model.log_likelihood({**params, "slope": jnp.array(0.3)}, obs)
    np.testing.assert_allclose(with_mean, bare.log_likelihood(params, less), rtol=1e-10)


def test_points_enter_the_kernel_beside_the_features():
    look, obs = around(IMAGE, 4), readings()
    model = deep_kernel(SMALL, look, positions=True, bounds=[[0, 15], [0, 15]], standardize=False)
    # Features that matter to nobody leave a process on the coordinates.
    params = {**PARAMS, "lengthscale": jnp.array([1e9, 1e9, 0.3, 0.4]), "weights": WEIGHTS}
    plain = gp.exact(2, bounds=[[0, 15], [0, 15]], standardize=False)
    np.testing.assert_allclose(model.log_likelihood(params, obs), plain.log_likelihood(PARAMS, obs), rtol=1e-8)
    with pytest.raises(ValueError, match="bounds"):
        deep_kernel(SMALL, look, positions=True)


def test_empty_slots_change_nothing():
    look = around(IMAGE, 4)
    model = deep_kernel(SMALL, look)
    params = {**PARAMS, "weights": WEIGHTS}
    slope = jax.jit(jax.value_and_grad(model.log_likelihood))
    values = [slope(params, readings(capacity=c)) for c in (6, 16)]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), values[0][1], values[1][1])


def test_the_prior_of_the_weights_keeps_features_of_order_one():
    inputs = jax.random.normal(KEY, (200, 12, 12))
    for encoder in (encoders.mlp((12, 12)), encoders.convolutional((12, 12))):
        draws = jax.random.normal(jax.random.key(2), (50, encoder.size))
        z = jax.lax.map(lambda w, e=encoder: e.apply(w, inputs), draws)
        # Features of size one, give or take: most inputs lie in the box that the kernel looks at, and do not huddle.
        size = float(jnp.sqrt(jnp.mean(z**2)))
        assert REACH / 20 < size < REACH / 2, size


@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_pooling_does_not_see_a_turn(mirrored):
    patch = jax.random.normal(KEY, (3, 6, 6))
    encoder = encoders.rotation_pooled(encoders.mlp((6, 6), 3, (8,)), mirrored)
    weights = jax.random.normal(KEY, (encoder.size,))
    turned = jnp.rot90(patch, 1, axes=(1, 2))
    np.testing.assert_allclose(encoder.apply(weights, patch), encoder.apply(weights, turned), atol=1e-12)
    flipped = encoder.apply(weights, jnp.flip(patch, axis=2))
    assert np.allclose(encoder.apply(weights, patch), flipped, atol=1e-12) == mirrored


def test_our_convolution_is_that_of_flax():
    encoder = encoders.convolutional((6, 6), 2, (3,), 4, translations=True)
    weights = jax.random.normal(KEY, (encoder.size,))
    x = jax.random.normal(jax.random.key(3), (2, 6, 6))
    moved = jnp.roll(x, (1, 1), axis=(1, 2))
    inner = jnp.zeros((2, 6, 6)).at[:, 2:4, 2:4].set(x[:, 2:4, 2:4])
    shifted = jnp.zeros((2, 6, 6)).at[:, 3:5, 3:5].set(x[:, 2:4, 2:4])
    # Averaged over the patch, what moves inside the border is seen alike; what is not pooled is not.
    np.testing.assert_allclose(encoder.apply(weights, inner), encoder.apply(weights, shifted), atol=1e-12)
    assert not np.allclose(encoder.apply(weights, x), encoder.apply(weights, moved), atol=1e-6)
    flat = layers.Convolution(5)
    kernel = jax.random.normal(KEY, (9 * 2, 5))
    image = jax.random.normal(KEY, (1, 6, 6, 2))
    own = flat.apply({"params": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(5)}}}, image)
    theirs = nn.Conv(5, (3, 3), use_bias=False).apply({"params": {"kernel": kernel.reshape(3, 3, 2, 5)}}, image)
    np.testing.assert_allclose(own, theirs, atol=1e-5)


def test_a_frozen_encoder_has_no_weights_and_a_last_layer_only_its_own():
    inputs = jax.random.normal(KEY, (5, 4, 4))
    known = encoders.frozen(SMALL, WEIGHTS)
    np.testing.assert_allclose(known.apply(jnp.zeros(0), inputs), SMALL.apply(WEIGHTS, inputs))
    below, last = encoders.body(SMALL, WEIGHTS), encoders.last_layer(SMALL, WEIGHTS, 3)
    free = jax.random.normal(KEY, (last.size,))
    assert (known.size, below.features, last.size, last.features) == (0, 8, 24, 3)
    expected = np.asarray(below.apply(jnp.zeros(0), inputs)) @ np.asarray(free).reshape(8, 3)
    np.testing.assert_allclose(last.apply(free, inputs), expected, atol=1e-12)
    model = deep_kernel(known, around(IMAGE, 4))
    assert "weights" not in sample(KEY, model.prior)
    with pytest.raises(ValueError, match="weights"):
        encoders.frozen(SMALL, WEIGHTS[:-1])
    with pytest.raises(ValueError, match="last layer"):
        encoders.last_layer(known, jnp.zeros(0))


def test_a_linear_kernel_on_the_body_is_bayesian_linear_regression():
    look, obs = around(IMAGE, 4), readings()
    below = encoders.body(SMALL, WEIGHTS)
    model = deep_kernel(below, look, kernel=linear_kernel, standardize=False,
                        prior={"lengthscale": 1.0, "variance": 1.0})  # fmt: skip
    h = np.asarray(below.apply(jnp.zeros(0), look(obs.x)))[:6] / (2 * REACH)
    gram = 1.0 + h @ h.T + (0.05 + np.finfo(float).eps ** 0.625 * np.mean(1 + np.sum(h**2, 1))) * np.eye(6)
    y = np.sin(np.arange(6))
    expected = -0.5 * (y @ np.linalg.solve(gram, y) + np.linalg.slogdet(gram)[1] + 6 * np.log(2 * np.pi))
    params = {"lengthscale": jnp.array(1.0), "variance": jnp.array(1.0), "noise": jnp.array(0.05)}
    np.testing.assert_allclose(model.log_likelihood(params, obs), expected, rtol=1e-9)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="shape"):
        deep_kernel(SMALL, around(IMAGE, 5))
    with pytest.raises(ValueError, match="square"):
        encoders.rotation_pooled(encoders.mlp((4, 5)))
    with pytest.raises(ValueError, match="patches"):
        encoders.convolutional(16)
    with pytest.raises(ValueError, match="principal"):
        pretrain.principal_components(jnp.zeros((3, 4)), 4)
    with pytest.raises(ValueError, match="alike"):
        pretrain.autoencoder(KEY, SMALL, jnp.ones((5, 4, 4)))


class TestEnsemble:
    """Training, on a target that the structure determines. One model, one sampler, one shape: one compilation."""

    look = staticmethod(around(IMAGE, 3))
    encoder = encoders.mlp((3, 3), 2, (8,))
    truth = np.asarray(around(IMAGE, 3)(PLACES)).mean(axis=(1, 2))
    model = deep_kernel(encoder, look)
    sampler = ensemble(4, num_steps=400, num_update_steps=20)

    def data(self, count=40):
        rows = np.random.default_rng(0).permutation(256)[:count]
        return rows, observations(np.asarray(PLACES)[rows], self.truth[rows], capacity=48)

    def test_an_update_goes_on_with_as_many_members(self):
        _, obs = self.data()
        posterior = ensemble(2, num_steps=2, num_update_steps=2, every=1).init(KEY, self.model, obs)
        with pytest.raises(ValueError, match="2 members, the sampler 4"):
            self.sampler.update(KEY, posterior, obs)
        other = laplace(4, starts=1, iterations=2).init(KEY, gp.exact(2, bounds=[[0, 15], [0, 15]]), obs)
        with pytest.raises(ValueError, match="another sampler"):
            self.sampler.update(KEY, other, obs)

    def test_it_learns_and_training_stops_at_the_best_leave_one_out(self):
        rows, obs = self.data()
        posterior = self.sampler.init(KEY, self.model, obs)
        mean, _ = posterior.moments(PLACES)
        rest = np.setdiff1d(np.arange(256), rows)
        # The mean of nine pixels is linear in the patch: 40 observations are several for each of its nine weights.
        assert np.std(np.asarray(mean)[rest] - self.truth[rest]) < 0.5 * np.std(self.truth[rest])
        assert posterior.params["weights"].shape == (4, self.encoder.size)
        space = unconstrained_density(self.model, obs.y.dtype)

        @jax.jit
        def score(params):
            loo, variance = self.model.leave_one_out(params, obs)
            terms = -0.5 * (jnp.log(2 * jnp.pi * variance) + (obs.y - loo) ** 2 / variance)
            return jnp.sum(jnp.where(obs.measured, terms, 0.0))

        # The kept point is never worse than the start, by the score that chose it.
        for member, key in enumerate(jax.random.split(KEY, 4)):
            kept = jax.tree.map(lambda leaf, m=member: leaf[m], posterior.params)
            assert score(kept) >= score(space.constrain(space.draw(key)))

    def test_an_update_goes_on_from_where_it_was_and_compiles_nothing(self, monkeypatch):
        _, obs = self.data()
        posterior = self.sampler.init(KEY, self.model, obs)
        monkeypatch.setitem(self.model.__dict__, "log_likelihood", lambda params, obs: pytest.fail("traced again"))
        more = obs._replace(y=obs.y.at[0].add(1e-3))
        again = self.sampler.update(KEY, posterior, more)
        moved = jnp.max(jnp.abs(again.tuning.z - posterior.tuning.z))
        # Adam moves a parameter by about its rate in a step; from another start they would be several apart.
        assert 0 < moved < 1.5 * 0.02 * 20

    def test_a_campaign_on_structure(self):
        truth, places = jnp.asarray(self.truth), PLACES
        plan = bayes_opt(self.model, self.sampler, acquisition.ucb(1.0), acquisition.pool(places), batch_size=2)
        _, obs = self.data(6)

        def measure(key, x):
            return truth[jnp.argmin(jnp.sum((places - x[None]) ** 2, axis=1))]

        _, path = simulate(KEY, plan, measure, 3, obs)
        assert path.x.shape == (3, 2, 2)
        assert len({tuple(x) for x in np.asarray(path.x).reshape(-1, 2)}) == 6


def test_columns_of_a_vector_model_are_processes_of_their_own():
    obs = readings()
    both = obs._replace(y=jnp.stack([obs.y, 2.0 - 3.0 * obs.y], axis=1))
    single = gp.exact(2, bounds=[[0, 15], [0, 15]])
    model = multi_output(single, 2)
    parts = [single.log_likelihood(PARAMS, obs._replace(y=both.y[:, k])) for k in (0, 1)]
    np.testing.assert_allclose(model.log_likelihood(PARAMS, both), sum(parts), rtol=1e-12)
    factor = model.condition(PARAMS, both)
    mean, variance = model.predict(PARAMS, factor, PLACES[:5])
    lone = single.predict(PARAMS, single.condition(PARAMS, obs), PLACES[:5])
    np.testing.assert_allclose(mean[:, 0], lone[0], rtol=1e-10)
    np.testing.assert_allclose(mean[:, 1], 2.0 - 3.0 * lone[0], rtol=1e-8)
    np.testing.assert_allclose(variance[:, 1], 9.0 * lone[1], rtol=1e-8)
    posterior = ensemble(members=1, num_steps=1, every=1).init(KEY, model, both)
    assert mixture_moments(posterior, PLACES[:5])[0].shape == (5, 2)
    with pytest.raises(ValueError, match="outputs"):
        model.log_likelihood(PARAMS, obs)


@pytest.mark.parametrize("features", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_drawn_functions_keep_their_variance_in_feature_space(features):
    look = around(gaussian_filter(IMAGE, 1.0), 5)
    encoder = pretrain.principal_components(look(PLACES), features).encoder
    model = deep_kernel(encoder, look, standardize=False, bounds=[[0, 15], [0, 15]])
    params = PARAMS | {"lengthscale": jnp.full(features, 0.2)}
    obs = readings()
    factor = model.condition(params, obs)
    exact = jnp.sqrt(model.predict(params, factor, PLACES)[1])
    drawn = jnp.std(model.paths(params, factor, obs, KEY, 400, PLACES), axis=0)
    far = exact > 0.3  # elsewhere an observation says it all
    # Without places to be exact at, 5 features kept 0.6 of it. 400 draws: 3.5 percent each, and alike at near places.
    assert abs(float(jnp.median(drawn[far] / exact[far])) - 1.0) < 0.1


def test_inputs_in_other_units_are_refused_and_pretrained_networks_take_them():
    raw = 1000.0 + 100.0 * IMAGE
    with pytest.raises(ValueError, match="normalized"):
        deep_kernel(SMALL, around(raw, 4))
    with pytest.raises(ValueError, match="normalized"):
        deep_kernel(SMALL, around(1e-9 * IMAGE, 4))
    found = pretrain.autoencoder(KEY, SMALL, around(raw, 4)(PLACES), num_steps=20, batch_size=16)
    inner = encoders.last_layer(found.network, found.weights)
    deep_kernel(inner, around(raw, 4))
    below = encoders.body(found.network, found.weights).apply(jnp.zeros(0), around(raw, 4)(PLACES))
    standard = (np.asarray(around(raw, 4)(PLACES)) - np.mean(around(raw, 4)(PLACES))) / np.std(around(raw, 4)(PLACES))
    expected = encoders.body(SMALL, found.weights).apply(jnp.zeros(0), jnp.asarray(standard))
    np.testing.assert_allclose(below, expected, atol=1e-6)


@pytest.mark.slow
def test_a_last_layer_is_sampled_and_covers():
    """Fully Bayesian on a body trained without labels; what the features do not hold is noise to the model."""
    look = around(IMAGE, 3)
    truth = np.asarray(jnp.tanh(2 * look(PLACES).mean(axis=(1, 2))))
    rng = np.random.default_rng(3)
    rows = rng.permutation(256)
    train, test = rows[:40], rows[40:]
    obs = observations(np.asarray(PLACES)[train], truth[train] + 0.05 * rng.normal(size=40), capacity=40)
    found = pretrain.autoencoder(KEY, encoders.mlp((3, 3), 4, (16,)), look(PLACES), num_steps=1500)
    model = deep_kernel(encoders.last_layer(found.network, found.weights, 1), look)
    posterior = nuts(200, 200).init(KEY, model, obs)
    mean, variance = (np.asarray(part) for part in posterior.moments(PLACES[test]))
    variance = variance + np.exp(posterior.log_weight) @ np.asarray(posterior.noise_variance(PLACES[test]))
    missed = truth[test] + 0.05 * rng.normal(size=len(test)) - mean
    assert np.sqrt(np.mean(missed**2)) < 0.8 * np.std(truth)
    # 216 places share 40 observations: count them as 40, 3 binomial standard deviations.
    assert abs(np.mean(np.abs(missed) < 1.6449 * np.sqrt(variance)) - 0.9) < 0.14


@pytest.mark.slow
def test_three_descriptions_of_a_point_compete_in_any_unit():
    truth = np.asarray(IMAGE).ravel()
    metres = lambda x: 1e-9 * (5.0 + around(IMAGE, 1)(x)).reshape(-1, 1)  # noqa: E731
    models = descriptions(1000.0 + IMAGE, PLACES, 3, brightness=metres, standardize=(0.0, 1.0))
    assert tuple(models) == (POSITION, BRIGHTNESS, PATTERN)
    rows = np.random.default_rng(0).permutation(256)
    obs = observations(np.asarray(PLACES)[rows[:24]], truth[rows[:24]], capacity=24)
    errors = {}
    for name, model in models.items():
        posterior = laplace(num_samples=4, starts=1, iterations=30).init(KEY, model, obs)
        errors[name] = float(np.sqrt(np.mean((np.asarray(posterior.moments(PLACES)[0]) - truth) ** 2)))
    assert errors[BRIGHTNESS] < 0.2 < errors[POSITION]
    with pytest.raises(ValueError, match="differ in rows"):
        descriptions(IMAGE, np.zeros((5, 2)), 3)


def test_a_spectral_basis_restores_what_it_holds():
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(2, 30))
    spectra = 5.0 + rng.normal(size=(20, 2)) @ shapes
    basis = SpectralBasis.of(spectra, 2)
    got, variance = basis.spectra(basis.coefficients(spectra), jnp.ones((20, 2)))
    np.testing.assert_allclose(got, spectra, atol=1e-10)
    np.testing.assert_allclose(
        variance, np.broadcast_to(np.sum(np.asarray(basis.components) ** 2, 0), (20, 30)), atol=1e-10
    )
    np.testing.assert_allclose(basis.explained, 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="finite"):
        SpectralBasis.of(np.full((4, 5), np.nan), 2)


def test_what_a_basis_leaves_out_is_that_of_new_spectra():
    """Two directions and noise of variance 1, four components kept: 30 repeats of 12 spectra, seen on 200 others."""
    rng = np.random.default_rng(1)
    shapes = 3.0 * rng.normal(size=(2, 40))
    said, found = [], []
    for _ in range(30):
        spectra = rng.normal(size=(212, 2)) @ shapes + rng.normal(size=(212, 40))
        basis = SpectralBasis.of(spectra[:12], 4)
        away = spectra[12:] - np.asarray(basis.mean)
        rows = np.asarray(basis.components)
        said.append(float(np.mean(basis.residual_variance)))
        found.append(float(np.mean((away - away @ rows.T @ rows) ** 2)))
    # One spectrum less was there to learn from, which costs a few percent.
    assert 0.97 < np.mean(said) / np.mean(found) < 1.1
    with pytest.raises(ValueError, match="components"):
        SpectralBasis.of(np.ones((3, 5)), 2)


def test_directions_that_inputs_do_not_have_are_no_features():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 16))
    found = pretrain.principal_components(flat.reshape(30, 4, 4), 3).encoder
    z = np.asarray(found.apply(jnp.zeros(0), jnp.asarray(rng.normal(size=(20, 4, 4)))))
    assert np.abs(z[:, :2]).max() < 100
    assert (z[:, 2] == 0).all()
    with pytest.raises(ValueError, match="between 1 and 3"):
        pretrain.principal_components(flat[:4].reshape(4, 4, 4), 4)
    with pytest.raises(ValueError, match="alike"):
        pretrain.principal_components(np.ones((5, 4)), 2)


def test_principal_components_are_standardised_scores():
    patches = np.asarray(around(IMAGE, 4)(PLACES))
    found = pretrain.principal_components(jnp.asarray(patches), 3)
    z = np.asarray(found.encoder.apply(jnp.zeros(0), jnp.asarray(patches)))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(3), atol=1e-10)


def test_an_autoencoder_finds_the_two_numbers_behind_its_inputs():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, 2))
    patches = jnp.asarray((hidden @ rng.normal(size=(2, 16))).reshape(300, 4, 4))
    found = pretrain.autoencoder(KEY, encoders.mlp((4, 4), 2, (32,)), patches, num_steps=600, batch_size=64)
    z = np.asarray(found.encoder.apply(jnp.zeros(0), patches))
    assert float(found.explained) > 0.8
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(z.std(0), 1.0, atol=1e-6)
