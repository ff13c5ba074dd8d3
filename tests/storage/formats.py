"""Small files of every format that can be written here, and what each of them should be read as."""

import importlib
from dataclasses import dataclass

import numpy as np
import vendors

from gpax_lab.storage import save
from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis

IMAGE = np.random.default_rng(8).normal(size=(3, 4)).astype(np.float32)
NM = ("nm", 0.5, 1.0), ("nm", 0.25, -1.0)


@dataclass
class Wanted:
    """What one data set of a file should be; axes as (name, values, unit, kind)."""

    values: np.ndarray
    axes: list
    unit: str = "m"
    dtype: str = "float32"
    name: str = ""


def evenly(middle, length, count):
    return middle + length * ((np.arange(count) + 0.5) / count - 0.5)


def _sxm(path):
    vendors.sxm(path, [IMAGE[::-1], IMAGE[::-1, ::-1]], [("Z", "m", "both")])
    axes = [("y", evenly(-1e-9, 3e-8, 3), "m", SPATIAL), ("x", evenly(1e-9, 4e-8, 4), "m", SPATIAL)]
    return Wanted(IMAGE, axes, name="Z_backward")


def _3ds(path):
    data = IMAGE[:, :, None, None] * np.arange(1.0, 6.0, dtype=np.float32)
    parameters = np.stack([np.full_like(IMAGE, -1), np.full_like(IMAGE, 1), IMAGE, IMAGE, 3 * IMAGE], -1)
    vendors.grid(path, data, parameters, ["Current (A)"], ["X (m)", "Y (m)", "Z (m)"])
    axes = [("y", evenly(2e-9, 2e-8, 3), "m", SPATIAL), ("x", evenly(1e-9, 3e-8, 4), "m", SPATIAL)]
    return Wanted(data[:, :, 0], [*axes, ("Bias", np.linspace(-1, 1, 5), "V", SPECTRAL)], "A", name="Current")


def _dat(path):
    path.write_text("a\t1\n[DATA]\nBias (V)\tI (A)\n" + "".join(f"{v}\t{v * v}\n" for v in range(5)))
    return Wanted(np.arange(5.0) ** 2, [("Bias", np.arange(5.0), "V", SPECTRAL)], "A", "float64", "I")


def _ibw(path):
    vendors.ibw(path, np.stack([IMAGE.T, 2 * IMAGE.T], -1), labels=[b"HeightRetrace", b"PhaseRetrace"], big=True)
    axes = [("y", 1e-9 + 3e-9 * np.arange(3), "m", SPATIAL), ("x", 2e-9 * np.arange(4), "m", SPATIAL)]
    return Wanted(2 * IMAGE, axes, "deg", name="PhaseRetrace")


def _gwy(path):
    vendors.gwy(path, [("/0/data", "o", vendors.field(IMAGE, (4e-8, 3e-8)))])
    axes = [("y", evenly(1.5e-8, 3e-8, 3), "m", SPATIAL), ("x", evenly(2e-8, 4e-8, 4), "m", SPATIAL)]
    return Wanted(IMAGE.astype(float), axes, "m", "float64")


def _csv(path):
    path.write_text("x [mm];y [V]\n" + "\n".join(f"{k},5;{k}" for k in range(4)))
    return Wanted(np.arange(4.0) + 0.5, [("row", np.arange(4.0), "1", UNKNOWN)], "mm", "float64", "x")


def _tsv(path):
    path.write_text("x [mm]\ty [V]\n" + "\n".join(f"{k}\t{k}" for k in range(4)))
    return Wanted(np.arange(4.0), [("row", np.arange(4.0), "1", UNKNOWN)], "V", "float64", "y")


def _h5(path):
    ny, nx = IMAGE.shape
    places = np.array([(x, y) for y in range(ny) for x in range(nx)])
    spectra = ["Bias"], np.arange(2)[None], np.array([[-1.0, 1.0]]), ["V"]
    data = np.stack([IMAGE.ravel(), 2 * IMAGE.ravel()], -1)
    vendors.usid(path, data, places, spectra, dtype=">f4")
    axes = [("Y", 3e-9 * np.arange(ny), "m", SPATIAL), ("X", 2e-9 * np.arange(nx), "m", SPATIAL)]
    return Wanted(data.reshape(ny, nx, 2), [*axes, ("Bias", np.array([-1.0, 1.0]), "V", SPECTRAL)], "V")


def _half(path):
    """float16 of NSID files as float32."""
    axes = axis("y", np.arange(float(len(IMAGE))), "nm"), axis("x", np.arange(float(IMAGE.shape[1])), "nm")
    save(path, {"a": Dataset(IMAGE.astype(np.float16), axes, "height", "nm")})
    wanted = [(one.name, one.values, "nm", SPATIAL) for one in axes]
    return Wanted(IMAGE.astype(np.float16).astype(np.float32), wanted, "nm")


def _mrc(path):
    vendors.mrc(path, IMAGE, (8.0, 9.0, 1.0))
    axes = [("y", 0.3 * np.arange(3), "nm", SPATIAL), ("x", 0.2 * np.arange(4), "nm", SPATIAL)]
    return Wanted(IMAGE, axes, "a.u.")


def along(name, unit, scale, offset, size):
    return {
        "_type": "UniformDataAxis",
        "name": name,
        "units": unit,
        "scale": scale,
        "offset": offset,
        "size": size,
        "navigate": False,
        "is_binned": False,
    }


def signal(data, axes):
    """What RosettaSciIO's writers take."""
    about = {"General": {"title": "a"}, "Signal": {"signal_type": "", "quantity": "Height (nm)"}}
    empty = {"original_metadata": {}, "package_info": {}, "learning_results": {}, "models": {}, "tmp_parameters": {}}
    attributes = {"_lazy": False, "ragged": False}
    kept = {"package": "hyperspy", "package_version": "2.0", "attributes": attributes, "metadata": about}
    return {"data": data, "axes": axes, **kept, **empty}


def _lines(y="y", x="x", unit="nm", steps=(NM[0][1], NM[1][1]), starts=(NM[0][2], NM[1][2])):
    """Two axes of places, of the lengths of `IMAGE`; at the steps and starts of `NM` where no others are given."""
    return [
        (name, start + step * np.arange(n), unit, SPATIAL)
        for name, step, start, n in zip((y, x), steps, starts, IMAGE.shape, strict=True)
    ]


def _imagej_lines(unit, *steps):
    """The same as ImageJ names them, which begin at zero."""
    return _lines("height", "width", unit, *steps, starts=(0, 0))


def _counted(names, shape, kinds):
    return [(name, np.arange(n), "1", kind) for name, n, kind in zip(names, shape, kinds, strict=True)]


def written(plugin, unit="nm", names=("y", "x"), scaled=True, dtype="float32"):
    """An image by the writer of RosettaSciIO."""

    def write(path):
        data = IMAGE if dtype == "float32" else (40 * np.abs(IMAGE)).astype(dtype)
        asked = [along(name, *line, n) for name, line, n in zip("yx", NM, data.shape, strict=True)]
        importlib.import_module(f"rsciio.{plugin}").file_writer(str(path), signal(data, asked))
        kind = SPATIAL if names == ("y", "x") else UNKNOWN
        axes = _lines(*names) if scaled else _counted(names, data.shape, 2 * [kind])
        return Wanted(data, axes, unit, dtype)

    return write


def _msa(path):
    data = np.arange(1.0, 6.0)
    importlib.import_module("rsciio.msa").file_writer(str(path), signal(data, [along("Energy", "eV", 0.5, 10.0, 5)]))
    return Wanted(data, [("Energy", 10.0 + 0.5 * np.arange(5), "eV", SPECTRAL)], "a.u.", "float64")


def imagej(data, axes, wanted, **about):
    """A TIFF file of ImageJ, of 4 and 2 pixels a unit along x and y, and what its axes should be read as."""

    def write(path):
        kept = {"axes": axes, **about}
        importlib.import_module("tifffile").imwrite(path, data, imagej=True, resolution=(4.0, 2.0), metadata=kept)
        return Wanted(data, wanted, "a.u.", str(data.dtype))

    return write


def _blo(path):
    """Diffraction patterns at positions: 4D-STEM."""
    data = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    lines = [("y", "nm", 2.0, 0.0, 2), ("x", "nm", 2.0, 0.0, 3), ("dy", "cm", 0.5, 0.0, 4), ("dx", "cm", 0.5, 0.0, 4)]
    axes = [{**along(*line), "navigate": k < 2} for k, line in enumerate(lines)]
    options = {"intensity_scaling": None, "show_progressbar": False}
    importlib.import_module("rsciio.blockfile").file_writer(str(path), signal(data, axes), **options)
    axes = [("y", 2.0 * np.arange(2), "nm", SPATIAL), ("x", 2.0 * np.arange(3), "nm", SPATIAL)]
    axes += [(name, 0.5 * np.arange(4), "cm", SPATIAL) for name in ("dy", "dx")]
    return Wanted(data, axes, "a.u.", "uint8")


def _bytes(write, axes, unit="a.u.", dtype="float32", values=IMAGE):
    """A file that `vendors` writes byte by byte."""

    def made(path):
        write(path)
        return Wanted(values.astype(dtype), axes, unit, dtype)

    return made


X_FIRST = (NM[1][1], NM[0][1]), (NM[1][2], NM[0][2])
"""Steps and starts of x and y."""
CUBE = np.arange(24).reshape(2, 3, 4)
PATTERNS = np.random.default_rng(9).normal(size=(2, 128, 128)).astype(np.float32)
_FIRE = np.array([20.0, 25.5, 40.0, 41.25, 39.0])


def _tvips(path):
    """Frames of a camera; the writer puts the number of the first file into its name."""
    data = CUBE.astype(np.uint16)
    lines = [("index", "s", 1.0, 0.0, 2), ("y", "nm", 1.0, 0.0, 3), ("x", "nm", 1.0, 0.0, 4)]
    axes = [{**along(*line), "navigate": k < 1} for k, line in enumerate(lines)]
    importlib.import_module("rsciio.tvips").file_writer(str(path), signal(data, axes), show_progressbar=False)
    lines = [(name, np.arange(n), "nm", SPATIAL) for name, n in (("dy", 3), ("dx", 4))]
    return Wanted(data, [("time", np.arange(2.0), "s", SPECTRAL), *lines], "a.u.", "uint16")


FORMATS = {
    "nanonis.sxm": _sxm,
    "nanonis.3ds": _3ds,
    "nanonis.dat": _dat,
    "asylum.ibw": _ibw,
    "gwyddion.gwy": _gwy,
    "table.csv": _csv,
    "table.tsv": _tsv,
    "usid.h5": _h5,
    "half.hf5": _half,
    "tomography.mrc": _mrc,
    "hyperspy.hspy": written("hspy"),
    "hyperspy.hdf5": written("hspy"),
    "ncem.emd": written("emd", "a.u."),
    "nexus.nxs": written("nexus"),
    "ripple.rpl": written("ripple", "a.u."),
    "surface.sur": written("digitalsurf", "nm", dtype="int32"),
    "stack.tif": written("tiff", "nm", names=("height", "width")),
    "stack.tiff": written("tiff", "nm", names=("height", "width"), dtype="uint16"),
    "picture.png": written("image", "a.u.", scaled=False, dtype="uint8"),
    "array.npy": written("numpy", "a.u.", names=("axis_0", "axis_1"), scaled=False),
    "spectrum.msa": _msa,
    "diffraction.blo": _blo,
    "semper.unf": _bytes(lambda path: vendors.unf(path, IMAGE, *X_FIRST, ("nm", "nm")), _lines()),
    "panta.prz": _bytes(lambda path: vendors.prz(path, IMAGE, *X_FIRST, "nm"), _lines("Y", "X")),
    "series.ser": _bytes(
        lambda path: vendors.ser(path, IMAGE, (10.0, 0.5), (0.0, 2e-9)),
        [("x", 2.0 * np.arange(3), "nm", SPATIAL), ("Energy", 10.0 + 0.5 * np.arange(4), "eV", SPECTRAL)],
    ),
    "merlin.mib": _bytes(
        lambda path: vendors.mib(path, CUBE[:, ::-1]),
        _counted(("axis_0", "axis_1", "axis_2"), CUBE.shape, 3 * [UNKNOWN]),
        dtype="uint16",
        values=CUBE,
    ),
    "edax.spd": _bytes(
        lambda path: vendors.spd(path, CUBE),
        [*_counted(("y", "x"), (2, 3), 2 * [SPATIAL]), ("Energy", 1.0 + np.arange(4), "1", SPECTRAL)],
        dtype="uint16",
        values=CUBE,
    ),
    "empad.xml": _bytes(
        lambda path: vendors.empad(path, PATTERNS),
        [
            ("series_count", np.arange(2.0), "ms", SPECTRAL),
            *((name, np.arange(-64.0, 64.0), "1", SPATIAL) for name in ("height", "width")),
        ],
        values=PATTERNS,
    ),
    "gatan.dm3": _bytes(lambda path: vendors.dm(path, IMAGE, *X_FIRST, "nm"), _lines()),
    "gatan.dm4": _bytes(lambda path: vendors.dm(path, IMAGE, *X_FIRST, "nm"), _lines()),
    "heater.dens": _bytes(
        lambda path: vendors.dens(path, range(5), _FIRE),
        [("Time", 36000 + 60.0 * np.arange(5), "s", SPECTRAL)],
        "Celsius",
        "float64",
        _FIRE,
    ),
    "recorder_000.tvips": _tvips,
    "picture.bmp": written("image", "a.u.", scaled=False, dtype="uint8"),
    "picture.pgm": written("image", "a.u.", scaled=False, dtype="uint8"),
}
IMAGEJ = {
    "imagej_um.tif": imagej(IMAGE, "YX", _imagej_lines("um"), unit="um"),
    "imagej_nm.tif": imagej(IMAGE, "YX", _imagej_lines("nm"), unit="nm"),
    "imagej_mm.tiff": imagej(IMAGE, "YX", _imagej_lines("mm"), unit="mm"),
    "imagej_micron.tif": imagej(IMAGE, "YX", _imagej_lines("\u00b5m"), unit="micron"),
    "imagej_escaped.tif": imagej(IMAGE, "YX", _imagej_lines("\u00b5m"), unit="\\u00B5m"),
    "imagej_inch.tif": imagej(IMAGE, "YX", _imagej_lines("inch"), unit="inch"),
    "imagej_pixels.tif": imagej(IMAGE, "YX", _imagej_lines("px", (1, 1)), unit="pixel"),
    "imagej_nothing.tif": imagej(IMAGE, "YX", _imagej_lines("1", (1, 1))),
    "imagej_two_units.tif": imagej(
        IMAGE, "YX", [_imagej_lines("nm")[0], _imagej_lines("um")[1]], unit="um", yunit="nm"
    ),
    "imagej_slices.tif": imagej(
        CUBE.astype(np.uint16),
        "ZYX",
        [("depth", 3.0 * np.arange(2), "nm", SPATIAL), *_imagej_lines("nm")],
        unit="nm",
        spacing=3.0,
    ),
    "imagej_film.tif": imagej(
        CUBE.astype(np.uint16),
        "TYX",
        [("time", 1.5 * np.arange(2), "s", SPECTRAL), *_imagej_lines("nm")],
        unit="nm",
        spacing=3.0,
        finterval=1.5,
    ),
}
"""Files of one format that differ in their units."""
NEEDS = {".tif": "tifffile", ".tiff": "tifffile", ".blo": "skimage"}
NEEDS |= dict.fromkeys((".png", ".bmp", ".pgm"), "imageio")
OURS = (".sxm", ".3ds", ".dat", ".ibw", ".gwy", ".csv", ".tsv", ".h5", ".hf5")


def make(name, folder):
    """The file of that name in the table, and what it should be read as."""
    path = folder / name
    # HyperSpy's extension until 2016 was .hdf5, which its writer does not write any more.
    writing = path if path.suffix != ".hdf5" else path.with_suffix(".hspy")
    wanted = (FORMATS | IMAGEJ)[name](writing)
    return (writing if writing == path else writing.rename(path)), wanted
