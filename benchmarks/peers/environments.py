"""Makes one virtual environment a peer, with pinned versions, so that no peer bends another's or ours.

    python benchmarks/peers/environments.py [--folder FOLDER] [gpax] [botorch] [sklearn] [tinygp] [pyroved]

An environment that is complete already is left as it is. PyTorch from the default index brings gigabytes of CUDA on
Linux; it is installed without its dependencies first and completed only if it does not import like that, so that where
pip finds a wheel for CPUs (a folder given to it by `PIP_FIND_LINKS`, say) nothing else is fetched.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".venvs"
IMPORTS = {
    "gpax": "gpax",
    "botorch": "torch, gpytorch, botorch, jax",
    "sklearn": "sklearn",
    "tinygp": "tinygp",
    "pyroved": "torch, pyro",
}


def interpreter(folder: Path, name: str) -> Path:
    """The Python of a peer's environment."""
    directory = "Scripts" if sys.platform == "win32" else "bin"
    return folder / name / directory / "python"


def works(folder: Path, name: str, modules: str) -> bool:
    """Whether the peer's packages import."""
    python = interpreter(folder, name)
    command = [str(python), "-W", "ignore", "-c", f"import {modules}"]
    return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def pip(folder: Path, name: str, requirements: str, *options: str) -> None:
    """Install a file of requirements."""
    command = [str(interpreter(folder, name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *options, "-r", str(HERE / "requirements" / f"{requirements}.txt")], check=True)


def make(folder: Path, name: str) -> None:
    """One environment.

    Raises:
        RuntimeError: the packages installed and do not import.
        subprocess.CalledProcessError: pip failed; it says why.
    """
    if works(folder, name, IMPORTS[name]):
        return
    venv.create(folder / name, with_pip=True, clear=True)
    if name in ("botorch", "pyroved"):
        pip(folder, name, name, "--no-deps")
        if not works(folder, name, "torch"):
            pip(folder, name, "torch")
    else:
        pip(folder, name, name)
    if not works(folder, name, IMPORTS[name]):
        raise RuntimeError(f"{name}: installed, but its packages do not import")


def main() -> None:
    """Make what is asked for, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments lie")
    parser.add_argument("names", nargs="*", help="which of them; all by default")
    given = parser.parse_args()
    names = given.names or list(IMPORTS)
    unknown = sorted(set(names) - set(IMPORTS))
    if unknown:
        parser.error(f"no peer is called {unknown}; there are {sorted(IMPORTS)}")
    failed = []
    for name in names:
        print(f"{name} ...", flush=True)
        try:
            make(given.folder, name)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
