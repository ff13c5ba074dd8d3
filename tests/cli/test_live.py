"""The live page and the acts of other programs, from the command line."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from gpax_lab.settings import parse
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import read

SETTINGS = {
    "campaign": {"name": "small", "steps": 4, "seeds": 3, "key": 1},
    "sampler": {"kind": "laplace", "num_samples": 8, "starts": 2, "iterations": 10},
    "stop": {"budget": 5, "ask": True},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, recorded):
    place = tmp_path_factory.mktemp("live")
    more = {"instrument": {"kind": "replay", "file": str(recorded)}, "acquisition": {"candidates": {"kind": "pool"}}}
    quantity = {"quantity": {"scalarizer": "log_loop_area", "reject_above": 1e-3, "alternatives": {"plain": {}}}}
    (place / "small.toml").write_text(to_toml(parse(SETTINGS | more | quantity)), encoding="utf-8")
    return place


def command(folder, *words, **given):
    return subprocess.run(
        [sys.executable, "-m", "gpax_lab", *map(str, words)], cwd=folder, capture_output=True, text=True,
        timeout=240, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def held(folder):
    """A campaign that holds at its question, with a page; its process and what it printed."""
    pytest.importorskip("uvicorn", reason="the extra live is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "gpax_lab", "run", "small.toml", "--live", "--out", "out"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    yield process, lines
    process.kill()
    process.wait()
    reader.join()
    process.stdout.close()


def wait_for(true, seconds=200.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_another_program_takes_part_and_answers(folder, held):
    """One campaign from its first word to its last: acts are taken, refused in words, and the rule is answered."""
    process, lines = held
    journal = folder / "out" / "campaign.gpxj"
    wait_for(lambda: any("paused" in line for line in lines))
    link = next(line for line in lines if line.startswith("Live page: ")).split()[2]
    assert link.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(link.split("?")[0])
    taken = command(folder, "act", journal, "rescale", "--scalarizer", "plain", "--by", "Ana", "--wait", 60)
    assert taken.stdout.startswith("Taken after step"), taken.stdout + taken.stderr
    refused = command(folder, "act", journal, "rescale", "--scalarizer", "third", "--wait", 60)
    assert (refused.returncode, refused.stdout[:9]) == (1, "Refused: ")
    unknown = command(folder, "act", journal, "dance")
    assert (unknown.returncode, unknown.stderr[:27]) == (1, "error: there is no act 'dan")
    waits = command(folder, "act", journal, "pin", "--at", "99,99")
    assert "It waits" in waits.stdout
    answered = command(folder, "act", journal, "answer", "--go-on", "--why", "one more", "--wait", 60)
    assert answered.stdout.startswith("Taken")
    assert process.wait(timeout=200) == 0
    contents = read(journal)
    assert [e.header["action"] for e in contents.of("act")] == ["answer"]
    assert [e.header["action"] for e in contents.of("refusal")] == ["rescale", "pin"]
    assert contents.of("stop")[-1].header["finished"]
    summary = (folder / "out" / "summary.txt").read_text(encoding="utf-8")
    assert "rescale (Ana)" in summary
    assert not (folder / "out" / "campaign.link").exists()
    over = command(folder, "act", journal, "pause")
    assert "finished" in over.stderr


@pytest.mark.slow
def test_watching_shows_and_takes_nothing(folder, held):
    journal = folder / "out" / "campaign.gpxj"
    process = subprocess.Popen(
        [sys.executable, "-m", "gpax_lab", "watch", str(journal)], stdout=subprocess.PIPE, text=True
    )
    before = journal.read_bytes()
    try:
        link = process.stdout.readline().split()[2]
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(link).close()
        with opener.open(link.split("?")[0] + "facts") as answer:
            assert b'"may_act":false' in answer.read()
        maps = link.split("?")[0] + "map/mean"

        def drawn():
            try:
                with opener.open(maps) as answer:
                    return answer.read()
            except urllib.error.HTTPError:
                return b""

        assert len(wait_for(drawn)) == 36 * 4
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0
        process.stdout.close()
    assert journal.read_bytes() == before


def test_words_that_go_together(folder):
    found = command(folder, "run", "small.toml", "--out", "other", "--name", "a")
    assert (found.returncode, "add --live" in found.stderr) == (1, True)
    words = ("run", "small.toml", "--out", "other", "--live", "--host", "0.0.0.0")
    found = command(folder, *words, env=os.environ | {"GPAX_LAB_LIVE_TOKEN": ""})
    assert found.returncode == 1
    assert "live" in found.stderr.lower()  # that it needs a token, or where the extra is missing
    assert not (folder / "other").exists()
