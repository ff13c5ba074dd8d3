"""What one field demands of another."""

import math
from collections.abc import Mapping

from gpax_lab.acquisition._functions import LARGEST_JOINT_DRAW
from gpax_lab.core._priors import parameter_shapes
from gpax_lab.settings._check import SettingsError, one_of_words, suggestion
from gpax_lab.settings._schema import Box, Grid, Pfm, Pool, Recorded, Settings
from gpax_lab.settings._tables import ACQUISITIONS, KERNELS


def agree(settings: Settings) -> None:
    """Raise SettingsError where two fields contradict each other."""
    _spans(settings)
    _priors(settings)
    _acquisition(settings)
    _candidates(settings)


def _spans(settings: Settings) -> None:
    if isinstance(settings.instrument, Pfm):
        for name in ("x", "y"):
            span = getattr(settings.instrument, name)
            if not span.low < span.high:
                text = f"instrument.{name}.high = {span.high!r} is not allowed: give a number above low = {span.low!r}."
                raise SettingsError(text)
        most = settings.instrument.max_bias
        if most is not None and settings.instrument.vmax > most:
            raise SettingsError(
                f"instrument.vmax = {settings.instrument.vmax!r} is not allowed: instrument.max_bias is {most!r} V."
            )


def _priors(settings: Settings) -> None:
    dim = 2
    reads = parameter_shapes(KERNELS[settings.model.kernel], 2, dim)
    reads |= {"noise": ()}
    for name, value in settings.prior.items():
        if name not in reads:
            text = f"prior.{name} is unknown: this model has {', '.join(reads)}.{suggestion(name, reads)}"
            raise SettingsError(text)
        parts = value.items() if isinstance(value, Mapping) else [("value", value)]
        for key, part in parts:
            if isinstance(part, tuple) and (reads[name] != (dim,) or len(part) != dim):
                shape = f"a number or a list of {dim}" if reads[name] else "a number"
                raise SettingsError(f"prior.{name}: {key} = {list(part)!r} is not allowed: give {shape}.")


def _acquisition(settings: Settings) -> None:
    chosen = settings.acquisition
    row = ACQUISITIONS[chosen.function]
    for name in ("beta", "xi"):
        if getattr(chosen, name) is not None and name not in row.arguments:
            users = one_of_words(word for word, other in ACQUISITIONS.items() if name in other.arguments)
            raise SettingsError(
                f'acquisition.{name} has no meaning for function = "{chosen.function}"; it belongs to {users}.'
            )
    if chosen.learn_every == 1:
        raise SettingsError(
            "acquisition.learn_every = 1 would spend every point on learning; 2 or more, or 0 for none."
        )
    for name in ("explore", "travel", "distance_penalty", "feasible"):
        if getattr(chosen, name) is not None and not row.logarithm:
            users = one_of_words(word for word, other in ACQUISITIONS.items() if other.logarithm)
            raise SettingsError(
                f'acquisition.{name} is added in log space and has no meaning for function = "{chosen.function}"; '
                f"use function = {users}."
            )


def _candidates(settings: Settings) -> None:
    candidates, points = settings.acquisition.candidates, settings.campaign.steps + settings.campaign.seeds
    if isinstance(candidates, Pool) != isinstance(settings.instrument, Recorded):
        raise SettingsError(
            'acquisition.candidates.kind = "pool" means the recorded places of a map: it goes with '
            'instrument.kind = "replay", and that one with nothing else.'
        )
    if isinstance(candidates, Grid):
        count = math.prod(candidates.shape)
        if count < points:
            text = f"acquisition.candidates.shape has {count} points for {points} measurements: give a finer grid."
            raise SettingsError(text)
        _joint(settings, "shape", count)
    if isinstance(candidates, Box):
        _joint(settings, "starts", candidates.starts)


def _joint(settings: Settings, field: str, count: int) -> None:
    if settings.acquisition.function == "thompson" and count > LARGEST_JOINT_DRAW:
        text = f"acquisition.candidates.{field} has {count} points; Thompson draws over at most {LARGEST_JOINT_DRAW}."
        raise SettingsError(text)
