"""Writes the pages of the reference: one for each public module, every name of its `__all__` on it."""

import inspect
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import docstrings
import faces
from docutils import nodes
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode

from gpax_lab.core import Status

logger = logging.getLogger(__name__)


def _first_line(text: str, modules: list[str]) -> str:
    paragraph = text.split("\n\n")[0].split("\n")
    return " ".join(docstrings.converted([" ".join(line.strip() for line in paragraph)], modules)).strip()


def _by_hand(kind: str, signature: str, name: faces.Name, config: Any) -> list[str]:
    """A directive of the Python domain for what autodoc does not know how to describe."""
    lines = docstrings.converted(faces.described(name).split("\n"), docstrings.modules_of(name.value, name.path))
    body = GoogleDocstring(lines, config, what=kind, name=name.path).lines()
    head = [f".. py:{kind}:: {name.name}{signature}", f"   :module: {name.face}", ""]
    return [*head, *(f"   {line}".rstrip() for line in body), ""]


def _entry(name: faces.Name, config: Any) -> list[str]:
    value = name.value
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, Exception) else "class"
        return [f".. auto{kind}:: {name.path}", "   :members:", "   :show-inheritance:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {name.path}", ""]
    if faces.is_function_like(value):
        text = stringify_signature(inspect.signature(value), unqualified_typehints=True)
        return _by_hand("function", docstrings.signature(None, "", "", value, None, text, None)[0] or "", name, config)
    return _by_hand("data", "", name, config)


def page(module: ModuleType, config: Any) -> str:
    """The page of one module in reStructuredText."""
    path, names = module.__name__, faces.names_of(module)
    about = docstrings.converted((inspect.getdoc(module) or "").split("\n"), [path])
    lines = [path, "=" * len(path), "", f".. py:module:: {path}", "", *about, ""]
    rooms = [
        getattr(module, name) for name in getattr(module, "__all__", ()) if inspect.ismodule(getattr(module, name))
    ]
    lines += [f"* :py:mod:`{room.__name__}`: {_first_line(inspect.getdoc(room) or '', [path])}" for room in rooms]
    lines += [""] if rooms else []
    for name in names:
        target = faces.home(name).path
        lines.append(f"* :py:obj:`{name.name} <{target}>`: {_first_line(faces.described(name), [path])}")
    lines.append("")
    for name in names:
        if faces.home(name) == name:
            lines += _entry(name, config)
    return "\n".join(lines) + "\n"


def write(app: Any) -> None:
    """Sphinx event `builder-inited`: the folder `reference` anew."""
    folder = Path(app.srcdir) / "reference"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    modules = [module for module in faces.modules() if getattr(module, "__all__", None)]
    for module in modules:
        (folder / f"{module.__name__}.rst").write_text(page(module, app.config), encoding="utf-8")
    lines = ["Reference", "=========", "", "Every public name, by the module from which it is imported.", ""]
    for package in faces.PACKAGES:
        listed = [module for module in modules if module.__name__.split(".")[0] == package]
        lines += [f".. rubric:: {package}", "", ".. toctree::", "   :maxdepth: 1", "   :hidden:", ""]
        lines += [f"   {module.__name__}" for module in listed] + [""]
        for module in listed:
            about = _first_line(inspect.getdoc(module) or "", [module.__name__])
            lines.append(f"* :doc:`{module.__name__}`: {about}")
        lines.append("")
    (folder / "index.rst").write_text("\n".join(lines), encoding="utf-8")
    (folder / "status.txt").write_text(statuses(), encoding="utf-8")


def statuses() -> str:
    """A table in Markdown of all statuses with their codes and remedies."""
    rows = [f"| `{status.name}` | {status.value} | {status.describe()} |" for status in Status]
    return "\n".join(["| status | code | what it means, and what to do |", "|---|---|---|", *rows, ""])


def resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Sphinx event `missing-reference`: any path to a public name leads to its home; types of others are text."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    found = faces.find(target)
    if found is None and node.get("py:module"):
        found = faces.find(f"{node['py:module']}.{target}")
    if found is not None and found.path != target:
        domain = env.domains["py"]
        entry = domain.objects.get(found.path)
        if entry is not None:
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, found.path)
    written = "refwarn" in node  # by us, in a role; else it is the type of an argument
    private = any(part.startswith("_") for part in target.split("."))  # a base class, say
    ours = target.split(".")[0] in faces.PACKAGES
    return None if written and ours and not private else nodes.inline("", "", contnode)


def complete(app: Any, env: Any) -> None:
    """Sphinx event `env-check-consistency`: every public name is described, at its home."""
    there = env.domains["py"].objects
    for name in faces.public_names():
        if name.path not in there:
            logger.warning("%s is public and not in the reference", name.path)


def setup(app: Any) -> dict[str, bool]:
    """Sphinx extension."""
    app.connect("env-check-consistency", complete)
    app.connect("builder-inited", write)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
