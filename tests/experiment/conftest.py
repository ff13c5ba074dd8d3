"""The small campaign that most files of this folder drive."""

import pytest
from small_campaign import fixed, go

from gpax_lab.experiment import _guard as guard


@pytest.fixture(scope="module")
def plain():
    """An experiment whose parameters are never sampled anew."""
    return fixed()


@pytest.fixture(scope="module")
def plain_end(request, plain, tmp_path_factory):
    """Its uninterrupted end after the steps that the file names."""
    return go(tmp_path_factory.mktemp("plain") / "a.gpxj", plain, request.module.STEPS)


@pytest.fixture
def path(tmp_path):
    """Of a journal."""
    return tmp_path / "a.gpxj"


@pytest.fixture
def impatient(monkeypatch):
    """A lost instrument is asked again at once."""
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.01)
