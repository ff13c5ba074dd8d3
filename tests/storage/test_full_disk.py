"""Real processes that write a journal until the disk is full, or that are killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpax_lab.storage import read
from gpax_lab.storage._journal import Journal

_FILL = """
import sys
import numpy as np
from gpax_lab.storage import DiskFull
from gpax_lab.storage._errors import JournalFull
from gpax_lab.storage._journal import Journal
if sys.argv[2] != "0":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
with Journal.create(sys.argv[1], {}) as journal:
    step = 0
    try:
        while True:
            if sys.argv[3] == "check":
                journal.require_space(5000)
            journal.append(("reading", step, {}, {"x": np.zeros(500)}))
            print(step, flush=True)
            step += 1
    except (DiskFull, JournalFull) as error:
        print(type(error).__name__, error, file=sys.stderr)
        if isinstance(error, JournalFull):
            journal.append(("stop", step, {}, {}))
            print("alive", file=sys.stderr)
"""


def _fill(path, limit, check):
    command = [sys.executable, "-W", "error", "-c", _FILL, str(path), str(limit), check]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def _check_full(done, path, error):
    written = [int(line) for line in done.stdout.split()]
    contents = read(path)
    assert error in done.stderr
    assert len(written) > 5
    assert [record.step for record in contents.of("reading")] == written
    assert contents.ignored == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_FSIZE")
@pytest.mark.parametrize(("check", "error"), [("check", "DiskFull"), ("none", "JournalFull")])
def test_a_file_size_limit_stops_cleanly(tmp_path, check, error):
    path = tmp_path / "a.gpxj"
    _check_full(_fill(path, 100_000, check), path, error)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no mount command: the full disk is tested by a file-size limit only")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("check", "error"), [("check", "DiskFull"), ("none", "JournalFull")])
def test_a_full_disk_stops_cleanly(small_disk, check, error):
    path = small_disk / "a.gpxj"
    _check_full(_fill(path, 0, check), path, error)


_KILLED = """
import sys
import numpy as np
from gpax_lab.storage._journal import Journal
with Journal.create(sys.argv[1], {}) as journal:
    for step in range(10**6):
        journal.append(("reading", step, {}, {"x": np.full(200, step)}))
        sys.stdout.write(f"{step}\\n")
        sys.stdout.flush()
"""


def test_kill_minus_nine_of_a_real_process(tmp_path):
    random = np.random.default_rng(5)
    for trial in range(5):
        path = Path(tmp_path / f"{trial}.gpxj")
        with subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(int(random.integers(1, 60))):
                process.stdout.readline()
            process.kill()
            said = process.stdout.read().split("\n")
        last = max((int(line) for line in said if line), default=0)
        contents = read(path)
        held = [record.step for record in contents.of("reading")]
        assert held == list(range(len(held)))
        assert len(held) > last
        assert all(np.all(record.arrays["x"] == record.step) for record in contents.of("reading"))
        Journal.open(path).close()
        os.unlink(path)
