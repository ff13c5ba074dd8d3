"""Files of other programs, and ours in their readers."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from gpax_lab.storage import UnreadableFile, load, save
from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, Dataset, axis

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)

REAL = {
    "loops/BEPS_PTO_50x50.h5": ("Piezoresponse", (50, 50, 64), "SPECTRAL_IMAGE", "a.u."),
    "atoms/STO_test_image.hf5": ("intensity", (470, 453), "IMAGE", "a.u."),
    "drift/PZT_final0001.h5": ("HeightRetrace", (256, 256), "IMAGE", "m"),
    "drift/PZT_final0002.h5": ("HeightRetrace", (256, 256), "IMAGE", "m"),
    "drift/PZT_final0003.h5": ("HeightRetrace", (256, 256), "IMAGE", "m"),
    "pfm_images/PTO_Funakubo0001.h5": ("PhaseRetrace", (256, 256), "IMAGE", None),
    "pfm_images/PTO_Funakubo0004.h5": ("PhaseRetrace", (256, 256), "IMAGE", None),
    "pfm_images/PTO_Funakubo0005.h5": ("PhaseRetrace", (256, 256), "IMAGE", None),
    "image_to_spectrum/SI-EELS.dm3": ("06-EELS Spectrum Image", (1024, 49, 6), "SPECTRAL_IMAGE", "a.u."),
    "image_to_spectrum/SI-HAADF.dm3": ("06-HAADF", (1568, 192), "IMAGE", "a.u."),
    "image_to_spectrum/SI-Survey.dm3": ("06-SI Survey Image", (512, 512), "IMAGE", "a.u."),
    "spectral_maps/edx_88_ES-LP_G8_selection2_cropped2.hspy": ("EDX", (80, 80, 1917), "SPECTRAL_IMAGE", "Counts"),
}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file_opens(name):
    if not (DATA / name).exists():
        pytest.skip("the real data are not on this machine")
    if name.endswith((".dm3", ".hspy")):
        pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    what, shape, kind, unit = REAL[name]
    found = load(DATA / name)[what]
    assert (found.values.shape, found.data_type) == (shape, kind)
    assert unit is None or found.unit == unit


def test_axes_and_dtypes_of_real_files_are_the_files_own():
    if not DATA.exists():
        pytest.skip("the real data are not on this machine")
    pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    eels = load(DATA / "image_to_spectrum/SI-EELS.dm3")["06-EELS Spectrum Image"]
    energy = eels.axis("Energy loss")
    np.testing.assert_array_equal(energy.values, 350.0 + 0.5 * np.arange(1024))
    assert (energy.unit, energy.kind, eels.values.dtype) == ("eV", SPECTRAL, np.float32)
    assert eels.moved("y", "x", "Energy loss").values.shape == (49, 6, 1024)
    edx = load(DATA / "spectral_maps/edx_88_ES-LP_G8_selection2_cropped2.hspy")["EDX"]
    np.testing.assert_allclose(edx.axis("Energy").values[-1], 0.83151949728 + 1916 * 0.01000467828)
    assert edx.values.dtype == np.uint8
    assert len(load(DATA / "drift/PZT_final0001.h5")) == 8


def example(dtype):
    values = RNG.normal(size=(4, 3, 5)) * 100
    values = values + 1j * values[::-1] if np.dtype(dtype).kind == "c" else np.abs(values)
    axes = (
        axis("y", 1e-9 * np.arange(4.0), "m"),
        axis("x", np.array([0.0, 1.0, 4.0]), "nm"),  # an uneven axis
        axis("bias", np.linspace(-1, 1, 5), "V", "Bias"),
    )
    return Dataset(values.astype(dtype), axes, "Piezoresponse", "pm", "a map", metadata={"lever": {"k": 2.5}})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int8, np.complex64, np.complex128])
def test_what_is_written_reads_back_as_it_was(tmp_path, dtype):
    first, second = example(dtype), Dataset(np.eye(2), (axis("y", [0, 1], "px"), axis("x", [0, 1], "px")), "sd", "pm")
    found = load(save(tmp_path / "a.h5", {"map": first, "error": second}))
    assert list(found) == ["map", "error"]
    back = found["map"]
    assert back.values.dtype == dtype
    np.testing.assert_array_equal(back.values, first.values)
    for one, other in zip(back.axes, first.axes, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.name, one.unit, one.quantity, one.kind) == (other.name, other.unit, other.quantity, other.kind)
    assert (back.unit, back.title, back.data_type) == ("pm", "a map", "SPECTRAL_IMAGE")
    assert back.metadata["metadata"] == {"lever.k": 2.5}
    assert found["error"].metadata["metadata"] == {}  # each data set has its own
    np.testing.assert_array_equal(found["error"].values, np.eye(2))
    again = load(save(tmp_path / "b.h5", found))
    assert {name: one.metadata for name, one in again.items()} == {name: one.metadata for name, one in found.items()}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file_can_be_written_as_nsid(name, tmp_path):
    if not (DATA / name).exists():
        pytest.skip("the real data are not on this machine")
    if name.endswith((".dm3", ".hspy")):
        pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    found = load(DATA / name)
    back = load(save(tmp_path / "a.h5", found))
    assert list(back) == list(found)
    for one, other in zip(back.values(), found.values(), strict=True):
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.values, other.values)
        assert [axis.name for axis in one.axes] == [axis.name for axis in other.axes]


def test_metadata_of_any_kind_are_kept_or_told(tmp_path):
    about = {"n": np.int32(3), "list": np.arange(3), "who": b"me", "pair": (1, "a"), "none": None}
    place = save(tmp_path / "a.h5", {"m": Dataset(np.eye(2), (axis("y", [0, 1]), axis("x", [0, 1])), metadata=about)})
    kept = load(place)["m"].metadata["metadata"]
    assert kept == {"n": 3, "list": [0, 1, 2], "who": "me", "pair": '[1, "a"]', "none": "None"}


def test_our_files_open_in_their_readers(tmp_path):
    utils = pytest.importorskip("pyNSID.io.hdf_utils", reason="the extra `nsid` is not installed")
    readers = pytest.importorskip("SciFiReaders")
    place = save(tmp_path / "a.h5", {"map": example(np.float32), "error": example(np.float64)})
    with h5py.File(place, "r") as file:
        mains = utils.get_all_main(file)
        assert len(mains) == 2
        assert all(utils.check_if_main(main) for main in mains)
    found = readers.NSIDReader(str(place)).read()
    sets = list(found.values()) if isinstance(found, dict) else list(found)
    assert [one.shape for one in sets] == [(4, 3, 5)] * 2
    assert sets[0].units == "pm"
    np.testing.assert_allclose(np.asarray(sets[0].bias.values), np.linspace(-1, 1, 5))


def test_nothing_is_written_over_and_nothing_half(tmp_path):
    place = save(tmp_path / "a.h5", {"map": example(np.float32)})
    with pytest.raises(FileExistsError, match="exists"):
        save(place, {"map": example(np.float32)})
    text = Dataset(np.array(["a"]), (axis("n", [0.0]),))
    with pytest.raises(ValueError, match="numbers"):
        save(tmp_path / "b.h5", {"words": text})
    with pytest.raises(ValueError, match="nothing"):
        save(tmp_path / "b.h5", {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_usid_file_gets_its_dimensions_back(tmp_path):
    """Written as BGlib's translators do: the fastest position first, spectra of bias within cycle."""
    values = RNG.normal(size=(3, 2, 2, 4)).astype(np.complex64)  # y, x, cycle, bias
    y, x = np.meshgrid(np.arange(3), np.arange(2), indexing="ij")
    cycle, bias = np.meshgrid(np.arange(2), np.arange(4), indexing="ij")
    with h5py.File(tmp_path / "be.h5", "w") as file:
        group = file.create_group("Measurement_000/Channel_000")
        main = group.create_dataset("Raw_Data", data=values.reshape(6, 8))
        main.attrs.update({"quantity": "Response", "units": "V"})
        positions = np.stack([x.ravel(), y.ravel()], axis=1)
        spectra = np.stack([bias.ravel(), cycle.ravel()])
        for which, indices, scale, labels, units in (
            ("Position", positions, np.array([[2e-9, 3e-9]]), ["X", "Y"], ["m", "m"]),
            ("Spectroscopic", spectra, np.array([[0.5], [1.0]]), ["Bias", "Cycle"], ["V", ""]),
        ):
            for kind, table in (
                ("Indices", indices.astype(np.uint32)),
                ("Values", (indices * scale).astype(np.float32)),
            ):
                node = group.create_dataset(f"{which}_{kind}", data=table)
                node.attrs.update({"labels": labels, "units": units})
                main.attrs[f"{which}_{kind}"] = node.ref
        holes = group.create_dataset("Partial", data=values.reshape(6, 8)[:5])
        holes.attrs.update({"quantity": "Other", "units": "V", **{k: v for k, v in main.attrs.items() if "Spec" in k}})
        for kind in ("Indices", "Values"):
            node = group.create_dataset(f"Five_{kind}", data=group[f"Position_{kind}"][:5])
            node.attrs.update({"labels": ["X", "Y"], "units": ["m", "m"]})
            holes.attrs[f"Position_{kind}"] = node.ref
    found = load(tmp_path / "be.h5")
    whole = found["Response"]
    assert [one.name for one in whole.axes] == ["Y", "X", "Cycle", "Bias"]
    np.testing.assert_array_equal(whole.values, values)
    np.testing.assert_allclose(whole.axis("Y").values, 3e-9 * np.arange(3), rtol=1e-6)
    assert whole.values.dtype == np.complex64
    other = found["Other"]  # five of six positions are no grid, but their spectra are
    assert [one.name for one in other.axes] == ["position", "Cycle", "Bias"]
    np.testing.assert_array_equal(other.values, values.reshape(6, 2, 4)[:5])
    np.testing.assert_allclose(other.metadata["X"], 2e-9 * np.array([0, 1, 0, 1, 0]), rtol=1e-6)
    np.testing.assert_allclose(other.metadata["Y"], 3e-9 * np.array([0, 0, 1, 1, 2]), rtol=1e-6)
    assert other.metadata["units"] == {"X": "m", "Y": "m"}


def usid(path, main, bias):
    """A fit of 2 x 2 bias steps within cycles at two positions along y, with these bias values."""
    with h5py.File(path, "w") as file:
        node = file.create_dataset("Channel_000/Fit", data=main)
        node.attrs.update({"quantity": "SHO", "units": "compound"})
        tables = {
            "Position_Indices": (np.array([[0, 0], [0, 1]], np.uint32), ["X", "Y"], ["m", "m"]),
            "Position_Values": (np.array([[0, 0], [0, 1e-9]], np.float32), ["X", "Y"], ["m", "m"]),
            "Spectroscopic_Indices": (np.array([[0, 1, 0, 1], [0, 0, 1, 1]], np.uint32), ["Bias", "Cycle"], ["V", ""]),
            "Spectroscopic_Values": (np.array([bias, [0, 0, 1, 1]], np.float32), ["Bias", "Cycle"], ["V", ""]),
        }
        for name, (table, labels, units) in tables.items():
            child = file.create_dataset(f"Channel_000/{name}", data=table)
            child.attrs.update({"labels": labels, "units": units})
            node.attrs[name] = child.ref
    return path


def test_a_usid_fit_is_one_data_set_for_each_of_its_fields(tmp_path):
    fit = np.zeros((2, 4), [("Amplitude [V]", "f4"), ("Frequency [Hz]", "f4"), ("R2 Criterion", "f4")])
    for k, field in enumerate(fit.dtype.names):
        fit[field] = 100 * k + np.arange(8).reshape(2, 4)
    found = load(usid(tmp_path / "fit.h5", fit, [-1, 1, -1, 1]))
    assert {name: one.unit for name, one in found.items()} == {
        "Amplitude": "V",
        "Frequency": "Hz",
        "R2 Criterion": "a.u.",
    }
    np.testing.assert_array_equal(found["Frequency"].values, 100 + np.arange(8.0).reshape(1, 2, 2, 2))
    assert found["Amplitude"].axis("Bias").values.tolist() == [-1, 1]
    assert list(load(save(tmp_path / "again.h5", found))) == list(found)


def test_a_usid_axis_that_changes_between_cycles_is_counted_and_its_values_kept(tmp_path):
    (found,) = load(usid(tmp_path / "raw.h5", np.zeros((2, 4)), [-1, 1, -3, 3])).values()
    bias = found.axis("Bias")
    assert (bias.values.tolist(), bias.unit) == ([0, 1], "1")
    np.testing.assert_array_equal(found.metadata["Bias"], [-1, 1, -3, 3])


def test_a_nanonis_grid(tmp_path):
    pytest.importorskip("nanonispy2", reason="the extra `files` is not installed")
    ny, nx, points = 2, 3, 4
    data = RNG.normal(size=(ny, nx, 2, points)).astype(np.float32)
    head = (
        f'Grid dim="{nx} x {ny}"\r\nGrid settings=1e-9;2e-9;3e-8;2e-8;0.0\r\nFiletype=Linear\r\n'
        'Sweep Signal="Bias (V)"\r\nFixed parameters="Sweep Start;Sweep End"\r\n'
        'Experiment parameters="X (m);Y (m);Z (m)"\r\n# Parameters (4 byte)=5\r\n'
        f"Experiment size (bytes)={4 * 2 * points}\r\nPoints={points}\r\n"
        'Channels="Current (A);LI Demod 1 X (A)"\r\nDelay before measuring (s)=0.0\r\nExperiment="Spectroscopy"\r\n'
        'Start time="1"\r\nEnd time="2"\r\nUser=\r\nComment=\r\n:HEADER_END:\r\n'
    )
    params = np.array([-1.0, 1.0, 0.0, 0.0, 5e-10], np.float32)
    body = b"".join(
        np.concatenate([params, data[j, i].ravel()]).astype(">f4").tobytes() for j in range(ny) for i in range(nx)
    )
    (tmp_path / "a.3ds").write_bytes(head.encode() + body)
    found = load(tmp_path / "a.3ds")
    current = found["Current"]
    np.testing.assert_array_equal(current.values, data[:, :, 0])
    np.testing.assert_allclose(current.axis("Bias").values, np.linspace(-1, 1, 4), rtol=1e-6)
    np.testing.assert_allclose(current.axis("x").values, 1e-9 + 3e-8 * (np.array([0.5, 1.5, 2.5]) / 3 - 0.5))
    assert (current.unit, current.data_type) == ("A", "SPECTRAL_IMAGE")
    (tmp_path / "stopped.3ds").write_bytes(head.encode() + body[: -4 * (5 + 2 * points + 3)])
    stopped = load(tmp_path / "stopped.3ds")
    expected = data.copy()
    expected[1, 2] = np.nan
    expected[1, 1, 1, 1:] = np.nan
    np.testing.assert_array_equal(stopped["Current"].values, expected[:, :, 0])
    np.testing.assert_array_equal(stopped["LI Demod 1 X"].values, expected[:, :, 1])
    (tmp_path / "stopped.3ds").write_bytes(head.encode() + body[:24])
    with pytest.raises(UnreadableFile, match="before its first"):
        load(tmp_path / "stopped.3ds")


def test_a_nanonis_scan_has_both_directions_the_same_way_round(tmp_path):
    pytest.importorskip("nanonispy2", reason="the extra `files` is not installed")
    image = RNG.normal(size=(3, 4)).astype(np.float32)  # rows with y growing upwards
    head = (
        ":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n:REC_DATE:\n 01.01.2020\n"
        ":SCAN_PIXELS:\n       4       3\n:SCAN_RANGE:\n           4.0E-8           3.0E-8\n"
        ":SCAN_OFFSET:\n             1.0E-9         -1.0E-9\n:SCAN_ANGLE:\n            0.0E+0\n:SCAN_DIR:\ndown\n"
        ":BIAS:\n            1.0E-1\n:SCAN_TIME:\n             1.0E-1             1.0E-1\n:ACQ_TIME:\n       1.0\n"
        ":DATA_INFO:\n\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        "\t14\tZ\tm\tboth\t1.0E-9\t0.0E+0\n\n:SCANIT_END:\n"
    )
    forward, backward = image[::-1], image[::-1, ::-1]
    body = b"\n\n\x1a\x04" + forward.astype(">f4").tobytes() + backward.astype(">f4").tobytes()
    (tmp_path / "a.sxm").write_bytes(head.encode() + body)
    found = load(tmp_path / "a.sxm")
    for name in ("Z_forward", "Z_backward"):
        np.testing.assert_array_equal(found[name].values, image)
    assert (found["Z_forward"].unit, found["Z_forward"].data_type) == ("m", "IMAGE")
    np.testing.assert_allclose(
        found["Z_forward"].axis("y").values, -1e-9 + 3e-8 * (np.array([0.5, 1.5, 2.5]) / 3 - 0.5)
    )


def igor_wave(values):
    """Igor binary wave, version 5 (WaveMetrics technical note 3): a 64 byte header, a 320 byte wave header, data."""
    values = np.asfortranarray(values, "<f4")
    size = values.nbytes
    shape = list(values.shape) + [0] * (4 - values.ndim)
    units = (b"m\0\0\0" * values.ndim).ljust(16, b"\0")
    wave = struct.pack("<IIIihh", 0, 0, 0, values.size, 2, 0)
    wave += bytes(6) + struct.pack("<h", 0) + b"height".ljust(32, b"\0") + struct.pack("<iI", 0, 0)
    wave += struct.pack("<4i", *shape) + struct.pack("<4d", 2e-9, 3e-9, 1, 1) + struct.pack("<4d", 0, 1e-9, 0, 0)
    wave += b"m\0\0\0" + units + struct.pack("<hh", 0, 0) + struct.pack("<dd", 0, 0)
    wave = wave.ljust(320, b"\0")
    head = struct.pack("<hhi", 5, 0, 320 + size) + struct.pack("<14i", *[0] * 14)
    words = np.frombuffer((head + wave)[:384], "<i2").astype(np.int64)
    check = int(-words.sum()) & 0xFFFF
    head = struct.pack("<hHi", 5, check, 320 + size) + head[8:]
    return head + wave + values.tobytes(order="F")


def test_an_igor_wave(tmp_path):
    pytest.importorskip("igor2", reason="the extra `files` is not installed")
    image = RNG.normal(size=(4, 3)).astype(np.float32)
    (tmp_path / "a.ibw").write_bytes(igor_wave(image))
    (found,) = load(tmp_path / "a.ibw").values()
    np.testing.assert_array_equal(found.values, image.T)  # Igor's first dimension is x
    np.testing.assert_allclose(found.axes[0].values, 1e-9 + 3e-9 * np.arange(3))
    np.testing.assert_allclose(found.axes[1].values, 2e-9 * np.arange(4))
    assert [(one.name, one.unit, one.kind) for one in found.axes] == [("y", "m", SPATIAL), ("x", "m", SPATIAL)]
    assert found.unit == "m"


def test_errors_say_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no file"):
        load(tmp_path / "none.h5")
    (tmp_path / "a.xyz").write_bytes(b"1")
    with pytest.raises(UnreadableFile, match="no reader"):
        load(tmp_path / "a.xyz")
    (tmp_path / "broken.h5").write_bytes(b"nonsense")
    with pytest.raises(UnreadableFile, match="could not be read"):
        load(tmp_path / "broken.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["a"] = np.zeros(3)
    with pytest.raises(UnreadableFile, match=r"holds no (NSID or USID )?data set"):
        load(tmp_path / "empty.h5")
    (tmp_path / "a.dm3").write_bytes(b"1")
    monkeypatch.setitem(__import__("sys").modules, "rsciio.digitalmicrograph", None)
    with pytest.raises(ModuleNotFoundError, match="files"):
        load(tmp_path / "a.dm3")
    with pytest.raises(ValueError, match="one axis per dimension"):
        Dataset(np.zeros((2, 3)), (axis("x", [0.0, 1.0]),))
    with pytest.raises(KeyError, match="no axis"):
        example(np.float32).axis("z")
