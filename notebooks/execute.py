"""Execute every notebook in this folder from top to bottom, two at a time; tell of every cell that fails.

The notebooks are stored without output. `--outputs FOLDER` writes what the cells showed as one JSON file per notebook;
those in `notebooks/outputs` are what the site shows (`python start.py docs`) where no newer ones are given to it.
"""

import argparse
import base64
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image


def few_colours(image: str) -> str:
    """The same PNG (base64) with at most 128 colours, a third of the bytes."""
    packed = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


def shown(cell) -> list[dict]:
    """What one cell showed, without numbers of execution and without progress bars."""
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            if kept and kept[-1]["output_type"] == "stream":  # one text, however it came in
                kept[-1]["text"] += output.text
            else:
                kept.append({"output_type": "stream", "name": "stdout", "text": output.text})
        elif output.output_type in ("display_data", "execute_result"):
            data = {kind: output.data[kind] for kind in ("image/png", "text/plain") if kind in output.data}
            if "image/png" in data:
                data = {"image/png": few_colours(data["image/png"])}
            kept.append({"output_type": "display_data", "data": data, "metadata": {}})
    return kept


def main() -> None:
    """Run them in the order of their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, metavar="FOLDER", help="write what the cells showed there")
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 03; all without")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    paths = [path for path in sorted(folder.glob("*.ipynb")) if path.name.startswith(tuple(options.names) or "")]
    if options.outputs:
        options.outputs.mkdir(parents=True, exist_ok=True)

    def execute(path: Path) -> str:
        notebook = nbformat.read(path, as_version=4)
        started = time.monotonic()
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
        except CellExecutionError as error:
            return f"{path.name}: {error}"
        print(f"{path.name}: executed in {time.monotonic() - started:.0f} s", flush=True)
        if options.outputs:
            cells = [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
            (options.outputs / f"{path.stem}.json").write_text(json.dumps(cells, indent=0) + "\n", encoding="utf-8")
        return ""

    with ThreadPoolExecutor(2) as pool:  # each notebook has a process of its own; two keep two cores busy
        errors = [error for error in pool.map(execute, paths) if error]
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
