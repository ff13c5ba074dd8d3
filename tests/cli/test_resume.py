"""Going on with other settings: limits may narrow and never widen, and no difference is passed over in silence."""

import shutil

import numpy as np
import pytest
from gpax_instruments.twins import start_pfm
from typer.testing import CliRunner

from gpax_lab.settings import SettingsError, build, load, parse
from gpax_lab.settings._build import continued
from gpax_lab.settings._changes import agreed, changes
from gpax_lab.settings._files import to_plain, to_toml
from gpax_lab.storage import read

pytest.importorskip("matplotlib")
from gpax_lab.cli import _run_campaign as drive
from gpax_lab.cli._app import app
from gpax_lab.experiment import _guard as guard
from gpax_lab.experiment import _versions as versions

SPAN = {"low": 0.0, "high": 2e-6}


def table(address="tcp://127.0.0.1:5025", steps=1, x=SPAN, y=SPAN, campaign=(), **instrument):
    """Plain settings of a small campaign on a microscope."""
    return {
        "campaign": {"steps": steps, "seeds": 4, "key": 1} | dict(campaign),
        "instrument": {"kind": "pfm", "address": address, "x": x, "y": y} | instrument,
        "sampler": {"kind": "laplace", "num_samples": 8, "starts": 2, "iterations": 20},
        "acquisition": {"candidates": {"kind": "grid", "shape": [12, 12]}},
    }


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def no_plot(report, target):
    """Plots are not what is tested here; what takes their place is known for one of ours."""
    target.write_bytes(b"\x89PNG gpax_lab")


OLD = {"x": SPAN | {"max_step": 1e-6}, "vmax": 8.0, "max_bias": 10.0}
NARROWER = [
    {"x": OLD["x"] | {"high": 1.5e-6}},
    {"x": OLD["x"] | {"low": 1e-7}},
    {"x": OLD["x"] | {"max_step": 5e-7}},
    {"y": SPAN | {"max_step": 1.0}},
    {"y": SPAN | {"tolerance": 1e-9}},
    {"vmax": 2.0},
    {"max_bias": 9.0},
]
WIDER = [
    {"x": OLD["x"] | {"high": 2.1e-6}},
    {"x": OLD["x"] | {"low": -1e-7}},
    {"x": OLD["x"] | {"max_step": 2e-6}},
    {"x": SPAN},
    {"y": SPAN | {"tolerance": 1e-8}},
    {"vmax": 9.0},
    {"max_bias": 11.0},
    {"max_bias": None},
    {"repeatable": True},
]
ELSEWHERE = [{"steps": 9}, {"address": "tcp://127.0.0.1:5026"}, {"timeout_s": 5.0}, {"campaign": {"wait_s": 0.0}}]
FIXED = [{"points": 128}, {"response_unit": "pm"}, {"campaign": {"key": 2}}, {"campaign": {"seeds": 5}}]


def between(new):
    given = {name: value for name, value in (OLD | new).items() if value is not None}
    return changes(parse(table(**OLD)), parse(table(**given)))


@pytest.mark.parametrize("new", NARROWER + ELSEWHERE, ids=str)
def test_what_gets_narrower_or_bounds_nothing_needs_a_yes(new):
    found = between(new)
    assert len(found) == 1
    with pytest.raises(SettingsError, match="--yes") as caught:
        agreed(found, "film.toml", False)
    assert f"{found[0].name} {found[0].before!r}" in str(caught.value).replace("none", "None")
    agreed(found, "film.toml", True)


@pytest.mark.parametrize("new", WIDER, ids=str)
def test_a_limit_never_gets_wider(new):
    with pytest.raises(SettingsError, match=r"wider.*--as-journalled"):
        agreed(between(new), "film.toml", True)


@pytest.mark.parametrize("new", FIXED, ids=str)
def test_what_measurements_depend_on_stays(new):
    with pytest.raises(SettingsError, match="what was measured so far depends on it"):
        agreed(between(new), "film.toml", True)


def test_another_kind_of_instrument_and_the_same_settings():
    assert between({}) == ()
    twin = parse(table() | {"instrument": {"kind": "twin"}})
    with pytest.raises(SettingsError, match="another kind"):
        agreed(changes(parse(table()), twin), "film.toml", True)


@pytest.mark.parametrize("kind", ["grid", "box"])
def test_proposals_keep_within_the_limits_of_now_and_the_state_stays_as_it_was(kind):
    """Parameters, journal and seeds are those of the start, so that it is understood."""
    import jax

    from gpax_lab.core._observations import observations

    given = table() | {"acquisition": {"function": "uncertainty", "candidates": {"kind": kind}}}
    plan = build(parse(given))
    low, high = 1.2e-6, 1.9e-6
    narrow = given | {"instrument": given["instrument"] | {"x": {"low": low, "high": high}}}
    after = continued(plan, parse(narrow))
    assert [axis.low for axis in after.axes] == [low, 0.0]
    assert np.array_equal(after.seeds, plan.seeds)
    y = 1e-3 * np.arange(len(plan.seeds))
    state = plan.experiment.init(jax.random.key(0), observations(plan.seeds, y))
    for _ in range(2):
        state, x = after.experiment.propose(state)
        assert low <= float(x[0, 0]) <= high
        for mine, first in zip(jax.tree.leaves(state.candidates), jax.tree.leaves(plan.candidates), strict=True):
            assert np.array_equal(mine, first)
    none = given["instrument"] | {"x": {"low": 1.0e-6, "high": 1.0e-6 + 1e-13}}
    if kind == "grid":
        with pytest.raises(SettingsError, match="no candidate"):
            continued(plan, parse(given | {"instrument": none}))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A microscope, and a folder with a finished campaign of one step on it."""
    folder = tmp_path_factory.mktemp("begun")
    with start_pfm(seed=1) as twin, pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "draw", no_plot)
        (folder / "film.toml").write_text(to_toml(parse(table(twin.address))), encoding="utf-8")
        code, text = ask("run", folder / "film.toml", "--out", folder / "out")
        assert code == 0, text
        yield twin, folder / "out"


@pytest.fixture
def out(begun, tmp_path, monkeypatch):
    """A copy of the folder."""
    monkeypatch.setattr(drive, "draw", no_plot)
    return shutil.copytree(begun[1], tmp_path / "out")


def test_resume_tells_what_differs_and_keeps_to_narrower_limits(begun, out):
    twin, journal, copy = begun[0], out / "campaign.gpxj", out / "settings.toml"
    limits = {"low": 0.0, "high": 1.1e-6}
    narrow = parse(table(twin.address, 3, limits, limits, vmax=4.0))
    copy.write_text(to_toml(narrow), encoding="utf-8")
    before = journal.read_bytes()
    code, text = ask("resume", journal)
    assert code == 1
    for words in ("campaign.steps 1 -> 3", "instrument.x.high 2e-06 -> 1.1e-06", "vmax 8.0 -> 4.0", "--yes"):
        assert words in text
    wide = out / "wide.toml"
    wide.write_text(to_toml(parse(table(twin.address, vmax=12.0))), encoding="utf-8")
    code, text = ask("resume", journal, "--settings", wide, "--yes")
    assert (code, "vmax 8.0 -> 12.0 (a limit may be narrowed, and this is wider)" in text) == (1, True)
    assert journal.read_bytes() == before
    code, text = ask("resume", journal, "--as-journalled")
    assert (code, "is finished" in text) == (0, True)
    code, text = ask("resume", journal, "--yes")
    assert code == 0, text
    assert "From now on: campaign.steps 1 -> 3" in text
    contents = read(journal)
    (told,) = contents.of("settings")
    assert parse(told.header["settings"]) == narrow
    later = [frame for frame in contents.of("reading") if frame.step > 0]
    assert len(later) == 2
    for frame in later:
        assert np.all(frame.arrays["x"] <= 1.1e-6)
        assert np.max(np.abs(frame.arrays["raw/bias"])) == 4.0
    assert [frame.header["limits"]["vmax"] for frame in contents.of("instrument")] == [8.0, 4.0]
    assert "Settings changed after step 1" in (out / "summary.txt").read_text(encoding="utf-8")
    code, text = ask("resume", journal)  # what was agreed to is not asked again
    assert (code, "is finished" in text) == (0, True)


def test_resume_at_another_address_and_with_another_instrument(begun, out):
    twin, journal, copy = begun[0], out / "campaign.gpxj", out / "settings.toml"
    copy.write_text(to_toml(parse(table(twin.address, 2))), encoding="utf-8")
    with start_pfm(seed=2) as other:
        code, text = ask("resume", journal, "--address", other.address, "--yes")
        assert code == 1
        for words in ("PFM twin,2", "begun with", "--another"):
            assert words in text
    address = f"tcp://localhost:{twin.scpi_port}"
    code, text = ask("resume", journal, "--address", address)
    assert code == 0, text
    contents = read(journal)
    assert [frame.header["settings"]["instrument"]["address"] for frame in contents.of("settings")][-1] == address
    assert parse(to_plain(load(copy))).instrument.address == address
    assert len(contents.of("reading")) == 4 + 2
    with pytest.raises(SettingsError, match="goes with instrument"):
        drive.moved(parse({"campaign": {"steps": 1}, "instrument": {"kind": "twin"}}), address)


def test_resume_on_another_processor_takes_the_promise_of_the_same_bits_back(begun, out, monkeypatch):
    twin, journal = begun[0], out / "campaign.gpxj"
    (out / "settings.toml").write_text(to_toml(parse(table(twin.address, 2))), encoding="utf-8")
    here = versions.versions()
    monkeypatch.setattr(versions, "versions", lambda: here | {"processor": "another"})
    code, text = ask("resume", journal, "--yes")
    assert code == 0, text
    words = f"not promised any more that this campaign goes on bit for bit: processor {here['processor']} -> another."
    assert text.count(words) == 2  # before it goes on, and in the summary
    assert read(journal).of("resume")[-1].header["changed"] == [f"processor {here['processor']} -> another"]


def test_a_microscope_that_is_switched_off_and_on_again_is_waited_for(tmp_path, monkeypatch):
    """Its link breaks between two points; the campaign goes on over a new one, the tip up before anything else."""
    monkeypatch.setattr(drive, "draw", no_plot)
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.1)
    with start_pfm(seed=1) as first:
        port, again = first.scpi_port, []
        settings = table(first.address, 1, campaign={"wait_s": 60.0}, repeatable=True)
        (tmp_path / "film.toml").write_text(to_toml(parse(settings)), encoding="utf-8")

        def restart(event):
            if event.phase == "seed" and event.step == 2:
                first.process.kill()
                first.process.wait()
            if event.phase == "lost" and not again:
                again.append(start_pfm(seed=1, port=port, wire_log=tmp_path / "wire.log"))

        show = drive.Display.__call__
        monkeypatch.setattr(drive.Display, "__call__", lambda self, event: (show(self, event), restart(event))[0])
        try:
            code, text = ask("run", tmp_path / "film.toml", "--out", tmp_path / "out")
        finally:
            for twin in again:
                twin.stop()
    assert code == 0, text
    assert "waiting for it" in text
    contents = read(tmp_path / "out" / "campaign.gpxj")
    assert [frame.kind for frame in contents.of("lost", "found")][:2] == ["lost", "found"]
    assert len(contents.of("reading")) == len({frame.header["token"] for frame in contents.of("reading")}) == 5
    assert all(frame.header["ok"] for frame in contents.of("reading"))
    sent = (tmp_path / "wire.log").read_text(encoding="utf-8")
    assert sent.index("SAFE") < sent.index("MEAS:LOOP")
