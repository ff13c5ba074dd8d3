"""What was believed after every step of a campaign, put together again from its journal."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._observations import Observations
from gpax_lab.experiment._adoption import widened
from gpax_lab.experiment._intervention_records import from_record
from gpax_lab.experiment._record import JournalRecord, merge, observations_of
from gpax_lab.experiment.interventions import Adopt
from gpax_lab.hypotheses._bandit import Bandit
from gpax_lab.hypotheses._mixture import Hypotheses, HypothesisMixture
from gpax_lab.hypotheses._model_average import ModelAverage
from gpax_lab.inference._posterior import Posterior, condition_draws
from gpax_lab.models._model import Model

_PARAMETER = re.compile(r"\.params\['(.*)'\]$")


class PastFit(NamedTuple):
    """A posterior, without diagnostics and tuning (the journal has them), and what it was fitted to."""

    posterior: Posterior | HypothesisMixture
    obs: Observations


def past_fits(model: Model | Hypotheses, frames: Iterable[JournalRecord]) -> list[PastFit]:
    """The fits after the seeds and after every step, from what each state changed.

    Only the draws are put together again: the state of the sampler, which costs seconds, is needed to go on, not to
    look back.

    Args:
        model: of the campaign, or the hypotheses that it began with.
        frames: the journal, in order; its entries "state" and "intervention" count.
    """
    arrays: dict[str, np.ndarray] = {}
    found = []
    for frame in frames:
        if frame.kind == "intervention" and isinstance(model, Hypotheses):
            action = from_record(frame.header, frame.arrays)
            model = widened(model, [action]) if isinstance(action, Adopt) else model
        if frame.kind != "state":
            continue
        merge(arrays, frame.arrays)
        obs = observations_of(arrays)
        found.append(PastFit(_posterior(model, arrays, obs), obs))
    return found


def _posterior(
    model: Model | Hypotheses, arrays: Mapping[str, np.ndarray], obs: Observations
) -> Posterior | HypothesisMixture:
    if not isinstance(model, Hypotheses):
        return _single(model, arrays, ".posterior", obs)
    count = sum(f".posterior.posteriors[{i}].log_weight" in arrays for i in range(len(model.models)))
    each = tuple(
        _single(one, arrays, f".posterior.posteriors[{i}]", obs)
        for i, one in enumerate(list(model.models.values())[:count])
    )
    kind = ModelAverage if ".posterior.log_prior" in arrays else Bandit
    rest = {f.name: f".posterior.{f.name}" for f in fields(kind) if f".posterior.{f.name}" in arrays}
    return kind(each, model, **{name: jnp.asarray(arrays[key]) for name, key in rest.items()})


def _single(model: Model, arrays: Mapping[str, np.ndarray], path: str, obs: Observations) -> Posterior:
    begins = f"{path}.params"
    params: dict[str, Array] = {
        match[1]: jnp.asarray(value)
        for name, value in arrays.items()
        if name.startswith(begins) and (match := _PARAMETER.search(name))
    }
    weight, evidence = jnp.asarray(arrays[f"{path}.log_weight"]), arrays.get(f"{path}.log_evidence", np.nan)
    factor = condition_draws(model, params, obs)
    return Posterior(params, weight, jnp.asarray(evidence), factor, None, None, model)  # type: ignore[arg-type]
