"""Formats that RosettaSciIO reads (GPL-3, the extra `files`), by the extensions that its readers have.

The package is imported only when such a file is opened.
"""

import gc
import importlib
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gpax_lab.storage import _inspection as inside
from gpax_lab.storage._dataset import SPATIAL, UNKNOWN, Dataset, axis, is_spatial
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers import _bounds as bounds
from gpax_lab.storage.readers._common import split_unit, unique

PLUGINS: dict[str, tuple[str, ...]] = {
    # Electron microscopy
    ".dm3": ("digitalmicrograph",),
    ".dm4": ("digitalmicrograph",),
    ".emd": ("emd",),
    ".de5": ("emd",),
    ".mrc": ("mrc",),
    ".ali": ("mrc",),
    ".blo": ("blockfile",),
    ".ser": ("tia",),
    ".emi": ("tia",),
    ".mib": ("quantumdetector",),
    ".tvips": ("tvips",),
    ".prz": ("pantarhei",),
    ".unf": ("semper",),
    ".app5": ("topspin",),
    ".dens": ("dens",),
    # X-rays and electrons in spectra
    ".msa": ("msa",),
    ".emsa": ("msa",),
    ".ems": ("msa",),
    ".mas": ("msa",),
    ".bcf": ("bruker",),
    ".spx": ("bruker",),
    ".spd": ("edax",),
    ".spc": ("edax",),
    ".lsd": ("edax",),
    ".map": ("jeol",),
    ".pts": ("jeol",),
    ".eds": ("jeol",),
    ".img": ("jeol", "hamamatsu"),
    ".elid": ("phenom",),
    # Light and mass
    ".wdf": ("renishaw",),
    ".tvf": ("trivista",),
    ".xml": ("jobinyvon", "empad"),
    ".sac": ("quadstar",),
    ".sbc": ("quadstar",),
    # Surfaces and images
    ".sur": ("digitalsurf",),
    ".pro": ("digitalsurf",),
    ".tif": ("tiff",),
    ".tiff": ("tiff",),
    ".png": ("image",),
    ".bmp": ("image",),
    ".gif": ("image",),
    ".jpg": ("image",),
    ".jpeg": ("image",),
    ".pgm": ("image",),
    ".ppm": ("image",),
    # General
    ".hspy": ("hspy",),
    ".nxs": ("nexus",),
    ".nc": ("netcdf",),
    ".npy": ("numpy",),
    ".rpl": ("ripple",),
}
"""Readers of RosettaSciIO 0.15 by extension, the likelier first."""

HDF5_PLUGINS = ("hspy", "delmic", "arina", "tofwerk")
"""Readers of .h5 and .hdf5 files that are neither NSID nor USID."""

TABLE_PLUGINS = ("protochips", "impulse")
"""Readers of the logs that holders write as .csv."""


_LEAVING = ("mrc", "blockfile", "quantumdetector", "tvips", "emd")
"""Readers that map files to memory, or leave them open."""

LEFT_OUT: dict[str, str] = {
    ".asw": "it only lists files of a JEOL sample; open those (.map, .pts, .img, .eds)",
    ".mrcz": "it needs the package mrcz, which no reader here has been tested with; save it as .mrc",
    ".zspy": "it may name codecs that run code when they are read; save it as .hspy",
}
"""Extensions that RosettaSciIO has and this module does not, and what to do instead."""


def reader(*plugins: str) -> Callable[[Path], dict[str, Dataset]]:
    """A reader that looks through a file that is HDF5, and tries these, one after another."""

    def read(path: Path) -> dict[str, Dataset]:
        inside.check(path)
        return first_of(path, *plugins)

    return read


def first_of(path: Path, *plugins: str) -> dict[str, Dataset]:
    """What the first of these readers finds that finds something.

    Raises:
        UnreadableFile: none does, with the reason of each.
        ModuleNotFoundError: none of them is installed.
    """
    reasons, missing = [], None
    for plugin in plugins:
        try:
            module = _module(f"rsciio.{plugin}")
        except ModuleNotFoundError as error:
            # Said only where no other reader was there to try.
            missing = missing or error
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            found, reason = _read(module, plugin, path)
            if not found or plugin in _LEAVING:
                gc.collect()  # closes what these readers leave open
        if found:
            return found
        reasons.append(f"{plugin}: {reason}")
    if missing is not None and not reasons:
        raise missing
    raise UnreadableFile("; ".join(reasons) or "it holds no signal.")


def _read(module: ModuleType, plugin: str, path: Path) -> tuple[dict[str, Dataset], str]:
    """What a reader finds, or why it finds nothing."""
    try:
        if plugin in bounds.CHECKS:
            bounds.CHECKS[plugin](path)
        signals = module.file_reader(str(path), **bounds.OPTIONS.get(plugin, {}))
        if plugin in _MENDED:
            signals = [_MENDED[plugin](signal) for signal in signals]
        return datasets(signals), "no signal"
    except ModuleNotFoundError as error:
        return {}, f"{error.name} is needed for this file: pip install {error.name}"
    except Exception as error:  # whatever it stumbles over, the next one may understand the file
        return {}, str(error) or type(error).__name__


def _semper(signal: dict[str, Any]) -> dict[str, Any]:
    """A signal whose axes lie along its dimensions: the reader counts them from x, and the array begins with z."""
    header = signal["original_metadata"]
    shape = [int(header[key]) for key in ("NLAY", "NROW", "NCOL")]
    which = [k for k, n in enumerate(shape) if n > 1]
    axes = [
        {
            "name": "zyx"[k],
            "size": shape[k],
            "offset": header.get(("Z0V4", "Y0V2", "X0V0")[k], 0.0),
            "scale": header.get(("DZV5", "DYV3", "DXV1")[k], 1.0),
            "units": header.get(("ZUNIT", "YUNIT", "XUNIT")[k]),
        }
        for k in which
    ]
    return {**signal, "axes": axes}


def _imagej(signal: dict[str, Any]) -> dict[str, Any]:
    """A signal with the units that ImageJ writes into the description of a TIFF file, of which the reader keeps one.

    Pixels where it names none. The step of x and y is one over the resolution; "finterval" is that of the time, to
    which the reader gives the distance of slices.
    """
    tags = signal.get("original_metadata") or {}
    text = tags.get("ImageDescription")
    if not isinstance(text, str) or not text.startswith("ImageJ=") or "65009" in tags:  # a step of Digital Micrograph
        return signal
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    across, down, deep = (_imagej_unit(said.get(key) or said.get("unit", "")) for key in ("unit", "yunit", "zunit"))
    steps = {
        "width": (_resolved(tags.get("XResolution")), across),
        "height": (_resolved(tags.get("YResolution")), down),
        "depth": (_positive(said.get("spacing")), deep),
        "image series": (_positive(said.get("spacing")), deep),
        "time": (_positive(said.get("finterval")), said.get("tunit") or "s"),
    }
    axes = []
    for one in signal["axes"]:
        step, unit = steps.get(one["name"], (0.0, ""))
        if step and unit not in ("", "px"):
            one = {**one, "scale": step, "units": {"sec": "s"}.get(unit, unit)}
        elif one["name"] in steps:
            one = {**one, "scale": 1.0, "units": unit if unit == "px" else None}
        axes.append(one)
    return {**signal, "axes": axes}


def _imagej_unit(text: str) -> str:
    """A unit of length as ImageJ writes it: micrometres in several ways, and what lies beyond ASCII as its number."""
    word = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text).strip()
    pixels = dict.fromkeys(("pixel", "pixels"), "px")
    return {"micron": "\u00b5m", "microns": "\u00b5m", "inches": "inch", **pixels}.get(word.lower(), word)


def _resolved(resolution: Any) -> float:
    """The step between pixels, of a resolution as (pixels, length); 0 where there is none."""
    pixels, length = resolution if isinstance(resolution, tuple) and len(resolution) == 2 else (0, 0)
    return length / pixels if pixels else 0.0


def _positive(text: str | None) -> float:
    """A step as text; 0 where it is none."""
    try:
        step = float(text or 0)
    except ValueError:
        return 0.0
    return step if 0 < step < math.inf else 0.0


_MENDED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"semper": _semper, "tiff": _imagej}
"""What puts signals right that a reader of RosettaSciIO 0.15 gives wrongly."""


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        lacking = error.name or name
        if lacking.split(".")[0] == "rsciio":
            raise ModuleNotFoundError(f'{name} reads this format: pip install "gpax-lab[files]"') from error
        extra = "" if lacking in ("tifffile", "imageio", "PIL", "h5py") else f" and {lacking.split('.')[0]}"
        raise ModuleNotFoundError(f'{name} needs {lacking}: pip install "gpax-lab[files]"{extra}') from error


def datasets(signals: list[dict[str, Any]]) -> dict[str, Dataset]:
    """Signals of RosettaSciIO as data sets."""
    names, found = [], []
    for signal in signals:
        data = np.asarray(signal["data"])
        if isinstance(signal["data"], np.memmap):
            data = np.array(data)  # else the file would stay open, and cutting it would end the process
        if not data.size:
            continue
        if data.dtype.kind not in "biufc":
            # Colours come as records of one number for each of them; ragged arrays as objects, which have no shape.
            if any(data.dtype[name].kind not in "biufc" for name in data.dtype.names or ()) or not data.dtype.names:
                continue
            fields = [(f" {name}", data[name]) for name in data.dtype.names]
        else:
            fields = [("", data)]
        metadata = _mapping(signal.get("metadata"))
        about = _mapping(metadata.get("Signal"))
        axes = _axes(signal.get("axes", []), data.shape)
        quantity, unit = split_unit(str(about.get("quantity") or "Intensity"))
        title = str(_mapping(metadata.get("General")).get("title") or "")
        extra = {"metadata": metadata, "original_metadata": _mapping(signal.get("original_metadata"))}
        for which, values in fields:
            names.append((title or "signal") + which)
            found.append(Dataset(values, axes, quantity, unit or "a.u.", title + which, metadata=extra))
    return dict(zip(unique(names), found, strict=True))


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping of any kind as plain dictionaries all the way down."""
    if hasattr(value, "as_dictionary"):
        value = value.as_dictionary()
    elif hasattr(value, "to_dict"):
        value = value.to_dict()
    return {str(key): _cleaned(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _cleaned(value: Any) -> Any:
    """Metadata without the zeros that fields of fixed length are filled with, which HDF5 may not carry."""
    if isinstance(value, np.void | np.bytes_):
        value = value.item()
    if isinstance(value, str):
        return value.replace("\0", "").strip() if "\0" in value else value
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    if isinstance(value, dict) or hasattr(value, "as_dictionary"):
        return _mapping(value)
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _axes(about: Any, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """One axis for each dimension; those that a signal of one number lacks are counted."""
    listed = list(about.values()) if isinstance(about, dict) else list(about)
    if listed and len(listed) != len(shape):
        raise UnreadableFile(f"{len(listed)} axes for {len(shape)} dimensions")
    made = [_axis(one, index, size) for index, (one, size) in enumerate(zip(listed, shape, strict=False))]
    if not made and shape == (1,):
        made = [axis("axis_0", np.zeros(1))]
    names = unique([one.name for one in made])
    return tuple(one._replace(name=name) for one, name in zip(made, names, strict=True))


def _axis(about: dict[str, Any], index: int, size: int) -> Axis:
    """An axis of values, of an expression of another axis, or of an offset and a scale."""
    said = {"size": size, **about, **(about.get("x") or {})}.get("size")
    if said is not None and int(said) != size:
        raise UnreadableFile(f"an axis has {said} values, the array {size} along it")
    about = {**about, "size": size}
    if about.get("axis") is not None:
        values: np.ndarray = np.asarray(about["axis"], np.float64)
    elif about.get("expression"):
        values = _functional(about)
    else:
        values = _uniform(about)
    unit = str(about.get("units") or "")
    unit = "" if unit.strip("<>").lower() in ("undefined", "none") else unit
    name = str(about.get("name") or "")
    name = f"axis_{index}" if not name or name.strip("<>").lower() == "undefined" else name
    # An x in pixels of unknown size is a place too; an x in keV is none.
    place = is_spatial(name, unit) or (not unit and name.lower() in ("x", "y", "z", "height", "width", "depth"))
    return axis(name, values, unit, kind=SPATIAL if place else UNKNOWN if not unit and name[:5] == "axis_" else "")


def _uniform(about: dict[str, Any]) -> np.ndarray:
    offset, scale = (float(about.get(key) or start) for key, start in (("offset", 0.0), ("scale", 1.0)))
    return offset + scale * np.arange(int(about["size"]))


def _functional(about: dict[str, Any]) -> np.ndarray:
    """HyperSpy's axis of an expression of x and further parameters; the expression is parsed, never executed."""
    from gpax_lab.storage.readers._expression import evaluate

    along = about.get("x") or {}
    x = np.asarray(along["axis"], np.float64) if along.get("axis") is not None else _uniform({**about, **along})
    known = {"_type", "name", "units", "navigate", "is_binned", "expression", "x", "size", "index_in_array"}
    numbers = {key: float(value) for key, value in about.items() if key not in known and _is_number(value)}
    values = evaluate(str(about["expression"]), {**numbers, "x": x})
    return np.broadcast_to(np.asarray(values, np.float64), x.shape)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
