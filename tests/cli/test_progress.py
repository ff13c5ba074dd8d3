"""What the plain lines of a running campaign say beside the measurement."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from gpax_lab import acquisition, bayes_opt, gp, laplace, observations
from gpax_lab.cli._progress import Display
from gpax_lab.core import Axis
from gpax_lab.experiment import Event

PLACES = np.random.default_rng(0).uniform(size=(400, 2))


@pytest.mark.parametrize("cornered", [True, False])
def test_a_campaign_in_one_corner_is_told_while_it_runs(cornered):
    read = PLACES[np.argsort(PLACES.sum(axis=1))[: 12 if cornered else None : 1 if cornered else 34]]
    plan = bayes_opt(gp.exact(2), laplace(4, 1, 2), acquisition.ucb(), acquisition.pool(PLACES))
    state = plan.init(jax.random.key(0), observations(read, read[:, 0], capacity=16))
    axes = [Axis(name, "m", 0.0, 1.0) for name in "xy"]
    shown = Console(record=True, width=200, force_terminal=False)
    display = Display(shown, SimpleNamespace(axes=axes, quantity={"unit": "V"}, maximize=True))
    display(Event("learn", 7, 20, read[-1], float(read[-1, 0]), state))
    line = shown.export_text()
    assert line.startswith("step 7/20  at (")
    assert "coverage" in line
    assert ("all in one corner (reach" in line) == cornered
