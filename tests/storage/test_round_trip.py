"""One table over all formats: values, axes, units, orientation and byte order, against the bytes that were written or a
second reader.
"""

import importlib
import zlib

import numpy as np
import pytest
import vendors
from formats import FORMATS, IMAGE, IMAGEJ, NEEDS, OURS, make

from gpax_lab.storage import UnreadableFile, load, save
from gpax_lab.storage._loading import READERS
from gpax_lab.storage.readers._rosetta import HDF5_PLUGINS, LEFT_OUT, PLUGINS, TABLE_PLUGINS


def needed(name):
    """Skip where the reader of that format is not installed."""
    suffix = name[name.rindex(".") :]
    for module in () if suffix in OURS else ("rsciio", NEEDS.get(suffix, "rsciio")):
        pytest.importorskip(module, reason="the extra `files` is not installed")


@pytest.fixture(params=[*FORMATS, *IMAGEJ])
def pair(request, tmp_path):
    """A file and what it should hold."""
    needed(request.param)
    return make(request.param, tmp_path)


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


def _in_hdf5(place):
    def read(path):
        import h5py

        with h5py.File(path, "r") as file:
            return file[place][()]

    return read


def _picture(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def _tiff(path):
    return importlib.import_module("tifffile").imread(path)


def _patterns(path):
    """Each pattern behind 6 bytes of its own (NanoMEGAS block file), from the byte that the header names."""
    raw = path.read_bytes()
    start = int(np.frombuffer(raw, "<u4", 1, 12)[0])
    size, _, nx, ny = np.frombuffer(raw, "<u2", 4, 20).tolist()
    return np.frombuffer(raw, np.uint8, offset=start).reshape(ny, nx, -1)[..., 6:].reshape(ny, nx, size, size)


def _surface(path):
    """The only stream of zlib in the file."""
    raw = path.read_bytes()
    return np.frombuffer(zlib.decompress(raw[raw.index(b"x\x9c") :]), "<i4").reshape(IMAGE.shape)


SECOND = {
    "hyperspy.hspy": _in_hdf5("Experiments/a/data"),
    "hyperspy.hdf5": _in_hdf5("Experiments/a/data"),
    "ncem.emd": lambda path: _in_hdf5("signals/a/data")(path).T,
    "nexus.nxs": _in_hdf5("entry1/a/data"),
    "ripple.rpl": lambda path: np.fromfile(path.with_suffix(".raw"), "<f4").reshape(IMAGE.shape),
    "stack.tif": _tiff,
    "stack.tiff": _tiff,
    "picture.png": _picture,
    "picture.bmp": _picture,
    "picture.pgm": _picture,
    "array.npy": np.load,
    "spectrum.msa": lambda path: np.loadtxt(path, delimiter=",", usecols=0),
    "surface.sur": _surface,
    "diffraction.blo": _patterns,
}
"""Other readers of what RosettaSciIO itself has written."""


@pytest.mark.parametrize("name", SECOND)
def test_values_against_a_second_reader(tmp_path, name):
    needed(name)
    path, _ = make(name, tmp_path)
    np.testing.assert_array_equal(next(iter(load(path).values())).values, SECOND[name](path))


def test_nanonis_against_a_second_reader(tmp_path):
    other = pytest.importorskip("nanonispy2.read", reason="nanonispy2 is not installed")
    make("nanonis.sxm", tmp_path)
    scan, found = other.Scan(str(tmp_path / "nanonis.sxm")), load(tmp_path / "nanonis.sxm")
    np.testing.assert_array_equal(found["Z_forward"].values, scan.signals["Z"]["forward"][::-1])
    np.testing.assert_array_equal(found["Z_backward"].values, scan.signals["Z"]["backward"][::-1, ::-1])
    make("nanonis.3ds", tmp_path)
    grid, found = other.Grid(str(tmp_path / "nanonis.3ds")), load(tmp_path / "nanonis.3ds")
    np.testing.assert_array_equal(found["Current"].values, grid.signals["Current (A)"])
    np.testing.assert_allclose(found["Current"].axis("Bias").values, grid.signals["sweep_signal"])
    np.testing.assert_array_equal(found["Z"].values, grid.signals["topo"])
    assert found["Current"].unit == "A"
    make("nanonis.dat", tmp_path)
    spectrum = other.Spec(str(tmp_path / "nanonis.dat"))
    np.testing.assert_array_equal(load(tmp_path / "nanonis.dat")["I"].values, spectrum.signals["I (A)"])


@pytest.mark.parametrize("big", [False, True])
def test_igor_against_a_second_reader(tmp_path, big):
    other = pytest.importorskip("igor2.binarywave", reason="igor2 is not installed")
    place = vendors.ibw(tmp_path / "a.ibw", IMAGE, note=b"Bias: 1\rk:2", big=big)
    wave, (found,) = other.load(str(place))["wave"], load(place).values()
    np.testing.assert_array_equal(found.values, wave["wData"].T)
    for dimension, name in enumerate("xy"):
        start, n = wave["wave_header"]["sfB"][dimension], IMAGE.shape[dimension]
        np.testing.assert_allclose(found.axis(name).values, start + (2e-9, 3e-9)[dimension] * np.arange(n))
    assert found.metadata["note"] == wave["note"].decode().replace("\r", "\n")


def test_every_extension_has_a_reader_that_exists():
    pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    from rsciio import IO_PLUGINS

    there = {plugin["api"]: set(plugin["file_extensions"]) for plugin in IO_PLUGINS}
    for extension, plugins in PLUGINS.items():
        for plugin in plugins:
            assert extension[1:] in {name.lower() for name in there[f"rsciio.{plugin}"]}
    # What only these read: a reader of ours does, or they are tried for .h5 and .csv, or are left out in words.
    routed = {plugin for plugins in PLUGINS.values() for plugin in plugins}
    left = {api.removeprefix("rsciio.") for api in there} - routed
    assert left == {"usid", *HDF5_PLUGINS[1:], *TABLE_PLUGINS, "mrcz", "zspy"}
    assert set(PLUGINS) <= set(READERS)


@pytest.mark.parametrize("extension", LEFT_OUT)
def test_what_is_left_out_says_what_to_do(tmp_path, extension):
    (tmp_path / f"a{extension}").mkdir()
    with pytest.raises(UnreadableFile, match=r"save it as|open those"):
        load(tmp_path / f"a{extension}")
    assert extension not in READERS
