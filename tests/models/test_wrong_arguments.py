"""Kernels, means and numbers in each other's places: errors say what to pass, and never name a private class."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import kernels, means, nn
from gpax_lab.models import deep_kernel, gp, parametric, sparse

NOT_KERNELS = ["Matern", None, 2.0, means.zero, kernels.Kernel]


@pytest.mark.parametrize("given", NOT_KERNELS, ids=lambda value: getattr(value, "__name__", repr(value)))
@pytest.mark.parametrize(
    "build",
    [
        lambda k: gp.exact(1, k),
        lambda k: sparse(1, k),
        lambda k: deep_kernel(nn.mlp((3,), features=2), kernel=k),
        lambda k: kernels.add(kernels.rbf, k),
        lambda k: kernels.multiply(k, kernels.rbf),
        lambda k: kernels.scope("slow", k),
        lambda k: kernels.active([0], k),
        lambda k: kernels.coregion(2, k),
    ],
)
def test_what_is_no_kernel_is_refused_with_an_example(build, given):
    with pytest.raises(TypeError, match=r"k\(x, z, params\)") as refused:
        build(given)
    assert "_Function" not in str(refused.value)


@pytest.mark.parametrize(
    "given", ["linear", 0.0, kernels.rbf, means.Law], ids=lambda value: getattr(value, "__name__", repr(value))
)
@pytest.mark.parametrize(
    "build",
    [
        lambda m: gp.exact(1, mean=m),
        lambda m: parametric(1, mean=m, prior={}),
        lambda m: deep_kernel(nn.mlp((3,), features=2), mean=m),
        lambda m: means.Law(m, {}, {}, "m = 0", "nobody"),
    ],
)
def test_what_is_no_mean_function_is_refused_with_an_example(build, given):
    with pytest.raises(TypeError, match=r"m\(x, params\), such as lambda x, p"):
        build(given)


@pytest.mark.parametrize(
    "call", [lambda: kernels.rbf(), lambda: kernels.rbf(lengthscale=1.0), lambda: kernels.rbf(1.0)]
)
def test_a_kernel_takes_no_settings(call):
    with pytest.raises(TypeError, match=r"kernels\.rbf is a function .* gp\.exact\(1, kernels\.rbf, prior="):
        call()


def test_other_arguments_in_the_wrong_place():
    with pytest.raises(TypeError, match=r"whole number such as gp\.exact\(2\); got rbf"):
        gp.exact(kernels.rbf)
    with pytest.raises(TypeError, match=r"scope\('fast', kernels\.rbf\); got rbf"):
        kernels.scope(kernels.rbf, "fast")
    with pytest.raises(TypeError, match=r"active\(\[0, 1\], kernels\.rbf\); got rbf"):
        kernels.active(kernels.rbf, [0])
    with pytest.raises(ValueError, match="no kernel to combine"):
        kernels.add()
    with pytest.raises(TypeError, match=r"encoder is what nn\.mlp"):
        deep_kernel("mlp")
    with pytest.raises(ValueError, match=r"such as \{'lengthscale': .* got a Normal\."):
        gp.exact(1, prior=dist.Normal(0.0, 1.0))
    for noise in (0.1, np.ones(3)):
        with pytest.raises(ValueError, match=r'noise="known" with observations'):
            gp.exact(1, noise=noise)


@pytest.mark.parametrize("combine", [means.add, means.multiply, lambda a, b: means.scope("a", b)])
def test_means_that_are_no_laws_do_not_combine(combine):
    law = means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 1.0)}, {"k": "y / x"}, "m = k x", "Hooke")
    with pytest.raises(TypeError, match=r"got zero.*lambda x, p"):
        combine(law, means.zero)
    assert repr(law) == "<Law m = k x [k: y / x] (Hooke)>"


def test_composed_kernels_print_as_they_are_written():
    def own(x, z, params):
        return params["variance"] * jnp.ones(2)

    fast = kernels.scope("fast", kernels.periodic)
    assert repr(kernels.rbf + kernels.matern52 * fast) == "rbf + matern52 * scope('fast', periodic)"
    assert repr((kernels.rbf + kernels.linear) * own) == "(rbf + linear) * own"
    assert repr(kernels.coregion(2, kernels.active([0, 1], own))) == "coregion(2, active([0, 1], own))"
    with pytest.raises(ValueError, match=r"^rbf \+ own must return one number"):
        gp.exact(1, kernels.rbf + own)
    assert repr(kernels.add(own, own)) == "own + own"
