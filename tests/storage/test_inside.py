"""HDF5 files that lead elsewhere, or say that they are what they are not."""

import formats
import h5py
import numpy as np
import pytest
from test_round_trip import needed

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage import _inspection as inside

NEEDED = ("quantity", "units", "main_data_name", "data_type", "modality", "source")


def _nsid(file, data, values=None):
    """Make a data set one that NSID readers take, of 40 numbers."""
    for name in NEEDED:
        data.attrs[name] = "height"
    file["i"] = np.arange(40.0)
    file["i"].make_scale("i")
    data.dims[0].attach_scale(file["i"])


def _external_storage(file, folder):
    _nsid(file, file.create_dataset("m", (40,), "u1", external=[(str(folder / "secret"), 0, 40)]))


def _external_link(file, folder):
    _nsid(file, file.create_dataset("m", data=np.arange(40.0)))
    with h5py.File(folder / "other.h5", "w") as other:
        other["values"] = np.arange(40.0)
    file["more"] = h5py.ExternalLink(str(folder / "other.h5"), "/values")


def _virtual(file, folder):
    layout = h5py.VirtualLayout((40,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "values", (40,))
    with h5py.File(folder / "other.h5", "w") as other:
        other["values"] = np.arange(40.0)
    _nsid(file, file.create_virtual_dataset("m", layout))


def _promised(file, folder):
    """4 GB that were never written."""
    data = file.create_dataset("m", (40, 10**7), "f8", chunks=(1, 1000))
    for name in NEEDED:
        data.attrs[name] = "height"


def _promised_in_parts(file, folder):
    for number in range(100):
        file.create_dataset(f"{number}", (7_000_000,), "u1", chunks=(1000,))


def _deep(file, folder):
    group = file
    for _ in range(100):
        group = group.create_group("g")


CASES = {
    _external_storage: "lie in another file",
    _external_link: "'more' leads to another file",
    _virtual: "put together from other files",
    _promised: "declares 3200 MB of which",
    _promised_in_parts: "its data sets declare 700 MB",
    _deep: "nested more than 64 deep",
}


@pytest.mark.parametrize("made", CASES)
@pytest.mark.parametrize("suffix", [".h5", ".hspy"])
def test_what_leads_out_of_a_file_or_fills_the_memory_is_refused(tmp_path, made, suffix):
    (tmp_path / "secret").write_bytes(b"not for whoever wrote the file" + bytes(10))
    path = tmp_path / f"measured{suffix}"
    with h5py.File(path, "w") as file:
        made(file, tmp_path)
    with pytest.raises(UnreadableFile, match=CASES[made]):
        load(path)


def test_a_file_may_lead_within_itself(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        _nsid(file, file.create_dataset("m", data=np.arange(40.0)))
        file["again"] = h5py.SoftLink("/m")
        file["nowhere"] = h5py.SoftLink("/none")
        group = file.create_group("g")
        group["itself"] = group
        file["g/hard"] = file["m"]
    (one,) = load(path).values()
    np.testing.assert_array_equal(one.values, np.arange(40.0))


def test_what_deflate_can_do_is_read(tmp_path):
    """A blank frame is a thousandth of its size on the disk, and no lie."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("m", data=np.zeros((40, 50_000)), chunks=(1, 50_000), compression="gzip")
        file["j"] = np.arange(50_000.0)
        file["j"].make_scale("j")
        data.dims[1].attach_scale(file["j"])
        _nsid(file, data)
    assert path.stat().st_size < 16_000_000 / 20
    (one,) = load(path).values()
    assert not one.values.any()


@pytest.mark.parametrize("name", ["usid.h5", "half.hf5", "hyperspy.hspy", "ncem.emd"])
def test_a_file_is_looked_through_once(tmp_path, monkeypatch, name):
    needed(name)
    path, _ = formats.make(name, tmp_path)
    calls, walk = [], inside.datasets
    monkeypatch.setattr(inside, "datasets", lambda file: calls.append(file) or walk(file))
    load(path)
    assert len(calls) == 1
