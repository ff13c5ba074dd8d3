"""What is public, how much of it there is, and that all of it is described; how long files and functions are."""

import ast
import inspect
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import faces  # noqa: E402

MODULES = faces.modules()
NAMES = faces.public_names()
LATER = ("gpax_instruments.adapters", "gpax_lab.agents", "gpax_lab.ask_tell", "gpax_lab.live")
LATER += ("gpax_lab.storage.documents", "gpax_lab.storage.export_crate")
SOURCES = [path for folder in ("gpax_lab", "instruments") for path in sorted((ROOT / folder).rglob("*.py"))]


def public_members(value):
    """Methods and properties of a class that it defines itself, and what describes them."""
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            yield name, inspect.getdoc(getattr(value, name))
        elif isinstance(member, property) or inspect.isfunction(member):
            yield name, inspect.getdoc(member)


def in_order(name):
    """Constants, classes, functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_face_lists_its_names_in_order_and_has_them(module):
    listed = getattr(module, "__all__", None)
    assert listed is not None, f"{module.__name__} says not what is public in it: give it a sorted __all__"
    assert list(listed) == sorted(set(listed), key=in_order)
    assert [name for name in listed if not hasattr(module, name)] == []
    assert [name for name in listed if name.startswith("_") and name != "__version__"] == []
    assert inspect.getdoc(module)


def test_every_public_name_is_described():
    missing = [name.path for name in NAMES if not faces.described(name)]
    for name in NAMES:
        if inspect.isclass(name.value):
            missing += [f"{name.path}.{member}" for member, text in public_members(name.value) if not text]
    assert missing == []


def test_there_are_not_too_many_public_names():
    rooms = Counter(".".join(name.face.split(".")[:2]) for name in NAMES)
    print(f"{len(NAMES)} public names:", dict(sorted(rooms.items())))
    later = [name.path for name in NAMES if name.path.startswith(LATER)]
    assert len(NAMES) - len(later) < 450  # what one person can know of a library
    assert len(later) <= 30  # rooms for other programs and people came on top: three for each of their protocols
    assert len(sys.modules["gpax_lab"].__all__) <= 30


def test_no_file_is_too_long():
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in long.items() if lines > 400} == {}


def test_no_function_is_too_long():
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert {name: lines for name, lines in found.items() if lines > 80} == {}


def test_the_home_of_a_name_is_the_deepest_face_that_lists_it():
    found = faces.find("gpax_lab.smc")
    assert found is not None
    assert found.path == "gpax_lab.inference.smc"
    assert faces.find("gpax_lab.inference._smc.smc") == found
    assert faces.find("gpax_lab.nothing_of_this_name") is None


def arguments(node):
    """Names of the arguments of a function, or of what makes a class."""
    if isinstance(node, ast.ClassDef):
        node = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if node is None:
        return None
    listed = node.args.posonlyargs + node.args.args + node.args.kwonlyargs + [node.args.vararg, node.args.kwarg]
    return {argument.arg for argument in listed if argument is not None}


def test_docstrings_speak_of_the_arguments_that_there_are():
    wrong = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else None
            if not text or "Args:" not in text or (there := arguments(node)) is None:
                continue
            block = text.split("Args:")[1].split("\n\n")[0]
            told = ", ".join(re.findall(r"^    ([*\w]+(?:, [*\w]+)*): ", block, flags=re.MULTILINE)).split(", ")
            if unknown := {name.lstrip("*") for name in told} - there - {""}:
                wrong[f"{path.relative_to(ROOT)} {node.name}"] = unknown
    assert wrong == {}
