"""A campaign whose fits fail says so at its end and on the way, also after a pause."""

import jax.numpy as jnp
import pytest
from small_campaign import BOUNDS, go, records

from gpax_lab import acquisition
from gpax_lab.core import Status
from gpax_lab.experiment import bayes_opt
from gpax_lab.experiment._health import Health
from gpax_lab.inference import laplace
from gpax_lab.models import gp

STEPS = 3


def indefinite(x, z, params):
    """Of negative variance: no covariance."""
    return params["variance"] * jnp.where(x[0] == z[0], -1.0, 0.0)


@pytest.fixture(scope="module")
def hopeless():
    model = gp.exact(1, indefinite, bounds=BOUNDS, noise="known")
    nowhere = lambda mean, std: mean + jnp.sqrt(std - 2.0)  # noqa: E731
    return bayes_opt(model, laplace(8, 2, 5), nowhere, acquisition.grid(BOUNDS, (20,)))


def test_a_kernel_that_is_none_is_told_at_the_end_and_at_every_step(hopeless, path):
    events = []
    end = go(path, hopeless, STEPS, callback=events.append)
    assert end.state.posterior.status == end.status == Status.NOT_POSITIVE_DEFINITE
    assert "kernel" in end.status.describe()
    assert end.fallbacks == STEPS
    assert f"{STEPS + 1} of {STEPS + 1} fits were not OK (the worst NOT_POSITIVE_DEFINITE" in end.reason
    assert f"{STEPS} of {STEPS} proposals were chosen by distance alone" in end.reason
    assert end.reason == records(path, "stop")[0].header["reason"]
    told = [event for event in events if event.phase == "learn"]
    assert [event.fallbacks for event in told] == [1, 2, 3]
    assert {event.status for event in told} == {Status.NOT_POSITIVE_DEFINITE}


def test_what_was_before_a_pause_counts(hopeless, path):
    go(path, hopeless, 1)
    end = go(path, hopeless, STEPS)
    assert (end.status, end.fallbacks) == (Status.NOT_POSITIVE_DEFINITE, STEPS)
    assert f"{STEPS + 1} of {STEPS + 1} fits" in end.reason


def test_a_campaign_that_is_well_says_nothing(plain_end):
    assert (plain_end.status, plain_end.fallbacks) == (Status.OK, 0)
    assert plain_end.reason == f"all {STEPS} steps are done"


def test_the_worst_is_kept_and_people_are_no_fallback():
    fits = [("posterior", {"diagnostics": {"outcome": code}}) for code in (0, 5, 1)]
    points = [("proposal", {"fallback": True, "pinned": pinned}) for pinned in (True, False)]
    health = Health()
    for kind, header in fits + points:
        health = health.after(kind, header)
    assert health == Health(fits=3, bad=2, worst=Status.NOT_FINITE, proposals=1, fallbacks=1)
