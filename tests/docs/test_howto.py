"""The code of the pages runs as printed, from top to bottom."""

import importlib
import re
from pathlib import Path

import pytest

import gpax_lab

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "quickstart.md", *sorted((DOCS / "howto").glob("*.md"))]
SLOW = {
    "which-law",
    "on-a-cluster",
    "from-gpim",
    "from-gpax",
    "from-botorch",
    "list-of-wells",
    "image-to-spectrum",
    "classes-in-images",
    "quickstart",
    "read-files",
}


def code(page: Path) -> str:
    """The Python of a page, each block on the lines that it has there."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").split("\n"):
        fence = line.startswith("```")
        inside = line == "```python" if fence else inside
        lines.append(line if inside and not fence else "")
    return "\n".join(lines)


WITH_CODE = [page for page in PAGES if code(page).strip()]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in WITH_CODE],
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpax_lab, "setup", lambda: None)  # conftest has done it
    exec(compile(code(page), str(page), "exec"), {"__name__": page.stem})


def test_the_pages_that_stand_first_have_code():
    listed = re.findall(r"^[a-z-]+$", (DOCS / "howto" / "index.md").read_text(encoding="utf-8"), re.M)
    assert [DOCS / "howto" / f"{name}.md" in WITH_CODE for name in listed[:3]] == [True] * 3
    assert set(listed) == {page.stem for page in (DOCS / "howto").glob("*.md")} - {"index"}


WORDS = "acquisition images inference kernels means models nn plot priors spectra vae"
ROOMS = {name: f"gpax_lab.{name}" for name in WORDS.split(" ")}
ROOMS |= {name: f"gpax_lab.experiment.{name}" for name in ("interventions", "stopping")}


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *PAGES], ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    """Names such as `vae.encode` in tables and sentences, which no test runs."""
    missing = []
    for text in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        for room, name in re.findall(r"(?<![\w.])(" + "|".join(ROOMS) + r")\.([A-Za-z]\w*)", text):
            module = importlib.import_module(ROOMS[room])
            if not hasattr(module, name):
                missing.append(f"{room}.{name}")
    assert missing == []


def test_links_of_the_readme_lead_somewhere():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 15
    assert [link for link in links if not (DOCS.parent / link).exists()] == []
    assert text.count("\n") <= 110
