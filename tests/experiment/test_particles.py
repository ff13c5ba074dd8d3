"""Streaming inference inside campaigns: one program, exact resume, a buffer that grows."""

import jax
import numpy as np
import pytest
from small_campaign import BOUNDS, KEY, SEEDS, bits, cut_before_reading, go, model, objective

from gpax_lab import acquisition
from gpax_lab.core import Status
from gpax_lab.core._observations import observations
from gpax_lab.experiment import bayes_opt, simulate
from gpax_lab.inference import smc


@pytest.fixture(scope="module")
def experiment():
    return bayes_opt(model(), smc(32), acquisition.log_ei(), acquisition.grid(BOUNDS, (50,)))


@pytest.fixture(scope="module")
def end(experiment, tmp_path_factory):
    return go(tmp_path_factory.mktemp("whole") / "a.gpxj", experiment, 7)


def test_run_and_simulate_are_one_program(experiment, end):
    key_start, key_seed = jax.random.split(KEY)
    y = [float(jax.jit(objective)(jax.random.fold_in(key_seed, i), x)) for i, x in enumerate(SEEDS)]
    state, _ = simulate(key_start, experiment, objective, 7, observations(SEEDS, y))
    assert bits(state.obs) == bits(end.state.obs)
    assert bits(state.posterior.params) == bits(end.state.posterior.params)
    assert bits(state.posterior.log_evidence) == bits(end.state.posterior.log_evidence)
    assert int(state.posterior.info.status) == Status.OK


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 6])
def test_resume_takes_the_same_trajectory(experiment, end, tmp_path, number):
    path = tmp_path / "a.gpxj"
    go(path, experiment, 7)
    cut_before_reading(path, number)
    assert bits(go(path, experiment, 7).state) == bits(end.state)


@pytest.mark.slow
def test_a_campaign_that_goes_on_past_its_end_keeps_what_it_knows(experiment, end, tmp_path):
    path = tmp_path / "a.gpxj"
    go(path, experiment, 7)
    longer = go(path, experiment, 14)
    assert longer.state.obs.capacity == 32
    assert np.count_nonzero(np.asarray(longer.state.posterior.seen)) == len(SEEDS) + 14
    again = go(path, experiment, 14)
    assert bits(again.state) == bits(longer.state)
    at_once = experiment.init(KEY, longer.state.obs).posterior
    # Both clouds of 32 draws have gone through a dozen reweightings.
    assert abs(float(longer.state.posterior.log_evidence - at_once.log_evidence)) < 5 * np.sqrt(24 / (0.3 * 32))
