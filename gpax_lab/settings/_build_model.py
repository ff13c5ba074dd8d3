"""From the sections [model], [prior] and [hypotheses] to models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab import images
from gpax_lab.core import Axis
from gpax_lab.core._observations import SMALLEST_CAPACITY
from gpax_lab.hypotheses import Hypotheses, formula, hypotheses
from gpax_lab.means import Law
from gpax_lab.models import HeteroscedasticNoise, StudentNoise, deep_kernel, gp, parametric, sparse
from gpax_lab.models._model import Model
from gpax_lab.settings import _models as sections
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._kernels import kernel_of
from gpax_lab.settings._kinds import load
from gpax_lab.settings._options import made
from gpax_lab.settings._prior import distribution
from gpax_lab.settings._schema import Settings


@dataclass(frozen=True)
class Shared:
    """What all models of a campaign share.

    Attributes:
        axes: of the instrument.
        bounds: (d, 2) their limits.
        capacity: slots of the observations.
    """

    axes: Sequence[Axis]
    bounds: np.ndarray
    capacity: int


def model_of(settings: Settings, axes: Sequence[Axis]) -> Model | Hypotheses:
    """The model, or the hypotheses that compete.

    Raises:
        SettingsError: what the models refuse, in words.
    """
    points = settings.campaign.seeds + settings.campaign.steps * settings.acquisition.batch_size
    capacity = -(-points // SMALLEST_CAPACITY) * SMALLEST_CAPACITY
    shared = Shared(axes, np.array([[axis.low, axis.high] for axis in axes]), capacity)
    where = "model" if settings.hypotheses is None else "hypotheses"
    try:
        return _model(settings, shared) if settings.hypotheses is None else _hypotheses(settings, shared)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"[{where}]: {error}") from error


def _model(settings: Settings, shared: Shared) -> Model:
    chosen, dim = settings.model, len(shared.axes)
    law = None if chosen.mean is None else law_of(chosen.mean, shared.axes)
    own = {} if law is None else dict(law.prior)
    prior = own | {name: distribution(value) for name, value in settings.prior.items()}
    rest: dict[str, Any] = {"bounds": shared.bounds, "standardize": chosen.standardize}
    if isinstance(chosen, sections.Parametric):
        assert law is not None
        return parametric(dim, law, prior, noise=_noise(chosen.noise, None), **rest)
    written, noise = kernel_of(chosen.kernel), _noise(chosen.noise, shared.capacity)
    prior = written.prior | prior
    match chosen:
        case sections.Sparse():
            return sparse(dim, written.kernel, law, prior, noise, inducing=chosen.inducing, **rest)
        case sections.DeepKernel():
            inputs, encoder = _seen(chosen, shared)
            return deep_kernel(
                encoder,
                inputs,
                dim=dim,
                kernel=written.kernel,
                mean=law,
                prior=prior,
                noise=noise,
                positions=chosen.positions,
                **rest,
            )
    uncertain = shared.capacity if chosen.uncertain_inputs else None
    return gp.exact(dim, written.kernel, law, prior, noise, uncertain_inputs=uncertain, **rest)


def _hypotheses(settings: Settings, shared: Shared) -> Hypotheses:
    chosen = settings.hypotheses
    assert chosen is not None
    return hypotheses(
        {name: law_of(law, shared.axes, f"hypotheses.laws.{name}") for name, law in chosen.laws.items()},
        chosen.prior or None,
        bounds=shared.bounds,
        scale=chosen.scale,
        noise=_noise(chosen.noise, None if not chosen.within_process and not chosen.flexible else shared.capacity),
        within_process=chosen.within_process,
        flexible=chosen.flexible,
    )


def _noise(chosen: Any, capacity: int | None) -> Any:
    if isinstance(chosen, str):
        return chosen
    if type(chosen).made_by is HeteroscedasticNoise:
        return made(chosen)
    return StudentNoise(chosen.df, capacity, chosen.of)


def law_of(chosen: Any, axes: Sequence[Axis], where: str = "model.mean") -> Law:
    """The law that a table says.

    Raises:
        SettingsError: its formula, its options or its prior do not hold.
    """
    try:
        if isinstance(chosen, sections.Formula):
            prior = {name: distribution(value) for name, value in chosen.prior.items()}
            return formula(chosen.formula, prior, chosen.units or None, chosen.inputs, chosen.source)
        law = load("laws", chosen.law)
        if not isinstance(law, Law):
            if "x" in type(chosen).options and chosen.x is None:
                if len(axes) != 1:
                    raise SettingsError(f"{where}.x is missing: the range of the axis that the law is of.")
                chosen = replace(chosen, x=(axes[0].low, axes[0].high))
            law = made(chosen)
        known = {name: distribution(value) for name, value in chosen.prior.items()}
        if strange := sorted(set(known) - set(law.prior)):
            raise SettingsError(f"{where}.prior.{strange[0]} is unknown: this law has {', '.join(law.prior)}.")
        return replace(law, prior={**law.prior, **known}) if known else law
    except (ValueError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{where}: {error}") from error


def dataset(file: str, data: str | None, reader: str | None) -> Any:
    """A measured array of a file.

    Raises:
        SettingsError: the file can not be read, or has no such array.
    """
    from gpax_lab.storage import UnreadableFile
    from gpax_lab.storage import load as load_file

    try:
        found = load_file(file) if reader is None else load("readers", reader)(Path(file))
    except (OSError, UnreadableFile) as error:
        raise SettingsError(f"{file} can not be read: {error}") from error
    if data is not None and data not in found:
        raise SettingsError(f"{file} has no {data!r}: it has {', '.join(found)}.")
    return found[data or next(iter(found))]


def _seen(chosen: sections.DeepKernel, shared: Shared) -> tuple[Callable[[Array], Array] | None, Any]:
    """What a deep kernel sees at points (m, d), and its encoder."""
    from gpax_lab import nn

    inputs: Callable[[Array], Array] | None = None
    every: Array | None = None
    shape: tuple[int, ...] = (len(shared.axes),)
    if chosen.image is not None:
        inputs, shape, every = _patches(chosen.image, shared.axes)
    about = chosen.encoder
    match about:
        case sections.Mlp():
            encoder = nn.mlp(shape, about.features, about.widths)
        case sections.Convolutional():
            encoder = nn.convolutional(shape, about.features, about.channels, about.width, about.translations)
        case _:
            if every is None:
                raise SettingsError('model.encoder.kind = "principal_components" needs model.image.')
            return inputs, nn.principal_components(every, about.features).encoder
    return inputs, nn.rotation_pooled(encoder) if about.rotations else encoder


def _patches(about: sections.Image, axes: Sequence[Axis]) -> tuple[Callable[[Array], Array], tuple[int, ...], Array]:
    """Points (m, 2) of the instrument -> patches; the shape of one; and patches all over the image."""
    image = dataset(about.file, about.data, about.reader)
    if image.values.ndim not in (2, 3) or len(axes) != 2:
        raise SettingsError(
            f"{about.file}: an image (rows, columns) of two axes is needed; it is {image.values.shape}."
        )
    mine, its = [axis.name for axis in axes], [axis.name for axis in image.axes[:2]]
    order = [mine.index(name) for name in its] if set(mine) == set(its) else [0, 1]
    values = [np.asarray(axis.values, np.float64) for axis in image.axes[:2]]
    origin, step = np.array([v[0] for v in values]), np.array([v[1] - v[0] for v in values])
    pixels = np.asarray(image.values, np.float64)
    shown = np.asarray(images.normalized(pixels)) if about.normalize else pixels
    patch = images.around(shown, about.size, about.edge)

    def seen(x: Array) -> Array:
        return patch((x[:, np.array(order)] - jnp.asarray(origin, x.dtype)[None]) / jnp.asarray(step, x.dtype)[None])

    shape = (about.size, about.size, *shown.shape[2:])
    everywhere = images.pixel_positions(shown.shape[:2])
    return seen, shape, patch(everywhere[:: max(1, len(everywhere) // 4096)])
