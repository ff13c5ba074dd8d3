"""Models are values: equal by what they are made of, compiled once for all equal ones, honest about what they can."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import kernels, models
from gpax_lab.core import observations
from gpax_lab.images import around
from gpax_lab.models import gp, gridded, parametric, sparse
from gpax_lab.models._model import ABILITIES, able
from gpax_lab.nn import linear

IMAGE = np.asarray(jax.random.normal(jax.random.key(0), (9, 9)))
LOOK = around(IMAGE, 3)
DIRECTIONS = jnp.ones((2, 9)) / 9.0


def line(x, params):
    return params["slope"] * x[0]


def apart(build, *args, **kwargs):
    """A model that is not taken from those built before."""
    return getattr(build, "__wrapped__", build)(*args, **kwargs)


SLOPE = {"slope": dist.Normal(0.0, 1.0)}
BUILT = {
    "ExactGP": lambda: apart(gp.exact, 1, kernels.matern52 + kernels.rbf, line, SLOPE, bounds=[[0.0, 2.0]]),
    "noise that is known": lambda: apart(gp.exact, 1, noise="known"),
    "noise that varies": lambda: apart(gp.exact, 1, noise=models.HeteroscedasticNoise()),
    "noise with tails": lambda: apart(gp.exact, 1, noise=models.StudentNoise(capacity=8)),
    "SparseGP": lambda: apart(sparse, 1, inducing=4),
    "Parametric": lambda: apart(parametric, 1, line, SLOPE),
    "MultiOutput": lambda: apart(models.multi_output, gp.exact(1), 2),
    "DeepKernelGP": lambda: apart(models.deep_kernel, linear(DIRECTIONS, shape=(3, 3)), LOOK),
    "KroneckerGP": lambda: apart(gridded.process, (kernels.rbf, kernels.matern52)),
}
OTHER = {
    "ExactGP": gp.exact(1, kernels.matern52 + kernels.rbf, line, {"slope": dist.Normal(0.0, 2.0)}, bounds=[[0.0, 2.0]]),
    "noise that is known": gp.exact(1),
    "noise that varies": gp.exact(1, noise=models.HeteroscedasticNoise(anchors=5)),
    "noise with tails": gp.exact(1, noise=models.StudentNoise(df=5.0, capacity=8)),
    "SparseGP": sparse(1, inducing=5),
    "Parametric": parametric(1, line, SLOPE, standardize=False),
    "MultiOutput": models.multi_output(gp.exact(1), 3),
    "DeepKernelGP": models.deep_kernel(linear(2.0 * DIRECTIONS, shape=(3, 3)), LOOK),
    "KroneckerGP": gridded.process((kernels.rbf, kernels.matern32)),
}


@pytest.mark.parametrize("name", BUILT)
def test_equal_models_are_equal_hash_alike_and_are_compiled_once(name):
    first, second = BUILT[name](), BUILT[name]()
    assert first is not second
    assert first == second
    assert hash(first) == hash(second)
    assert first != OTHER[name]
    traced = []

    @partial(jax.jit, static_argnames="model")
    def use(model, x):
        traced.append(model)
        return x

    for model in (first, second, first):
        use(model, 0.0)
    assert len(traced) == 1


def test_a_model_says_what_it_can_not_do():
    obs = observations(np.array([[0.1], [0.7]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    vector = models.multi_output(gp.exact(1), 2)
    vector.check(obs)
    for ability, words in ABILITIES.items():
        assert able(gp.exact(1), ability) == gp.exact(1)
        if not isinstance(vector, ability):
            with pytest.raises(TypeError, match=f"MultiOutput has no {words}"):
                able(vector, ability)
    with pytest.raises(ValueError, match="one quantity"):
        models.multi_output(vector, 2)
    assert not isinstance(gridded.process((kernels.rbf,)), models.Model)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dim": 0}, "at least one input"),
        ({"dim": 1, "standardize": "yes"}, "standardize must be True, False or"),
        ({"dim": 1, "standardize": (0.0, -1.0)}, "standardize must be True, False or"),
    ],
)
def test_what_makes_no_process_is_refused_in_words(wrong, words):
    with pytest.raises(ValueError, match=words):
        gp.exact(**wrong)


def test_equal_models_cannot_be_changed_through_one_of_them():
    one = gp.exact(1, bounds=[[0.0, 2.0]])
    with pytest.raises(ValueError, match="read-only"):
        one.transform.low[...] = -3.0


def test_models_of_equal_values_are_equal_however_these_are_written():
    box = [[0.0, 2.0]]
    one = gp.exact(1, bounds=box, noise="inferred")
    for same in (np.asarray(box), ((0.0, 2.0),), [[0, 2]]):
        assert gp.exact(1, bounds=same, noise="inferred") == one
        assert hash(gp.exact(1, bounds=same, noise="inferred")) == hash(one)
    for other in ({"bounds": [[0.0, 2.5]]}, {"noise": "known"}, {"standardize": False}, {"uncertain_inputs": 8}):
        assert gp.exact(1, **({"bounds": box} | other)) != one
    assert gp.exact(1, bounds=box, prior={"noise": dist.LogNormal(-2.0, 1.0)}) != one
    assert gp.exact(1, bounds=box, mean=lambda x, p: x[0]) != gp.exact(1, bounds=box, mean=lambda x, p: 2.0 * x[0])
