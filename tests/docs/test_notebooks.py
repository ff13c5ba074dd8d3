"""What the notebooks import is there and public; `notebooks/execute.py` runs them."""

import ast
import json
from pathlib import Path
from types import ModuleType

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
pytest.importorskip("matplotlib")


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).split("\n")]
    return ast.parse("\n".join(line for line in lines if not line.startswith("%")))


def private(path):
    return any(part.startswith("_") for part in path.split("."))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_imports_is_there_and_public(path):
    tree, names = code(path), {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(ast.unparse(node), names)
            assert not private(getattr(node, "module", "") or ""), ast.unparse(node)
            assert not any(private(alias.name) for alias in node.names), ast.unparse(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id)
            assert not isinstance(module, ModuleType) or hasattr(module, node.attr), ast.unparse(node)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_output(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs")] == []
