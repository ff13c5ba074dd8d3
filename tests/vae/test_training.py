"""Training: the same key the same weights, one compilation, nothing lost, nothing changed by a look."""

import json
import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpax_lab import vae
from gpax_lab.nn._checkpoints import CheckpointMismatch
from gpax_lab.vae import _training as training

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def small():
    return vae.model((6, 6), 1, encoder=vae.MLP((8,)), decoder=vae.MLPDecoder((6, 6), (8,)))


@pytest.fixture(scope="module")
def pictures():
    """Bars at two heights."""
    rows = jax.random.randint(KEY, (48,), 1, 5)
    return jax.nn.one_hot(rows, 6)[:, :, None] * jnp.ones((1, 1, 6)) * 0.9


def same(a, b, **tolerance):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def test_the_same_key_gives_the_same_weights_and_the_bound_rises(small, pictures):
    data = vae.examples(pictures)
    first = vae.train(KEY, small, data, epochs=6, batch_size=16, learning_rate=1e-2, progress=False)
    again = vae.train(KEY, small, data, epochs=6, batch_size=16, learning_rate=1e-2, progress=False)
    same(first.params, again.params, rtol=0)
    assert first.history.terms.elbo.shape == (6,)
    assert first.history.terms.elbo[-1] > first.history.terms.elbo[0] + 1
    assert first.outcome == "finished"
    assert first.params["log_sd"].dtype == jnp.float32


def test_an_epoch_is_compiled_once_whatever_the_schedule_and_the_key(small, pictures):
    before = training._epoch._cache_size()
    data = vae.examples(pictures)
    for number, rate in enumerate((1e-3, 5e-3, optax.cosine_decay_schedule(1e-2, 4))):
        weights = vae.Weights(continuous=optax.linear_schedule(0.0, 1.0 + number, 3))
        vae.train(jax.random.key(number), small, data, 3, 12, rate, weights, progress=False)
    assert training._epoch._cache_size() == before + 1


def test_schedules_are_of_the_epoch():
    at = 3 + np.arange(4) / 4
    found = training._course(optax.linear_schedule(0.0, 10.0, 10), at, jnp.dtype(jnp.float32))
    np.testing.assert_allclose(found, at, rtol=1e-6)
    np.testing.assert_allclose(training._course(2.0, at, jnp.dtype(jnp.float32)), 2.0)


def test_members_are_what_they_would_be_alone(small, pictures):
    data = vae.examples(pictures)
    held = data.take(jnp.arange(8))
    many = vae.train(KEY, small, data, 4, 16, members=3, held_out=held, progress=False)
    alone = vae.train(jax.random.split(KEY, 3)[1], small, data, 4, 16, held_out=held, progress=False)
    same(many.member(1).params, alone.params, rtol=2e-4, atol=2e-6)
    assert many.history.terms.elbo.shape == (4, 3)
    assert many.history.held_out.shape == (4, 3)
    best = many.best()
    assert best.members is None
    assert best.history.held_out.max() == many.history.held_out.max()
    with pytest.raises(ValueError, match="best"):
        vae.encode(many, pictures)


def test_looking_at_held_out_examples_changes_nothing(small, pictures):
    data = vae.examples(pictures)
    plain = vae.train(KEY, small, data, 3, 16, progress=False)
    watched = vae.train(KEY, small, data, 3, 16, held_out=data.take(jnp.arange(20)), progress=False)
    np.testing.assert_array_equal(plain.history.terms.elbo, watched.history.terms.elbo)
    once = vae.mean_elbo(small, plain.params, KEY, data, 20)
    pieces = [vae.elbo(small, plain.params, k, data.take(jnp.arange(n * 20, n * 20 + 20))).elbo
              for n, k in enumerate(jax.random.split(KEY, 2))]  # fmt: skip
    rest = vae.elbo(small, plain.params, jax.random.fold_in(KEY, 2), data.take(jnp.arange(40, 48))).elbo
    np.testing.assert_allclose(once, (20 * sum(pieces) + 8 * rest) / 48, rtol=1e-5)


def test_training_stops_early_and_keeps_the_best(small, pictures):
    data = vae.examples(pictures)
    # A rate that falls apart after the first epochs: the best weights are those of before.
    rate = lambda epoch: jnp.where(epoch < 5, 1e-2, 0.5)  # noqa: E731
    found = vae.train(KEY, small, data, 40, 16, rate, held_out=data, patience=3, progress=False)
    assert found.outcome == "stopped early"
    assert len(found.history.held_out) < 40
    kept = float(vae.mean_elbo(small, found.params, jax.random.key(0), data, 16))
    np.testing.assert_allclose(kept, found.history.held_out.max(), rtol=1e-4)


def test_what_is_not_finite_stops_training_with_the_last_good_weights(small, pictures):
    data = vae.examples(pictures)
    rate = lambda epoch: jnp.where(epoch < 2, 1e-3, jnp.inf)  # noqa: E731
    found = vae.train(KEY, small, data, 9, 16, rate, progress=False)
    good = vae.train(KEY, small, data, 2, 16, 1e-3, progress=False)
    assert found.outcome == "not finite"
    assert len(found.history.terms.elbo) == 2
    same(found.params, good.params, rtol=0)


def test_an_interrupted_run_goes_on_exactly(small, pictures, tmp_path):
    data = vae.examples(pictures)
    whole = vae.train(KEY, small, data, 6, 16, held_out=data, progress=False)

    class Stop(Exception):
        pass

    def stop(epoch):
        if epoch.number == 4:
            raise Stop

    folder = tmp_path / "run"
    with pytest.raises(Stop):
        vae.train(KEY, small, data, 6, 16, held_out=data, progress=stop, checkpoint=folder, every=2)
    told = []
    rest = vae.train(KEY, small, data, 6, 16, held_out=data, progress=told.append, checkpoint=folder, every=2)
    assert [epoch.number for epoch in told] == [3, 4, 5, 6]
    same(rest.params, whole.params, rtol=0)
    np.testing.assert_allclose(rest.history.terms.elbo, whole.history.terms.elbo, rtol=1e-6)
    again = vae.train(KEY, small, data, 6, 16, held_out=data, progress=False, checkpoint=folder, every=2)
    same(again.params, whole.params, rtol=0)
    with pytest.raises(CheckpointMismatch, match="batch"):
        vae.train(KEY, small, data, 6, 24, progress=False, checkpoint=folder)


def test_a_set_in_a_file_is_learned_from_chunk_by_chunk(small, pictures, tmp_path):
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.asarray(pictures)
        file["kind"] = np.zeros(48, np.int32) - 1
    data = vae.stored(path, "images", label="kind", chunk=20, block=4)
    assert (data.rows, data.chunk, data.chunks) == (48, 20, 2)
    chunks = list(data.epoch(0))
    assert [len(chunk) for chunk in chunks] == [20, 20]
    taken = np.concatenate([np.asarray(chunk.x) for chunk in chunks])
    known = {row.tobytes() for row in np.asarray(pictures, np.float32)}
    assert all(row.tobytes() in known for row in taken)
    assert not np.array_equal(taken, np.concatenate([np.asarray(c.x) for c in data.epoch(1)]))
    found = vae.train(KEY, small, data, 3, 10, learning_rate=1e-2, progress=False)
    assert found.history.terms.elbo[-1] > found.history.terms.elbo[0]

    def stop(epoch):
        if epoch.number == 2:
            raise InterruptedError

    folder = tmp_path / "run"
    with pytest.raises(InterruptedError):
        vae.train(KEY, small, data, 3, 10, 1e-2, progress=stop, checkpoint=folder, every=1)
    rest = vae.train(KEY, small, data, 3, 10, 1e-2, progress=False, checkpoint=folder, every=1)
    same(rest.params, found.params, rtol=0)
    with pytest.raises(KeyError, match="images"):
        vae.stored(path, "pictures")
    with pytest.raises(FileNotFoundError):
        vae.stored(tmp_path / "none.h5", "images")
    with h5py.File(path, "a") as file:
        file["short"] = np.zeros(3)
    with pytest.raises(ValueError, match="lengths"):
        vae.stored(path, "images", properties="short")


def changed(small, pictures):
    """Runs that differ in one thing from `plain`: name of it, and what to train with."""
    data = vae.examples(pictures)
    plain = {"key": KEY, "model": small, "data": data, "batch_size": 16, "learning_rate": 1e-3, "held_out": data}

    def of(**more):
        parts = {"encoder": vae.MLP((8,)), "decoder": vae.MLPDecoder((6, 6), (8,))}
        return plain | {"model": vae.model((6, 6), 1, **(parts | more))}

    def late(step):
        return jnp.where(step > 500, 0.1, 1.0)

    def decay(epochs):
        return optax.cosine_decay_schedule(1e-3, epochs)

    other = vae.examples(pictures.at[40, 2, 2].add(0.05))
    return plain, [
        ("key", plain | {"key": jax.random.key(6)}),
        ("random numbers", plain | {"key": jax.random.key(5, impl="rbg")}),
        ("learning_rate", plain | {"learning_rate": 1.001e-3}),
        ("learning_rate", plain | {"learning_rate": decay(9)}),
        ("weights.continuous", plain | {"weights": vae.Weights(continuous=2.0)}),
        ("weights.physics", plain | {"weights": vae.Weights(physics=0.0)}),
        ("weights.discrete", plain | {"weights": vae.annealed(50)}),
        ("optimizer", plain | {"optimizer": optax.scale_by_adam(b1=0.8)}),
        ("optimizer", plain | {"optimizer": optax.scale_by_adam(eps=1e-5)}),
        ("optimizer", plain | {"optimizer": optax.scale_by_rms()}),
        ("optimizer", plain | {"optimizer": optax.chain(optax.scale_by_adam(), optax.scale(-1.0))}),
        ("optimizer", plain | {"optimizer": optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-4))}),
        ("optimizer", plain | {"optimizer": optax.chain(optax.clip(40.0), optax.scale_by_adam())}),
        ("optimizer", plain | {"optimizer": optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(late))}),
        ("networks", of(encoder=vae.MLP((9,)))),
        ("bound", of(encoder=vae.MLP((8,), jnp.tanh))),
        ("bound", of(decoder=vae.MLPDecoder((6, 6), (8,), jnp.tanh))),
        ("bound", of(physics=lambda latents, decoded: -jnp.sum(decoded))),
        ("likelihood", of(likelihood=vae.continuous_bernoulli())),
        ("examples", plain | {"data": other}),
        ("held_out", plain | {"held_out": other}),
        ("held_out", plain | {"held_out": None}),
        ("batch", plain | {"batch_size": 24}),
        ("members", plain | {"members": 2}),
    ]


def test_a_run_with_other_settings_is_not_gone_on_with(small, pictures, tmp_path):
    plain, others = changed(small, pictures)
    common = {"progress": False, "checkpoint": tmp_path / "run", "every": 1}
    vae.train(**plain, epochs=1, **common)
    for name, settings in others:
        with pytest.raises(CheckpointMismatch, match=rf"settings \(.*{name}"):
            vae.train(**settings, epochs=1, **common)
    longer = vae.train(**plain, epochs=2, **common)
    whole = vae.train(**plain, epochs=2, progress=False)
    same(longer.params, whole.params, rtol=0)
    (tmp_path / "run" / "settings.json").unlink()
    with pytest.raises(CheckpointMismatch, match="without their settings"):
        vae.train(**plain, epochs=2, **common)


def test_a_run_on_another_file_is_not_gone_on_with(small, pictures, tmp_path):
    def stored(name, images, **more):
        with h5py.File(tmp_path / name, "w") as file:
            file["images"] = np.asarray(images)
        return vae.stored(tmp_path / name, "images", **({"chunk": 20, "block": 4} | more))

    common = {"epochs": 1, "batch_size": 10, "progress": False, "checkpoint": tmp_path / "run"}
    vae.train(KEY, small, stored("a.h5", pictures), **common)
    vae.train(KEY, small, stored("b.h5", pictures), **common)  # a copy elsewhere is the same set
    for data in (stored("c.h5", pictures[::-1]), stored("d.h5", pictures, chunk=16), stored("e.h5", pictures, seed=1)):
        with pytest.raises(CheckpointMismatch, match="examples"):
            vae.train(KEY, small, data, **common)


SHARED = """
import jax, numpy as np
from gpax_lab import vae
key = jax.random.key(0)
model = vae.model((6, 6), 1, encoder=vae.MLP((8,)), decoder=vae.MLPDecoder((6, 6), (8,)))
data = vae.examples(jax.random.uniform(key, (32, 6, 6)))
one = vae.train(key, model, data, 2, 16, progress=False)
two = vae.train(key, model, data, 2, 16, progress=False, devices=jax.devices())
assert len(jax.devices()) == 2
for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
print("same")
"""


@pytest.mark.slow
def test_two_devices_share_a_batch():
    import os

    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARED], env=env, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_a_trained_model_survives_a_file(small, pictures, tmp_path):
    data = vae.examples(pictures)
    found = vae.train(KEY, small, data, 2, 16, progress=False)
    path = tmp_path / "model.vae"
    vae.save(path, found)
    again = vae.load(path, small)
    same(again.params, found.params, rtol=0)
    np.testing.assert_array_equal(again.history.terms.elbo, found.history.terms.elbo)
    with pytest.raises(FileExistsError):
        vae.save(path, found)
    other = vae.model((6, 6), 2, encoder=vae.MLP((8,)), decoder=vae.MLPDecoder((6, 6), (8,)))
    with pytest.raises(ValueError, match="another model"):
        vae.load(path, other)
    parts = {"encoder": vae.MLP((8,)), "decoder": vae.MLPDecoder((6, 6), (8,))}
    for more in ({"encoder": vae.MLP((8,), jnp.tanh)}, {"likelihood": vae.continuous_bernoulli()}):
        with pytest.raises(ValueError, match="another bound"):
            vae.load(path, vae.model((6, 6), 1, **(parts | more)))
    path.write_bytes(json.dumps({"a": 1}).encode())
    with pytest.raises(ValueError, match="no file"):
        vae.load(path, small)


def test_progress_is_shown_with_the_terms(small, pictures, capsys):
    vae.train(KEY, small, vae.examples(pictures), 2, 16)
    shown = capsys.readouterr().err
    assert "bound=" in shown
    assert "reconstruction=" in shown
    assert "2/2" in shown


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m, d: vae.train(KEY, m, d, 0), "epochs"),
        (lambda m, d: vae.train(KEY, m, d, 2, patience=2), "held_out"),
        (lambda m, d: vae.train(KEY, m, d, 2, every=0), "every"),
        (lambda m, d: vae.train(KEY, m, vae.examples(jnp.zeros((3, 5, 5)))), "sees"),
        (lambda m, d: vae.train(KEY, m, vae.examples(2 + jnp.zeros((3, 6, 6)))), "unit_range"),
        (lambda m, d: vae.train(KEY, m, vae.examples(jnp.zeros((3, 6, 6)), label=[0, 1, 0])), "classes"),
        (lambda m, d: vae.train(KEY, m, vae.examples(jnp.zeros((3, 6, 6)), condition=[0, 1, 0])), "condition"),
        (lambda m, d: vae.examples(jnp.full((3, 6, 6), jnp.nan)), "finite"),
        (lambda m, d: vae.examples(np.ma.masked_array(np.zeros((3, 6, 6)))), "masked"),
        (lambda m, d: vae.examples(np.zeros((3, 6, 6), complex)), "real"),
        (lambda m, d: vae.examples(jnp.zeros((3, 6, 6)), label=[0.5, 1, 0]), "integers"),
        (lambda m, d: vae.examples(jnp.zeros((3, 6, 6)), target=jnp.zeros((2, 5))), "target"),
        (lambda m, d: vae.examples(jnp.zeros((3, 6, 6)), condition=jnp.zeros(4)), "conditions"),
        (lambda m, d: vae.model((6, 6), 0), "latent"),
        (lambda m, d: vae.model((6, 6), -1), "negative"),
        (lambda m, d: vae.model((6, 6), classes=1), "classes"),
        (lambda m, d: vae.model(30, invariances=[vae.rotation()]), "rotated"),
        (lambda m, d: vae.model(30, invariances=[vae.translation()]), "axes=1"),
        (lambda m, d: vae.model((6, 6, 3), invariances=[vae.rotation()]), "channels"),
        (lambda m, d: vae.model((6, 6), invariances=[vae.scaling(), vae.scaling()]), "once"),
        (lambda m, d: vae.model((6, 8), invariances=[vae.rotation(views=4)]), "180 degrees"),
    ],
)
def test_mistakes_are_told_before_any_work(small, pictures, make, words):
    with pytest.raises(ValueError, match=words):
        make(small, vae.examples(pictures))


def test_values_of_a_gaussian_that_are_far_from_order_one_are_told():
    model = vae.model((6, 6), likelihood=vae.gaussian())
    with pytest.raises(ValueError, match="order one"):
        vae.train(KEY, model, vae.examples(1e-9 * jax.random.normal(KEY, (9, 6, 6))), progress=False)


def test_fewer_examples_than_a_batch_are_one_batch(small, pictures):
    found = vae.train(KEY, small, vae.examples(pictures[:5]), 2, 100, progress=False)
    assert np.isfinite(found.history.terms.elbo).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"learning_rate": -1e-3}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"weights": vae.Weights(continuous=-1.0)}, r"weights.continuous must be finite and not below 0"),
    ],
)
def test_numbers_with_which_the_bound_does_not_rise_are_refused(small, pictures, wrong, words):
    with pytest.raises(ValueError, match=words):
        vae.train(KEY, small, vae.examples(pictures), epochs=1, progress=False, **wrong)
