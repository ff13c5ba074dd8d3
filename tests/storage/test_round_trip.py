"""One table over all formats: values, axes, units, orientation and byte order, against the bytes that were written or a
second reader.
"""

import importlib
from dataclasses import dataclass, field

import numpy as np
import pytest
import vendors

from gpax_lab.storage import load, save
from gpax_lab.storage.dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis
from gpax_lab.storage.loading import READERS
from gpax_lab.storage.readers.rosetta import PLUGINS

# RosettaSciIO leaves files to the collector of garbage.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

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
    second: dict = field(default_factory=dict)


def spread(middle, length, count):
    return middle + length * ((np.arange(count) + 0.5) / count - 0.5)


def _sxm(path):
    vendors.sxm(path, [IMAGE[::-1], IMAGE[::-1, ::-1]], [("Z", "m", "both")])
    axes = [("y", spread(-1e-9, 3e-8, 3), "m", SPATIAL), ("x", spread(1e-9, 4e-8, 4), "m", SPATIAL)]
    return Wanted(IMAGE, axes, name="Z_backward")


def _3ds(path):
    data = IMAGE[:, :, None, None] * np.arange(1.0, 6.0, dtype=np.float32)
    parameters = np.stack([np.full_like(IMAGE, -1), np.full_like(IMAGE, 1), IMAGE, IMAGE, 3 * IMAGE], -1)
    vendors.grid(path, data, parameters, ["Current (A)"], ["X (m)", "Y (m)", "Z (m)"])
    axes = [("y", spread(2e-9, 2e-8, 3), "m", SPATIAL), ("x", spread(1e-9, 3e-8, 4), "m", SPATIAL)]
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
    axes = [("y", spread(1.5e-8, 3e-8, 3), "m", SPATIAL), ("x", spread(2e-8, 4e-8, 4), "m", SPATIAL)]
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


def written(plugin, unit="nm", names=("y", "x"), scaled=True, dtype="float32"):
    """An image by the writer of RosettaSciIO."""

    def write(path):
        data = IMAGE if dtype == "float32" else (40 * np.abs(IMAGE)).astype(dtype)
        asked = [along(name, *line, n) for name, line, n in zip("yx", NM, data.shape, strict=True)]
        importlib.import_module(f"rsciio.{plugin}").file_writer(str(path), signal(data, asked))
        axes = [
            (name, start + scale * np.arange(n), its, SPATIAL)
            for name, (its, scale, start), n in zip(names, NM, data.shape, strict=True)
        ]
        if not scaled:
            kind = SPATIAL if names == ("y", "x") else UNKNOWN
            axes = [(name, np.arange(n), "1", kind) for name, n in zip(names, data.shape, strict=True)]
        return Wanted(data, axes, unit, dtype)

    return write


def _msa(path):
    data = np.arange(1.0, 6.0)
    importlib.import_module("rsciio.msa").file_writer(str(path), signal(data, [along("Energy", "eV", 0.5, 10.0, 5)]))
    return Wanted(data, [("Energy", 10.0 + 0.5 * np.arange(5), "eV", SPECTRAL)], "a.u.", "float64")


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
}
NEEDS = {".tif": "tifffile", ".tiff": "tifffile", ".png": "imageio", ".blo": "skimage"}
OURS = (".sxm", ".3ds", ".dat", ".ibw", ".gwy", ".csv", ".tsv", ".h5", ".hf5")


@pytest.fixture(params=FORMATS)
def pair(request, tmp_path):
    """A file and what it should hold."""
    path = tmp_path / request.param
    if path.suffix not in OURS:
        pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    if path.suffix in NEEDS:
        pytest.importorskip(NEEDS[path.suffix], reason="the extra `files` is not installed")
    plugin = FORMATS[request.param]
    writing = path if path.suffix != ".hdf5" else path.with_suffix(".hspy")
    wanted = plugin(writing)
    if writing != path:
        writing.rename(path)  # HyperSpy's extension until 2016
    return path, wanted


def test_values_axes_units_orientation_and_byte_order(pair):
    path, wanted = pair
    found = load(path)
    one = found[wanted.name] if wanted.name else next(iter(found.values()))
    assert one.values.dtype == np.dtype(wanted.dtype)
    assert one.values.dtype.isnative
    np.testing.assert_array_equal(one.values, wanted.values)
    assert one.unit == wanted.unit
    for its, (name, values, unit, kind) in zip(one.axes, wanted.axes, strict=True):
        assert (its.name, its.unit, its.kind) == (name, unit, kind)
        assert its.values.dtype.isnative
        np.testing.assert_allclose(its.values, values, rtol=1e-6, atol=1e-15)


def test_what_was_loaded_can_be_saved_and_read_again(pair, tmp_path):
    path, _ = pair
    found = load(path)
    again = load(save(tmp_path / "again.h5", found))
    assert list(again) == list(found)
    for one, other in zip(again.values(), found.values(), strict=True):
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.values, other.values)
        assert [(a.name, a.unit, a.kind) for a in one.axes] == [(a.name, a.unit, a.kind) for a in other.axes]
        for a, b in zip(one.axes, other.axes, strict=True):
            np.testing.assert_array_equal(a.values, b.values)
        assert (one.unit, one.quantity, one.data_type) == (other.unit, other.quantity, other.data_type)


def test_nanonis_against_a_second_reader(tmp_path):
    other = pytest.importorskip("nanonispy2.read", reason="nanonispy2 is not installed")
    _sxm(tmp_path / "a.sxm")
    scan, found = other.Scan(str(tmp_path / "a.sxm")), load(tmp_path / "a.sxm")
    np.testing.assert_array_equal(found["Z_forward"].values, scan.signals["Z"]["forward"][::-1])
    np.testing.assert_array_equal(found["Z_backward"].values, scan.signals["Z"]["backward"][::-1, ::-1])
    wanted = _3ds(tmp_path / "a.3ds")
    grid, found = other.Grid(str(tmp_path / "a.3ds")), load(tmp_path / "a.3ds")
    np.testing.assert_array_equal(found["Current"].values, grid.signals["Current (A)"])
    np.testing.assert_allclose(found["Current"].axis("Bias").values, grid.signals["sweep_signal"])
    np.testing.assert_array_equal(found["Z"].values, grid.signals["topo"])
    assert wanted.unit == "A"
    _dat(tmp_path / "a.dat")
    spectrum = other.Spec(str(tmp_path / "a.dat"))
    np.testing.assert_array_equal(load(tmp_path / "a.dat")["I"].values, spectrum.signals["I (A)"])


@pytest.mark.parametrize("big", [False, True])
def test_igor_against_a_second_reader(tmp_path, big):
    other = pytest.importorskip("igor2.binarywave", reason="igor2 is not installed")
    place = vendors.ibw(tmp_path / "a.ibw", IMAGE, note=b"Bias: 1\rk:2", big=big)
    wave, (found,) = other.load(str(place))["wave"], load(place).values()
    np.testing.assert_array_equal(found.values, wave["wData"])
    np.testing.assert_allclose(found.axes[1].values, wave["wave_header"]["sfB"][1] + 3e-9 * np.arange(4))
    assert found.metadata["note"] == wave["note"].decode().replace("\r", "\n")


def test_every_extension_has_a_reader_that_exists():
    pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    from rsciio import IO_PLUGINS

    there = {plugin["api"]: set(plugin["file_extensions"]) for plugin in IO_PLUGINS}
    for extension, plugins in PLUGINS.items():
        for plugin in plugins:
            assert extension[1:] in {name.lower() for name in there[f"rsciio.{plugin}"]}
    # What only these read: everything else is read by a reader of ours, or needs a file beside it.
    routed = {plugin for plugins in PLUGINS.values() for plugin in plugins}
    left = {api.removeprefix("rsciio.") for api in there} - routed
    assert left == {"usid", "delmic", "arina", "tofwerk", "impulse", "protochips"}
    assert set(PLUGINS) <= set(READERS)
