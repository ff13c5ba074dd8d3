"""Annotations of the public faces are true: of shapes by jaxtyping, of types by beartype, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

WALK = Path(__file__).with_name("shapes_walk.py")


PARTS = [
    "posteriors",
    "kernels",
    "campaigns",
    "hypotheses",
    "spectra_and_images",
    "processes",
    "networks",
    "autoencoders",
]


def walk(word):
    """In a process of its own, for the checks are put in at import; with the compiled functions of the other tests."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir or "")}
    environment = os.environ | {name: folder for name, folder in cache.items() if folder}
    return subprocess.run(
        [sys.executable, str(WALK), word], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("word", [*PARTS, "--examples"])
def test_what_is_annotated_is_true(word):
    done = walk(word)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert word == "--examples" or done.stdout == f"{word}: as annotated\n"
