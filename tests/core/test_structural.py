"""Values of static structure that a user derives from ours."""

import dataclasses
from dataclasses import dataclass

from gpax_lab import gp, kernels
from gpax_lab.models import ExactGP


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
