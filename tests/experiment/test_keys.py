"""A random key that is none, several, or in another argument's place is refused in words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import (
    Problem,
    acquisition,
    bayes_opt,
    gp,
    laplace,
    model_average,
    nn,
    nuts,
    observations,
    recovery,
    run,
    simulate,
    smc,
    study,
    vae,
)
from gpax_lab.core import Instrument, _inputs
from gpax_lab.hypotheses import bandit, hypotheses
from gpax_lab.inference import ensemble
from gpax_lab.laws import shapes

KEY = jax.random.key(0)
OBS = observations([[0.1], [0.7]], [1.0, 2.0])
MODEL = gp.exact(1)
GRID = acquisition.grid([[0.0, 1.0]], (20,))
EXPERIMENT = bayes_opt(MODEL, laplace(4, 1), acquisition.log_ei(), GRID)
SEVERAL = hypotheses({"a": gp.exact(1, standardize=False), "b": gp.exact(1, standardize=False)})
NO_KEYS = [0, None, np.random.default_rng(0), OBS, MODEL]
SAMPLERS = {"nuts": nuts(10, 8), "laplace": laplace(4, 1), "smc": smc(8), "ensemble": ensemble(2)}


def measure(key, x):
    return x[0]


def encoder():
    return nn.mlp((3,), features=1)


DOORS = {
    **{name: lambda key, s=s: s.init(key, MODEL, OBS) for name, s in SAMPLERS.items()},
    "model_average": lambda key: model_average(smc(8)).init(key, SEVERAL, OBS),
    "bandit": lambda key: bandit(smc(8), GRID.points).init(key, SEVERAL, OBS),
    "experiment": lambda key: EXPERIMENT.init(key, OBS),
    "simulate": lambda key: simulate(key, EXPERIMENT, measure, 2, OBS),
    "space_filling": lambda key: GRID.space_filling(key, 3),
    "box": lambda key: acquisition.box([[0.0, 1.0]]).space_filling(key, 3),
    "law": lambda key: shapes.peak((0.0, 1.0), (0.0, 1.0)).draw(key, np.zeros((3, 1))),
    "im2spec": lambda key: nn.im2spec(key, np.zeros((8, 3)), np.zeros((8, 2)), encoder()),
    "autoencoder": lambda key: nn.autoencoder(key, encoder(), np.zeros((8, 3))),
    "vae": lambda key: vae.train(key, vae.model((8, 8), latent=1), vae.examples(np.zeros((8, 8, 8)))),
}


@pytest.mark.parametrize("given", NO_KEYS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_what_is_no_key_is_refused_in_words(door, given):
    with pytest.raises(TypeError, match=r"^key must be jax\.random\.key\(0\), got .*\. The order of arguments is "):
        door(given)


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_several_keys_are_refused(door):
    with pytest.raises(ValueError, match=r"one key is expected, got keys of shape \(3,\)"):
        door(jax.random.split(KEY, 3))


def test_the_number_is_named():
    with pytest.raises(TypeError, match=r"^key must be jax\.random\.key\(0\), got 0\."):
        EXPERIMENT.init(0, OBS)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_arguments_in_another_order(sampler):
    with pytest.raises(TypeError, match=r"the model is what gp\.exact.*got Observations\. .* init\(key, model, obs"):
        sampler.init(KEY, OBS, MODEL)
    with pytest.raises(TypeError, match=r"observations are given as observations\(x, y\)"):
        sampler.init(KEY, MODEL, np.zeros((2, 1)))


def test_campaigns():
    with pytest.raises(TypeError, match=r"^key must be .* got a value of type Experiment"):
        simulate(EXPERIMENT, KEY, measure, 2, OBS)
    with pytest.raises(TypeError, match=r"an experiment is what bayes_opt\(\.\.\.\) returns; got measure"):
        simulate(KEY, measure, EXPERIMENT, 2, OBS)
    problems = {"line": Problem(measure, lambda x: x[0])}
    for keys, error, words in [
        (0, TypeError, r"^keys must be jax\.random\.split\(jax\.random\.key\(0\), 8\), got 0\."),
        ({"a": EXPERIMENT}, TypeError, r"^keys must be .* got a value of type dict"),
        (KEY, ValueError, r"got one key; split it: jax\.random\.split"),
    ]:
        with pytest.raises(error, match=words):
            study(keys, {"a": EXPERIMENT}, problems, GRID, num_steps=2)
        with pytest.raises(error, match=words):
            recovery(keys, {"a": EXPERIMENT}, {"line": measure}, GRID, num_steps=2)


def test_keys_of_both_kinds_pass_also_under_transformations():
    for key in (KEY, jax.random.PRNGKey(0)):
        _inputs.check_key(key)
        jax.jit(lambda k: _inputs.check_key(k))(key)
    keys = jax.random.split(KEY, 3)
    _inputs.check_key(keys, several=True)
    assert jax.vmap(lambda k: (_inputs.check_key(k), jnp.zeros(()))[1])(keys).shape == (3,)
    for wrong in (jnp.zeros(2), np.zeros((), np.uint32)):
        with pytest.raises(TypeError, match="key must be"):
            _inputs.check_key(wrong)


def test_run_refuses_a_key_and_an_experiment_that_are_none_before_anything_moves():
    class Film(Instrument):
        """Nothing may reach it but the order to be safe."""

        def measure(self, x, token):
            """Never."""
            raise AssertionError("measured")

        def make_safe(self):
            """Done."""

    given = {"campaign": [], "num_steps": 2, "seeds": np.zeros((1, 1)), "scalarize": float}
    with pytest.raises(TypeError, match=r"^key must be jax\.random\.key\(0\), got 0"):
        run(EXPERIMENT, Film(), key=0, **given)
    with pytest.raises(TypeError, match=r"bayes_opt\(\.\.\.\) returns; got ExactGP"):
        run(MODEL, Film(), key=KEY, **given)
