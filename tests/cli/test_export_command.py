"""`gpax-lab export`."""

import json

import numpy as np
from typer.testing import CliRunner

from gpax_lab.cli import _app
from gpax_lab.storage import Campaign

HEADER = {"axes": [{"name": "x", "unit": "m", "low": 0.0, "high": 1.0}], "quantity": {"name": "height", "unit": "nm"}}


def _campaign(folder):
    with Campaign.create(folder / "a.gpxj", HEADER) as campaign:
        campaign.append(("reading", 0, {"token": "0", "value": 1.0}, {"x": np.zeros(1)}))
    return folder / "a.gpxj"


def _export(*arguments):
    done = CliRunner().invoke(_app.app, ["export", *map(str, arguments)])
    return done.exit_code, " ".join((done.output + done.stderr).split())


def test_all_that_other_programs_read(tmp_path):
    journal = _campaign(tmp_path)
    documents = tmp_path / "a.jsonl"
    (tmp_path / "a.h5").unlink()
    for _ in range(2):  # what is ours is written anew
        assert _export(journal, "--documents", documents, "--crate", "--license", "https://example.org/l")[0] == 0
    kinds = [json.loads(line)["name"] for line in documents.read_text(encoding="utf-8").splitlines()]
    assert kinds == ["start", "descriptor", "event", "stop"]
    graph = json.loads((tmp_path / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    files = [one["@id"] for one in graph if one["@type"] == "File"]
    assert files == ["a.gpxj", "a.h5", "a.jsonl"]


def test_what_is_not_ours_is_left_and_named(tmp_path):
    journal = _campaign(tmp_path)
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text("{}", encoding="utf-8")
    for taken in (theirs, journal):
        before = taken.read_bytes()
        code, words = _export(journal, "--documents", taken)
        assert code == 1
        assert "is left as it is" in words
        assert taken.read_bytes() == before
    code, words = _export(journal, "--license", "https://example.org/l")
    assert code == 1
    assert "--crate" in words
