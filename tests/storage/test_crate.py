"""RO-Crate metadata, by its own package and by what stands in it."""

import hashlib
import json

import campaigns
import numpy as np
import pytest

from gpax_lab.storage import ExportError, export_crate, export_hdf5
from gpax_lab.storage._journal import Journal


def _campaign(tmp_path):
    folder = tmp_path / "my film"
    folder.mkdir()
    header = {**campaigns.HEADER, "versions": {"gpax-lab": "0.1.0", "jax": "0.10.0"}}
    header["settings"] = {"campaign": {"name": "film"}, "instrument": {"kind": "pfm"}}
    journal = campaigns.write(folder / "my film.gpxj", 3, header=header)
    with Journal.open(journal) as file:
        file.append(("instrument", 3, {"identity": "Acme,Probe 3,17,1.7", "axes": [], "limits": {}}, {}))
        file.append(("stop", 3, {"reason": "all 3 steps are done", "finished": True}, {}))
    (folder / "figures").mkdir()
    (folder / "figures" / "a b.png").write_bytes(b"\x89PNG")
    return journal, [export_hdf5(journal, folder / "film.h5"), folder / "figures" / "a b.png"]


def _entities(path):
    return {one["@id"]: one for one in json.loads(path.read_text(encoding="utf-8"))["@graph"]}


def test_files_instrument_programs_and_times(tmp_path):
    journal, others = _campaign(tmp_path)
    path = export_crate(journal, others, license="https://creativecommons.org/licenses/by/4.0/")
    assert path == journal.parent / "ro-crate-metadata.json"
    found = _entities(path)
    root = found["./"]
    assert root["name"] == "film"
    assert [one["@id"] for one in root["hasPart"]] == ["my%20film.gpxj", "film.h5", "figures/a%20b.png"]
    for entity, file in zip(root["hasPart"], [journal, *others], strict=True):
        told = found[entity["@id"]]
        assert told["contentSize"] == str(file.stat().st_size)
        assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found["film.h5"]["encodingFormat"] == "application/x-hdf5"
    assert found["#instrument"]["serialNumber"] == "17"
    assert found["#instrument"]["manufacturer"] == "Acme"
    assert (found["#gpax-lab"]["version"], found["#jax"]["version"]) == ("0.1.0", "0.10.0")
    assert found["#axis-0"] == {
        "@id": "#axis-0", "@type": "PropertyValue", "name": "x", "unitText": "m", "minValue": 0.0, "maxValue": 1e-6,
    }  # fmt: skip
    action = found["#campaign"]
    assert action["description"] == "all 3 steps are done"
    assert action["startTime"] <= action["endTime"]
    named = [reference for one in found.values() for reference in _references(one)]
    assert {name for name in named if "//" not in name} <= set(found)  # every reference leads to an entity


def _references(value):
    if isinstance(value, dict):
        return [value["@id"]] if value.keys() == {"@id"} else [x for item in value.values() for x in _references(item)]
    return [x for item in value for x in _references(item)] if isinstance(value, list) else []


def test_a_campaign_that_goes_on_has_no_end_and_no_licence_is_made_up(tmp_path):
    with Journal.create(tmp_path / "a.gpxj", {}) as journal:
        journal.append(("reading", 0, {"value": 1.0}, {"x": np.zeros(1)}))
    found = _entities(export_crate(tmp_path / "a.gpxj"))
    assert not {"endTime", "actionStatus", "description"} & found["#campaign"].keys()
    assert "license" not in found["./"]
    assert "#instrument" not in found
    assert "version" not in found["#gpax-lab"]


def test_what_is_not_ours_stays(tmp_path):
    journal, others = _campaign(tmp_path)
    target = export_crate(journal)
    assert export_crate(journal, others) == target  # an older one of ours makes way
    with pytest.raises(ExportError, match="one folder"):
        export_crate(journal, [tmp_path / "elsewhere.png"])
    for text in ('{"@graph": [{"@id": "./"}]}', "no JSON", "[]"):
        target.write_text(text, encoding="utf-8")
        with pytest.raises(ExportError, match="left as it is"):
            export_crate(journal)
        assert target.read_text(encoding="utf-8") == text


def test_the_package_rocrate_reads_it(tmp_path):
    rocrate = pytest.importorskip("rocrate.rocrate")
    journal, others = _campaign(tmp_path)
    export_crate(journal, others, license="https://creativecommons.org/licenses/by/4.0/")
    crate = rocrate.ROCrate(journal.parent)
    assert {one.id for one in crate.data_entities} == {"my%20film.gpxj", "film.h5", "figures/a%20b.png"}
    assert crate.name == "film"
    assert crate.root_dataset["mentions"]["instrument"][0]["name"] == "Acme,Probe 3,17,1.7"
    assert crate.license["name"].startswith("https://creativecommons")
    copy = tmp_path / "copy"
    crate.write(copy)  # which copies the files that are named
    assert (copy / "my film.gpxj").read_bytes() == journal.read_bytes()
    assert rocrate.ROCrate(copy).get("film.h5")["sha256"] == hashlib.sha256(others[0].read_bytes()).hexdigest()
