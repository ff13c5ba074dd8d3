"""What is built twice from equal parts is the same thing, and nothing of it is compiled again."""

import functools
import gc
import weakref
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.tree_util import Partial

from gpax_lab import (
    acquisition,
    bayes_opt,
    formula,
    gp,
    hypotheses,
    kernels,
    model_average,
    observations,
    parametric,
    simulate,
    smc,
)
from gpax_lab.core._interning import fingerprint, interned
from gpax_lab.images import around
from gpax_lab.laws import shapes
from gpax_lab.nn import _encoders as encoders

BOX = [[0.0, 2.0]]


def slope(x, params):
    return params["slope"] * x[0]


def process(width=1.0):
    kernel = kernels.add(kernels.scope("slow", kernels.rbf), kernels.scope("fast", kernels.matern32))
    return gp.exact(1, kernel, slope, {"slope": dist.Normal(0.0, width)}, bounds=BOX, standardize=(0.0, 1.0))


def rivals():
    laws = {"rise": formula("A * t", {"A": dist.HalfNormal(2.0)}, inputs=["t"]), "line": shapes.line((0, 2), (0, 1))}
    return hypotheses(laws, bounds=BOX, scale=(0.0, 1.0))


def campaign(points=11):
    grid = acquisition.grid(BOX, (points,))
    return bayes_opt(parametric(1, slope, {"slope": dist.Normal(0.0, 1.0)}), smc(8), acquisition.log_ei(), grid)


BUILT = {
    "kernel": lambda: kernels.multiply(kernels.rbf, kernels.active([0], kernels.periodic)),
    "model": process,
    "hypotheses": rivals,
    "score": lambda: acquisition.learning(acquisition.ucb(2.0)),
    "score of an own function": lambda: acquisition.log_ei(among=BOX),
    "sampler": lambda: model_average(smc(32)),
    "experiment": campaign,
    "encoder": lambda: encoders.rotation_pooled(encoders.mlp((8, 8), 3), mirrored=True),
}


@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT)
def test_equal_parts_make_the_same_thing(build):
    first, second = build(), build()
    assert first == second
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert hash(jax.tree.structure(first)) == hash(jax.tree.structure(second))


def test_other_parts_make_another_thing():
    assert process(1.0) is not process(2.0)
    assert kernels.scope("a", kernels.rbf) is not kernels.scope("a", kernels.matern32)
    assert smc(32) != smc(64)
    assert campaign(11) != campaign(12)
    assert acquisition.ucb(2.0).terms == acquisition.ucb(3.0).terms  # its number is an argument of what is compiled


def test_functions_count_by_identity():
    def other(x, params):
        return params["slope"] * x[0]

    prior = {"slope": dist.Normal(0.0, 1.0)}
    assert parametric(1, slope, prior) is parametric(1, slope, dict(prior))
    assert parametric(1, slope, prior) is not parametric(1, other, prior)


def test_fingerprints_tell_values_apart():
    values = [1, 1.0, True, "1", np.float64(1), np.float32(1), jnp.ones(()), jnp.ones(1), np.zeros(1), [1], (1,)]
    values += [dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0), dist.LogNormal(0.0, 1.0), None, 0.0, -0.0, {"a": 1}]
    values += [jax.random.key(0), jax.random.key(1), functools.partial(slope, 1), functools.partial(slope, 2)]
    keys = [fingerprint(value) for value in values]
    assert len(set(keys)) == len(keys)
    assert fingerprint({"a": dist.Normal(jnp.zeros(3), 1.0)}) == fingerprint({"a": dist.Normal(jnp.zeros(3), 1.0)})


def test_nothing_is_kept_that_nobody_holds():
    model = process(3.0)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_traced_arguments_make_a_new_one_each_time():
    @interned
    def scaled(factor):
        return lambda x: factor * x

    assert scaled(2.0) is scaled(2.0)
    assert jax.jit(lambda f: scaled(f)(3.0))(2.0) == 6.0
    assert jax.jit(lambda f: scaled(f)(3.0))(4.0) == 12.0


def test_a_model_built_twice_is_compiled_once(compiled):
    obs = observations([[0.1], [0.7], [1.5]], [0.0, 1.0, 2.0])
    key = jax.random.key(0)
    first = smc(8).init(key, process(), obs)
    compiled.clear()
    second = smc(8).init(key, process(), obs)
    assert compiled == []
    np.testing.assert_array_equal(first.log_evidence, second.log_evidence)


def looked_up(table, key, x):
    return table[jnp.argmin(jnp.abs(jnp.linspace(0.0, 2.0, table.size) - x[0]))]


def test_simulate_takes_another_measure_of_the_same_structure(compiled):
    tables = [jnp.sin(jnp.linspace(0.0, 2.0, 11)), jnp.cos(jnp.linspace(0.0, 2.0, 11))]
    obs = observations([[0.0], [1.0]], [0.0, 0.5], capacity=8)
    experiment, key = campaign(), jax.random.key(0)
    _, path = simulate(key, experiment, Partial(looked_up, tables[0]), 2, obs)
    grid = jnp.linspace(0.0, 2.0, 11)
    at = jnp.abs(grid[:, None] - path.x.ravel()[None]).argmin(axis=0)
    np.testing.assert_array_equal(path.y.ravel(), tables[0][at])
    compiled.clear()
    _, other = simulate(key, campaign(), Partial(looked_up, tables[1]), 2, obs)
    assert compiled == []
    at = np.abs(np.asarray(grid)[:, None] - np.asarray(other.x).ravel()).argmin(axis=0)
    np.testing.assert_array_equal(np.asarray(other.y).ravel(), np.asarray(tables[1])[at])


def test_callables_that_hold_more_than_arrays_stay_static():
    class Noisy(NamedTuple):
        level: float
        name: str

        def __call__(self, key, x):
            return x[0] + (self.level * jax.random.normal(key) if self.level > 0 else 0.0)

    obs = observations([[0.0], [1.0]], [0.0, 1.0], capacity=8)
    table = functools.partial(lambda t, key, x: np.sort(t)[0] + x[0], np.arange(5.0))
    for objective in (Noisy(0.0, "plain"), table):
        _, path = simulate(jax.random.key(0), campaign(), objective, 2, obs)
        np.testing.assert_array_equal(path.y.ravel(), path.x.ravel())


def test_what_is_made_under_a_trace_does_not_get_out():
    directions = np.eye(2)

    def level(x):
        return encoders.linear(directions).apply(jnp.zeros(0), x).sum() + acquisition.ucb(7.0).settings[0]["beta"]

    assert float(jax.jit(level)(jnp.ones(2))) == float(level(jnp.ones(2)))


def test_a_distribution_of_a_users_own_counts_by_identity():
    class Clipped(dist.LogNormal):
        def __init__(self, loc, scale, cut):
            self.cut = cut
            super().__init__(loc, scale)

    low, high = Clipped(0.0, 1.0, 1.0), Clipped(0.0, 1.0, 2.0)
    assert gp.exact(1, prior={"noise": low}) is not gp.exact(1, prior={"noise": high})
    assert gp.exact(1, prior={"noise": low}) is gp.exact(1, prior={"noise": low})


def test_arrays_that_change_later_change_nothing_that_is_made_then():
    image = np.zeros((8, 8))
    look = around(image, 4)
    image[:] = 3.0
    assert float(look(jnp.array([4.0, 4.0])).max()) == 0.0
    assert float(around(np.zeros((8, 8)), 4)(jnp.array([4.0, 4.0])).max()) == 0.0
    middle = np.zeros(1)
    first = gp.exact(1, prior={"lengthscale": dist.LogNormal(middle, 0.01)})
    middle[:] = 5.0
    assert gp.exact(1, prior={"lengthscale": dist.LogNormal(np.zeros(1), 0.01)}) is not first


LEVEL = 1.0


def test_a_constant_that_a_function_reads_is_a_part_of_it(monkeypatch):
    def above(x, params):
        return LEVEL + params["slope"] * x[0]

    prior = {"slope": dist.Normal(0.0, 1.0)}
    first = parametric(1, above, prior)
    assert parametric(1, above, prior) is first
    monkeypatch.setitem(globals(), "LEVEL", 10.0)
    assert parametric(1, above, prior) is not first


def test_a_tuple_that_nothing_here_keeps_alive_is_returned_all_the_same():
    @interned
    def pair(number):
        return (lambda: number), number

    for _ in range(2):
        assert pair(2)[1] == 2
        assert pair(2)[0]() == 2
