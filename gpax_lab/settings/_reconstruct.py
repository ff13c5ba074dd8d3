"""Settings of `gpax-lab reconstruct`: a measured image with holes, filled by a process on its grid."""
# ruff: noqa: RUF009 - `entry` makes a dataclass field

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpax_lab.inference import Reconstruction, reconstruct
from gpax_lab.models import gridded
from gpax_lab.settings._build_model import dataset
from gpax_lab.settings._check import SettingsError, entry, file_path, parsed, section, several, text, whole, word
from gpax_lab.settings._options import made, options, section_of
from gpax_lab.settings._prior import distribution, priors
from gpax_lab.settings._tables import KERNELS, POSITIVE


@dataclass(frozen=True)
class Measured:
    """An image or a cube; NaN where nothing was measured."""

    file: str = entry(file_path, meaning="a measured file")
    data: str | None = entry(text, None, "name of the array in it; by default the first one")
    reader: str | None = entry(text, None, "of the file; by default by its extension")


@dataclass(frozen=True)
class Gridded:
    """A process on the grid: a sum of parts, each a product of one kernel for each axis."""

    parts: tuple[tuple[str, ...], ...] | None = entry(
        several(several(word(*KERNELS))), None, "stationary kernels; by default a smooth and a textured part"
    )


_CHECKS = {"num_samples": whole(2), "tolerance": POSITIVE, "iterations": whole(0), "leading": whole(1)}
Filling = section_of(
    "",
    reconstruct,
    tuple(
        replace(one, check=_CHECKS.get(one.name, one.check))
        for one in options(reconstruct, frozenset({"key", "image", "process", "dtype"}))
    ),
    key=entry(whole(0, 2**32 - 1), 0, "random key"),
)


@dataclass(frozen=True)
class ReconstructSettings:
    """All that `gpax-lab reconstruct` depends on."""

    image: Measured = entry(section(Measured), meaning="a table [image] with at least file")
    model: Gridded = entry(section(Gridded), Gridded, "of the image")
    prior: Mapping[str, Any] = entry(priors, dict, "of the parameters of kernels and noise")
    reconstruct: Any = entry(section(Filling), Filling, "how it is solved")


def load_reconstruction(path: Path) -> ReconstructSettings:
    """Settings from a TOML file; a relative name of the image counts from its folder.

    Raises:
        SettingsError: not TOML, or a field is wrong.
        OSError: the file cannot be read.
    """
    try:
        found = parsed(ReconstructSettings, tomllib.loads(path.read_text(encoding="utf-8")), "")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return replace(found, image=replace(found.image, file=str((path.parent / found.image.file).resolve())))


def filled(settings: ReconstructSettings) -> tuple[Any, Reconstruction]:
    """The measured array as a `Dataset`, and what is believed of all its pixels.

    Raises:
        SettingsError: the file can not be read, or the process does not fit the image.
    """
    image = dataset(settings.image.file, settings.image.data, settings.image.reader)
    values = np.asarray(image.values, np.float64)
    prior = {name: distribution(value) for name, value in settings.prior.items()}
    parts, key = settings.model.parts, jax.random.key(settings.reconstruct.key)
    if parts is None and prior:
        raise SettingsError("[prior] goes with model.parts, whose parameters it is of: give both.")
    try:
        process = None if parts is None else gridded.process(*(_kernels(part) for part in parts), prior=prior or None)
        return image, made(settings.reconstruct, key=key, image=values, process=process)
    except ValueError as error:
        raise SettingsError(f"[model]: {error}") from error


def _kernels(part: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(KERNELS[name] for name in part)
