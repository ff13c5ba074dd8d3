"""Bayesian optimization, and any other campaign that follows an acquisition function over a posterior."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._acquisition import Acquisition, as_acquisition
from gpax_lab.acquisition._candidates import Box, Candidates, Pool
from gpax_lab.acquisition._domain import Region, as_region
from gpax_lab.core._ahead import Ahead, compile_ahead, refuse_quietly
from gpax_lab.core._inputs import check_key, observed, points_of, resolved, traced
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import EMPTY, Observations
from gpax_lab.core._structural import alike
from gpax_lab.core._types import ArrayLike
from gpax_lab.experiment._bayes_opt_steps import Answers, ProposalSettings, propose_points, take_in
from gpax_lab.experiment._buffer import with_buffer, with_buffer_for_answers
from gpax_lab.experiment._experiment import Experiment, State, empty_choice, left_of
from gpax_lab.hypotheses._mixture import Hypotheses
from gpax_lab.inference._checks import checked_sampler
from gpax_lab.inference._posterior import Sampler
from gpax_lab.models._model import Model
from gpax_lab.models._outlier import warn_of_outlier


@interned
def bayes_opt(
    model: Model | Hypotheses,
    sampler: Sampler,
    acquisition: Acquisition | Callable[[Array, Array], Array],
    candidates: Candidates,
    batch_size: int = 1,
    by_travel: bool = False,
    num_samples: int | None = None,
    floor: float = 0.1,
    apart_every: int | None = 6,
    among: Region | ArrayLike | None = None,
) -> Experiment:
    """Measure where the acquisition function is largest, learn, repeat.

    Args:
        model: prior, likelihood and predictor of the quantity; or several that compete, with a `model_average(...)` as
            sampler.
        sampler: `nuts(...)`, `smc(...)` or `laplace(...)`; `hypotheses.model_average(...)` for hypotheses.
        acquisition: one of `acquisition`, a sum of them, or a function of the posterior (mean, std).
        candidates: `acquisition.grid`, `acquisition.pool` or `acquisition.box`.
        batch_size: points proposed at once; each one is pending when the next one is chosen, so it shrinks the variance
            there, or enters the joint improvement of `acquisition.q_log_nei`.
        by_travel: whether the points of a batch are handed out in the order of the shortest path from the last point.
        num_samples: how many draws of the posterior a choice uses, resampled by weight where there are more; None
            for all. A choice costs far more per draw than `inference.smc` does, so that `smc(1024)` with 64 of them
            here keeps the exact posterior and the speed.
        floor: where hypotheses compete and the acquisition function seeks an optimum: share of their probability that
            decisions give to all of them evenly, whatever the evidence. What is reported is not touched. 0 trusts the
            evidence.
        apart_every: likewise, every n-th point (seeds counted) is measured where the hypotheses disagree most
            (`acquisition.parting`, with the penalties of the acquisition function); None for never. Both keep a
            campaign from ending at the optimum of a wrong hypothesis that explained the first observations
            (`benchmarks/stuck.py`).
        among: which observations an improvement is over and a stopping rule uses: a function x (d,) -> bool, or
            bounds (d, 2), such as a task or a feasible set. None for those inside the box that the candidates span;
            inputs that are the same for all candidates have to agree.

    Returns:
        An Experiment. Every function is pure and may be jitted, vmapped, or driven by `run`; outside jit, propose and
        observe enlarge a buffer that is full, and propose hands out fewer points, or raises `NothingLeft`, where a
        pool is used up.

    Raises:
        ValueError: batch_size < 1, num_samples < 1, floor outside [0, 1), apart_every < 2, a model of several
            quantities, or candidates that lie farther outside the box of the model than it is wide, or all within next
            to nothing of it; or `among` has another number of inputs.
        TypeError: the sampler is none, or one of a single model where hypotheses compete; the acquisition function is
            neither an Acquisition nor a function of (mean, std); or model or candidates are none.

    Example:
        >>> from gpax_lab import acquisition, gp, laplace
        >>> where = acquisition.grid([[0.0, 1.0]], (50,))
        >>> experiment = bayes_opt(gp.exact(1, bounds=[[0.0, 1.0]]), laplace(), acquisition.log_ei(), where)
        >>> experiment.check(np.array([[0.5]]), "the seeds")
    """
    settings = ProposalSettings(batch_size, by_travel, num_samples, floor, apart_every)
    _check_settings(settings)
    if not checked_sampler(sampler).several and isinstance(model, Hypotheses):
        raise TypeError("several hypotheses are followed by model_average(smc(...)), not by a sampler of one model.")
    models = tuple(model.models.values()) if isinstance(model, Hypotheses) else (model,)
    _check_fit(models, candidates)
    chosen_by = as_acquisition(acquisition)
    if among is not None:
        candidates = replace(candidates, among=as_region(among))
        jax.eval_shape(lambda c: jax.vmap(c.among)(c.corners[0][None]), candidates)  # it takes points of this width
    return _experiment(model, models, sampler, chosen_by, candidates, settings)


def _experiment(
    model: Model | Hypotheses,
    models: tuple[Model, ...],
    sampler: Sampler,
    acquisition: Acquisition,
    candidates: Candidates,
    settings: ProposalSettings,
) -> Experiment:
    """The four functions of an experiment whose parts are checked."""

    def begun(key: Array, obs: Observations, posterior: Any) -> State:
        nothing = empty_choice(obs)
        return State(
            key=key,
            obs=obs,
            posterior=posterior,
            acquisition=acquisition,
            candidates=candidates,
            value=nothing.value,
            fallback=nothing.fallback,
            asked=obs.x,
        )

    def programs(ahead: Ahead, key: Array, model: Model | Hypotheses, obs: Observations) -> None:
        assert sampler.programs is not None  # as asked below
        refuse_quietly(models, obs)
        state = begun(key, obs, sampler.programs(ahead, key, model, obs))
        if np.sum(np.asarray(obs.status) == EMPTY) >= settings.batch_size:  # a full buffer is another one by then
            ahead(propose_points, state, settings)

    def init(key: Array, obs: Observations) -> State:
        check_key(key, "experiment.init(key, observations)")
        key, key_fit = jax.random.split(key)
        compile_ahead(None if sampler.programs is None else programs, key_fit, model, obs)
        return begun(key, obs, sampler.init(key_fit, model, obs))

    def propose(state: State) -> tuple[State, Array]:
        _check_state(state, models)
        state, x = propose_points(with_buffer(state, settings.batch_size), settings)
        return (state, x) if isinstance(x, jax.core.Tracer) else (state, left_of(x))

    def observe(
        state: State, x: ArrayLike, y: ArrayLike, noise: ArrayLike = 0.0, asked: ArrayLike | None = None
    ) -> State:
        _check_state(state, models)
        answers = _answers(state.obs, models, x, y, noise, asked)
        state = with_buffer_for_answers(state, answers.sought)
        key, key_fit, obs, asked_at = take_in(state.key, state.obs, state.asked, state.candidates, answers)
        if not traced(obs) and any(model.standardized and model.tails is None for model in models):
            warn_of_outlier(obs, state.obs)
        posterior = sampler.update(key_fit, state.posterior, obs)
        return state._replace(key=key, obs=obs, posterior=posterior, asked=asked_at)

    def check(points: np.ndarray, whose: str) -> None:
        for model in models:
            model.check_points(points, whose)

    return Experiment(init, propose, observe, check)


def _check_state(state: State, models: tuple[Model, ...]) -> None:
    """Refuse the state of an experiment with other models: it would go on with those."""
    found = state.posterior.models
    if len(found) != len(models) or not all(map(alike, found, models)):
        raise ValueError(
            f"this state was made by another experiment: it believes in {list(found)}, and this experiment has "
            f"{list(models)}{', of other parts' if list(map(repr, found)) == list(map(repr, models)) else ''}. Give "
            "the state of this experiment, or begin with init(key, state.obs)."
        )


def _check_settings(settings: ProposalSettings) -> None:
    size, draws = settings.batch_size, settings.num_samples
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise ValueError(f"batch_size must be a whole number, at least 1; got {size}.")
    if draws is not None and (not isinstance(draws, int | np.integer) or draws < 1):
        raise ValueError(f"num_samples must be at least 1, or None for all of the posterior; got {draws}.")
    floor, every = settings.floor, settings.apart_every
    if not 0 <= floor < 1 or (every is not None and every < 2):
        raise ValueError(f"bayes_opt needs 0 <= floor < 1 and apart_every >= 2 or None; got {floor} and {every}.")


def _check_fit(models: tuple[Model, ...], candidates: Candidates) -> None:
    """Refuse models of several quantities, and candidates that these models are not made for."""
    if not isinstance(candidates, Pool | Box):
        name = type(candidates).__name__
        raise TypeError(f"candidates are what acquisition.pool(points), grid or box return; got {name}.")
    for model in models:
        if not isinstance(model, Model):
            name = getattr(model, "__name__", type(model).__name__)
            raise TypeError(f"a model is what gp.exact(...), parametric(...) and the others return; got {name}.")
        if model.outputs != 1:
            raise ValueError(
                f"an acquisition function is of one quantity: this model has {model.outputs}. Give it a model "
                "of that quantity, or of a combination of them."
            )
        if not traced(candidates):
            corners = np.stack([np.asarray(corner) for corner in candidates.corners])
            model.check_points(corners, "the candidates")
            model.check_extent(corners, "the candidates")
            if model.bounds is not None:
                resolved(model.bounds, corners.dtype)


def _answers(obs: Observations, models: tuple[Model, ...], x: Any, y: Any, noise: Any, asked: Any) -> Answers:
    """The results of a measurement as arrays of the right shapes; under jit only the shapes can be checked."""
    if traced(obs, x, y, noise, asked):
        if jnp.ndim(x) != 2 or jnp.ndim(y) == 0 or jnp.shape(y)[0] != jnp.shape(x)[0]:
            raise ValueError(f"observe takes x (q, d) and y (q,); got shapes {jnp.shape(x)} and {jnp.shape(y)}.")
        return Answers(x, y, noise, x if asked is None else asked)
    dim, outputs = obs.x.shape[1], 1 if obs.y.ndim == 1 else obs.y.shape[1]
    taken = observed(x, y, noise, dim, outputs, obs.x.dtype)
    for model in models:
        model.check_points(taken.x, "the points measured")
    where = None if asked is None else points_of(asked, dim, obs.x.dtype, "asked")
    if where is not None:
        if len(where) != len(taken.x):
            raise ValueError(f"asked has {len(where)} points, x {len(taken.x)}.")
        for model in models:
            model.check_points(where, "the points asked for")
    return Answers(*taken, sought=taken.x if where is None else where)
