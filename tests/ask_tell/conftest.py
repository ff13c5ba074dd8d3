"""The small campaign of the experiments' tests, asked and told."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiment"))

from small_campaign import fixed


@pytest.fixture(scope="session")
def pairs():
    """Two points at a time, parameters that are not learned."""
    return fixed(2)


@pytest.fixture
def path(tmp_path):
    """Of a journal."""
    return tmp_path / "a.gpxj"
