"""Improvement is over the observations that lie where may still be asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gpax_lab import acquisition
from gpax_lab.acquisition._candidates import domain
from gpax_lab.acquisition._domain import as_region
from gpax_lab.core._observations import PENDING, observations
from gpax_lab.models import gp

# Three inputs, of which the middle one is a fidelity; the cheap observations are ten higher.
PLACES = np.linspace(0.0, 1.0, 6)
X = np.concatenate([np.c_[PLACES, np.zeros(6), PLACES**2], np.c_[PLACES[1:4], np.ones(3), PLACES[1:4] ** 2]])
Y = np.r_[10 + np.sin(5 * PLACES), np.sin(5 * PLACES[1:4])]
OBS = observations(X, Y, noise=1e-4)
NEW = jnp.asarray(np.c_[np.linspace(0.05, 0.95, 5), np.ones(5), np.linspace(0.05, 0.95, 5) ** 2])
DEAR = acquisition.pool(np.c_[np.linspace(0, 1, 9), np.ones(9), np.linspace(0, 1, 9) ** 2])
DRAWN = {
    "variance": jnp.array([1.0, 2.0]),
    "lengthscale": jnp.array([[0.12, 0.3, 0.2], [0.1, 0.4, 0.3]]),
    "noise": jnp.array([1e-4, 1e-3]),
}


class Fixed:
    """Two draws of a process, as a posterior."""

    def __init__(self):
        self.model = gp.exact(3, standardize=False)
        self.log_weight = jnp.log(jnp.array([0.25, 0.75]))
        self.factors = [self.model.condition(self.draw(i), OBS) for i in range(2)]

    def draw(self, i):
        return {name: value[i] for name, value in DRAWN.items()}

    def predict(self, x):
        both = [self.model.predict(self.draw(i), factor, x) for i, factor in enumerate(self.factors)]
        return tuple(jnp.stack(part) for part in zip(*both, strict=True))


jax.tree_util.register_static(Fixed)
POSTERIOR = Fixed()


def by_hand(best, sign=1.0):
    """Log EI over incumbents best (draws,), from the moments of the draws."""
    mean, variance = (np.asarray(a) for a in POSTERIOR.predict(NEW))
    std = np.sqrt(variance)
    u = (sign * mean - np.asarray(best)[:, None]) / std
    gain = std * (stats.norm.pdf(u) + u * stats.norm.cdf(u))
    return np.log(np.exp(np.asarray(POSTERIOR.log_weight)) @ gain)


def incumbents(rows, sign=1.0):
    return np.max(sign * np.asarray(POSTERIOR.predict(jnp.asarray(rows))[0]), axis=1)


def scored(score, candidates, obs=OBS):
    return score(POSTERIOR, obs, NEW, None, domain(candidates, POSTERIOR, obs))


@pytest.mark.parametrize("maximize", [True, False])
def test_improvement_is_over_the_fidelity_that_is_asked(maximize):
    score, sign = acquisition.log_ei(maximize), 1.0 if maximize else -1.0
    np.testing.assert_allclose(scored(score, DEAR), by_hand(incumbents(X[6:], sign), sign), rtol=1e-8)
    np.testing.assert_allclose(score(POSTERIOR, OBS, NEW), by_hand(incumbents(X, sign), sign), rtol=1e-8)


def test_a_window_narrower_than_the_seeds_counts_what_lies_in_it():
    window = acquisition.box([[0.15, 0.5], [-1, 2], [-1, 2]])
    rows = X[(X[:, 0] > 0.15) & (X[:, 0] < 0.5)]
    np.testing.assert_allclose(scored(acquisition.log_ei(), window), by_hand(incumbents(rows)), rtol=1e-8)
    beside = acquisition.box([[0.2 + 1e-4, 0.5], [-1, 2], [-1, 2]])  # the stage read 0.2 back
    np.testing.assert_array_equal(beside.inside(OBS), window.inside(OBS))


def test_without_an_observation_it_is_over_the_best_that_is_predicted():
    nowhere = acquisition.pool(np.c_[np.linspace(0, 1, 9), np.full(9, 0.5), np.linspace(0, 1, 9)])
    expected = by_hand(incumbents(nowhere.points))
    np.testing.assert_allclose(scored(acquisition.log_ei(), nowhere), expected, rtol=1e-8)
    assert np.isfinite(scored(acquisition.ucb_pe(), nowhere)).all()
    many = acquisition.box([[0, 1], [0.4, 0.6], [0, 1]])
    assert np.isfinite(scored(acquisition.log_pi(), many)).all()


@pytest.mark.parametrize("among", [lambda x: x[1] > 0.5, [[-np.inf, np.inf], [0.5, 1.5], [-np.inf, np.inf]]])
def test_one_may_say_what_counts(among):
    score = acquisition.log_ei(among=among)
    expected = by_hand(incumbents(X[6:]))
    np.testing.assert_allclose(score(POSTERIOR, OBS, NEW), expected, rtol=1e-8)
    everywhere = acquisition.box([[0, 1], [0, 1], [0, 1]])
    np.testing.assert_allclose(scored(score, everywhere), expected, rtol=1e-8)
    assert acquisition.log_ei(among=among).terms == score.terms  # equal scores share what is compiled


def test_the_floor_of_ucb_pe_is_of_the_fidelity_that_is_asked():
    pending = OBS._replace(status=OBS.status.at[8].set(PENDING))
    values, blind = scored(acquisition.ucb_pe(), DEAR, pending), acquisition.ucb_pe()(POSTERIOR, pending, NEW)
    assert (np.asarray(values) > 0).any()
    assert (np.asarray(blind) < 0).all()  # ten is out of reach


def test_pending_points_of_the_domain_count_in_joint_improvement():
    obs = OBS._replace(status=OBS.status.at[:6].set(PENDING))
    inside = np.asarray(DEAR.inside(obs))
    assert inside[6:9].all()
    assert not inside[:6].any()


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[2.0, 1.0]], [[0.0, np.nan]]])
def test_a_region_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="among"):
        as_region(wrong)
