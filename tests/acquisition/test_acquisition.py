"""What is taken for an acquisition function, and what is refused instead of accepted in silence."""

from functools import partial

import jax.numpy as jnp
import pytest

from gpax_lab import acquisition
from gpax_lab.acquisition import Acquisition, of_moments
from gpax_lab.acquisition._acquisition import as_acquisition, term


def of_a_laboratory(kappa: float = 1.0) -> Acquisition:
    """One that is made outside of this library."""
    return acquisition.ucb(kappa)


@pytest.mark.parametrize(
    "maker", [acquisition.log_ei, acquisition.ucb, of_a_laboratory, lambda mean, std: acquisition.ucb()]
)
@pytest.mark.parametrize("take", [as_acquisition, of_moments])
def test_what_makes_an_acquisition_function_is_not_taken_for_one(maker, take):
    """By its type, whatever module it is from; one of two parameters would else be called with mean and std."""
    with pytest.raises(TypeError, match="the function that makes an acquisition function: write"):
        take(maker)


@pytest.mark.parametrize("wrong", ["ucb", None, 3.0, lambda mean: mean, lambda mean, std, x: mean])
def test_what_is_no_function_of_mean_and_std_is_refused(wrong):
    with pytest.raises(TypeError, match=r"a function of \(mean, std\); got"):
        as_acquisition(wrong)


def scaled(mean, std, beta=2.0, *, offset=0.0):
    """With more parameters than mean and std, which have defaults."""
    return mean + beta * std + offset


@pytest.mark.parametrize("function", [scaled, partial(scaled, beta=1.0), lambda *both: both[0], jnp.add])
def test_a_function_that_can_be_called_with_mean_and_std_is_taken(function):
    assert as_acquisition(function).names == ("of_moments",)


@pytest.mark.parametrize(
    "wrong", [lambda mean, std: jnp.max(mean), lambda mean, std: jnp.stack([mean, std]), lambda mean, std: None]
)
def test_one_value_for_each_point_is_needed(wrong):
    """One number for all points, or two for each, would be broadcast to something else than was meant."""
    with pytest.raises(ValueError, match=r"one value for each point, shape \(m,\)"):
        as_acquisition(wrong)


@pytest.mark.parametrize(
    "make", [acquisition.ucb, lambda xi: acquisition.log_ei(xi=xi), lambda xi: acquisition.log_pi(xi=xi)]
)
def test_a_setting_that_is_no_number_is_refused(make):
    """Every value would be NaN, and every point chosen by its distance."""
    with pytest.raises(ValueError, match="must be numbers; got NaN"):
        make(float("nan"))
    assert term("mine", lambda context, settings: context.mean[0], beta=jnp.inf).names == ("mine",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: acquisition.distance_penalty(0.0),
        lambda: acquisition.distance_penalty([0.1, -0.1]),
        lambda: acquisition.feasible(0.1, strength=0.0),
        lambda: acquisition.travel(0.0, 1.0),
        lambda: acquisition.travel(1.0, 1.0, settle_s=-1.0),
        lambda: acquisition.q_log_ei(paths=0),
        lambda: acquisition.q_log_nei(temperature=0.0),
        lambda: acquisition.min_distance(0.1, memory=0),
        lambda: acquisition.min_distance(0.1, relax=1.5),
    ],
)
def test_a_setting_out_of_range_is_refused(make):
    """Each of them was NaN, infinite or without effect, and the campaign went on."""
    with pytest.raises(ValueError, match="needs"):
        make()


@pytest.mark.parametrize("make", [acquisition.log_ei, acquisition.log_pi, acquisition.ucb, acquisition.thompson])
@pytest.mark.parametrize("wrong", ["minimize", None, 1])
def test_a_direction_is_true_or_false(make, wrong):
    """A word for the other direction would be taken for True."""
    with pytest.raises(TypeError, match="maximize is True to look for a maximum"):
        make(maximize=wrong)
