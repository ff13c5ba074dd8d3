"""Laws that join an experiment while it runs: the experiment, and its state, with one more hypothesis."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gpax_lab.experiment._experiment import Experiment, State
from gpax_lab.experiment._intervention_records import to_record
from gpax_lab.experiment.interventions import Adopt
from gpax_lab.hypotheses._mixture import Hypotheses
from gpax_lab.hypotheses._model_average import ModelAverage

Extend = Callable[[Hypotheses], Experiment]
"""The same experiment with other hypotheses, e.g. `lambda h: bayes_opt(h, model_average(smc(256)), log_ei(), grid)`."""


def widened(known: Hypotheses, actions: Sequence[Adopt]) -> Hypotheses:
    """The hypotheses with the adopted ones behind them, in order.

    Raises:
        ValueError: as `Adopt.model` and `Hypotheses.with_model`.
    """
    for action in actions:
        known = known.with_model(action.name, action.model(known), action.share)
    return known


def extended(experiment: Experiment, known: Hypotheses, actions: Sequence[Adopt], extend: Extend | None) -> Experiment:
    """The experiment with laws adopted.

    Raises:
        ValueError: nobody said how, or a law does not fit.
    """
    if not actions:
        return experiment
    return _given(extend)(widened(known, actions))


def _given(extend: Extend | None) -> Extend:
    if extend is None:
        raise ValueError(
            "a law was adopted: pass extend=lambda h: bayes_opt(h, model_average(...), ...), which builds this "
            "experiment anew with other hypotheses."
        )
    return extend


def competing(posterior: Any) -> ModelAverage:
    """The posterior, in which hypotheses compete.

    Raises:
        ValueError: none do.
    """
    if type(posterior) is not ModelAverage:
        raise ValueError(
            "a law can be adopted only where hypotheses compete: model_average(...) over hypotheses({...})."
        )
    return posterior


def adopt(experiment: Experiment, state: State, action: Adopt, extend: Extend | None) -> tuple[Experiment, State]:
    """The experiment and its state with one more hypothesis, fitted to all observations; the others stay as they are.

    Raises:
        ValueError: nobody said how, no hypotheses compete, or the law does not fit.
    """
    average = competing(state.posterior)
    known, build = average.hypotheses, _given(extend)
    wider = widened(known, (action,))
    experiment = build(wider)
    key, key_fit = jax.random.split(state.key)
    alone = build(Hypotheses({action.name: action.model(known)}, np.ones(1))).init(key_fit, state.obs)
    share = known.share_of_newcomer(action.share)
    posterior = average.with_posterior(competing(alone.posterior).posteriors[0], share, wider)
    return experiment, state._replace(key=key, posterior=posterior)


def adopted_anew(state: State, adopted: Sequence[Adopt]) -> State:
    """After past observations have changed: the adopted laws begin again with the share that they had at first."""
    if not adopted or not isinstance(state.posterior, ModelAverage):
        return state
    return state._replace(posterior=state.posterior.joined_anew([action.share for action in adopted]))


def joined_already(action: Adopt, adopted: Sequence[Adopt]) -> bool:
    """Whether this very law joined already, in a write that ended before its proposal."""
    return to_record(action) in map(to_record, adopted)
