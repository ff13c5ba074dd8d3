"""Scores, penalties, batches, information, and the search for the best candidate."""

import jax.numpy as jnp
import numpy as np
from table import FEW, NO_SLOPE, Row, row

from gpax_lab import acquisition
from gpax_lab.acquisition import _logspace as logspace
from gpax_lab.acquisition import _neighbours as neighbours
from gpax_lab.acquisition import _penalties as penalties
from gpax_lab.acquisition import _route as route
from gpax_lab.acquisition._acquisition import AcquisitionContext
from gpax_lab.acquisition._candidates import domain, is_open
from gpax_lab.acquisition._information import parting, telling_apart
from gpax_lab.core._observations import FAILED, Observations
from rows.inference import KEY, belief, plain, race_of
from rows.models import places, readings

SCORES = {
    "_functions.log_ei": acquisition.log_ei,
    "_functions.log_pi": acquisition.log_pi,
    "_functions.ucb": acquisition.ucb,
    "_functions.seek": acquisition.seek,
    "_functions.learning": lambda: acquisition.learning(acquisition.log_ei()),
    "_functions.uncertainty": acquisition.uncertainty,
    "_functions.disagreement": acquisition.disagreement,
    "_functions.thompson": acquisition.thompson,
    "_acquisition.of_moments": lambda: acquisition.of_moments(lambda mean, std: 5 * std + 10 * mean),
    "_penalties.distance_penalty": lambda: acquisition.distance_penalty(3.0),
    "_penalties.feasible": lambda: acquisition.feasible(4.0),
    "_batches.q_log_ei": acquisition.q_log_ei,
    "_batches.q_log_nei": acquisition.q_log_nei,
    "_batches.thompson_path": acquisition.thompson_path,
    "_batches.ucb_pe": acquisition.ucb_pe,
}
FLAT = {
    "_functions.random": acquisition.random,
    "_penalties.travel": lambda: acquisition.travel(0.5, 1.0, 0.2),
    "_batches.min_distance": lambda: acquisition.min_distance(2.0),
}
OF_RIVALS = {
    "_information.expected_information_gain": acquisition.expected_information_gain,
    "_information.uncertainty_of_one": acquisition.uncertainty_of_one,
    "_information.parting acquisition._information.between": parting,
    "_information.telling_apart": lambda: telling_apart(acquisition.log_ei() + acquisition.distance_penalty(3.0)),
}


def seen() -> Observations:
    """Measurements of which one failed."""
    obs = readings(1, 8)
    return obs._replace(status=obs.status.at[1].set(FAILED))


def scored(make, of=None):
    """A score as a function of the candidates."""

    def made():
        obs, score = seen(), make()
        posterior = (of or (lambda o: belief(plain(), o)))(obs)
        return lambda x, p, o, key: score(p, o, x, key), (places(1), posterior, obs, KEY)

    return made


def scores() -> list[Row]:
    found = []
    for name, make in SCORES.items():
        core = ("grad",) if name == "_functions.log_ei" else ()
        found.append(row(f"acquisition.{name}", scored(make), contexts=("jit", "grad"), core=core))
    found += [row(f"acquisition.{name}", scored(make), contexts=("jit", "vmap")) for name, make in FLAT.items()]
    found += [
        row(f"acquisition.{name}", scored(make, race_of), contexts=("jit", "vmap")) for name, make in OF_RIVALS.items()
    ]
    sums = lambda: acquisition.log_ei() + 2.0 * acquisition.distance_penalty(3.0) - acquisition.feasible(4.0)  # noqa: E731
    return [
        *found,
        row(
            "acquisition._acquisition.term acquisition._acquisition.AcquisitionContext.moments",
            scored(sums),
            "a sum",
            FEW,
        ),
    ]


ASKED = "corners", "inside", "spanning_points", "tolerance"
POOL = " ".join(f"acquisition._candidates.Pool.{name}" for name in (*ASKED, "taken"))
BOX = " ".join(f"acquisition._candidates.Box.{name}" for name in ASKED)


def of_pool(x, obs):
    pool = acquisition.pool(np.random.default_rng(4).random((9, 2)))
    return pool.corners, pool.inside(obs), pool.spanning_points(), pool.tolerance(x), pool.taken(obs._replace(x=x))


def of_box(x, obs):
    box = acquisition.box([[0, 1], [0, 1]])
    return box.corners, box.inside(obs._replace(x=x)), box.spanning_points(), box.tolerance(x)


def best_of():
    """What a measurement has to be the best of, as a function of what is believed at the slots."""
    obs = seen()

    def function(at, obs):
        posterior = belief(plain(), obs)
        context = AcquisitionContext(posterior, obs, obs.x, at, at**2, posterior.log_weight, KEY)
        return context.best(at, obs.measured, jnp.asarray(1.0)), context.counting(obs.measured)

    return function, (np.random.default_rng(4).random((3, 8)), obs)


def improvement_in_a_window():
    """Log expected improvement over the readings of a pool, a region and none at all, as a function of the places."""

    def function(x, posterior, obs):
        here = acquisition.pool(np.linspace(200.0, 400.0, 5)[:, None])
        nowhere = acquisition.pool(np.linspace(1200.0, 1400.0, 5)[:, None])
        domains = [domain(where, posterior, obs) for where in (here, nowhere)]
        named = acquisition.log_ei(among=[[250.0, 1e9]])(posterior, obs, x)
        return [acquisition.log_ei()(posterior, obs, x, None, where) for where in domains], named

    obs = seen()
    return function, (places(1), belief(plain(), obs), obs)


def searches() -> list[Row]:
    """The best point of a pool and of a box; the order of a batch."""

    def hill(x):
        return jnp.sin(5 * x[:, 0]) + jnp.cos(3 * x[:, 1]) - x[:, 0] * x[:, 1]

    def in_pool(shift, obs, key):
        pool = acquisition.pool(np.random.default_rng(4).random((9, 2)))
        return pool.best(key, lambda x: hill(x + shift), obs), pool.space_filling(key, 3)

    def in_box(shift, obs, key):
        box = acquisition.box([[0, 1], [0, 1]], starts=6, refine=2, iterations=3)
        return box.best(key, lambda x: hill(x + shift), obs), box.space_filling(key, 3)

    def small() -> Observations:
        obs = readings(2, 8)
        return obs._replace(x=(obs.x - 300.0) / 60.0)

    shift = np.asarray(0.1)
    points = np.random.default_rng(2).random((5, 2))
    closed = np.array([[[0.0, 0.3], [0.0, 1.0]], [[0.5, 0.9], [0.2, 0.6]], [[np.nan, np.nan]] * 2])
    lattice, one = np.stack(np.meshgrid(*[np.linspace(0, 1, 3)] * 2), axis=-1).reshape(-1, 2), np.ones(2)
    return [
        row(
            "acquisition._candidates.Pool.best acquisition._candidates.Pool.space_filling",
            lambda: (in_pool, (shift, small(), KEY)),
            contexts=FEW,
        ),
        row(
            "acquisition._candidates.Box.best acquisition._candidates.Box.space_filling",
            lambda: (in_box, (shift, small(), KEY)),
            contexts=("jit", "vmap"),
            core=("jit",),
        ),
        row("acquisition._candidates.is_open", lambda: (is_open, (closed, points)), contexts=FEW),
        row(POOL, lambda: (of_pool, (small().x, small())), "questions", FEW),
        row(BOX, lambda: (of_box, (small().x, small())), "questions", FEW),
        row(
            "acquisition._acquisition.AcquisitionContext.best acquisition._acquisition.AcquisitionContext.counting",
            best_of,
            contexts=FEW,
        ),
        row("acquisition._domain.domain_of", improvement_in_a_window, contexts=FEW),
        row(
            "acquisition._route.shortest_path",
            lambda: (lambda x: route.shortest_path(x[0], x[1:]), (points,)),
            contexts=FEW,
        ),
        row(
            "acquisition._route.length_of",
            lambda: (lambda d: route.length_of(d, jnp.array([0, 2, 1])), (points[:3, :1] + points[None, :3, 1],)),
        ),
        row(
            "acquisition._neighbours.beside acquisition._neighbours.tolerance_around",
            lambda: (
                lambda x, p: (neighbours.beside(p, x, one), neighbours.tolerance_around(p, x)),
                (one * 0.501, lattice),
            ),
            contexts=FEW,
        ),
        row(
            "acquisition._penalties.last_point",
            lambda: (lambda o: penalties.last_point(o), (small(),)),
            contexts=NO_SLOPE,
        ),
        row(
            "acquisition._logspace.log_improvement",
            lambda: (logspace.log_improvement, (np.linspace(-40.0, 3.0, 23),)),
        ),
        row(
            "acquisition._logspace.log_mean_exp",
            lambda: (lambda v: logspace.log_mean_exp(v, jnp.log(jnp.ones(5) / 5)), (points,)),
        ),
    ]


ROWS = [*scores(), *searches()]
