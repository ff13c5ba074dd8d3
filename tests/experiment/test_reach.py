"""How much of the space of its candidates a campaign has reached."""

import jax
import numpy as np

from gpax_lab import acquisition, bayes_opt, gp, laplace, observations
from gpax_lab.experiment import reach
from gpax_lab.experiment._reach import reach_of

PLACES = np.random.default_rng(0).uniform(size=(400, 2))


def test_random_points_reach_about_one_and_a_corner_little():
    random = [reach(PLACES, PLACES[np.random.default_rng(k).choice(400, 20)]).share for k in range(20)]
    np.testing.assert_allclose(np.mean(random), 1.0, atol=0.1)
    corner = PLACES[np.argsort(PLACES.sum(axis=1))[:20]]
    told = reach(PLACES, corner)
    assert told.share < 0.3
    assert "one corner" in told.describe()
    assert told.measurements == 20
    none = reach(PLACES, corner[:0])
    assert none == (1.0, 0)
    assert none.describe() == ""


def test_descriptors_decide_and_not_the_unit():
    spread = PLACES[np.argsort(PLACES[:, 0])[::20]]  # over one input, whatever the other
    narrow = PLACES[np.argsort(PLACES[:, 1])[:20]]
    both = {name: reach(PLACES, x, lambda x: x[:, 1:]).share for name, x in (("spread", spread), ("narrow", narrow))}
    assert both["narrow"] < 0.2 < 0.7 < both["spread"]
    scaled = reach(PLACES * [1e-9, 1e3], spread * [1e-9, 1e3])
    np.testing.assert_allclose(scaled.share, reach(PLACES, spread).share)


def test_of_a_state():
    corner = PLACES[np.argsort(PLACES.sum(axis=1))[:6]]
    plan = bayes_opt(gp.exact(2), laplace(4, 1, 2), acquisition.ucb(), acquisition.pool(PLACES))
    y = np.where(np.arange(6) == 3, np.nan, 0.1 * np.arange(6))  # a failed measurement has been there too
    state = plan.init(jax.random.key(0), observations(corner, y))
    assert reach_of(state) == reach(PLACES, corner)
    state, _ = plan.propose(state)  # what is pending has not
    assert reach_of(state).measurements == 6
