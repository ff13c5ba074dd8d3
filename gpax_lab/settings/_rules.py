"""What one field demands of another."""

import math
from collections.abc import Mapping

from gpax_lab.acquisition._functions import LARGEST_JOINT_DRAW
from gpax_lab.core._plugins import plugins
from gpax_lab.core._priors import parameter_shapes
from gpax_lab.settings._acquisition import acquisition_of, is_logarithm, plugin_acquisition
from gpax_lab.settings._check import SettingsError, one_of_words, suggestion
from gpax_lab.settings._instrument import axis_count, is_record, spans
from gpax_lab.settings._kernels import kernel_of
from gpax_lab.settings._models import DeepKernel
from gpax_lab.settings._schema import Bandit, Box, Grid, Pool, Rescale, Settings


def agree(settings: Settings, dim: int | None) -> None:
    """Raise SettingsError where two fields contradict each other.

    Args:
        settings: all of them.
        dim: number of axes; None where it is not known yet.
    """
    for _, where, span in spans(settings.instrument):
        if not span.low < span.high:
            text = f"{where}.high = {span.high!r} is not allowed: give a number above low = {span.low!r}."
            raise SettingsError(text)
    _acquisition(settings)
    _hypotheses(settings)
    if dim is not None:
        agree_on_axes(settings, dim)
    _candidates(settings)
    for action in settings.interventions:
        known = [settings.quantity.scalarizer, *settings.quantity.alternatives]
        if isinstance(action, Rescale) and action.scalarizer not in known:
            hint = suggestion(action.scalarizer, known)
            raise SettingsError(
                f"interventions: scalarizer {action.scalarizer!r} is none of {', '.join(known)}: add it to "
                f"quantity.alternatives.{hint}"
            )


def agree_on_axes(settings: Settings, dim: int) -> None:
    """Raise SettingsError where a field does not fit the number of axes."""
    candidates = settings.acquisition.candidates
    if isinstance(candidates, Grid) and candidates.shape is not None and len(candidates.shape) != dim:
        raise SettingsError(
            f"acquisition.candidates.shape = {list(candidates.shape)!r} is not allowed: give a list of {dim} values, "
            "one for each axis of the instrument."
        )
    for name in ("distance_penalty", "feasible"):
        penalty = getattr(settings.acquisition, name)
        if penalty is not None and isinstance(penalty.radius, tuple) and len(penalty.radius) != dim:
            raise SettingsError(f"acquisition.{name}.radius: give one number, or {dim}: one for each axis.")
    given = [("interventions", one.points) for one in settings.interventions if hasattr(one, "points")]
    if isinstance(candidates, Pool) and candidates.points is not None:
        given.append(("acquisition.candidates", candidates.points))
    for where, points in given:
        if any(len(point) != dim for point in points):
            raise SettingsError(f"{where}: every point needs {dim} numbers, one for each axis of the instrument.")
    _priors(settings, dim)


def _priors(settings: Settings, dim: int) -> None:
    if not settings.prior:
        return
    if settings.hypotheses is not None:
        raise SettingsError("[prior] goes with [model]; with [hypotheses] each law has a table prior of its own.")
    reads: dict[str, tuple[int, ...]] = {"noise": ()}
    written = getattr(settings.model, "kernel", None)
    if written is not None:
        size = dim
        if isinstance(settings.model, DeepKernel):
            size = settings.model.encoder.features + (dim if settings.model.positions else 0)
        kernel = kernel_of(written)
        shapes = {name: prior.shape() for name, prior in kernel.prior.items()}
        reads = parameter_shapes(kernel.kernel, 2, size, shapes) | reads
    if getattr(settings.model, "uncertain_inputs", False):
        reads |= {"input_noise": (dim,)}
    if getattr(settings.model.noise, "kind", "") == "heteroscedastic":
        reads |= {"noise_field/variance": (), "noise_field/lengthscale": (dim,)}
    for name, value in settings.prior.items():
        if name not in reads:
            scoped = [known for known in reads if known.rsplit("/", 1)[-1] == name]
            near = f" Did you mean {one_of_words(scoped)}?" if scoped else suggestion(name, reads)
            text = f"prior.{name} is unknown: this model has {', '.join(reads)}.{near}"
            raise SettingsError(text)
        parts = value.items() if isinstance(value, Mapping) else [("value", value)]
        for key, part in parts:
            if isinstance(part, tuple) and reads[name] != (len(part),):
                shape = f"a number or a list of {reads[name][0]}" if reads[name] else "a number"
                raise SettingsError(f"prior.{name}: {key} = {list(part)!r} is not allowed: give {shape}.")


def _acquisition(settings: Settings) -> None:
    chosen = settings.acquisition
    if chosen.learn_every == 1:
        raise SettingsError(
            "acquisition.learn_every = 1 would spend every point on learning; 2 or more, or 0 for none."
        )
    if chosen.apart_every == 1:
        raise SettingsError(
            "acquisition.apart_every = 1 would spend every point on telling hypotheses apart; 2 or more, or 0 for none."
        )
    logarithm = is_logarithm(acquisition_of(chosen, settings.quantity.goal == "maximize", penalties=False))
    for name in ("explore", "travel", "distance_penalty", "feasible"):
        if getattr(chosen, name) is not None and not logarithm:
            raise SettingsError(
                f'acquisition.{name} is added in log space and has no meaning for function = "{chosen.function}"; '
                f"use function = {one_of_words(_logarithms())}."
            )


def _logarithms() -> list[str]:
    """Acquisition functions that are logarithms, of those that can do without options."""
    found = []
    for name, plugin in plugins("acquisitions")[0].items():
        try:
            found += [name] if is_logarithm(plugin_acquisition(plugin, {}, True)) else []
        except (SettingsError, ValueError, TypeError):
            continue
    return found


def _hypotheses(settings: Settings) -> None:
    if settings.hypotheses is None:
        return
    if isinstance(settings.hypotheses.follow, Bandit) and settings.acquisition.batch_size > 1:
        raise SettingsError("acquisition.batch_size goes with one hypothesis chosen at a time: use 1 with the bandit.")
    laws = settings.hypotheses.laws
    strange = [name for name in settings.hypotheses.prior if name not in laws and name != "none of these"]
    if strange:
        raise SettingsError(
            f"hypotheses.prior.{strange[0]} is unknown: the hypotheses are {', '.join(laws)}."
            f"{suggestion(strange[0], laws)}"
        )


def _candidates(settings: Settings) -> None:
    candidates, campaign = settings.acquisition.candidates, settings.campaign
    points = campaign.steps * settings.acquisition.batch_size + campaign.seeds
    record = is_record(settings.instrument)
    if (isinstance(candidates, Pool) and candidates.points is None) != record:
        raise SettingsError(
            'acquisition.candidates.kind = "pool" without points means the positions of a record: it goes with '
            'instrument.kind = "replay" or another record, and that one with nothing else.'
        )
    if isinstance(candidates, Pool) and candidates.points is not None and len(candidates.points) < points:
        raise SettingsError(f"acquisition.candidates has {len(candidates.points)} points for {points} measurements.")
    if isinstance(candidates, Grid):
        dim = axis_count(settings.instrument)
        count = math.prod(candidates.shape_over(dim or 2))
        if count < points:
            text = f"acquisition.candidates.shape has {count} points for {points} measurements: give a finer grid."
            raise SettingsError(text)
        _joint(settings, "shape", count)
    if isinstance(candidates, Box):
        _joint(settings, "starts", candidates.starts)


def _joint(settings: Settings, field: str, count: int) -> None:
    name = settings.acquisition.function
    if count > LARGEST_JOINT_DRAW and acquisition_of(settings.acquisition, True, penalties=False).joint:
        words = "Thompson draws" if name == "thompson" else f"{name} draws"
        text = f"acquisition.candidates.{field} has {count} points; {words} over at most {LARGEST_JOINT_DRAW}."
        raise SettingsError(text)
