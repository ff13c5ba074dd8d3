"""Settings that name instruments of other control systems, as they stand on the page of the documentation."""

import re
import tempfile
import tomllib
from pathlib import Path

import pytest

from gpax_lab.settings import SettingsError, build, parse
from gpax_lab.settings._connect import connect
from gpax_lab.settings._files import to_plain
from gpax_lab.settings._instrument import driver_of
from gpax_lab.storage._claim import InstrumentInUse

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "control-systems.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
TABLES = {table["instrument"]["kind"]: table["instrument"] for table in map(tomllib.loads, BLOCKS)}
ARRAYS = {
    "tango": "current",
    "tango_stem": "spectrum",
    "epics": "current",
    "parameters": "current",
    "micromanager": "image",
}


@pytest.fixture(autouse=True)
def _beamline(package):
    package("my-lab", "my_lab", "def devices(): return {}\n", {"stations": {"beamline": "my_lab:devices"}})


def settings_of(kind, **more):
    table = {
        "campaign": {"steps": 5},
        "acquisition": {"candidates": {"kind": "box"}},
        "instrument": TABLES[kind] | more,
        "quantity": {"scalarizer": "mean_of", "array": ARRAYS.get(kind, "camera-stats-total")},
    }
    return parse(table)


@pytest.mark.parametrize("kind", ["tango", "tango_stem", "epics", "parameters", "micromanager", "bluesky"])
def test_settings_of_the_page_make_an_instrument_and_come_back_from_a_journal(kind):
    settings = settings_of(kind)
    assert parse(to_plain(settings)) == settings
    driver = driver_of(settings.instrument)
    spans = TABLES[kind]["axes"]
    assert [(axis.name, axis.unit, axis.low, axis.high) for axis in driver.axes] == [
        (name, span["unit"], span["low"], span["high"]) for name, span in spans.items()
    ]
    assert driver._worker is None  # nothing is opened


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("tango_stem", {"positioner": "sample"}, "beam"),
        (
            "tango_stem",
            {"positioner": "stage", "axes": {"x": {"unit": "um", "low": 0.0, "high": 1.0}}},
            "axes of the stage",
        ),
        ("tango_stem", {"exposure_budget": -1.0}, "above 0"),
        ("epics", {"setpoint": {"z": "m3.VAL"}}, "there is no axis z"),
        ("epics", {"timeout_s": 0.0}, "above 0"),
        ("micromanager", {"axes": {"q": {"unit": "um", "low": 0.0, "high": 1.0}}}, "axes are x and y"),
        ("bluesky", {"detectors": []}, "not empty"),
        ("bluesky", {"source": "os:getcwd"}, "is no station; there are .*beamline, bench"),
        ("parameters", {"source": "cryostat"}, 'cryostat = "my_module:my_function"'),
    ],
)
def test_what_can_not_be_is_told_before_anything_is_opened(kind, change, words):
    with pytest.raises(SettingsError, match=words):
        driver_of(settings_of(kind, **change).instrument)


def test_the_simulated_station_of_the_page_measures():
    with driver_of(settings_of("parameters").instrument) as driver:
        measurement = driver.measure([0.3, -0.2], "t")
        assert measurement.ok
        assert dict(measurement.units) == {"current": "A"}
        assert float(measurement.arrays["current"]) == pytest.approx(1e-9, abs=2e-11)  # ten standard deviations
        assert [driver.locate().readback[i] for i in (0, 1)] == [0.3, -0.2]


def test_a_second_campaign_at_the_same_station_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = build(settings_of("parameters"))
    with connect(plan) as first:
        assert first.measure([0.0, 0.0], "t").ok
        with pytest.raises(InstrumentInUse, match="bench is in use"), connect(plan):
            pass  # pragma: no cover
    with connect(plan):
        pass
