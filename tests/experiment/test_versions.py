"""Another processor, compiler or package at resume: the promise of the same bits is taken back, in words."""

import os

import jaxlib
import pytest
from small_campaign import fixed, go, records

from gpax_lab.core._environment import processor
from gpax_lab.experiment import _versions as versions
from gpax_lab.experiment._versions import differences, going_on_with, withdrawal
from gpax_lab.storage import JournalRecord


def told(**header):
    return JournalRecord("resume", 0, header, {}, 0.0, 0.0)


def test_the_processor_and_the_options_of_the_compiler_are_told(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--b=2  --a=1")
    here = versions.versions()
    assert here["jaxlib"] == jaxlib.__version__
    assert here["processor"] == processor()
    assert here["xla options"] == "--a=1 --b=2"
    assert 1 <= int(here["cores"]) <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or os.cpu_count() < 2, reason="needs two cores to choose from")
def test_a_process_that_may_use_fewer_cores_is_another_one():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert versions.versions()["cores"] == "1"
    finally:
        os.sched_setaffinity(0, allowed)


def test_what_differs_from_any_writer_is_told_once_and_what_is_not_known_is_not_judged():
    here = {"jaxlib": "0.10.0", "processor": "b", "xla options": "", "cores": "2"}
    old, other = told(versions={"jaxlib": "0.10.0"}), told(versions=here | {"processor": "a", "xla options": "--x"})
    assert differences([told(), old, told(versions=here)], here) == []
    assert differences([other, old, other], here) == ["processor a -> b", "xla options --x -> none"]
    assert "bit for bit: processor a -> b." in withdrawal(["processor a -> b"])


@pytest.mark.parametrize("name", ["processor", "jaxlib", "xla options", "cores"])
def test_a_campaign_that_goes_on_elsewhere_says_so_in_its_journal(tmp_path, monkeypatch, name):
    plain, path = fixed(), tmp_path / "a.gpxj"
    go(path, plain, 1)
    here = versions.versions()
    assert records(path, "begin")[0].header == {"versions": here}
    go(path, plain, 1)
    assert records(path, "resume")[-1].header == {"versions": here}
    monkeypatch.setattr(versions, "versions", lambda: here | {name: "another"})
    go(path, plain, 2)
    assert records(path, "resume")[-1].header["changed"] == [f"{name} {here[name] or 'none'} -> another"]
    assert going_on_with(records(path, "begin"))["changed"] == [f"{name} {here[name] or 'none'} -> another"]
