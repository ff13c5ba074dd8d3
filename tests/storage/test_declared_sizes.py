"""Files that lead their reader elsewhere, keep it busy for ever, or promise what they do not hold."""

import io
import struct
import zipfile

import formats
import h5py
import numpy as np
import pytest
import vendors
from test_round_trip import needed

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage import _inspection as inside
from gpax_lab.storage import _object_headers as object_headers
from gpax_lab.storage._dataset import SPATIAL
from gpax_lab.storage._inspection import check_heaps
from gpax_lab.storage.readers._bounds import OPTIONS

SECRET = 777.25


def test_a_series_of_tiff_files_is_not_followed_out_of_its_own(tmp_path, monkeypatch):
    needed("a.tif")
    import tifffile

    (tmp_path / "theirs").mkdir()
    other = tmp_path / "theirs" / "secret.tif"
    tifffile.imwrite(other, np.full((3, 4), SECRET, np.float32), description="<OME/>")
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(("a.ome.tif", other))
    )
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" SizeX="4" SizeY="3" SizeZ="2" '
        f'SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", formats.IMAGE, description=text, metadata=None)
    (found,) = load(tmp_path / "a.ome.tif").values()
    np.testing.assert_array_equal(found.values.reshape(3, 4), formats.IMAGE)
    monkeypatch.setitem(OPTIONS, "tiff", {})
    (found,) = load(tmp_path / "a.ome.tif").values()
    assert SECRET in found.values  # what would be read otherwise


@pytest.mark.parametrize("name", ["../theirs.raw", "/theirs.raw", "theirs", "C:theirs.raw", "..\\theirs.raw"])
def test_frames_of_empad_lie_beside_their_description(tmp_path, name):
    needed("a.xml")
    path = vendors.empad(tmp_path / "a.xml", formats.PATTERNS)
    path.write_text(path.read_text().replace("a.raw", name))
    with pytest.raises(UnreadableFile, match=r"only a \.raw file beside it is followed"):
        load(path)


class Trap:
    """What is unpickled leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(tmp_path):
    needed("a.npy")
    objects = np.array([Trap(tmp_path / "sprung")], object)
    np.save(tmp_path / "a.npy", objects)
    with (tmp_path / "a.prz").open("wb") as file:
        np.savez(file, data=objects, meta_data=objects)
    for name in ("a.npy", "a.prz"):
        with pytest.raises(UnreadableFile, match="pickle"):
            load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def _with_text(path):
    with h5py.File(path, "w") as file:
        file["title"] = "of any length"
        file["m"] = np.arange(3.0)
    return path.read_bytes()


def test_a_heap_that_would_be_walked_for_ever_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    whole = _with_text(path)
    check_heaps(path)
    at = whole.index(b"GCOL") + 16 + 16 + 16  # the header of the heap, that of the text, the text
    assert struct.unpack_from("<H", whole, at) == (0,)  # what is free
    for size in (0, 8, 1 << 40, 1 << 63):
        path.write_bytes(whole[: at + 8] + struct.pack("<Q", size) + whole[at + 16 :])
        with pytest.raises(UnreadableFile, match=f"an object of it has {size} bytes"):
            load(path)


def test_a_text_longer_than_its_heap_is_refused_and_numbers_that_look_like_one_are_not(tmp_path):
    path = tmp_path / "a.h5"
    whole = _with_text(path)
    address = whole.index(b"GCOL")
    used = struct.pack("<IQI", 13, address, 1)
    long = struct.pack("<IQI", 1 << 30, address, 1)
    path.write_bytes(whole.replace(used, long))
    assert path.read_bytes() != whole
    with pytest.raises(UnreadableFile, match="longer than the heap"):
        load(path)
    for chunks in (None, (16,)):
        path.unlink()
        with h5py.File(path, "w", userblock_size=512 if chunks else 0) as file:
            file.attrs["title"] = "of any length"
            file.flush()
            file.create_dataset("m", data=np.frombuffer(long, np.uint8), chunks=chunks)
        raw = path.read_bytes()
        at = raw.index(b"GCOL") - (512 if chunks else 0)
        path.write_bytes(raw.replace(long, struct.pack("<IQI", 1 << 30, at, 1)))
        check_heaps(path)


def _with_scale(path, libver, userblock):
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        file["m"], file["x"] = np.zeros(3), np.arange(3.0)
        file["x"].make_scale("x")
        file["m"].dims[0].attach_scale(file["x"])
        file["m"].attrs["units"] = "of any length"
    return path.read_bytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
def test_attributes_of_any_length_are_found_in_headers(tmp_path, libver, userblock):
    path = tmp_path / "a.h5"
    _with_scale(path, libver, userblock)
    with h5py.File(path, "r") as file, path.open("rb") as raw:
        assert len(inside.datasets(file)) == 2
        said = [object_headers.longest(raw, h5py.h5o.get_info(file[name].id).addr, userblock) for name in "mx"]
    assert said == [13, 0]  # the text, which is longer than a reference; what leads back from a scale has its size


@pytest.mark.parametrize("said", [1, 13])  # references to scales, and letters of the text
def test_attributes_that_are_said_to_have_millions_of_values_are_refused(tmp_path, said):
    path = tmp_path / "a.h5"
    whole = _with_scale(path, "earliest", 0)
    heap = whole.index(b"GCOL")
    (place,) = [k for k in range(len(whole) - 12) if struct.unpack_from("<IQ", whole, k) == (said, heap)]
    path.write_bytes(whole[: place + 3] + b"9999" + whole[place + 7 :])
    with h5py.File(path, "r") as file, pytest.raises(UnreadableFile, match="among its attributes declares"):
        inside.datasets(file)


@pytest.mark.parametrize("broken", ["first", "second"])
def test_a_damaged_attribute_hides_none_before_or_behind_it(tmp_path, broken):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["m"] = np.zeros(3)
        for name in ("first", "second"):
            file["m"].attrs[name] = name
    whole = path.read_bytes()
    for name in ("first", "second"):
        used = struct.pack("<IQ", len(name), whole.index(b"GCOL"))
        assert whole.count(used) == 1
        whole = whole.replace(used, struct.pack("<I", 1_000_000) + used[4:])
    at = whole.index(broken.encode() + b"\0")
    assert struct.unpack_from("<H", whole, at - 6) == (len(broken) + 1,)  # the length of its name
    path.write_bytes(whole[: at - 6] + b"\xff\xff" + whole[at - 4 :])
    with h5py.File(path, "r") as file, path.open("rb") as raw:
        assert object_headers.longest(raw, h5py.h5o.get_info(file["m"].id).addr, 0) == 1_000_000


def test_a_log_without_a_line_is_refused(tmp_path):
    needed("a.dens")
    (tmp_path / "a.dens").write_bytes(b"\n \n")
    with pytest.raises(UnreadableFile, match="empty"):
        load(tmp_path / "a.dens")


def _patched(name, at, what):
    def make(folder):
        path, _ = formats.make(name, folder)
        raw = path.read_bytes()
        path.write_bytes(raw[:at] + what + raw[at + len(what) :])
        return path

    return make


def _bomb(folder):
    path = folder / "a.prz"
    array = io.BytesIO()
    np.save(array, np.zeros(50_000_000, np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("data.npy", array.getvalue())
    return path


def _tags(fields):
    """A Digital Micrograph file of one tag, a struct of so many fields."""

    def make(folder):
        head = struct.pack(">3I", 3, 100, 1) + b"\0\0" + struct.pack(">I", 1)
        tag = b"\x15" + struct.pack(">H", 1) + b"a%%%%" + struct.pack(">4i", 5, 15, 0, fields)
        (folder / "a.dm3").write_bytes(head + tag + bytes(100_000))
        return folder / "a.dm3"

    return make


PROMISES = {
    "a picture of Semper whose rows are not there": (_patched("semper.unf", 4, b"\xff\x7f"), "pixels are not there"),
    "a series of TIA of too many spectra": (_patched("series.ser", 18, b"\xff\xff\xff"), "elements of 16 bytes"),
    "a series of TIA over too many places": (_patched("series.ser", 30, b"\xff\xff\xff\x7f"), "elements of 16 bytes"),
    "a picture of too many pixels": (_patched("picture.bmp", 18, b"\x40\x1f\0\0\x40\x1f\0\0"), "8000 x 8000 pixels"),
    "patterns that are not there": (_patched("diffraction.blo", 24, b"\xff\xff\xff\xff"), "patterns of 4 x 4"),
    "a zip file of zeros": (_bomb, "arrays of 50000128 bytes"),
    "a struct of millions of fields": (_tags(1 << 30), "a struct of 1073741824 fields"),
    "an array that is not there": (_patched("tomography.mrc", 0, b"\xff\xff\xff\x7f"), "pixels are not there"),
}


@pytest.mark.parametrize("name", PROMISES)
def test_what_promises_more_than_it_holds_is_refused(tmp_path, name):
    make, words = PROMISES[name]
    for extension in (".unf", ".bmp", ".blo"):
        needed(f"a{extension}")
    with pytest.raises(UnreadableFile, match=words):
        load(make(tmp_path))


@pytest.mark.parametrize(("bits", "dtype"), [(1, "bool"), (12, "uint16"), (16, "uint16")])
def test_plain_images_of_few_bits_are_read_and_those_that_are_not_there_refused(tmp_path, bits, dtype):
    needed("a.tif")
    if bits == 12:
        pytest.importorskip("imagecodecs", reason="tifffile unpacks 12 bits with it")
    image = np.random.default_rng(bits).integers(0, 1 << bits, (75, 301))
    path = vendors.tiff(tmp_path / "a.tif", image, bits)
    (found,) = load(path).values()
    np.testing.assert_array_equal(found.values, image)
    assert found.values.dtype == np.dtype(dtype)
    assert found.unit == "a.u."
    for its, name, n in zip(found.axes, ("height", "width"), image.shape, strict=True):
        assert (its.name, its.unit, its.kind) == (name, "1", SPATIAL)
        np.testing.assert_array_equal(its.values, np.arange(n))
    raw = path.read_bytes()
    height = struct.pack(">HHII", 257, 4, 1, 75)
    assert raw.count(height) == 1
    path.write_bytes(raw.replace(height, struct.pack(">HHII", 257, 4, 1, 750)))
    with pytest.raises(UnreadableFile, match="images of"):
        load(path)
