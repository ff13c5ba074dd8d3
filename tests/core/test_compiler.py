"""The self-test of the compiler: right on this version, and heard of where it is not."""

import warnings

import jax
import pytest

from gpax_lab import gp, observations
from gpax_lab.core import _compiler as compiler


@pytest.fixture
def forgotten():
    compiler.warn_once.cache_clear()
    yield
    compiler.warn_once.cache_clear()


def test_this_version_is_right():
    assert compiler.largest_error() < 1e-12
    assert jax.jit(lambda x: x + compiler.largest_error())(0.0) < 1e-6  # also from within a function being compiled


def test_a_wrong_compiler_is_told_once_with_the_remedy(monkeypatch, forgotten):
    monkeypatch.setattr(compiler, "MEASURED_RIGHT", ())
    monkeypatch.setattr(compiler, "largest_error", lambda: 0.6)
    model, obs = gp.exact(1), observations([[0.1], [0.4]], [1.0, 2.0])
    with pytest.warns(RuntimeWarning, match=r"wrong numbers.*pip install"):
        model.check(obs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.check(obs)


def test_a_version_measured_right_costs_nothing(monkeypatch, forgotten):
    monkeypatch.setattr(compiler, "MEASURED_RIGHT", (compiler.jaxlib.__version__,))
    monkeypatch.setattr(compiler, "largest_error", lambda: pytest.fail("the version is known"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiler.warn_once()
