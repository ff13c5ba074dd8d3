"""Linear algebra, samplers' inner functions, weights, diagnostics, posteriors and races."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from table import FEW, NO_SLOPE, Row, row

from gpax_lab import gp, hypotheses, laplace, parametric, priors, smc
from gpax_lab.core import Status
from gpax_lab.core import _linalg as linalg
from gpax_lab.core import _sequence as sequence
from gpax_lab.core._observations import Observations, add_pending, answered_slot, as_if_measured, assimilate
from gpax_lab.core._programs import log_observed
from gpax_lab.hypotheses._comparison import held_out, predictive_check
from gpax_lab.hypotheses._model_average import ModelAverage
from gpax_lab.hypotheses._sensitivity import widened, with_width
from gpax_lab.inference import _diagnostics as diagnostics
from gpax_lab.inference import _importance as proposal
from gpax_lab.inference import _posterior as posterior
from gpax_lab.inference import _weights as weights
from gpax_lab.inference._bfgs import at_mode, minimize_bfgs
from gpax_lab.inference._density import start, unconstrained_density
from gpax_lab.inference._recalibration import coverage, intervals, leave_one_out_scores, recalibration
from gpax_lab.models import StudentNoise
from gpax_lab.models._model import Model
from gpax_lab.models._multi_output import mixture_moments, multi_output
from rows.models import BOX, PEAK, peak, places, readings

KEY = jax.random.key(3)
DTYPE = np.dtype(np.float64)


@cache
def plain(standardize: bool | tuple[float, float] = True) -> Model:
    return gp.exact(1, bounds=BOX, standardize=standardize, anchors=lambda p: jnp.linspace(300.0, 360.0, 12)[:, None])


@cache
def law() -> Model:
    return parametric(1, peak, PEAK, bounds=BOX, standardize=(0.0, 1.0))


def info() -> posterior.Info:
    number, count = jnp.asarray(1.0), jnp.asarray(0)
    return posterior.Info(count, number, number, number, count, number, number, count, count, number)


def belief(model: Model, obs: Observations, draws: int = 3) -> posterior.Posterior:
    """Draws of the prior with uneven weights, conditioned: any draws will do."""
    params = jax.vmap(lambda key: priors.sample(key, model.prior))(jax.random.split(KEY, draws))
    weight = jax.nn.log_softmax(0.4 * jnp.arange(draws))
    return posterior.Posterior(params, weight, jnp.asarray(-3.1), None, info(), (), model).conditioned(obs)


def race_of(obs: Observations) -> ModelAverage:
    known = hypotheses({"process": plain((0.0, 1.0)), "law": law()})
    each = tuple(belief(model, obs) for model in known.models.values())
    each = each[0], replace(each[1], log_evidence=jnp.asarray(-2.2))
    return ModelAverage(posteriors=each, hypotheses=known, log_prior=jnp.log(jnp.asarray([0.6, 0.4])))


def gram(n: int, scale: float = 0.3, nugget: float = 0.05) -> jax.Array:
    x = np.linspace(0, 1, n)
    return jnp.asarray(np.exp(-0.5 * ((x[:, None] - x[None]) / scale) ** 2) + nugget * np.eye(n))


def algebra() -> list[Row]:
    """`linalg` below and above a block, above two, and where LAPACK takes over."""
    found = []
    for n in (5, 33, 70, 513):
        k, y = gram(n), jnp.sin(jnp.arange(n) * 0.7)
        b = jnp.stack([y, y**2, jnp.cos(y)], axis=1)
        note = f"of {n} rows"
        few = ("jit", "vmap", "grad") if n < 500 else ("jit", "vmap")
        core = ("jit", "grad") if n == 33 else ()

        def put(name, function, *args, contexts=few, core=(), note=note, k=k):
            return row(f"core._linalg.{name}", lambda: (function, (k, *args)), note, contexts, core)

        found += [
            put("cholesky", linalg.cholesky, core=core),
            put("centred_log_density", linalg.centred_log_density, y, core=core),
            put("solve_lower", lambda k, b: linalg.solve_lower(jnp.tril(k) + jnp.eye(k.shape[0]), b), b),
            put("solve_upper", lambda k, b: linalg.solve_upper(jnp.tril(k) + jnp.eye(k.shape[0]), b), y),
        ]
    broken = gram(8, nugget=-0.9)
    return [
        *found,
        row("core._linalg.cholesky", lambda: (linalg.cholesky, (broken,)), "that fails", ("jit", "vmap")),
        row(
            "core._linalg.centred_log_density",
            lambda: (linalg.centred_log_density, (broken, jnp.ones(8))),
            "that fails",
            ("jit", "branch", "grad"),
        ),
        row("core._linalg.over_draws", lambda: (lambda x: linalg.over_draws(lambda a: jnp.sin(a) @ a, x), (gram(9),))),
        row(
            "core._linalg.in_chunks",
            lambda: (lambda x: linalg.in_chunks(lambda a: jnp.sum(a**3, axis=1), x, 4), (gram(9),)),
        ),
        row(
            "core._sequence.additive_recurrence",
            lambda: (lambda shift: sequence.additive_recurrence(7, 2, shift), (jnp.array([0.2, 0.4]),)),
            contexts=NO_SLOPE,
        ),
    ]


def buffers() -> list[Row]:
    """Observations: reserve, answer, what counts."""
    obs = readings(2, 8)
    waiting = obs.x[6]

    def answered(y, obs, x):
        return assimilate(obs, x, y, 0.1), assimilate(obs, x + 1.0, y), assimilate(obs, x, y * jnp.nan)

    return [
        row(
            "core._observations.add_pending",
            lambda: (lambda x, o: add_pending(o, x), (waiting + 1.0, obs)),
            contexts=NO_SLOPE,
        ),
        row("core._observations.assimilate", lambda: (answered, (jnp.asarray(0.7), obs, waiting)), contexts=NO_SLOPE),
        row(
            "core._observations.answered_slot",
            lambda: (lambda x, o: answered_slot(o, x, 0.5), (waiting + 0.1, obs)),
            contexts=NO_SLOPE,
        ),
        row(
            "core._observations.as_if_measured core._observations.Observations.measured",
            lambda: (lambda o: (as_if_measured(o), o.measured), (obs,)),
            contexts=FEW,
        ),
    ]


def densities() -> list[Row]:
    """A model's parameters as a vector: potential, likelihoods, the tempered density, a start."""
    obs, other = readings(1, 16), readings(1, 16)._replace(status=jnp.zeros(16, jnp.int8))
    pair = jax.tree.map(lambda *leaves: jnp.stack(leaves), obs, other)
    small = readings(1, 8)

    @cache
    def space():
        return unconstrained_density(plain(), DTYPE)

    def z(count: int) -> jax.Array:
        return jax.vmap(space().draw)(jax.random.split(KEY, count))

    def tempered(z, pair, lam):
        return space().tempered(z, pair, lam, jnp.asarray(False))

    def potential(z, obs):
        return space().potential(z, obs)

    return [
        row(
            "inference._density.unconstrained_density",
            lambda: (potential, (z(1)[0], obs)),
            "potential",
            core=("vmap", "branch", "grad branch"),
        ),
        row(
            "inference._density.unconstrained_density",
            lambda: (potential, (z(1)[0] * jnp.nan, obs)),
            "potential nowhere",
            FEW,
        ),
        row(
            "inference._density.unconstrained_density",
            lambda: (lambda z, o: space().log_likelihoods(z, o), (z(3), obs)),
            "log_likelihoods",
            ("jit", "map", "grad"),
        ),
        row(
            "inference._density.unconstrained_density",
            lambda: (tempered, (z(3), pair, jnp.asarray(0.4))),
            "tempered",
            ("jit", "scan"),
        ),
        row(
            "inference._density.unconstrained_density",
            lambda: (lambda z: space().constrain(z), (z(1)[0],)),
            "constrain",
            ("jit", "grad"),
        ),
        row(
            "inference._density.unconstrained_density",
            lambda: (lambda key: space().draw(key), (KEY,)),
            "draw",
            ("jit", "vmap"),
        ),
        row(
            "inference._density.start",
            lambda: (lambda key, o: start(key, space(), o, 3), (KEY, small)),
            contexts=("jit",),
        ),
        row(
            "core._priors.sample",
            lambda: (lambda key: priors.sample(key, law().prior), (KEY,)),
            contexts=("jit", "vmap"),
        ),
    ]


def searches() -> list[Row]:
    """The optimiser, weights, diagnostics, the adaptive proposal, and a few steps of two samplers."""
    unit = jnp.asarray([1.0, 0.5, 2.0])

    def valley(z):
        return jnp.sum((z - unit) ** 2) + 0.3 * jnp.sum(z**4) + 0.2 * z[0] * z[1]

    def down(z):
        return minimize_bfgs(valley, z, 1e-3, 4, unit)

    draws = jax.random.normal(KEY, (2, 40))
    log_weight = jax.nn.log_softmax(jax.random.normal(KEY, (30,)))
    mixed = proposal.Proposal(
        jnp.asarray([[0.0, 0.5], [1.0, -0.3]]),
        jnp.stack([jnp.eye(2), jnp.asarray([[0.7, 0.0], [0.2, 0.5]])]),
        jnp.log(jnp.asarray([0.7, 0.3])),
    )
    z = jax.random.normal(KEY, (12, 2))
    wide = jnp.asarray(0.2)

    def weighed(z):
        return proposal.weigh(z, -jnp.sum(z**2, axis=1), mixed, wide)

    def moved(z):
        return proposal.adapted(mixed, weighed(z), jnp.asarray([0.02, 0.1]))

    def few_stages(y, obs, key):
        sampler = smc(8, max_stages=2, max_moves=1, max_leapfrog=3)
        found = sampler.init(key, plain(), obs._replace(y=y))
        return found.params, found.log_weight, found.log_evidence

    def few_steps(y, obs, key):
        found = laplace(4, 1, 3).init(key, plain(), obs._replace(y=y))
        return found.params, found.log_weight, found.log_evidence

    small = readings(1, 8)
    return [
        row(
            "inference._bfgs.minimize_bfgs",
            lambda: (down, (jnp.asarray([3.0, -1.0, 0.2]),)),
            contexts=NO_SLOPE,
            core=("scan",),
        ),
        row("inference._bfgs.at_mode", lambda: (at_mode, (unit,)), contexts=FEW),
        row("inference._diagnostics.summary", lambda: (diagnostics.summary, (draws,)), contexts=FEW),
        row("inference._weights.ess_fraction", lambda: (weights.ess_fraction, (log_weight,)), core=("jit",)),
        row("inference._weights.weight_variance", lambda: (weights.weight_variance, (log_weight,))),
        row("inference._weights.pareto_k", lambda: (weights.pareto_k, (log_weight,)), contexts=FEW),
        row(
            "inference._weights.systematic_resample",
            lambda: (lambda w, key: weights.systematic_resample(key, w, 9), (log_weight, KEY)),
            contexts=NO_SLOPE,
        ),
        row(
            "inference._importance.draw", lambda: (lambda key: proposal.draw(key, mixed, 9, wide), (KEY,)), contexts=FEW
        ),
        row("inference._importance.log_densities", lambda: (lambda z: proposal.log_densities(z, mixed, wide), (z,))),
        row("inference._importance.weigh", lambda: (weighed, (z,)), contexts=FEW),
        row("inference._importance.adapted", lambda: (moved, (z,)), contexts=FEW),
        row(
            "inference._smc.smc inference._smc_moves.covariance_factor inference._smc_moves.move_particles "
            "inference._smc_state.SMCState.begun inference._smc_state.SMCState.tuning "
            "inference._smc_state.MoveState.begun",
            lambda: (few_stages, (small.y, small, KEY)),
            "two stages",
            ("jit",),
            (),
            1e-6,
        ),
        row(
            "inference._laplace.laplace", lambda: (few_steps, (small.y, small, KEY)), "three steps", ("jit",), (), 1e-6
        ),
    ]


def beliefs() -> list[Row]:
    """What posteriors and races say."""
    obs, x = readings(1, 8), places(1)
    which = jnp.asarray(2)

    def put(name, function, *args, of=None, **rest):
        return row(name, lambda: (function, (x, (of or (lambda o: belief(plain(), o)))(obs), obs, KEY, *args)), **rest)

    def both(name):
        return f"inference._posterior.Posterior.{name}", f"hypotheses._mixture.HypothesisMixture.{name}"

    def whole(o):
        return race_of(o)

    found = []
    looks = {
        "predict": lambda x, p, o, k: p.predict(x),
        "moments": lambda x, p, o, k: p.moments(x),
        "paths": lambda x, p, o, k: p.paths(o, k, x, 2),
        "joint": lambda x, p, o, k: p.joint(which, x),
        "path": lambda x, p, o, k: p.path(which, o, k, x),
        "noise_variance": lambda x, p, o, k: p.noise_variance(x),
        "leave_one_out": lambda x, p, o, k: p.leave_one_out(o._replace(noise=o.noise + 0.01)),
        "conditioned": lambda x, p, o, k: p.conditioned(o._replace(x=o.x + 1e-3 * x[0, 0])).predict(x),
        "with_pending": lambda x, p, o, k: p.with_pending(o).predict(x),
        "thinned": lambda x, p, o, k: p.thinned(k, 2).predict(x),
    }
    for name, look in looks.items():
        one, many = both(name)
        core = ("jit",) if name == "conditioned" else ()
        one += " inference._posterior.condition_draws" if name == "conditioned" else ""
        found.append(put(one, look, contexts=("jit", "vmap"), core=core))
        if name in ("predict", "joint", "path", "noise_variance", "leave_one_out"):
            found.append(put(many, look, of=whole, contexts=("jit",)))
    chances = lambda x, p, o, k: (p.log_probability, p.probability, p.probability_error, p.log_weight)  # noqa: E731
    covers = (
        "hypotheses._model_average.ModelAverage.log_probability "
        "hypotheses._mixture.HypothesisMixture.probability "
        "hypotheses._model_average.ModelAverage.probability_error "
    )
    covers += (
        "hypotheses._mixture.HypothesisMixture.log_weight "
        "hypotheses._mixture.HypothesisMixture.log_evidence hypotheses._mixture.HypothesisMixture.info"
    )
    logs = jnp.log(jnp.asarray([0.2, 0.8]))
    mean, variance = jnp.asarray([[0.1, 0.4], [0.3, -0.2]]), jnp.asarray([[0.1, 0.4], [0.3, 0.2]])
    two = lambda o: belief(multi_output(plain(), 2), o._replace(y=jnp.stack([o.y, jnp.cos(o.y)], axis=1)))  # noqa: E731
    return [
        *found,
        put(
            "models._multi_output.mixture_moments", lambda x, p, o, k: mixture_moments(p, x), of=two, contexts=("jit",)
        ),
        put(covers, chances, of=whole, contexts=("jit",)),
        put(
            "hypotheses._model_average.ModelAverage.floored",
            lambda x, p, o, k: p.floored(0.2).log_probability,
            of=whole,
            contexts=("jit",),
        ),
        put(
            (
                "hypotheses._mixture.HypothesisMixture.moments "
                "hypotheses._mixture.HypothesisMixture.conditioned "
                "hypotheses._mixture.HypothesisMixture.with_pending "
                "hypotheses._mixture.HypothesisMixture.thinned"
            ),
            lambda x, p, o, k: p.conditioned(o).with_pending(o).thinned(k, 2).moments(x),
            of=whole,
            contexts=("jit",),
        ),
        put(
            "hypotheses._mixture.HypothesisMixture.paths",
            lambda x, p, o, k: p.paths(o, k, x, 1),
            of=whole,
            contexts=("jit",),
        ),
        row("inference._weights.mixture", lambda: (weights.mixture, (mean, variance, logs))),
        row(
            "inference._weights.mixture_moments",
            lambda: (
                lambda x: weights.mixture_moments(lambda at: (jnp.sin(at.T), jnp.cos(at.T) ** 2), logs[:1], x),
                (x,),
            ),
            contexts=("jit", "vmap"),
        ),
        put(
            "hypotheses._comparison.predictive_check",
            lambda x, p, o, k: predictive_check(k, p, o),
            of=lambda o: belief(plain((0.0, 1.0)), o),
            contexts=("jit",),
        ),
        put(
            "hypotheses._sensitivity.with_width",
            lambda x, p, o, k: with_width(p, x[0, 0] * 0.0 + 2.0),
            of=lambda o: belief(parametric(1, peak, PEAK, bounds=BOX, standardize=(0.0, 1.0)), o),
            contexts=("jit",),
        ),
        put(
            "hypotheses._comparison.predictive_check models._noise.StudentNoise.normal_score",
            lambda x, p, o, k: predictive_check(k, p, o),
            of=lambda o: belief(parametric(1, peak, PEAK, StudentNoise(), bounds=BOX, standardize=(0.0, 1.0)), o),
            contexts=("jit",),
            note="of heavy tails",
        ),
        put(
            (
                "inference._recalibration.leave_one_out_scores inference._recalibration.coverage "
                "inference._recalibration.recalibration"
            ),
            lambda x, p, o, k: (leave_one_out_scores(p, o), coverage(p, o), recalibration(p, o)),
            contexts=("jit",),
        ),
        put(
            "inference._recalibration.intervals",
            lambda x, p, o, k: intervals(p, o, x, recalibrated=True, of_observations=True),
            contexts=("jit",),
        ),
        row(
            "hypotheses._comparison.held_out",
            lambda: (lambda d: held_out(d, logs), (np.asarray(mean),)),
            contexts=("jit", "grad"),
        ),
        row(
            "hypotheses._sensitivity.widened",
            lambda: (lambda f: widened(PEAK["width"], f).log_prob(2.3), (np.asarray(1.4),)),
            contexts=("jit", "grad"),
        ),
        row(
            "core._status.Status.worst_of",
            lambda: (lambda a: Status.worst_of(a, a[::-1]), (jnp.arange(3, dtype=jnp.int8),)),
            contexts=NO_SLOPE,
        ),
        row(
            "core._status.Status.worst",
            lambda: (lambda a: Status.worst((a > 0, Status.NOT_MIXED), (a > 1, Status.NOT_FINITE)), (jnp.arange(3.0),)),
            contexts=NO_SLOPE,
        ),
        row(
            "core._programs.log_observed",
            lambda: (lambda v: log_observed(observing, v), ({"level": np.asarray(0.3)},)),
            contexts=("jit", "grad"),
        ),
    ]


def observing() -> dict[str, jax.Array]:
    """A prior program that has observed something."""
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    numpyro.sample("seen", dist.Normal(level, 0.2), obs=0.5)
    return {"level": level}


ROWS = [*algebra(), *buffers(), *densities(), *searches(), *beliefs()]
