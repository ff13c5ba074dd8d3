"""NeXus fields of the export: those that the journal knows, and no others."""

import campaigns
import h5py
import numpy as np
import pytest

from gpax_lab.storage import export_hdf5
from gpax_lab.storage._journal import Journal

XY = [{"name": "x", "unit": "m", "low": 0.0, "high": 2e-6}, {"name": "y", "unit": "nm", "low": -5.0, "high": 5.0}]


def _fields(tmp_path, instrument, identity, axes=XY, **more):
    header = {
        **more,
        "settings": {"instrument": instrument},
        "axes": axes,
        "quantity": {"name": "instrument", "unit": "V"},
    }
    with Journal.create(tmp_path / "a.gpxj", header) as journal:
        if identity:
            journal.append(("instrument", 0, {"identity": identity, "axes": [], "limits": {}}, {}))
        journal.append(("reading", 0, {"value": 1.0, "token": "0"}, {"x": np.zeros(len(axes))}))
    found = {}

    def look(name, node):
        if isinstance(node, h5py.Dataset) and node.shape == () and not name.endswith("/title"):
            value = node[()]
            value = value.decode() if isinstance(value, bytes) else value.item()
            found[name] = (value, node.attrs["units"]) if "units" in node.attrs else value

    with h5py.File(export_hdf5(tmp_path / "a.gpxj", tmp_path / "a.h5")) as file:
        assert file["campaign/instrument_2/title"].asstr()[()] == "instrument"
        file["campaign"].visititems(look)
        for name in found:  # every group on the way has its class
            *groups, _ = name.split("/")
            for i in range(len(groups)):
                assert file["campaign"]["/".join(groups[: i + 1])].attrs["NX_class"].startswith("NX")
        assert file["campaign/instrument_2/instrument_2"].shape == (1,)  # a quantity of that name makes way
        versions = dict(file["campaign/definition"].attrs) if "definition" in file["campaign"] else None
    assert found.pop("title") == "campaign a.gpxj"
    assert found.pop("start_time") <= found.pop("end_time")
    return found, versions


REGION = {
    "instrument/scan_environment/scan_control/scan_region/scan_start_x": (0.0, "m"),
    "instrument/scan_environment/scan_control/scan_region/scan_end_x": (2e-6, "m"),
    "instrument/scan_environment/scan_control/scan_region/scan_range_x": (2e-6, "m"),
    "instrument/scan_environment/scan_control/scan_region/scan_start_y": (-5.0, "nm"),
    "instrument/scan_environment/scan_control/scan_region/scan_end_y": (5.0, "nm"),
    "instrument/scan_environment/scan_control/scan_region/scan_range_y": (10.0, "nm"),
}


def test_a_pfm_is_contact_mode_afm(tmp_path):
    found, versions = _fields(tmp_path, {"kind": "pfm"}, "Acme,Probe 3,0,1.7")
    assert versions == {"version": "v2026.01"}
    assert found == REGION | {
        "definition": "NXafm",
        "experiment_technique": "AFM",
        "scan_mode": "contact mode",
        "instrument/name": "Acme,Probe 3,0,1.7",
        "instrument/hardware/vendor": "Acme",
        "instrument/hardware/model": "Probe 3",  # the serial number 0 is none
        "instrument/software/model": "1.7",
    }


def test_spectra_of_a_tunnelling_microscope(tmp_path):
    told = {"kind": "nanonis", "bias": 0.5, "setpoint": 1e-10, "mode": "spectrum", "sweep": [-1.0, 1.0], "points": 5}
    found, _ = _fields(tmp_path, told, "Nanonis SPM Control Software,Generic 5,R13742,R13742")
    sweep = "instrument/bias_spectroscopy_environment/bias_spectroscopy/bias_sweep"
    assert found == REGION | {
        "definition": "NXsts",
        "experiment_technique": "STS",
        "instrument/name": "Nanonis SPM Control Software,Generic 5,R13742,R13742",
        "instrument/software/name": "Nanonis SPM Control Software",
        "instrument/software/model": "Generic 5",
        "instrument/sample_bias_voltage/bias_voltage": (0.5, "V"),
        f"{sweep}/scan_region/scan_start_bias": (-1.0, "V"),
        f"{sweep}/scan_region/scan_end_bias": (1.0, "V"),
        f"{sweep}/scan_region/scan_range_bias": (2.0, "V"),
        f"{sweep}/linear_sweep/scan_points_bias": 5,
        f"{sweep}/linear_sweep/step_size_bias": (0.5, "V"),
    }
    found, _ = _fields(tmp_path / _folder(tmp_path, "image"), told | {"mode": "image"}, "")
    assert (found["definition"], found["experiment_technique"]) == ("NXspm", "STM")
    assert not any("sweep" in name for name in found)


def _folder(tmp_path, name):
    (tmp_path / name).mkdir()
    return name


def test_what_is_not_known_is_not_told(tmp_path):
    told = {"kind": "nanonis", "bias": 0.5, "setpoint": None}  # the tip may be held by anything
    found, versions = _fields(tmp_path / _folder(tmp_path, "a"), told, "a,b", [{"name": "x", "unit": "mm"}])
    assert (found, versions) == (
        {"instrument/name": "a,b", "instrument/sample_bias_voltage/bias_voltage": (0.5, "V")},
        None,
    )
    found, _ = _fields(tmp_path / _folder(tmp_path, "b"), {}, "", [{"name": "x", "unit": "V", "low": 0.0, "high": 1.0}])
    assert found == {}
    found, _ = _fields(tmp_path / _folder(tmp_path, "c"), {"kind": "stem"}, "Acme,TEM 9,77,2.0")
    place = "measurement/instrument"
    fabrication = {"vendor": "Acme", "model": "TEM 9", "serial_number": "77"}
    told = {f"{place}/fabrication/{name}": value for name, value in fabrication.items()}
    assert found == {"definition": "NXem", f"{place}/name": "Acme,TEM 9,77,2.0", **told}


def test_the_sample_is_what_somebody_said_of_it(tmp_path):
    sample = {"name": "PTO 7", "is_simulation": False, "atom_types": "Pb, Ti, O", "a/b": "no name", "note": ["no text"]}
    found, _ = _fields(tmp_path, {"kind": "stem"}, "", sample=sample)
    told = {"name": "PTO 7", "is_simulation": False, "atom_types": "Pb, Ti, O"}
    assert found == {"definition": "NXem"} | {f"sample/{name}": value for name, value in told.items()}


def test_nsid_reader_still_finds_the_data_sets(tmp_path):
    pynsid = pytest.importorskip("pyNSID")
    with h5py.File(export_hdf5(campaigns.write(tmp_path / "film.gpxj", 3), tmp_path / "film.h5"), "r") as file:
        mains = [name for name, node in _datasets(file) if pynsid.hdf_utils.check_if_main(node)]
    assert {name.rsplit("/", 1)[-1] for name in mains} >= {"loop_area", "status", "response"}


def _datasets(file):
    found = []
    file.visititems(lambda name, node: found.append((name, node)) if isinstance(node, h5py.Dataset) else None)
    return found
