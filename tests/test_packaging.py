"""What is said about the project in several files is the same in all of them."""

import re
import tomllib
from pathlib import Path

import gpax_lab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere():
    assert gpax_lab.__version__ == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in read("CITATION.cff")
    assert f'version = "{PROJECT["version"]}"' in read("conda.recipe/meta.yaml")
    assert f"\n## [{PROJECT['version']}]" in read("CHANGELOG.md")


def test_the_conda_recipe_asks_for_what_pip_installs():
    run = read("conda.recipe/meta.yaml").split("  run:\n")[1].split("\n\n")[0]
    asked = {line.strip(" -").replace(" ", "") for line in run.splitlines()}
    assert asked == {
        f"python{PROJECT['requires-python']}",
        *(line.replace(" ", "") for line in PROJECT["dependencies"]),
    }


def test_the_changelog_has_the_form_of_keep_a_changelog():
    text = read("CHANGELOG.md")
    assert "keepachangelog.com" in text
    headings = re.findall(r"^### (.+)$", text, re.M)
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert re.findall(r"^## (.+)$", text, re.M)[0].startswith("[")
