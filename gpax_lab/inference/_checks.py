"""What a sampler refuses before it computes: another order of arguments, posteriors and observations of others."""

from typing import Any

import numpy as np

from gpax_lab.core._inputs import check_key, traced
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.inference._posterior import Posterior, Sampler
from gpax_lab.models._model import Model

INIT = "init(key, model, observations)"


def check_own(posterior: object, tuning: type, sampler: str) -> None:
    """Raise unless a posterior is one that this sampler may update: its own.

    Args:
        posterior: to be updated.
        tuning: what the sampler carries on.
        sampler: its name.

    Raises:
        TypeError: it is no posterior of one model.
        ValueError: another sampler made it.
    """
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"{sampler} updates the Posterior of one model; got {type(posterior).__name__}: hypotheses are followed by "
            f"model_average({sampler}(...))."
        )
    if not isinstance(posterior.tuning, tuning):
        raise ValueError(
            f"this posterior was made by another sampler, and {sampler} has nothing of its own to go on from: update "
            f"it by the sampler that made it, or begin with {sampler}(...).init(key, posterior.model, observations)."
        )


def check_seen(posterior: Posterior, obs: Observations) -> None:
    """Refuse observations of another shape, or in which some are missing that a posterior knows.

    Raises:
        ValueError: they are (what is missing is found outside jit alone).
    """
    posterior.model.check_columns(obs)
    seen = posterior.seen
    if seen is None or traced(seen, obs.status):
        return
    if seen.shape != obs.status.shape or np.any(np.asarray(seen) & (np.asarray(obs.status) != MEASURED)):
        raise ValueError(
            "this posterior knows observations that are not among those given: give all that it was fitted to, and new "
            "ones behind them; for others begin with the sampler's init."
        )


def checked_sampler(sampler: Any) -> Sampler:
    """The sampler as it is.

    Raises:
        TypeError: it is none, such as `smc` in place of `smc()`.
    """
    if not isinstance(sampler, Sampler):
        name = getattr(sampler, "__name__", repr(sampler))
        raise TypeError(f"a sampler is what nuts(), smc(), laplace() or model_average(...) return; got {name}.")
    return sampler


def check_start(key: Any, model: Any, obs: Any) -> None:
    """Refuse what a sampler of one model can not begin with.

    Raises:
        TypeError: the key, the model or the observations are none, as where they are given in another order.
        ValueError: several keys, or observations that the model refuses.
    """
    check_key(key, INIT)
    if not isinstance(model, Model):
        name = getattr(model, "__name__", type(model).__name__)
        raise TypeError(
            f"the model is what gp.exact(...), parametric(...) and the others return; got {name}. The order of "
            f"arguments is {INIT}."
        )
    model.check(obs)
