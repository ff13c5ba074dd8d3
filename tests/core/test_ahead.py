"""What is compiled ahead is what is called: nothing is compiled a second time, and bad readings are refused as ever."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import acquisition, bayes_opt, gp, hypotheses, laplace, model_average, nuts, observations, parametric, smc
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.inference import ensemble

BOX = [[0.0, 2.0]]
SAMPLERS = {
    "smc": smc(8),
    "nuts": nuts(10, 8, max_tree_depth=3),
    "laplace": laplace(8, 2, 10),
    "ensemble": ensemble(2, num_steps=4, num_update_steps=2, every=2),
}


def line(x, params):
    return params["slope"] * x[0]


def curve(x, params):
    return params["slope"] * x[0] ** 2


def law(mean, scale=1.0):
    return parametric(1, mean, {"slope": dist.Normal(0.0, scale)}, bounds=BOX, standardize=(0.0, 1.0))


def seeds():
    return observations([[0.1], [0.7], [1.5]], [0.0, 1.0, 2.0], capacity=8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_program_of_a_fit_is_compiled_once(compiled, name):
    sampler, model = SAMPLERS[name], law(line, 1.5)  # a width that no other test has
    posterior = sampler.init(jax.random.key(0), model, seeds())
    big = [one for one in compiled if one.startswith("jit(_") and "threefry" not in one and "unstack" not in one]
    assert len(big) >= 1
    assert len(big) == len(set(big))
    compiled.clear()
    again = sampler.init(jax.random.key(0), model, seeds())
    assert compiled == []
    jax.tree.map(np.testing.assert_array_equal, posterior.params, again.params)


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_that_a_fit_calls_is_compiled_when_the_block_ends(compiled, name):
    sampler, model, key = SAMPLERS[name], law(curve, 1.7), jax.random.key(0)
    with Ahead() as ahead:
        sampler.programs(ahead, key, model, seeds())
    assert compiled
    compiled.clear()
    sampler.init(key, model, seeds())
    assert [one for one in compiled if one.startswith("jit(_") and "threefry" not in one and "unstack" not in one] == []


def test_shapes_are_those_of_what_is_called():
    for name, sampler in SAMPLERS.items():
        key, model = jax.random.key(0), law(line)
        with Ahead() as ahead:
            shapes = sampler.programs(ahead, key, model, seeds())
        found = sampler.init(key, model, seeds())
        assert jax.tree.structure(shapes) == jax.tree.structure(found), name
        for said, is_so in zip(jax.tree.leaves(shapes), jax.tree.leaves(found), strict=True):
            assert (said.shape, said.dtype) == (is_so.shape, is_so.dtype), name


def test_a_first_proposal_is_compiled_with_the_first_fit(compiled):
    rivals = hypotheses({"line": law(line), "curve": law(curve)})
    plan = bayes_opt(
        rivals, model_average(smc(8)), acquisition.expected_information_gain(num_samples=8), acquisition.grid(BOX, (7,))
    )
    state = plan.init(jax.random.key(0), seeds())
    assert "jit(propose_points)" in compiled
    compiled.clear()
    plan.propose(state)
    assert "jit(propose_points)" not in compiled


def test_bad_observations_are_refused_before_anything_is_compiled(compiled):
    plan = bayes_opt(gp.exact(1, bounds=BOX), smc(8), acquisition.log_ei(), acquisition.grid(BOX, (7,)))
    far = observations([[0.1], [70.0]], [0.0, 1.0])
    compiled.clear()
    with pytest.raises(ValueError, match="made for"):
        plan.init(jax.random.key(0), far)
    assert not [one for one in compiled if one.startswith("jit(_") and "threefry" not in one and "unstack" not in one]


def test_a_function_that_fails_is_left_to_its_call():
    @jax.jit
    def wrong(x):
        raise RuntimeError("as such")

    compile_ahead(lambda ahead, x: ahead(wrong, x), jnp.ones(3))
    with pytest.raises(RuntimeError, match="as such"):
        wrong(jnp.ones(3))
