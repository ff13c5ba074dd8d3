"""What the extensions of the site do; `python start.py docs` builds it."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import docstrings  # noqa: E402
import links  # noqa: E402
import tutorials  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_the_cells_of_a_notebook_showed_is_kept(path):
    notebook = tutorials.with_outputs(path, ROOT / "notebooks" / "outputs")
    assert tutorials.title(notebook)
    assert tutorials.figure(notebook).startswith(b"\x89PNG")


def test_outputs_of_another_notebook_are_refused(tmp_path):
    (tmp_path / f"{NOTEBOOKS[0].stem}.json").write_text("[[]]")
    with pytest.raises(ValueError, match=r"execute\.py --outputs"):
        tutorials.with_outputs(NOTEBOOKS[0], tmp_path)


def test_broken_links_and_what_is_loaded_from_elsewhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">good</a><a href="b.html#gone">bad</a><a href="c.html">bad</a>'
        '<a href="https://example.org">good</a><a href="#top">good</a>'
        '<script src="https://example.org/x.js"></script><link rel="stylesheet" href="//example.org/x.css">'
    )
    (tmp_path / "b.html").write_text('<p id="there">B</p><img src="data:image/png;base64,AA"><img src="gone.png">')
    (tmp_path / "style.css").write_text("@font-face { src: url(https://example.org/font.woff); }")
    assert sorted(links.faults(tmp_path)) == [
        "a.html links to b.html#gone: no such anchor",
        "a.html links to c.html: no such file",
        "a.html loads //example.org/x.css",
        "a.html loads https://example.org/x.js",
        "b.html links to gone.png: no such file",
        "style.css loads https://example.org/font.woff",
    ]


def test_docstrings_become_markup_that_means_what_they_say():
    lines = [
        "Sum x_i * y_i of |x|; see `smc` and `x + 1`.",
        "",
        "Args:",
        "    *cases: of `a",
        "        b`.",
        "",
        ">>> a * b",
    ]
    assert docstrings.converted(lines, ["gpax_lab"]) == [
        r"Sum x_i \* y_i of \|x\|; see :py:obj:`smc <gpax_lab.inference.smc>` and ``x + 1``.",
        "",
        "Args:",
        "    *cases: of ``a b``.",
        "",
        ">>> a * b",
    ]
