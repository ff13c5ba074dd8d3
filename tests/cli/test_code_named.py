"""Settings and journals of strangers: no option names Python code, and no journal alone loads files with code."""

import contextlib
import sys
from dataclasses import MISSING
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpax_lab.cli._app import app
from gpax_lab.core._plugins import load_plugin, plugin_names
from gpax_lab.settings import SettingsError, parse
from gpax_lab.settings._files import to_plain, to_toml
from gpax_lab.settings._instrument import driver_of
from gpax_lab.settings._kinds import axes_of, options_of
from gpax_lab.storage import Campaign

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
SPAN = {"unit": "um", "low": 0.0, "high": 10.0}
MICROSCOPE = {"kind": "micromanager", "config": "/scope.cfg", "adapters": "/adapters", "axes": {"x": SPAN, "y": SPAN}}
READS = {("dataset", "file"), ("replay", "file")}
"""Options that name a file of measurements, from which no code is run: see tests/storage."""


def settings_of(instrument, **more):
    """Plain settings around an instrument."""
    return {
        "campaign": {"steps": 2},
        "instrument": instrument,
        "quantity": {"scalarizer": "mean_of", "array": "image"},
        "acquisition": {"candidates": {"kind": "box"}},
    } | more


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, " ".join(result.output.split())


def instruments_with_paths():
    """Kind and option wherever settings of an instrument name a file."""
    return {(kind, option.name) for kind in plugin_names("instruments") for option in options_of("instruments", kind)
            if option.check.path}  # fmt: skip


def test_every_option_that_names_code_is_told():
    told = {(kind, name) for kind in plugin_names("instruments")
            for name in getattr(load_plugin("instruments", kind), "LOADS", ())}  # fmt: skip
    assert told == instruments_with_paths() - READS
    for kind, name in told:
        assert f"`{kind}.{name}`" in SECURITY
    for group in ("scalarizers", "acquisitions", "samplers"):
        for kind in plugin_names(group):
            assert not any(option.check.path for option in options_of(group, kind)), (group, kind)


def accepted(option, texts):
    """The first value that an option takes, of one text in all forms and of numbers; None where it takes none."""
    for value in [form for text in texts for form in (text, [text], {"x": text})] + [1.0, 1, [0.0, 1.0], {"x": 1.0}]:
        with contextlib.suppress(SettingsError):
            option.check(value, option.name)
            return value
    return None


def test_no_text_in_settings_of_an_instrument_is_imported(tmp_path, monkeypatch):
    (tmp_path / "gpax_stranger.py").write_text("raise SystemExit('the code of a stranger ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    tried, made = 0, set()
    for kind in plugin_names("instruments"):
        fixed = axes_of(load_plugin("instruments", kind))
        span = {"low": 0.0, "high": 1e-6}
        axes = dict.fromkeys(fixed.fixed, span) if fixed.fixed else {"axes": {"x": SPAN | span, "y": SPAN | span}}
        found = options_of("instruments", kind)
        for text in ("gpax_stranger:run", "gpax_stranger.run", "gpax_stranger"):
            needed = {option.name: accepted(option, [text]) for option in found if option.default is MISSING}
            for option in found:
                chosen = needed | {option.name: accepted(option, [text])} | (axes if fixed.given else {})
                tried += 1
                with contextlib.suppress(SettingsError):
                    driver_of(parse(settings_of({"kind": kind} | chosen)).instrument)
                    made.add(kind)
    assert tried > 100
    assert {"epics", "tango", "micromanager"} <= made  # the others refuse such texts
    assert "gpax_stranger" not in sys.modules


@pytest.fixture
def journal(tmp_path):
    """A journal with settings beside it, from somebody else."""
    path = tmp_path / "campaign.gpxj"
    settings = parse(settings_of(MICROSCOPE))
    with Campaign.create(path, {"mark": "0", "program": "gpax-lab", "settings": to_plain(settings), "versions": {}}):
        (tmp_path / "settings.toml").write_text(to_toml(settings))
    return path


@pytest.fixture
def loaded(monkeypatch):
    """Configurations that were loaded: pymmcore stands for what runs libraries."""
    found = []

    class Core:
        def setDeviceAdapterSearchPaths(self, folders):
            found.append(folders[0])

        def getDeviceAdapterSearchPaths(self):
            return []

        def loadSystemConfiguration(self, path):
            found.append(path)
            raise RuntimeError("no such device")

    monkeypatch.setitem(sys.modules, "pymmcore", type(sys)("pymmcore"))
    sys.modules["pymmcore"].CMMCore = Core
    return found


def test_a_journal_alone_makes_no_code_run(journal, loaded):
    for command in (["show"], ["resume"], ["resume", "--as-journalled"], ["settings"]):
        ask(*command, journal.parent / "settings.toml" if command == ["settings"] else journal)
    assert loaded == []
    status, text = ask("resume", journal)
    assert status == 1
    assert 'instrument.config = "/scope.cfg", instrument.adapters = "/adapters"' in text
    assert "--yes" in text


@pytest.mark.parametrize("word", ["--yes", "--settings"])
def test_a_person_says_that_these_files_are_known(journal, loaded, word):
    status, text = ask("resume", journal, word, *([journal.parent / "settings.toml"] if word == "--settings" else []))
    assert status == 1
    assert "no such device" in text
    assert loaded[:2] == ["/adapters", "/scope.cfg"]
