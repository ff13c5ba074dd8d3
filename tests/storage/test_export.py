import json
import subprocess
import sys

import campaigns
import h5py
import numpy as np
import pytest

from gpax_lab.storage import DiskFull, ExportError, export_hdf5
from gpax_lab.storage import _files as files
from gpax_lab.storage._journal import Journal


def _export(tmp_path, n=5, **options):
    journal = campaigns.write(tmp_path / "film.gpxj", n, **options)
    return export_hdf5(journal, tmp_path / "film.h5")


def _scales(data):
    return [dimension[0][()] for dimension in data.dims]


def test_scalars_raw_arrays_axes_and_units_are_equal(tmp_path):
    with h5py.File(_export(tmp_path)) as file:
        root = file["campaign"]
        value, response = root["loop_area/loop_area"], root["response/response"]
        np.testing.assert_array_equal(value, campaigns.values(5))
        assert (value.attrs["units"], value.attrs["quantity"], value.attrs["data_type"]) == (
            "V",
            "loop area",
            "POINT_CLOUD",
        )
        np.testing.assert_array_equal(response, campaigns.responses(5))
        assert response.dtype == np.float32
        assert response.attrs["units"] == "pm"
        np.testing.assert_array_equal(_scales(response)[1], campaigns.BIAS)
        bias = root["response/bias"].attrs
        assert (bias["units"], bias["dimension_type"], bias["name"]) == ("V", "SPECTRAL", "bias")
        assert "bias" not in root
        for name in ("loop_area", "status", "response"):
            cloud = root[name]["point_cloud"].attrs
            np.testing.assert_array_equal(cloud["coordinates"], campaigns.positions(5))
            assert cloud["spacial_units"] == "m"
            assert root[name].attrs["signal"] == name
            assert list(root[name].attrs["axes"]) == [dimension.label for dimension in root[name][name].dims]
        assert file.attrs["default"] == "campaign"
        assert root.attrs["default"] == "loop_area"


def test_no_unit_and_no_attribute_is_empty(tmp_path):
    header = {"axes": [], "quantity": {"name": "", "unit": ""}}
    found = []

    def look(name, node):
        found.extend(f"{name}@{key}" for key in ("units", "spacial_units") if key in node.attrs and not node.attrs[key])
        if isinstance(node, h5py.Dataset):
            found.extend([name] if 0 in node.shape else [])

    with h5py.File(_export(tmp_path, header=header)) as file:
        file.visititems(look)
        assert file["campaign/value/value"].attrs["units"] == "1"
    assert found == []


def test_failed_measurements_are_kept_and_marked(tmp_path):
    with h5py.File(_export(tmp_path, failed=(1, 3))) as file:
        root = file["campaign"]
        np.testing.assert_array_equal(root["status/status"], [2, 3, 2, 3, 2])
        np.testing.assert_array_equal(np.isnan(root["loop_area/loop_area"]), [False, True, False, True, False])
        np.testing.assert_array_equal(root["response/reading_index"], [0, 2, 4])
        np.testing.assert_array_equal(root["response/response"], campaigns.responses(5)[::2])
        np.testing.assert_array_equal(root["response/point_cloud"].attrs["coordinates"], campaigns.positions(5)[::2])
        assert [word.decode() for word in root["readings/reason"][()]] == ["", "saturated", "", "saturated", ""]


def test_a_measurement_that_a_mended_scalarizer_read_again_has_its_later_value(tmp_path):
    journal = campaigns.write(tmp_path / "film.gpxj", 4, failed=(2,))
    with Journal.open(journal) as file:
        raw = {"x": np.ones(2), "position": np.ones(2), "raw/response": np.arange(16.0, dtype=np.float32)}
        blind = {"token": "blind", "value": np.nan, "ok": False, "reason": "the scalarizer raised", "flags": []}
        file.append(("reading", 4, blind, raw | {"y": np.asarray(np.nan), "noise": np.asarray(0.0)}))
        number = {"y": np.asarray(7.5), "noise": np.asarray(0.25)}
        file.append(("reread", 5, {"token": "blind", "value": 7.5, "scalarizer": "mended"}, number))
    with h5py.File(export_hdf5(journal, tmp_path / "film.h5")) as file:
        root = file["campaign"]
        known = campaigns.values(4)
        np.testing.assert_array_equal(root["loop_area/loop_area"], [known[0], known[1], np.nan, known[3], 7.5])
        np.testing.assert_array_equal(root["readings/loop_area"], [known[0], known[1], np.nan, known[3], 7.5])
        np.testing.assert_array_equal(root["status/status"], [2, 2, 3, 2, 2])
        reasons = [word.decode() for word in root["readings/reason"][()]]
        assert reasons == ["", "", "saturated", "", ""]  # why it failed at first is in the log
        np.testing.assert_array_equal(root["response/reading_index"], [0, 1, 3, 4])
        kinds = [word.decode() for word in root["log/kind"]]
        assert kinds[-2:] == ["reading", "reread"]
        assert json.loads(root["log/header"][len(kinds) - 2])["reason"] == "the scalarizer raised"


def test_tables_posterior_and_metadata(tmp_path):
    with h5py.File(_export(tmp_path)) as file:
        root = file["campaign"]
        np.testing.assert_array_equal(root["readings/step"], range(5))
        np.testing.assert_array_equal(root["readings/position_y"], campaigns.positions(5)[:, 1])
        assert np.all(np.diff(root["readings/elapsed"]) >= 0)
        np.testing.assert_array_equal(root["proposals/x"], campaigns.positions(5) * 1e6)
        mean = root["posterior_mean"]
        assert [name.decode() for name in mean["parameter_names"]] == ["lengthscale[0]", "lengthscale[1]", "noise"]
        np.testing.assert_array_equal(mean["posterior_mean"][:, 2], [0.01 * step for step in range(5)])
        np.testing.assert_array_equal(root["posterior_diagnostics/posterior_diagnostics"], np.full((5, 1), 1.01))
        settings = root["loop_area/metadata"].attrs
        assert settings["settings.stop.target"] == 1.5
        assert settings["settings.stop.patience"] == "None"
        assert settings["started"] == "2026-01-02T03:04:05+00:00"
        assert json.loads(settings["settings.tags"]) == ["a", "b"]
        np.testing.assert_array_equal(settings["settings.bounds"], [0.0, 1.0])
        assert json.loads(settings["interventions"]) == [{"step": 5, "what": "veto", "who": None}]
        kinds = [word.decode() for word in root["log/kind"]]
        assert kinds == ["campaign", *["proposal", "intent", "reading", "posterior"] * 5, "intervention", "stop"]
        assert json.loads(root["log/header"][1])["acquisition"] == {"$float": "nan"}


def test_a_large_cloud_keeps_its_coordinates(tmp_path):
    where = campaigns.positions(5000)
    journal = tmp_path / "film.gpxj"
    with Journal.create(journal, campaigns.HEADER) as file:
        file.append(*(("reading", step, {"value": 0.0}, {"position": row}) for step, row in enumerate(where)))
    with h5py.File(export_hdf5(journal, tmp_path / "film.h5")) as file:
        np.testing.assert_array_equal(file["campaign/loop_area/point_cloud"].attrs["coordinates"], where)


def test_a_campaign_without_measurements_opens(tmp_path):
    with h5py.File(_export(tmp_path, 0)) as file:
        assert file["campaign/settings"].attrs["settings.budget"] == 3
        assert set(file["campaign"]) == {"log", "settings", "title", "start_time", "end_time", "instrument"}


def _readings(tmp_path, rows, header=None):
    with Journal.create(tmp_path / "a.gpxj", header or {}) as journal:
        for step, (head, arrays) in enumerate(rows):
            journal.append(("reading", step, head, arrays))
    return export_hdf5(tmp_path / "a.gpxj", tmp_path / "a.h5")


def test_arrays_of_different_length_are_kept_apart(tmp_path):
    rows = [({"value": 1.0}, {"x": np.zeros(1), "raw/y": np.arange(3 + step % 2)}) for step in range(4)]
    rows.append(({"value": 1.0}, {"x": np.zeros(1), "raw/image": np.ones((2, 3), np.uint8), "raw/none": np.empty(0)}))
    with h5py.File(_readings(tmp_path, rows)) as file:
        root = file["campaign"]
        assert root["y/y"].shape == (2, 3)
        assert root["y_2/y_2"].shape == (2, 4)
        assert root["y_2/title"].asstr()[()] == "y"
        np.testing.assert_array_equal(root["y_2/reading_index"], [1, 3])
        assert root["image/image"].shape == (1, 2, 3)
        assert root["image/image"].dtype == np.uint8
        assert "none" not in root


def test_an_axis_is_named_by_the_header_or_seen_in_two_measurements(tmp_path):
    arrays = {"x": np.zeros(1), "raw/bias": np.arange(3.0), "raw/response": np.ones(3)}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with h5py.File(_readings(tmp_path / "one", [({"value": 0.0}, arrays)])) as file:
        assert {"bias", "response"} <= set(file["campaign"])  # one measurement cannot tell which is which
    with h5py.File(_readings(tmp_path / "two", [({"value": 0.0, "axes": {"response": "bias"}}, arrays)])) as file:
        assert "bias" not in file["campaign"]
        np.testing.assert_array_equal(file["campaign/response/bias"], np.arange(3.0))


def test_two_quantities_and_odd_names(tmp_path):
    rows = [({"value": [1.0, 2.0 + step]}, {"x": np.zeros(3), "raw/a b/c": np.arange(2) + step}) for step in range(3)]
    header = {"quantity": [{"name": "status", "unit": "V"}, {"name": "b/µ", "unit": "µm"}]}
    with h5py.File(_readings(tmp_path, rows, header)) as file:
        root = file["campaign"]
        np.testing.assert_array_equal(root["status_2/status_2"], [1.0, 1.0, 1.0])
        np.testing.assert_array_equal(root["b/b"], [2.0, 3.0, 4.0])
        assert root["b/b"].attrs["units"] == "µm"
        assert root["b/title"].asstr()[()] == "b/µ"
        assert root["a_b_c/title"].asstr()[()] == "a b/c"


def test_positions_that_do_not_fit_together_are_an_error(tmp_path):
    with pytest.raises(ExportError, match="coordinates"):
        _readings(tmp_path, [({}, {"x": np.zeros(1)}), ({}, {"x": np.zeros(2)})])


def test_another_file_is_never_replaced(tmp_path):
    journal = campaigns.write(tmp_path / "film.gpxj")
    data = journal.read_bytes()
    with pytest.raises(ExportError, match="not an export"):
        export_hdf5(journal, journal)
    assert journal.read_bytes() == data
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["precious"] = 1
    with pytest.raises(ExportError, match="not an export"):
        export_hdf5(journal, tmp_path / "theirs.h5")
    ours = export_hdf5(journal, tmp_path / "film.h5")
    with h5py.File(ours):  # also while somebody reads the older one
        assert export_hdf5(journal, ours) == ours
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.gpxj", "film.h5", "theirs.h5"]


def test_a_full_disk_leaves_the_old_export(tmp_path, monkeypatch):
    ours = _export(tmp_path)
    old = ours.read_bytes()

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(DiskFull, match=r"film\.h5: no room to write it .*No space.*before is unchanged"):
        export_hdf5(tmp_path / "film.gpxj", ours)
    assert ours.read_bytes() == old
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.gpxj", "film.h5"]


def test_what_does_not_read_back_is_refused(tmp_path, monkeypatch):
    ours = _export(tmp_path)
    old = ours.read_bytes()
    real = files.write
    spoilt = np.float64(campaigns.values(5)[2]).tobytes()
    monkeypatch.setattr(files, "write", lambda to, data: real(to, memoryview(bytes(data).replace(spoilt, bytes(8)))))
    with pytest.raises(ExportError, match="read back"):
        export_hdf5(tmp_path / "film.gpxj", ours)
    assert ours.read_bytes() == old


_KILLED = """
import os, signal, sys
from gpax_lab.storage import _files as files, _nsid as nsid, export_hdf5
calls = int(sys.argv[3])
def counted(real):
    def call(*arguments, **options):
        global calls
        done = real(*arguments, **options)
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return call
for module, name in ((files, "open_new"), (files, "write"), (files, "sync"), (nsid, "verify"), (os, "replace")):
    setattr(module, name, counted(getattr(module, name)))
export_hdf5(sys.argv[1], sys.argv[2])
print(-calls)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    ours = _export(tmp_path, 3)
    with Journal.open(tmp_path / "film.gpxj") as journal:
        journal.append(("reading", 9, {"value": 9.0}, {"position": np.zeros(2)}))
    counts = []

    def killed_after(calls, target):
        command = [sys.executable, "-c", _KILLED, str(tmp_path / "film.gpxj"), str(target), str(calls)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    (tmp_path / "other").mkdir()
    number = int(killed_after(0, tmp_path / "other" / "film.h5").stdout)
    for calls in (1, 2, number // 2, number - 2, number - 1, number):
        assert killed_after(calls, ours).returncode == -9
        with h5py.File(ours) as file:
            counts.append(len(file["campaign/loop_area/loop_area"]))
    assert counts == [3, 3, 3, 3, 3, 4]


def test_raw_arrays_go_through_memory_piece_by_piece(tmp_path, monkeypatch):
    """Of 40 images of 256 kB no two pieces are held at once: the export never asks for more than 4 MB of them."""
    from gpax_lab.storage import _nsid as nsid

    images = np.random.default_rng(5).random((40, 256, 128))
    with Journal.create(tmp_path / "a.gpxj", {}) as journal:
        for step, image in enumerate(images):
            journal.append(("reading", step, {"value": 1.0}, {"x": np.zeros(1), "raw/image": image}))
    held = []
    real = nsid.Stacked.pieces

    def counted(stacked):
        for rows, part in real(stacked):
            held.append((rows, part.nbytes))
            yield rows, part

    monkeypatch.setattr(nsid.Stacked, "pieces", counted)
    with h5py.File(export_hdf5(tmp_path / "a.gpxj", tmp_path / "a.h5")) as file:
        np.testing.assert_array_equal(file["campaign/image/image"], images)
    assert max(size for _, size in held) <= 1 << 22
    pieces = [slice(start, start + 16) for start in (0, 16)] + [slice(32, 40)]  # 4 MB are 16 images
    assert [rows for rows, _ in held] == 2 * pieces  # written once, compared once, in order
    assert [size for _, size in held] == 2 * [16 << 18, 16 << 18, 8 << 18]
