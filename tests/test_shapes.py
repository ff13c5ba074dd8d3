"""Annotations of the public faces are true: of shapes by jaxtyping, of types by beartype, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

WALK = Path(__file__).with_name("shapes_walk.py")


def walk(*words):
    return subprocess.run([sys.executable, str(WALK), *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--examples",)], ids=["main calls", "examples of docstrings"])
def test_what_is_annotated_is_true(words):
    done = walk(*words)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
