"""A campaign of 400 steps that follows its posterior with particles: compiled once, memory and journal in bounds."""

import jax
import numpy as np
import pytest
from small_campaign import BOUNDS, SEEDS, bits, cut_before_reading, go, model, objective, records

from gpax_lab import acquisition
from gpax_lab.experiment import Simulated, bayes_opt
from gpax_lab.inference import smc
from gpax_lab.storage import read

STEPS = 400


class Counted(Simulated):
    """Notes the tokens under which it measured."""

    def __init__(self):
        super().__init__(objective)
        self.tokens = []

    def measure(self, x, token):
        self.tokens.append(token)
        return super().measure(x, token)


def experiment():
    sampler = smc(8, max_moves=2, max_leapfrog=2, max_correlation=0.9)
    return bayes_opt(model(), sampler, acquisition.ucb(4.0), acquisition.box(BOUNDS, 32, 2, 8))


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute and a half of a processor
def test_400_steps(tmp_path, compiled):
    path, steps = tmp_path / "a.gpxj", []

    def callback(event):
        if event.phase == "learn":
            steps.append((len(compiled), sum(array.nbytes for array in jax.live_arrays()), path.stat().st_size))

    instrument = Counted()
    end = go(path, experiment(), STEPS, instrument, callback=callback)
    assert (end.steps, end.reason) == (STEPS, f"all {STEPS} steps are done")
    assert len(set(instrument.tokens)) == len(instrument.tokens) == len(SEEDS) + STEPS
    programs, memory, sizes = np.array(steps).T
    assert programs[0] == programs[-1]  # all that a step needs was compiled before the first one ended
    assert memory[-1] <= memory[9]  # a state, and nothing of those before it
    written = np.diff(sizes)
    late, early = written[-100:].mean(), written[:100].mean()
    assert late == pytest.approx(early, rel=0.05)
    assert early < 4096
    assert read(path).ignored == 0

    token = cut_before_reading(path, len(SEEDS) + STEPS - 1)  # killed in the measurement of the last step
    assert "jit(_follow)" in compiled
    compiled.clear()
    last = Counted()
    again = go(path, experiment(), STEPS, last)
    assert last.tokens == [token]
    assert bits(again.state) == bits(end.state)
    assert "jit(_follow)" not in compiled
    assert len(compiled) <= 4  # what was recorded is conditioned anew; nothing is fitted
    assert len(records(path, "reading")) == len(SEEDS) + STEPS
