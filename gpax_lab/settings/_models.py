"""The section [model] of a settings file: one dataclass for each kind of model, and what they share."""
# ruff: noqa: RUF009 - `entry` makes a dataclass field

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from gpax_lab.models import HeteroscedasticNoise, StudentNoise
from gpax_lab.settings import _kinds as kinds
from gpax_lab.settings._check import (
    Check,
    SettingsError,
    as_table,
    either,
    entry,
    file_path,
    flag,
    name_of,
    number,
    one_of,
    parsed,
    section,
    several,
    table_of,
    text,
    whole,
    word,
)
from gpax_lab.settings._kernels import kernel
from gpax_lab.settings._options import Option, options, section_of
from gpax_lab.settings._prior import law_priors

# --- noise -------------------------------------------------------------------------------------------------------

_GAUSSIAN = word("inferred", "known")
_NOISE = {
    "heteroscedastic": section_of(
        "heteroscedastic",
        HeteroscedasticNoise,
        tuple(replace(one, check=whole(1)) for one in options(HeteroscedasticNoise)),
    ),
    "student": section_of(
        "student",
        StudentNoise,
        tuple(
            replace(one, check=number(2.0, above=True)) if one.name == "df" else one
            for one in options(StudentNoise, frozenset({"capacity", "of"}))
        ),
        of=entry(_GAUSSIAN, "inferred", "the noise whose tails these are"),
    ),
}
noise = either(
    _GAUSSIAN,
    one_of(lambda: tuple(_NOISE), _NOISE.__getitem__),
    allowed='"inferred", "known", or a table with kind = "heteroscedastic" or "student"',
)
"""The noise of a measurement."""

# --- laws --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LawOf:
    """A law by its name, with its options."""

    by = ("law", "laws")
    law: str = entry(name_of("a law"), meaning="its options are given beside it")
    prior: Mapping[str, Any] = entry(law_priors, dict, "of parameters, in place of the law's own")

    @staticmethod
    def specialize(table: Mapping[str, Any], where: str) -> type:
        """With the options of the law."""
        name = word(*kinds.names("laws"))(table.get("law"), f"{where}.law")
        return _law_section(name, kinds.load("laws", name))


@lru_cache
def _law_section(name: str, function: Any) -> type:
    found = () if hasattr(function, "formula") else kinds.options_of("laws", name)
    return section_of(name, function, tuple(map(_with_range, found)), LawOf)


def _with_range(option: Option) -> Option:
    """The range of x is that of the axis where it is left out."""
    return (
        replace(option, default=None, meaning="its range; by default that of the axis")
        if option.name == "x"
        else option
    )


@dataclass(frozen=True)
class Formula:
    """A law written as text."""

    formula: str = entry(text, meaning="such as A * exp(-x / t) + C")
    prior: Mapping[str, Any] = entry(law_priors, meaning="of every name that is no input")
    units: Mapping[str, str] = entry(table_of(text, "units"), dict, "of the parameters")
    inputs: tuple[str, ...] = entry(several(text), ("x",), "names of the axes in the formula, in order")
    source: str = entry(text, "written by hand", "where it comes from")


def _law(value: Any, where: str) -> Any:
    table = as_table(value, where)
    if ("law" in table) == ("formula" in table):
        raise SettingsError(
            f"{where}: give either law = ... (one of {', '.join(kinds.names('laws'))}) or formula = ..."
        )
    return parsed(LawOf if "law" in table else Formula, table, where)


law_table = Check(_law, "a table with law or formula", kinds=lambda: {"by its name": LawOf, "as text": Formula})
"""A law by its name, or written as text."""

# --- models ------------------------------------------------------------------------------------------------------

_STANDARDIZE = either(flag, several(number(), 2), allowed="true, false or [location, scale]")


@dataclass(frozen=True)
class _Process:
    """What Gaussian processes have in common."""

    kernel: str = entry(kernel, "matern52", "covariance of two points")
    standardize: bool | tuple[float, float] = entry(
        _STANDARDIZE, True, "whether measurements are scaled, or by which location and scale"
    )
    noise: Any = entry(noise, "inferred", "of a measurement")
    mean: Any = entry(law_table, None, "physics that the process bends around")


@dataclass(frozen=True)
class Exact(_Process):
    """An exact Gaussian process."""

    kind = "exact"
    uncertain_inputs: bool = entry(flag, False, "whether positions are known up to an error that is inferred")


@dataclass(frozen=True)
class Sparse(_Process):
    """A Gaussian process seen through inducing points, for thousands of measurements."""

    kind = "sparse"
    inducing: int = entry(whole(1, 10_000), 128, "inducing points, which fill the box evenly")


@dataclass(frozen=True)
class Parametric:
    """A law alone, with independent noise."""

    kind = "parametric"
    mean: Any = entry(law_table, meaning="the law")
    standardize: bool | tuple[float, float] = entry(
        _STANDARDIZE, True, "whether measurements are scaled, or by which location and scale"
    )
    noise: Any = entry(noise, "inferred", "of a measurement")


@dataclass(frozen=True)
class Image:
    """An image of the sample, of which a deep kernel sees a patch around each point."""

    file: str = entry(file_path, meaning="a measured file")
    data: str | None = entry(text, None, "name of the image in it; by default the first one")
    reader: str | None = entry(text, None, "of the file; by default by its extension")
    size: int = entry(whole(2, 512), 16, "pixels along an edge of a patch")
    edge: str = entry(word("mirror", "nearest", "wrap"), "mirror", "what lies beyond the border")
    normalize: bool = entry(flag, True, "whether the image is brought to order one")


_LENGTHS = several(whole(1, 4096))


@dataclass(frozen=True)
class Mlp:
    """Fully connected layers."""

    kind = "mlp"
    features: int = entry(whole(1, 64), 2, "numbers that the kernel sees")
    widths: tuple[int, ...] = entry(_LENGTHS, (64, 64), "of the hidden layers")
    rotations: bool = entry(flag, False, "whether rotating a patch by 90 degrees changes nothing")


@dataclass(frozen=True)
class Convolutional:
    """Convolutions, then a fully connected layer."""

    kind = "convolutional"
    features: int = entry(whole(1, 64), 2, "numbers that the kernel sees")
    channels: tuple[int, ...] = entry(_LENGTHS, (8, 16), "of the convolutions")
    width: int = entry(whole(1, 4096), 32, "of the fully connected layer")
    translations: bool = entry(flag, True, "whether the last convolution is averaged over the patch")
    rotations: bool = entry(flag, False, "whether rotating a patch by 90 degrees changes nothing")


@dataclass(frozen=True)
class PrincipalComponents:
    """A description without weights: principal components of all patches of the image."""

    kind = "principal_components"
    features: int = entry(whole(1, 64), 2, "components that the kernel sees")


ENCODERS: Mapping[str, type] = {one.kind: one for one in (Mlp, Convolutional, PrincipalComponents)}


@dataclass(frozen=True)
class DeepKernel:
    """A Gaussian process on what a neural network, or principal components, make of a patch of an image."""

    kind = "deep_kernel"
    image: Image | None = entry(section(Image), None, "what is seen at a point; by default the point itself")
    encoder: Any = entry(one_of(lambda: tuple(ENCODERS), ENCODERS.__getitem__, "mlp"), Mlp, "from patches to features")
    kernel: str = entry(kernel, "matern52", "covariance of two points")
    positions: bool = entry(flag, False, "whether the kernel sees the position beside the features")
    standardize: bool | tuple[float, float] = entry(
        _STANDARDIZE, True, "whether measurements are scaled, or by which location and scale"
    )
    noise: Any = entry(noise, "inferred", "of a measurement")
    mean: Any = entry(law_table, None, "physics that the process bends around")


MODELS: Mapping[str, type] = {one.kind: one for one in (Exact, Sparse, Parametric, DeepKernel)}
"""Kinds of [model]."""
