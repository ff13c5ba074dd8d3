"""Measured files of other programs as `Dataset` values, by well-kept readers."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis
from .hdf5 import read_hdf5
from .nsid import Axis


class UnreadableFile(ValueError):
    """The file is of no known format, damaged, or holds nothing to read."""


def load(path: str | Path) -> dict[str, Dataset]:
    """Every measured array of a file, by name, in the order of the file.

    NSID and USID (.h5, .hdf5, .hf5), Digital Micrograph (.dm3, .dm4), HyperSpy (.hspy), Nanonis (.3ds, .sxm) and Igor
    (.ibw). Dtypes, axes and units are those of the file; nothing is rescaled.

    Args:
        path: of the file; it is opened for reading only, and closed.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: an unknown format, or nothing in it that can be read.
        ModuleNotFoundError: the reader is not installed; says how to get it.
    """
    place = Path(path)
    if not place.is_file():
        raise FileNotFoundError(f"{place} is no file.")
    readers: Mapping[str, Callable[[Path], dict[str, Dataset]]] = {
        ".h5": read_hdf5,
        ".hdf5": read_hdf5,
        ".hf5": read_hdf5,
        ".dm3": _digital_micrograph,
        ".dm4": _digital_micrograph,
        ".hspy": _hyperspy,
        ".3ds": _nanonis_grid,
        ".sxm": _nanonis_scan,
        ".ibw": _igor,
    }
    reader = readers.get(place.suffix.lower())
    if reader is None:
        raise UnreadableFile(f"{place.name}: no reader for {place.suffix!r}; there are {sorted(readers)}.")
    try:
        found = reader(place)
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a reader stumbles over, the user has one kind of error to expect
        raise UnreadableFile(f"{place.name} could not be read: {error}") from error
    if not found:
        raise UnreadableFile(f"{place.name} holds no data set that this reader understands.")
    return found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{name} reads this format: pip install "gpax-lab[files]"') from error


def _unique(names: list[str]) -> list[str]:
    """The same names, numbered where they repeat."""
    return [f"{n}_{names[:i].count(n) + 1}" if n in names[:i] else n for i, n in enumerate(names)]


def _hyperspy(path: Path) -> dict[str, Dataset]:
    return _rosetta(_module("rsciio.hspy").file_reader(str(path)))


def _digital_micrograph(path: Path) -> dict[str, Dataset]:
    return _rosetta(_module("rsciio.digitalmicrograph").file_reader(str(path)))


def _rosetta(signals: list[dict[str, Any]]) -> dict[str, Dataset]:
    """Signals of RosettaSciIO, whose axes are an offset and a scale, or a list of values."""
    names, found = [], []
    for signal in signals:
        data = np.asarray(signal["data"])
        general = signal.get("metadata", {}).get("General", {})
        about = signal.get("metadata", {}).get("Signal", {})
        axes = tuple(_rosetta_axis(one, index) for index, one in enumerate(signal["axes"]))
        quantity, _, unit = str(about.get("quantity", "") or "Intensity").partition(" (")
        title = str(general.get("title", ""))
        names.append(title or "signal")
        extra = {"metadata": signal.get("metadata", {}), "original_metadata": signal.get("original_metadata", {})}
        found.append(Dataset(data, axes, quantity, unit.rstrip(")") or "counts", title, metadata=extra))
    return dict(zip(_unique(names), found, strict=True))


def _rosetta_axis(about: dict[str, Any], index: int) -> Axis:
    if "axis" in about and about["axis"] is not None:
        values: np.ndarray = np.asarray(about["axis"], np.float64)
    else:
        values = float(about["offset"]) + float(about["scale"]) * np.arange(int(about["size"]))
    name = str(about.get("name") or f"axis_{index}")
    unit = str(about.get("units") or "")
    kind = SPATIAL if name in ("x", "y", "z", "height", "width", "depth") else ""
    return axis(name, values, unit if unit not in ("<undefined>", "None") else "", kind=kind)


def _nanonis_grid(path: Path) -> dict[str, Dataset]:
    """A grid of spectra: every channel over y, x and the sweep; NaN where a grid was stopped early."""
    grid = _module("nanonispy2.read").Grid(str(path))
    header = grid.header
    recorded = (path.stat().st_size - grid.byte_offset) // 4  # values of 4 bytes; the reader fills the rest with 0
    nx, ny = (int(n) for n in header["dim_px"])
    places = _box(header["pos_xy"], header["size_xy"], (nx, ny))
    name, unit = _split_unit(str(header["sweep_signal"]))
    sweep = axis(name, grid.signals["sweep_signal"], unit, kind=SPECTRAL)
    found = {}
    points, channels, parameters = sweep.values.size, len(header["channels"]), int(header["num_parameters"])
    if recorded < parameters + points * channels:
        raise UnreadableFile(f"{path.name} was stopped before its first spectrum was whole.")
    pixel = np.arange(ny * nx).reshape(ny, nx, 1) * (parameters + points * channels)
    for k, channel in enumerate(header["channels"]):
        quantity, unit = _split_unit(channel)
        values = np.array(grid.signals[channel]).reshape(ny, nx, -1)
        values[pixel + parameters + k * points + np.arange(points) >= recorded] = np.nan
        found[quantity] = Dataset(values, (*places, sweep), quantity, unit or "a.u.", channel, metadata=_plain(header))
    return found


def _nanonis_scan(path: Path) -> dict[str, Dataset]:
    """An image: every channel forward and backward over y and x; the backward one is turned, so that both match."""
    scan = _module("nanonispy2.read").Scan(str(path))
    header = scan.header
    nx, ny = (int(n) for n in header["scan_pixels"])
    places = _box(header["scan_offset"], header["scan_range"], (nx, ny))
    units = dict(zip(header["data_info"]["Name"], header["data_info"]["Unit"], strict=True))
    upwards = str(header.get("scan_dir", "down")).strip().lower() == "up"
    found = {}
    for channel, both in scan.signals.items():
        for direction, values in both.items():
            image = np.asarray(values)[:, :: -1 if direction == "backward" else 1]
            # Rows are stored as they were scanned, and y grows upwards.
            image = image if upwards else image[::-1]
            name = f"{channel}_{direction}"
            found[name] = Dataset(image, places, channel, units[channel] or "a.u.", name, metadata=_plain(header))
    return found


def _box(centre: Any, size: Any, pixels: tuple[int, int]) -> tuple[Axis, Axis]:
    """Axes y and x in m, rising, of pixel centres in a field around a centre."""
    (cx, cy), (width, height) = (np.asarray(part, float) for part in (centre, size))

    def along(name: str, middle: float, length: float, count: int) -> Axis:
        edge = middle - length / 2
        return axis(name, edge + length * (np.arange(count) + 0.5) / count, "m", "position", SPATIAL)

    return along("y", cy, height, pixels[1]), along("x", cx, width, pixels[0])


def _split_unit(text: str) -> tuple[str, str]:
    """ "Current (A)" as ("Current", "A")."""
    name, _, unit = text.strip().partition(" (")
    return name or "signal", unit.rstrip(")")


def _plain(header: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value.tolist() if isinstance(value, np.ndarray) else value for key, value in header.items()}


def _igor(path: Path) -> dict[str, Dataset]:
    """An Igor binary wave; layers that carry labels are channels of their own, in rows and columns of the image."""
    wave = _module("igor2.binarywave").load(str(path))["wave"]
    values, header = np.asarray(wave["wData"]), wave["wave_header"]
    axes = _igor_axes(wave, header, values.shape)
    note = wave.get("note", b"").decode("latin-1").replace("\r", "\n")
    metadata = {"note": note, **dict(line.split(":", 1) for line in note.splitlines() if ":" in line)}
    name = header.get("bname", b"").decode("latin-1").rstrip("\0") or "wave"
    unit = _text(header.get("dataUnits", b"")) or "a.u."
    labels = [_text(label) for label in (wave.get("labels") or [[], [], []])[2][1:]] if values.ndim == 3 else []
    if labels and len(labels) == values.shape[2]:
        # Igor's first dimension is x; images are (y, x) here.
        pair = (axes[1], axes[0])
        return {
            label: Dataset(values[:, :, k].T, pair, label, unit, label, metadata=metadata)
            for k, label in enumerate(_unique(labels))
        }
    return {name: Dataset(values, axes, name, unit, name, metadata=metadata)}


def _igor_axes(wave: Mapping[str, Any], header: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    units = header.get("dimUnits")
    scale = header["sfA"] if "sfA" in header else [header["hsA"]]
    offset = header["sfB"] if "sfB" in header else [header["hsB"]]
    found = []
    for index, count in enumerate(shape):
        unit = _text(b"".join(np.asarray(units[index]).ravel().tolist())) if units is not None else ""
        values = float(offset[index]) + float(scale[index]) * np.arange(count)
        kind = SPATIAL if unit == "m" and index < 2 else "" if unit else UNKNOWN
        found.append(axis("xyzt"[index], values, unit, kind=kind))
    return tuple(found)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = b"".join(value.ravel().tolist())
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value)
