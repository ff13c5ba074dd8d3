"""The command line as its user meets it: a campaign on a recorded map, pause and resume, errors in one paragraph."""

import re
import signal
import sys
from importlib.metadata import version

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from gpax_lab.experiment._record import merge
from gpax_lab.settings import parse
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import Campaign, read

pytest.importorskip("matplotlib")
from gpax_lab.cli._app import app


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory, replay_settings):
    """Folder and output of a finished campaign on the recorded map."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(to_toml(parse(replay_settings)), encoding="utf-8")
    code, text = ask("run", folder / "tiny.toml", "--out", folder / "out")
    assert code == 0, text
    return folder / "out", text


def test_a_campaign_leaves_its_five_files_and_says_what_it_found(finished):
    folder, text = finished
    assert {f.name for f in folder.iterdir()} == {
        "campaign.gpxj", "campaign.h5", "campaign.png", "summary.txt", "settings.toml",
    }  # fmt: skip
    assert (folder / "campaign.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "summary.txt").read_text(encoding="utf-8") in text
    assert 'Campaign "tiny": 10 points measured, 5 of them seeds; all 5 steps are done.' in text
    for words in (
        "Largest log10 of the loop area",
        "NRMSE",
        "length scales",
        "nm",
        "Sampler:",
        "s a point",
        "compiling",
    ):
        assert words in text


def test_progress_off_a_terminal_is_plain_lines(finished):
    text = finished[1]
    assert re.search(r"^step 5/5  at \(.*\) um  -\d\.\d+ log10\(a\.u\. V\)  best -.*  \d+\.\d s$", text, re.M)
    assert not set(map(ord, text)) & set(range(32)) - {10}


def test_the_summary_tells_the_truth_about_the_best_measurement(finished):
    folder, text = finished
    frames = read(folder / "campaign.gpxj").of("reading")
    values = [float(frame.arrays["y"]) for frame in frames]
    top = frames[int(np.nanargmax(values))].arrays["x"] * 1e6
    assert f"{np.nanmax(values):.4g} log10(a.u. V) at ({top[0]:.3f}, {top[1]:.3f}) um" in text
    assert f"Measurements: {np.isnan(values).sum()} failed" in text


def test_show_and_plot_read_the_journal_alone(finished, tmp_path):
    folder, _ = finished
    code, text = ask("show", folder / "campaign.gpxj")
    assert code == 0
    assert (folder / "settings.toml").read_text(encoding="utf-8") in text
    assert "Interventions: none" in text
    target = tmp_path / "picture.svg"
    assert ask("plot", folder / "campaign.gpxj", "--out", target)[0] == 0
    assert "<svg" in target.read_text(encoding="utf-8")


def test_a_finished_campaign_is_not_run_again(finished):
    folder, _ = finished
    before = (folder / "campaign.gpxj").read_bytes()
    code, text = ask("resume", folder / "campaign.gpxj")
    assert (code, "is finished" in text) == (0, True)
    assert (folder / "campaign.gpxj").read_bytes() == before


def test_a_journal_is_never_overwritten(finished, replay_settings, tmp_path):
    folder, _ = finished
    before = (folder / "campaign.gpxj").read_bytes()
    code, text = ask("run", folder / "settings.toml", "--out", folder)
    assert code == 1
    assert f"gpax-lab resume {folder / 'campaign.gpxj'}" in text
    assert "--out" in text
    assert (folder / "campaign.gpxj").read_bytes() == before


@pytest.mark.parametrize("command", ["resume", "plot", "show"])
def test_a_file_that_is_missing_or_foreign_is_one_clear_error(command, tmp_path):
    missing, foreign = tmp_path / "none.gpxj", tmp_path / "notes.gpxj"
    foreign.write_text("dear diary", encoding="utf-8")
    for path, words in ((missing, "no such file"), (foreign, "not a campaign journal")):
        code, text = ask(command, path)
        assert code == 1
        assert text.startswith("error: ")
        assert str(path) in text
        assert words in text
        assert text.count("\n") == 1
        assert "Traceback" not in text
    assert foreign.read_text(encoding="utf-8") == "dear diary"


def test_wrong_settings_start_and_write_nothing(tmp_path, replay_settings):
    path = tmp_path / "bad.toml"
    path.write_text('[campaign]\nsteps = 3\n[instrument]\nkind = "twin"\nsede = 1\n', encoding="utf-8")
    code, text = ask("run", path, "--out", tmp_path / "out")
    assert (code, text.count("\n")) == (1, 1)
    assert "instrument.sede is unknown" in text
    assert 'Did you mean "seed"?' in text
    assert not (tmp_path / "out").exists()


def test_an_instrument_that_does_not_answer_is_named_and_the_way_on_is_told(tmp_path):
    path, axis = tmp_path / "far.toml", "{ low = 0.0, high = 2e-6 }"
    lines = ["[campaign]", "steps = 3", "wait_s = 0", "[instrument]", 'kind = "pfm"', 'address = "tcp://127.0.0.1:1"',
             f"x = {axis}", f"y = {axis}"]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    code, text = ask("run", path, "--out", tmp_path / "out")
    assert code == 1
    assert "127.0.0.1:1" in text
    assert f"gpax-lab resume {tmp_path / 'out' / 'campaign.gpxj'}" in text


def test_a_journal_of_another_program_is_not_guessed_at(tmp_path):
    from gpax_lab.storage._journal import Journal

    Journal.create(tmp_path / "own.gpxj", {"sample": "PZT"}).close()
    code, text = ask("resume", tmp_path / "own.gpxj")
    assert code == 1
    assert "not written by gpax-lab run" in text
    assert "storage.read" in text
    code, text = ask("plot", tmp_path / "own.gpxj")
    assert code == 1
    assert "no measurement yet" in text


def test_what_a_program_of_ones_own_measured_is_shown_and_drawn(tmp_path):
    path = tmp_path / "own.gpxj"
    with Campaign.create(path, {"quantity": {"name": "intensity", "unit": "counts"}}) as campaign:
        campaign.append(("instrument", 0, {"identity": "ACME", "axes": [["wavelength", "nm", 400.0, 800.0]]}, {}))
        measured = [("a", "seed", 2.5), ("b", "measure", 7.25), ("c", "measure", np.nan)]
        for step, (token, phase, y) in enumerate(measured):
            x = {"x": np.array([450.0 + step])}
            campaign.append(("intent", step, {"token": token, "phase": phase}, x))
            numbers = {"y": np.array(y), "noise": np.array(0.0)}
            good = bool(np.isfinite(y))
            header = {"token": token, "value": y, "ok": good, "reason": "" if good else "dark"}
            campaign.append(("reading", step, header, x | numbers))
        diagnostics = {"outcome": 5, "r_hat": np.nan, "ess_bulk": 1.0, "ess_tail": 1.0, "divergences": 0}
        campaign.append(("posterior", 1, {"diagnostics": diagnostics}, {}))
        campaign.append(("proposal", 1, {"fallback": True, "pinned": False}, {}))
        campaign.append(("stop", 2, {"reason": "all 2 steps are done", "finished": True}, {}))
    code, text = ask("show", path)
    assert code == 0
    text = " ".join(text.split())
    for said in ("3 points measured, 1 of them seeds; all 2 steps are done", "storage.read", "0 of 1 fits passed",
                 "Largest intensity: 7.25 counts at wavelength 451 nm", "1 of 1 proposals were chosen by distance",
                 "1 failed 1 of them: dark", "3 failed at wavelength 452 nm"):  # fmt: skip
        assert said in text
    assert ask("plot", path)[0] == 0
    assert path.with_suffix(".png").stat().st_size > 0
    with h5py.File(path.with_suffix(".h5")) as file:  # the axes are those that the instrument told
        cloud = file["campaign/intensity/point_cloud"]
        assert (cloud.attrs["spacial_units"], dict(cloud.attrs).get("coordinates").shape) == ("nm", (3, 1))


# --- a process of its own, on the simulated microscope ----------------------------------------------------------------


def readings(folder):
    return [
        (
            frame.header["token"].partition("-")[0],  # without the mark of the campaign
            frame.arrays["x"].tobytes(),
            frame.arrays["raw/response"].tobytes(),
            frame.header["value"],
        )
        for frame in read(folder / "campaign.gpxj").of("reading")
    ]


def last_state(folder):
    arrays = {}
    for frame in read(folder / "campaign.gpxj").of("state"):
        merge(arrays, frame.arrays)
    return {name: array.tobytes() for name, array in arrays.items()}


def ended(process, seconds=280):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


_WHOLE = {}


@pytest.fixture
def whole(tmp_path_factory, twin_settings, gpax_lab):
    """Folder of an uninterrupted campaign on the simulated microscope, run once, and its settings file."""
    if not _WHOLE:
        folder = tmp_path_factory.mktemp("whole")
        config = folder / "film.toml"
        config.write_text(to_toml(parse(twin_settings)), encoding="utf-8")
        code, out, err = ended(gpax_lab("run", config, "--out", folder / "out"))
        assert (code, err) == (0, ""), out
        assert "truth" in out
        _WHOLE["it"] = folder / "out", config
    return _WHOLE["it"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process there")
@pytest.mark.parametrize("after", ["seed 2/4", "step 2/6"])
def test_ctrl_c_pauses_and_resume_takes_the_same_trajectory(after, whole, tmp_path, gpax_lab):
    process = gpax_lab("run", whole[1], "--out", tmp_path)
    for line in process.stdout:
        if line.startswith(after):
            process.send_signal(signal.SIGINT)
            break
    code, out, err = ended(process)
    journal = tmp_path / "campaign.gpxj"
    assert (code, err) == (130, "")
    assert f"Go on with: gpax-lab resume {journal}" in out
    assert (tmp_path / "campaign.h5").exists()
    assert 0 < len(readings(tmp_path)) < len(readings(whole[0]))
    code, out, err = ended(gpax_lab("resume", journal))
    assert (code, err) == (0, ""), out
    assert readings(tmp_path) == readings(whole[0])
    assert last_state(tmp_path) == last_state(whole[0])
    assert "Resumed once" in out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_kill_9_loses_no_measurement_and_resume_takes_the_same_trajectory(whole, tmp_path, gpax_lab):
    process = gpax_lab("run", whole[1], "--out", tmp_path)
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("step 1/6"):
            process.kill()
            break
    process.communicate(timeout=60)
    assert sum(line.startswith("seed") for line in told) == 4
    code, _, err = ended(gpax_lab("resume", tmp_path / "campaign.gpxj"))
    assert (code, err) == (0, "")
    assert readings(tmp_path) == readings(whole[0])
    assert last_state(tmp_path) == last_state(whole[0])


@pytest.mark.slow
def test_the_main_job_finds_the_region(tmp_path, gpax_lab):
    code, out, err = ended(gpax_lab("demo", "--out", tmp_path / "demo"), 300)
    assert (code, err) == (0, "")
    assert float(re.search(r"NRMSE +([\d.]+)", out)[1]) < 0.3
    assert float(re.search(r"regret +[-\d.e]+ pm \(([-\d.]+) percent", out)[1]) < 50


def test_it_tells_its_version():
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.split() == ["gpax-lab", version("gpax-lab")]


def test_a_missing_extra_is_named(monkeypatch):
    from gpax_lab import cli

    monkeypatch.delitem(sys.modules, "gpax_lab.cli._app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r'typer.*pip install "gpax-lab\[app\]"'):
        cli.main()
