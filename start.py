"""The commands of the README, on any platform, with nothing but Python and pip.

    python start.py demo     a simulated microscope steers itself; pictures and records land in gpax-lab-demo/
    python start.py test     the test suite
    python start.py docs     the documentation, as pages for a browser: docs/_build/html/index.html

`run CONFIG`, `resume FILE`, `watch FILE`, `act FILE ACT`, `plot FILE`, `show FILE` and `settings CONFIG` are handed to
the command line `gpax-lab` in the same way.

Each makes the virtual environment `.venv` beside this file if it is not there, installs the project into it, and runs
the job inside. Further words are handed on: `python start.py demo --steps 10`, `python start.py test -m slow`.
"""

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOME = Path(os.environ.get("GPAX_LAB_VENV", ROOT / ".venv"))
PYTHON = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NAMES = ("demo", "run", "resume", "watch", "act", "plot", "show", "settings")
JOBS = {name: ("app,live", ["-m", "gpax_lab", name]) for name in NAMES}
JOBS["test"] = ("app,live,test", ["-m", "pytest"])
JOBS["docs"] = (
    "app,docs",
    ["-m", "sphinx", "-b", "html", "-W", "--keep-going", "-n", "-q", "docs", "docs/_build/html"],
)


def install(extras: str) -> None:
    """Make the environment and install the project with these extras, unless that was done before."""
    mark = HOME / f"installed-{extras.replace(',', '-')}"
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    if mark.exists() and mark.stat().st_mtime >= newest:
        return
    if not PYTHON.exists():
        print(f"making a virtual environment in {HOME}", flush=True)
        try:
            venv.create(HOME, with_pip=True)
        except (subprocess.CalledProcessError, ImportError) as error:
            sys.exit(f"this Python cannot make virtual environments ({error}); on Debian: apt install python3-venv")
    print(f"installing gpax-lab[{extras}] into it: a minute or two, once", flush=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    done = subprocess.run([*command, "-e", f"{ROOT}[{extras}]"], check=False)
    if done.returncode:
        sys.exit("the installation failed; pip says why above")
    mark.touch()


def main() -> None:
    """Do the job named by the first argument and exit with its status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python should be told so, in words
        sys.exit(f"gpax_lab needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        sys.exit(__doc__)
    extras, job = JOBS[sys.argv[1]]
    install(extras)
    if sys.argv[1] in ("test", "docs"):
        os.chdir(ROOT)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Ctrl-C reaches the job too, which makes the instrument safe and ends by itself: wait for that.
        signal.signal(signal.SIGINT, lambda number, frame: None)
    sys.exit(subprocess.Popen([PYTHON, *job, *sys.argv[2:]]).wait())


if __name__ == "__main__":
    main()
