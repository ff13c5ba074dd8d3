"""Execute every notebook in this folder from top to bottom, two at a time; tell of every cell that fails.

The notebooks are stored without output. `--write` keeps the output in place, to look at.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main() -> None:
    """Run them in the order of their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="store the outputs in the notebooks")
    write = parser.parse_args().write
    folder = Path(__file__).resolve().parent

    def execute(path: Path) -> str:
        notebook = nbformat.read(path, as_version=4)
        started = time.monotonic()
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
        except CellExecutionError as error:
            return f"{path.name}: {error}"
        print(f"{path.name}: executed in {time.monotonic() - started:.0f} s", flush=True)
        if write:
            nbformat.write(notebook, path)
        return ""

    with ThreadPoolExecutor(2) as pool:  # each notebook has a process of its own; two keep two cores busy
        errors = [error for error in pool.map(execute, sorted(folder.glob("*.ipynb"))) if error]
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
