"""The export as other people's programs read it; needs the extra `nsid`."""

import campaigns
import numpy as np
import pytest

from gpax_lab.storage import export_hdf5


def _nsid(path):
    readers = pytest.importorskip("SciFiReaders", reason="the extra nsid is not installed")
    reader = readers.NSIDReader(str(path))
    found = {data.title: data for data in reader.read().values()}
    reader.close()
    return found


def _rosetta(path):
    nexus = pytest.importorskip("rsciio.nexus", reason="the extra nsid is not installed")
    return {data["metadata"]["General"]["title"]: data for data in nexus.file_reader(str(path))}


@pytest.fixture(params=[1, 7, 5000])
def exported(request, tmp_path):
    journal = campaigns.write(tmp_path / "film.gpxj", request.param, failed=(1,) if request.param > 1 else ())
    return request.param, export_hdf5(journal, tmp_path / "film.h5")


def _wanted(n):
    good = [step for step in range(n) if step != 1 or n == 1]
    values = np.where(np.isin(np.arange(n), good), campaigns.values(n), np.nan)
    return good, values


def test_nsid_reader(exported):
    n, path = exported
    found = _nsid(path)
    good, values = _wanted(n)
    value, response = found["loop area"], found["response"]
    np.testing.assert_array_equal(np.asarray(value), values)
    assert (value.units, value.quantity, value.data_type.name) == ("V", "loop area", "POINT_CLOUD")
    np.testing.assert_array_equal(value.point_cloud["coordinates"], campaigns.positions(n))
    assert value.point_cloud["spacial_units"] == "m"
    np.testing.assert_array_equal(np.asarray(found["status"]), np.where(np.isnan(values), 3, 2))
    np.testing.assert_array_equal(np.asarray(response), campaigns.responses(n)[good])
    np.testing.assert_array_equal(response.point_cloud["coordinates"], campaigns.positions(n)[good])
    assert response.units == "pm"
    if n > 1:
        axis = response._axes[1]
        np.testing.assert_array_equal(axis.values, campaigns.BIAS)
        assert (axis.name, axis.units, axis.dimension_type.name) == ("bias", "V", "SPECTRAL")
    assert value.metadata["settings.stop.target"] == 1.5
    assert value.metadata["settings.stop.patience"] == "None"
    assert {"posterior mean", "posterior sd", "posterior diagnostics"} <= found.keys()


def test_rosettasciio(exported):
    n, path = exported
    found = _rosetta(path)
    good, values = _wanted(n)
    np.testing.assert_array_equal(found["loop_area"]["data"], values)
    np.testing.assert_array_equal(found["response"]["data"], campaigns.responses(n)[good])
    axes = found["response"]["axes"]
    assert [axis["name"] for axis in axes] == ["reading", "bias" if n > 1 else "channel"]
    assert [axis["navigate"] for axis in axes] == [True, False]
    if n > 1:
        np.testing.assert_array_equal(found["campaign_response_bias"]["data"], campaigns.BIAS)
    tree = found["loop_area"]["original_metadata"]
    assert tree["settings"]["attrs"]["units.response"] == "pm"
    assert tree["readings"]["loop_area"]["attrs"]["units"] == "V"
    np.testing.assert_array_equal(tree["readings"]["loop_area"]["value"], values)
    for index, axis in enumerate("xy"):
        column = tree["readings"][f"position_{axis}"]
        np.testing.assert_array_equal(column["value"], campaigns.positions(n)[:, index].squeeze())
        assert column["attrs"]["units"] == "m"


def test_a_campaign_without_measurements_opens_in_both(tmp_path):
    path = export_hdf5(campaigns.write(tmp_path / "film.gpxj", 0), tmp_path / "film.h5")
    assert _nsid(path) == {}
    assert isinstance(_rosetta(path), dict)
