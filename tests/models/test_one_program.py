"""What a user calls outside jit is one program for the compiler, and none the second time."""

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import acquisition, bayes_opt, gp, laplace, observations, vae
from gpax_lab.experiment._simulate import measure
from gpax_lab.models import Model

PARAMS = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(1.0), "noise": jnp.array(0.01)}
X = jnp.linspace(0.0, 1.0, 5)[:, None]


def seeds():
    return observations([[0.1], [0.7], [0.9]], [0.0, 1.0, 0.5], capacity=8)


CALLS = {
    "log_likelihood": lambda model, factor, obs: model.log_likelihood(PARAMS, obs),
    "condition": lambda model, factor, obs: model.condition(PARAMS, obs),
    "condition_on_pending": lambda model, factor, obs: model.condition_on_pending(PARAMS, factor, obs),
    "predict": lambda model, factor, obs: model.predict(PARAMS, factor, X),
    "joint": lambda model, factor, obs: model.joint(PARAMS, factor, X),
    "paths": lambda model, factor, obs: model.paths(PARAMS, factor, obs, jax.random.key(0), 2, X),
    "noise_variance": lambda model, factor, obs: model.noise_variance(PARAMS, factor, X),
    "leave_one_out": lambda model, factor, obs: model.leave_one_out(PARAMS, obs),
}


def test_every_compiled_function_is_looked_at():
    assert set(CALLS) == set(Model.compiled)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_of_a_model_is_one_program(compiled, name):
    # A box that no other test has, so that nothing was compiled before.
    model, obs, key = gp.exact(1, bounds=[[0.0, 1.0 + 0.01 * len(name)]]), seeds(), jax.random.key(0)
    factor = model.condition(PARAMS, obs)
    jax.block_until_ready((factor, key))
    if name == "condition":
        model = gp.exact(1, bounds=[[0.0, 1.5]])
    compiled.clear()
    first = CALLS[name](model, factor, obs)
    assert len([one for one in compiled if "key" not in one and "threefry" not in one]) == 1
    compiled.clear()
    again = CALLS[name](model, factor, obs)
    assert compiled == []
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_a_pickled_model_computes_the_same():
    model, obs = gp.exact(1, bounds=[[0.0, 1.0]]), seeds()
    again = cloudpickle.loads(cloudpickle.dumps(model))
    assert float(again.log_likelihood(PARAMS, obs)) == float(model.log_likelihood(PARAMS, obs))


def test_a_simulated_observation_outside_jit_compiles_nothing_the_second_time(compiled):
    plan = bayes_opt(gp.exact(1), laplace(8, 2, 10), acquisition.log_ei(), acquisition.grid([[0.0, 1.0]], (7,)))
    state = plan.init(jax.random.key(0), seeds())
    state, x = plan.propose(state)

    def objective(key, x):
        return jnp.sin(3.0 * x[0])

    first = measure(objective, state, x)
    compiled.clear()
    np.testing.assert_array_equal(measure(objective, state, x), first)
    assert compiled == []


def test_a_bound_and_first_parameters_are_few_programs(compiled):
    model = vae.model((3, 3), 1, encoder=vae.MLP((5,)))
    x, key = vae.examples(np.ones((2, 3, 3)), dtype=jnp.float64), jax.random.key(1)
    compiled.clear()
    params = model.init(key, jnp.float64)
    assert len(compiled) == 1
    compiled.clear()
    vae.elbo(model, params, key, x)
    assert [one for one in compiled if one.startswith("jit(_")] == ["jit(_elbo)"]
    assert len(compiled) <= 3
