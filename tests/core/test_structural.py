"""Values of static structure: those that a user derives from ours, copies, and what is read back."""

import copy
import dataclasses
import math
import pickle
from dataclasses import dataclass

import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import formula, gp, hypotheses, kernels, models, parametric
from gpax_lab.laws import shapes
from gpax_lab.models import ExactGP
from gpax_lab.nn import _encoders as encoders

BOX = [[0.0, 2.0]]
RISE = {"A": dist.HalfNormal(2.0)}


@dataclass(frozen=True, eq=False)
class Warped(ExactGP):
    """A user's own model, with a field of its own."""

    power: float = 1.0


def warped(**options) -> Warped:
    plain = gp.exact(1, kernel=kernels.matern52, bounds=[[0.0, 2.0]])
    return Warped(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}, **options)


def test_a_users_own_model_is_equal_by_structure():
    assert warped() == warped()
    assert hash(warped()) == hash(warped())
    assert warped() != warped(power=2.0)
    assert warped() != gp.exact(1, kernel=kernels.matern52, bounds=[[0.0, 2.0]])


VALUES = {
    "kernel": lambda: kernels.rbf,
    "composed kernel": lambda: kernels.rbf + kernels.scope("slow", kernels.periodic) * kernels.active([0], kernels.rbf),
    "process": lambda: gp.exact(2, bounds=BOX * 2),
    "sparse": lambda: models.sparse(1, bounds=BOX, inducing=np.linspace(0.0, 2.0, 5)[:, None]),
    "heavy tails": lambda: gp.exact(1, bounds=BOX, noise=models.StudentNoise(4.0, capacity=8)),
    "function of a module": lambda: parametric(1, hypot, {"A": dist.Normal(0.0, 1.0)}),
    "law": lambda: shapes.line((0, 2), (0, 1)),
    "formula": lambda: formula("A * t", RISE, inputs=["t"]),
    "hypotheses": lambda: hypotheses({"rise": formula("A * t", RISE, inputs=["t"])}, bounds=BOX, scale=(0.0, 1.0)),
    "encoder": lambda: encoders.mlp((8, 8), 3),
}


def hypot(x, p):
    """A user's own mean function, which can be imported."""
    return p["A"] * x[0] / math.sqrt(2.0)


@pytest.mark.parametrize("build", VALUES.values(), ids=VALUES)
def test_copies_are_equal_and_so_is_what_is_read_back(build):
    cloudpickle = pytest.importorskip("cloudpickle")
    value = build()
    for other in (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
        cloudpickle.loads(cloudpickle.dumps(value)),
        build(),
    ):
        assert other == value
        assert hash(other) == hash(value)


def test_functions_that_have_no_name_come_back_as_others():
    """As the documentation says: equality is by identity of a user's functions."""
    pytest.importorskip("cloudpickle")
    value = parametric(1, lambda x, p: p["A"] * x[0], {"A": dist.Normal(0.0, 1.0)})
    assert pickle.loads(pickle.dumps(value)) != value
    assert copy.deepcopy(value) == value


def test_no_prior_is_an_empty_prior():
    assert gp.exact(2, prior={}) == gp.exact(2, prior=None) == gp.exact(2)
    assert hash(gp.exact(2, prior={})) == hash(gp.exact(2))
    assert models.sparse(1, prior={}) == models.sparse(1)
    assert gp.exact(2, prior={"noise": 0.1}) != gp.exact(2)
