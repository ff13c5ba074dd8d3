"""The docstrings of the project as reStructuredText.

They are plain text with `code` in backticks. What reStructuredText would take for markup is escaped, and code that
names something public becomes a link to it.
"""

import re
import sys
from typing import Any

import faces
from jax import typing as jax_typing

from gpax_lab.core._types import ArrayLike

CODE = re.compile(r"((?::\w+:)?``.+?``|(?::\w+:)?`[^`\n]+`)")
MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)|(?<!\w)_(?=\w)")
SECTIONS = "Args|Attributes|Raises|Returns|Example|Examples|Yields|Note|References"


def _code(text: str, modules: list[str]) -> str:
    inner = re.sub(r"^:\w+:", "", text).strip("`~")
    called = re.sub(r"\(.*\)$", "", inner)
    if re.fullmatch(r"[A-Za-z_][\w.]*", called):
        for path in [f"{module}.{called}" for module in modules] + [called]:
            found = faces.find(path)
            if found is not None:
                return f":py:obj:`{inner} <{found.path}>`"
    return f"``{inner}``"


def converted(lines: list[str], modules: list[str]) -> list[str]:
    """Lines of a docstring as lines of reStructuredText; `modules` are where names in backticks are looked for."""
    text, literal, result = "\n".join(lines), False, []
    over_lines = re.compile(r"``[^`]+``|(?<!`)`[^`]+`(?!`)")
    text = over_lines.sub(lambda found: re.sub(r"\s*\n\s*", " ", found.group()), text)
    for line in text.split("\n"):
        if line.strip().startswith((">>>", "...")):
            literal = True
        elif not line.strip():
            literal = False
        if literal or re.fullmatch(rf"\s*({SECTIONS}):\s*", line):
            result.append(line)
            continue
        parts = CODE.split(line)
        parts[::2] = [MARKUP.sub(lambda found: "\\" + found.group(), part) for part in parts[::2]]
        parts[1::2] = [_code(part, modules) for part in parts[1::2]]
        # A name before a colon in `Args:` begins with stars only there.
        result.append(
            re.sub(r"^(\s+)((?:\\\*){1,2})(\w+:)", lambda m: m[1] + m[2].replace("\\", "") + m[3], "".join(parts))
        )
    return result


def modules_of(value: Any, name: str) -> list[str]:
    """Where to look for a name that stands in the docstring of a value: in itself, its module, the packages around."""
    parts = name.split(".")
    around = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    own = getattr(value, "__module__", None)
    return [*around[:1], *([own] if own in sys.modules else []), *around[1:]]


def process(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Sphinx event `autodoc-process-docstring`, before napoleon reads the sections."""
    lines[:] = converted(lines, modules_of(value, name))


def skip(app: Any, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out fields of named tuples, which say nothing but their number, and functions of others as defaults."""
    of_others = callable(value) and str(getattr(value, "__module__", "")).split(".")[0] not in faces.PACKAGES
    return True if of_others or str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None


def signature(
    app: Any, what: str, name: str, value: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Sphinx event `autodoc-process-signature`: ArrayLike by its name, not by the eight types that it stands for."""
    from sphinx.util.typing import stringify_annotation

    written = {
        stringify_annotation(alias, mode): "ArrayLike"
        for alias in (ArrayLike, jax_typing.ArrayLike)
        for mode in ("smart", "fully-qualified-except-typing", "fully-qualified")
    }
    for long, short in written.items():
        arguments = arguments and arguments.replace(long, short)
        returned = returned and returned.replace(long, short)
    return arguments, returned


def setup(app: Any) -> dict[str, bool]:
    """Sphinx extension."""
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
