"""Nanonis scans (.sxm), grids of spectra (.3ds) and spectra (.dat), from the headers that the files carry.

Lengths are in m and y grows upwards. A frame that was turned on the sample keeps its own axes, along and across its
lines, from its centre; `Dataset.places` gives the positions on the sample. Angles are those of Nanonis: in degrees,
clockwise (SPECS, Nanonis TCP protocol, Scan.FrameSet).

The layout is the one that nanonispy2 1.2 reads, against which this module is tested: a header of text whose keys say
how the data lie, and behind it float32 (.sxm, .3ds; the most significant byte first) or a table of text (.dat).
"""

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._inspection import SPARE_BYTES
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers._common import decoded, encoding, split_unit, unique

_SCAN_END, _SCAN_START = b":SCANIT_END:", b"\x1a\x04"
_GRID_END, _SPECTRUM_END = b":HEADER_END:", "[DATA]"


def scan(path: Path) -> dict[str, Dataset]:
    """An image (.sxm): every channel forward and backward over y and x, both the same way round.

    Lines that were never scanned are NaN, as Nanonis writes them.

    Raises:
        UnreadableFile: the header or the data are not whole, with what is missing.
    """
    raw = path.read_bytes()
    end = raw.find(_SCAN_END)
    start = raw.find(_SCAN_START, end)
    if end < 0 or start < 0:
        raise UnreadableFile("the header has no end; the file is no Nanonis scan or was cut.")
    header = _scan_header(decoded(raw[:end]))
    nx, ny = _counts(_needed(header, "SCAN_PIXELS").split(), "SCAN_PIXELS")
    kind = header.get("SCANIT_TYPE", "FLOAT MSBFIRST").split()
    if kind[:1] != ["FLOAT"]:
        raise UnreadableFile(f"values of the type {' '.join(kind)!r} are not known; FLOAT is.")
    values = np.frombuffer(raw, "<f4" if "LSBFIRST" in kind else ">f4", (len(raw) - start - 2) // 4, start + 2)
    channels = _scan_channels(_needed(header, "DATA_INFO"))
    planes = [(name, unit, way) for name, unit, ways in channels for way in ways]
    if len(values) < len(planes) * nx * ny:
        raise UnreadableFile(
            f"{len(values)} values for {len(planes)} images of {nx} x {ny}: the file was cut, or its header is wrong."
        )
    if len(values) >= (len(planes) + 1) * nx * ny:
        raise UnreadableFile(f"{len(values)} values are more than the {len(planes)} images that the header names.")
    images = values[: len(planes) * nx * ny].reshape(-1, ny, nx)
    axes, frame = _frame(
        _numbers(header.get("SCAN_OFFSET")),
        _numbers(header.get("SCAN_RANGE")),
        _angle(header.get("SCAN_ANGLE")),
        nx,
        ny,
    )
    upwards = header.get("SCAN_DIR", "down").lower() == "up"
    metadata = header | frame
    names = unique([f"{name}_{way}" for name, _, way in planes])
    found = {}
    for name, (channel, unit, way), image in zip(names, planes, images, strict=True):
        # Lines are stored as they were scanned: the first at the top of a downward scan, the backward ones from the
        # right.
        image = image[:: 1 if upwards else -1, :: -1 if way == "backward" else 1]
        found[name] = Dataset(image, axes, channel, unit or "a.u.", name, metadata=metadata)
    return found


def _scan_header(text: str) -> dict[str, str]:
    """Lines ":KEY:" and all that follows each of them."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in text.splitlines():
        stripped = line.strip()
        if len(stripped) > 2 and stripped[0] == stripped[-1] == ":" and "\t" not in stripped:
            key = stripped[1:-1]
            found[key] = []
        elif key:
            found[key].append(line)
    return {key: "\n".join(lines).strip() for key, lines in found.items()}


def _scan_channels(table: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, unit and directions of every channel."""
    rows = [line.strip().split("\t") for line in table.splitlines() if line.strip()]
    columns = [word.strip().lower() for word in rows[0]]
    if "name" not in columns:
        raise UnreadableFile("the table of channels (DATA_INFO) has no column of names.")
    found = []
    for row in rows[1:]:
        about = dict(zip(columns, (word.strip() for word in row), strict=False))
        way = about.get("direction", "both").lower()
        ways = {"both": ("forward", "backward"), "forward": ("forward",), "backward": ("backward",)}
        ways |= {"fwd": ("forward",), "bwd": ("backward",)}
        if way not in ways:
            raise UnreadableFile(f"channel {about.get('name')!r} was recorded in an unknown direction {way!r}.")
        found.append((about.get("name") or "signal", about.get("unit", ""), ways[way]))
    if not found:
        raise UnreadableFile("the header names no channel.")
    return found


def grid(path: Path) -> dict[str, Dataset]:
    """A grid (.3ds): every channel over y, x and the sweep, and every parameter (the topography Z, ...) over y and x.

    The axes are the pixel centres of the header's frame. Where the recorded X and Y form another grid,
    `metadata["note"]` says by how much; the data sets "X" and "Y" hold it.

    What was not recorded of a grid that was stopped early is NaN; rows that were never begun are left out where they
    would take more memory than 64 MB and three times the file.

    Raises:
        UnreadableFile: the header does not say how the data lie, or no spectrum is whole.
    """
    raw = path.read_bytes()
    end = raw.find(_GRID_END)
    if end < 0:
        raise UnreadableFile("the header has no end; the file is no Nanonis grid or was cut.")
    start = raw.find(b"\n", end) + 1 or len(raw)
    header = dict(_pair(line) for line in decoded(raw[:end]).splitlines() if "=" in line)
    nx, ny = _counts(_needed(header, "Grid dim").lower().split("x"), "Grid dim")
    channels, points, extra = _grid_layout(header)
    size = extra + points * len(channels)
    values = np.frombuffer(raw, ">f4", (len(raw) - start) // 4, start)
    if len(values) < size:
        raise UnreadableFile("it was stopped before its first spectrum was whole.")
    if len(values) >= (nx * ny + 1) * size:
        raise UnreadableFile(f"{len(values)} values are more than {nx} x {ny} positions of {size} hold.")
    rows = ny
    if len(values) < nx * ny * size:
        if nx * ny * size * 4 > SPARE_BYTES + 3 * len(raw):
            rows = min(ny, -(-len(values) // (nx * size)))
        if rows * nx * size * 4 > SPARE_BYTES + 3 * len(raw):
            raise UnreadableFile(
                f"a row of {nx} positions of {size} values is more than a file of this size was meant for."
            )
        whole = np.full(rows * nx * size, np.nan, np.float32)
        whole[: len(values)] = values
        values = whole
    values = values[: rows * nx * size].reshape(rows, nx, size)
    settings = _numbers(header.get("Grid settings"))
    (y, x), frame = _frame(settings[:2], settings[2:4], settings[4] if len(settings) > 4 else 0.0, nx, ny, rows)
    fixed = {name: values[:, :, k] for k, name in enumerate(unique(_parameters(header, extra)))}
    sweep, swept = _sweep(header, fixed, channels, values[0, 0, extra:], points)
    metadata: dict[str, Any] = header | frame | _note(fixed, y, x, frame)
    found = {}
    names = [split_unit(name) for name in channels]
    images = [(name, image) for name, image in fixed.items() if name not in swept]
    keys = unique([name for name, _ in names])
    for k, (key, (name, unit)) in enumerate(zip(keys, names, strict=True)):
        part = values[:, :, extra + k * points : extra + (k + 1) * points]
        found[key] = Dataset(part, (y, x, sweep), name, unit or "a.u.", channels[k], metadata=metadata)
    for label, image in images:
        name, unit = split_unit(label)
        key = unique([*found, name if name not in found else f"{name} parameter"])[-1]
        found[key] = Dataset(image, (y, x), name, unit or "a.u.", label, metadata=metadata)
    return found


def _grid_layout(header: dict[str, str]) -> tuple[list[str], int, int]:
    """Channels, points of a sweep, and parameters before it; each of them follows from others where it is missing."""
    channels = _list(header.get("Channels"))
    if "# Parameters (4 byte)" not in header and "Fixed parameters" not in header:
        raise UnreadableFile("the header has neither '# Parameters (4 byte)' nor 'Fixed parameters', which count them.")
    named = [*_list(header.get("Fixed parameters")), *_list(header.get("Experiment parameters"))]
    extra = _whole(header.get("# Parameters (4 byte)"), len(named))
    total = _whole(header.get("Experiment size (bytes)"), 0) // 4
    points = _whole(header.get("Points"), total // len(channels) if channels else 0)
    if not channels and points and total:
        channels = [f"channel {k + 1}" for k in range(total // points)]
    if points < 1 or not channels:
        raise UnreadableFile("the header says neither Points and Channels, nor the Experiment size they follow from.")
    if extra < 0 or extra + points * len(channels) > 1 << 32:
        raise UnreadableFile(f"the header names {extra} parameters and {points} points, which no spectrum has.")
    return channels, points, extra


def _parameters(header: dict[str, str], extra: int) -> list[str]:
    """A name for each of the parameters before a spectrum: the fixed ones come first, named by the header or not."""
    fixed, measured = _list(header.get("Fixed parameters")), _list(header.get("Experiment parameters"))
    if not fixed:
        fixed = [f"Parameter {k + 1}" for k in range(extra - len(measured))]
        fixed[:2] = _ENDS if len(fixed) > 1 else fixed
    names = [*fixed, *measured]
    return [*names, *(f"Parameter {k + 1}" for k in range(len(names), extra))][:extra]


def _note(fixed: dict[str, np.ndarray], y: Axis, x: Axis, frame: dict[str, Any]) -> dict[str, str]:
    """A note where the recorded positions form a grid that lies more than a tenth of its step off the pixel centres."""
    if "X (m)" not in fixed or "Y (m)" not in fixed or x.unit != "m":
        return {}
    recorded = np.stack([fixed["X (m)"], fixed["Y (m)"]], -1).astype(np.float64)
    known = np.isfinite(recorded).all(-1)
    rows, columns = np.nonzero(known)
    if len(rows) < 4:  # three positions are always a grid
        return {}
    positions = np.stack(Dataset(recorded[..., 0], (y, x), metadata=frame).positions(), -1)
    design = np.stack([np.ones(len(rows)), columns, rows], -1)
    found = np.linalg.lstsq(design, recorded[known], rcond=None)[0]
    pixel = min(abs(float(one.values[1] - one.values[0])) for one in (x, y) if len(one.values) > 1)
    sizes = np.linalg.norm(found[1:], axis=1)  # one of them is 0 where there is one line
    step = float(np.min(sizes[sizes > 1e-3 * pixel], initial=np.inf))
    left = float(np.linalg.norm(recorded[known] - design @ found, axis=1).max())
    off = float(np.linalg.norm(recorded - positions, axis=-1)[known].max())
    if not np.isfinite(step) or left > 0.1 * step or off < 0.1 * step:
        return {}
    return {
        "note": f"the recorded X and Y form a grid of steps of {step:.4g} m, up to {off:.4g} m off the pixel centres "
        "of the header's frame, which the axes hold; the data sets X and Y are the recorded places"
    }


def _sweep(
    header: dict[str, str], fixed: dict[str, np.ndarray], channels: list[str], first: np.ndarray, points: int
) -> tuple[Axis, tuple[str, ...]]:
    """The axis of the sweep and the parameters it was made from; points are counted where it differs by place."""
    name, unit = split_unit(header.get("Sweep Signal", "").strip('"') or "sweep")
    keys = list(fixed)
    named = [next((key for key in keys if key.split(" (")[0].strip() == which), "") for which in _ENDS]
    linear = header.get("Filetype", "Linear").lower() == "linear"
    if not linear:  # segments of different steps: only a recorded channel knows them
        label = header.get("Sweep Signal", "").strip('"')
        if label in channels:
            k = channels.index(label)
            recorded = np.asarray(first[k * points : (k + 1) * points], np.float64)
            if np.isfinite(recorded).all():
                return axis(name, recorded, unit, kind=SPECTRAL), ()
    elif all(named):
        ends = [np.asarray(fixed[key], np.float64).ravel() for key in named]
        known = [end[np.isfinite(end)] for end in ends]
        if all(len(end) and np.ptp(end) <= 1e-6 * np.abs(end).max() for end in known):
            along = np.linspace(float(known[0][0]), float(known[1][0]), points)
            return axis(name, along, unit, kind=SPECTRAL), tuple(named)
    return axis(name, np.arange(points, dtype=float), "1", kind=SPECTRAL), ()


_ENDS = ("Sweep Start", "Sweep End")


def spectrum(path: Path) -> dict[str, Dataset]:
    """A spectrum (.dat): every column over the first one, in the units of the headings.

    Raises:
        UnreadableFile: no table of data follows the header, or a row of it is no row of numbers.
    """
    header: dict[str, Any] = {}
    with path.open("r", encoding=encoding(path), errors="replace") as file:
        for line in file:
            if line.strip() == _SPECTRUM_END:
                break
            key, _, value = line.rstrip("\r\n").partition("\t")
            if key.strip():
                header[key.strip()] = value.strip()
        else:
            raise UnreadableFile('there is no line "[DATA]"; of .dat files those of Nanonis are read.')
        labels = [word.strip() for word in next(file, "").rstrip("\r\n").split("\t")]
        labels = labels[: -1 if labels[-1] == "" else None]
        numbers, rows = array("d"), 0
        for line in file:
            words = line.split("\t") if line.strip() else []
            words = words[: -1 if words and len(words) == len(labels) + 1 and not words[-1].strip() else None]
            if not words:
                continue
            rows += 1
            try:
                row = [float(word) for word in words]
            except ValueError:
                raise UnreadableFile(f"row {rows} under [DATA] is no row of numbers: {line.strip()[:60]!r}.") from None
            if len(row) != len(labels):
                raise UnreadableFile(f"row {rows} under [DATA] has {len(row)} numbers for {len(labels)} columns.")
            numbers.extend(row)
    if not labels or not rows:
        raise UnreadableFile("there is no number under [DATA].")
    table = np.frombuffer(numbers, np.float64).reshape(rows, len(labels))
    headings = [split_unit(label) for label in labels]
    keys = unique([name for name, _ in headings])
    along = table[:, 0]
    if len(labels) > 1 and np.isfinite(along).all():
        base, first = axis(keys[0], along, headings[0][1], headings[0][0], SPECTRAL), 1
    else:
        base, first = axis("point", np.arange(rows, dtype=float), "1", kind=UNKNOWN), 0
    return {
        key: Dataset(table[:, k], (base,), name, unit or "a.u.", labels[k], "SPECTRUM", header)
        for k, (key, (name, unit)) in enumerate(zip(keys, headings, strict=True))
        if k >= first
    }


def _frame(
    centre: list[float], size: list[float], angle: float, nx: int, ny: int, rows: int | None = None
) -> tuple[tuple[Axis, Axis], dict[str, Any]]:
    """Axes y (its first `rows`) and x of pixel centres, rising, and what else there is to say of the frame.

    On the sample where it lies straight; from its own centre, along its own lines, where it was turned; in pixels where
    the file does not say how large it is.
    """
    rows = ny if rows is None else rows
    if len(size) < 2 or not np.isfinite(size[:2]).all():
        return (
            axis("y", np.arange(rows, dtype=float), "px", "position", SPATIAL),
            axis("x", np.arange(nx, dtype=float), "px", "position", SPATIAL),
        ), {}
    cx, cy = centre[:2] if len(centre) > 1 and np.isfinite(centre[:2]).all() else (0.0, 0.0)
    turned = angle % 360.0 != 0.0
    about = f", in a frame turned clockwise by {angle:g} deg about its centre" if turned else ""

    def along(name: str, middle: float, length: float, count: int, shown: int) -> Axis:
        edge = (0.0 if turned else middle) - length / 2
        return axis(name, edge + length * (np.arange(shown) + 0.5) / count, "m", f"position{about}", SPATIAL)

    frame = {"frame": {"x": cx, "y": cy, "angle": angle, "unit": "m", "turned": turned}}
    return (along("y", cy, size[1], ny, rows), along("x", cx, size[0], nx, nx)), frame


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip().strip('"')


def _list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").strip('"').split(";") if word.strip()]


def _needed(header: dict[str, str], key: str) -> str:
    if not header.get(key):
        raise UnreadableFile(f"the header lacks {key!r}, without which the data have no shape.")
    return header[key]


def _counts(words: list[str], key: str) -> tuple[int, int]:
    try:
        nx, ny = (int(float(word)) for word in words)
    except (ValueError, OverflowError):
        raise UnreadableFile(f"{key} should be two whole numbers; the header says {' '.join(words)!r}.") from None
    if nx < 1 or ny < 1:
        raise UnreadableFile(f"{key} is {nx} x {ny}: there is no pixel.")
    return nx, ny


def _whole(text: str | None, otherwise: int) -> int:
    try:
        return int(float(text)) if text else otherwise
    except (ValueError, OverflowError):
        return otherwise


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(word) for word in (text or "").replace(";", " ").split()]
    except ValueError:
        return []


def _angle(text: str | None) -> float:
    numbers = _numbers(text)
    return numbers[0] if numbers and np.isfinite(numbers[0]) else 0.0
