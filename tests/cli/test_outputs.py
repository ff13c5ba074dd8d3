"""What a campaign writes: no file of it is another one of it, of its user or of somebody else."""

import os
import sys

import pytest
from typer.testing import CliRunner

from gpax_lab.settings import SettingsError, parse
from gpax_lab.settings._files import to_toml

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

from gpax_lab import plot
from gpax_lab.cli._app import app
from gpax_lab.cli._outputs import check_new, check_own, is_plot, products
from gpax_lab.storage._errors import JournalExists


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def written(folder, table, name="film.toml"):
    """A settings file."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(to_toml(parse(table)), encoding="utf-8")
    return path


def held(folder):
    """Every file below a folder with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["summary.txt", "Summary.TXT", "settings.toml", "film.h5", "film.H5", "film.png"])
def test_a_journal_that_is_called_like_another_product_is_refused_before_anything_is_there(tmp_path, name):
    config = written(tmp_path / "in", {"campaign": {"steps": 3, "journal": name}, "instrument": {"kind": "twin"}})
    code, text = ask("run", config, "--out", tmp_path / "out")
    assert (code, text.count("\n")) == (1, 1)
    assert f"campaign.journal = {name!r} is not allowed" in text
    assert "campaign.gpxj" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["a/b.gpxj", "../b.gpxj", "..", "a\\b.gpxj", "/tmp/a.gpxj", "c:a.gpxj", "a\0b", "a.", " a"]
)
def test_a_journal_is_a_file_name_in_the_folder_of_the_results(name):
    with pytest.raises(SettingsError, match=r"campaign\.journal = .* is not allowed: give a file name"):
        parse({"campaign": {"steps": 3, "journal": name}, "instrument": {"kind": "twin"}})


@pytest.mark.parametrize("name", ["settings.toml", "summary.txt", "campaign.png", "campaign.h5"])
def test_nothing_that_exists_is_written_over(tmp_path, name, replay_settings):
    config = written(tmp_path, replay_settings)
    (tmp_path / name).write_text("dear diary", encoding="utf-8")
    before = held(tmp_path)
    code, text = ask("run", config, "--out", tmp_path)
    assert code == 1
    assert str(tmp_path / name) in text
    assert "--out" in text
    assert held(tmp_path) == before


def test_results_beside_the_settings_that_they_were_made_from(tmp_path, replay_settings):
    config = written(tmp_path, replay_settings, "settings.toml")
    before = held(tmp_path)
    code, text = ask("run", config, "--out", tmp_path)
    assert (code, "is read by this campaign" in text) == (1, True)
    assert held(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_to_what_they_name(tmp_path):
    config = tmp_path / "film.toml"
    config.write_text("", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.txt").symlink_to(config)
    with pytest.raises(SettingsError, match=r"summary\.txt is read by this campaign"):
        check_new(products(out / "a.gpxj"), [config])
    (out / "summary.txt").unlink()
    os.link(config, out / "a.png")
    with pytest.raises(SettingsError, match=r"a\.png is read by this campaign"):
        check_new(products(out / "a.gpxj"), [config])
    (out / "a.png").unlink()
    (out / "a.h5").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"a\.h5 exists already"):
        check_new(products(out / "a.gpxj"), [config])
    (out / "a.h5").unlink()
    check_new(products(out / "a.gpxj"), [config])
    with pytest.raises(SettingsError, match="is a file: give a folder"):
        check_new(products(config / "a.gpxj"))
    (out / "a.gpxj").symlink_to(tmp_path / "nowhere")
    with pytest.raises(JournalExists):
        check_new(products(out / "a.gpxj"))


def test_a_campaign_writes_its_own_products_again_and_no_others(tmp_path, replay_settings, monkeypatch, largest_file):
    table = replay_settings | {"campaign": replay_settings["campaign"] | {"steps": 1}}
    out = tmp_path / "out"
    code, text = ask("run", written(tmp_path, table), "--out", out)
    assert code == 0, text
    paths = products(out / "campaign.gpxj")
    assert is_plot(paths.plot)
    monkeypatch.setattr(plot, "campaign", lambda **about: Figure())  # from here on files are tested, not what they show
    assert ask("resume", paths.journal)[0] == 0
    for path in (paths.hdf5, paths.plot, paths.summary):
        own = path.read_bytes()
        path.write_text("dear diary", encoding="utf-8")
        before = held(out)
        code, text = ask("resume", paths.journal)
        assert code == 1
        assert f"{path} exists and is none that gpax-lab wrote" in text
        assert held(out) == before
        path.write_bytes(own)
    check_own(paths)
    before = held(out)
    for path in paths:
        if path != paths.plot:
            code, text = ask("plot", paths.journal, "--out", path)
            assert (code, "left as it is" in text) == (1, True)
    assert held(out) == before
    for suffix in ("svg", "pdf"):
        for _ in range(2):
            assert ask("plot", paths.journal, "--out", out / f"again.{suffix}")[0] == 0
    before = held(out)
    with largest_file(1000):
        code, text = ask("plot", paths.journal)
    assert (code, text.count("\n")) == (1, 1)
    assert f"{paths.plot}: no room to write it" in text
    assert held(out) == before
