"""The notebooks as tutorials: cells from `notebooks/`, outputs from `notebooks/execute.py --outputs FOLDER`.

The folder is `notebooks/outputs`, or the one that the variable GPAX_LAB_NOTEBOOK_OUTPUTS names. The last figure of each
stands in the gallery of the first page.
"""

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = Path(os.environ.get("GPAX_LAB_NOTEBOOK_OUTPUTS", ROOT / "notebooks" / "outputs"))


def with_outputs(path: Path, outputs: Path = OUTPUTS) -> dict[str, Any]:
    """A notebook with what its cells showed.

    Raises:
        ValueError: there are outputs of more, or fewer, cells than the notebook has.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    stored = outputs / f"{path.stem}.json"
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    if len(shown) != len(cells):
        raise ValueError(
            f"{path.name} has {len(cells)} cells with code, and {stored} what {len(shown)} of them showed: run "
            f"`python notebooks/execute.py --outputs notebooks/outputs {path.stem}`."
        )
    for number, (cell, outputs_of_cell) in enumerate(zip(cells, shown, strict=True), 1):
        cell["outputs"], cell["execution_count"] = outputs_of_cell, number
    return notebook


def title(notebook: dict[str, Any]) -> str:
    """The first heading."""
    return "".join(notebook["cells"][0]["source"]).split("\n")[0].lstrip("# ").strip()


def figure(notebook: dict[str, Any]) -> bytes | None:
    """The last figure that it shows, a PNG."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    images = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return base64.b64decode(images[-1]) if images else None


def write(app: Any) -> None:
    """Sphinx event `builder-inited`: the folder `tutorials` anew."""
    folder = Path(app.srcdir) / "tutorials"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    gallery, listed = [], []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = with_outputs(path)
        (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")
        listed.append(path.stem)
        if image := figure(notebook):
            (folder / f"{path.stem}.png").write_bytes(image)
            name, figure_file = title(notebook), f"/tutorials/{path.stem}.png"
            gallery.append(f"[![figure of: {name}]({figure_file}) {name}](/tutorials/{path.name})\n")
    lines = ["# Tutorials", "", "Notebooks, with what they show. They lie in `notebooks/` and run as they stand.", ""]
    lines += ["```{toctree}", ":maxdepth: 1", "", *listed, "```", ""]
    (folder / "index.md").write_text("\n".join(lines), encoding="utf-8")
    text = "\n".join([":::{container} gallery", *gallery, ":::", ""])
    (folder / "gallery.txt").write_text(text, encoding="utf-8")


def linked(app: Any, page: str, source: list[str]) -> None:
    """Links to notebooks lead to their pages here; in the repository they lead to the notebooks themselves."""
    source[0] = source[0].replace("](../../notebooks/", "](../tutorials/")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx extension."""
    app.connect("builder-inited", write)
    app.connect("source-read", linked)
    return {"parallel_read_safe": True}
