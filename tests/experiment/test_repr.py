"""What a scientist prints is a line or two: what it is, how much of it, and its status in words; no arrays."""

import jax
import jax.numpy as jnp
import pytest

from gpax_lab import acquisition, bayes_opt, gp, hypotheses, kernels, laplace, observations
from gpax_lab.hypotheses import ModelAverage
from gpax_lab.models import multi_output, parametric, sparse

OBS = observations([[0.1], [0.5], [0.7]], [1.0, float("nan"), 2.0])
GRID = acquisition.grid([[0.0, 1.0]], (500,))


def slope(x, params):
    return params["k"] * x[0]


@pytest.fixture(scope="module")
def state():
    model = gp.exact(1, kernels.rbf + kernels.linear, standardize=(0.0, 1.0))
    return bayes_opt(model, laplace(64, 1), acquisition.log_ei(), GRID).init(jax.random.key(0), OBS)


def test_observations_say_how_many_there_are():
    assert repr(OBS) == "<Observations: 2 measured, 1 failed in 8 slots; x (8, 1), y (8,)>"
    assert repr(observations(jnp.zeros((0, 1)))) == "<Observations: 0 measured in 8 slots; x (8, 1), y (8,)>"
    seen = []
    jax.jit(lambda obs: seen.append(repr(obs)) or obs.y)(OBS)
    assert seen == ["<Observations: 8 slots; x (8, 1), y (8,)>"]


def test_a_posterior_says_its_model_draws_parameters_and_status(state):
    told = repr(state.posterior)
    assert told.startswith("<Posterior of ExactGP: 64 draws of ")
    for part in ("lengthscale (1,)", "noise", "variance", "; status "):
        assert part in told
    seen = []
    jax.jit(lambda posterior: seen.append(repr(posterior)) or posterior.log_weight)(state.posterior)
    assert seen[0].endswith("status of shape ()>")


def test_several_hypotheses_are_named(state):
    each = hypotheses({"a": gp.exact(1, standardize=False), "b": gp.exact(1, kernels.rbf, standardize=False)})
    average = ModelAverage((state.posterior, state.posterior), each, jnp.zeros(2))
    assert repr(average).startswith("<ModelAverage of 'a' (64 draws), 'b' (64 draws); status ")
    assert repr(each) == "<Hypotheses: 'a', 'b'>"
    several = jax.vmap(lambda _: average)(jnp.zeros(3))
    assert repr(several).endswith("status of several>")


def test_nothing_of_an_experiment_floods_the_screen(state):
    experiment = bayes_opt(gp.exact(1), laplace(), acquisition.log_ei(), GRID)
    sums = acquisition.log_ei() + 0.5 * acquisition.travel(1.0, 2.0)
    for thing in (state, experiment, laplace(), GRID, acquisition.box([[0.0, 1.0]]), gp.exact(1), sums):
        told = repr(thing)
        assert len(told) < 700, told
        assert "Array(" not in told, told
        assert " at 0x" not in told, told
    for part in ("<Pool: points (500, 1)>", "<Observations: 2 measured", "<Acquisition: log_ei>"):
        assert part in repr(state)


def test_models_say_what_they_are_made_of():
    both = kernels.rbf + kernels.linear
    assert repr(gp.exact(2, both)) == (
        "<ExactGP of 2 inputs: kernel rbf + linear, mean the average of the observations>"
    )
    assert repr(sparse(1, inducing=4)).startswith("<SparseGP of 1 input: kernel matern52")
    line = parametric(1, mean=slope, prior={"k": 1.0})
    assert repr(line) == "<Parametric of 1 input: mean slope>"
    assert repr(multi_output(line, 2)) == "<MultiOutput of 2 quantities, each <Parametric of 1 input: mean slope>>"
