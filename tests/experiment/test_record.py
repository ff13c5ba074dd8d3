"""What a journal keeps of the state: only what changed, and all of it again when it is put together."""

import numpy as np
import pytest
from small_campaign import SEEDS, bits, fixed, go, records

from gpax_lab.core._observations import MEASURED
from gpax_lab.experiment import _record as record
from gpax_lab.experiment.interventions import Veto

PLANNED = 60


def _merged(path):
    arrays = {}
    for frame in records(path, "state"):
        record.merge(arrays, frame.arrays)
    return arrays


def _sizes(path):
    return [sum(array.nbytes for array in frame.arrays.values()) for frame in records(path, "state")]


def _paused_after(readings):
    left = iter(range(2 * readings))
    return lambda: next(left, None) is None


@pytest.fixture(scope="module")
def experiment():
    return fixed()


def _veto(state):
    done = np.sum(np.asarray(state.obs.status) == MEASURED) - len(SEEDS)
    return (Veto(np.array([[24 / 49], [26 / 49]])),) if done == 3 else ()


def test_a_step_records_the_rows_that_it_changed(experiment, tmp_path):
    """The buffer has room for all 63 measurements from the start; a step's record must not hold it."""
    end = go(tmp_path / "a.gpxj", experiment, PLANNED, stop=_paused_after(10))
    first, *later = _sizes(tmp_path / "a.gpxj")
    assert end.state.obs.capacity > PLANNED
    assert len(later) > 3
    assert max(later) < first / 4
    whole = record.snapshot(end.state, {})
    held = _merged(tmp_path / "a.gpxj")
    assert held.keys() == whole.keys()
    assert all(held[name].tobytes() == whole[name].tobytes() for name in whole)


def test_the_status_of_a_fit_is_named_in_a_journal_as_it_has_always_been(experiment, tmp_path):
    end = go(tmp_path / "a.gpxj", experiment, 2)
    assert int(_merged(tmp_path / "a.gpxj")[".posterior.info.outcome"]) == int(end.state.posterior.info.status)
    *_, last = records(tmp_path / "a.gpxj", "posterior")
    assert last.header["diagnostics"].keys() == {"outcome", *end.state.posterior.info._fields} - {"status"}
    assert go(tmp_path / "a.gpxj", experiment, 3).steps == 3


def test_rows_changed_by_a_person_survive_two_resumes(experiment, tmp_path):
    """A record holds what differs from the earlier records, not from a state that wishes had changed since."""
    once = go(tmp_path / "once.gpxj", experiment, 8, hooks=[_veto])
    for stop in (_paused_after(5), _paused_after(2), lambda: False):
        end = go(tmp_path / "often.gpxj", experiment, 8, hooks=[_veto], stop=stop)
    assert bits(end.state) == bits(once.state)
    held, other = (_merged(tmp_path / name) for name in ("once.gpxj", "often.gpxj"))
    assert all(held[name].tobytes() == other[name].tobytes() for name in held)


def test_rows_of_an_array_that_is_missing_are_an_error():
    part = {"a#rows": np.array([3], np.int32), "a#values": np.zeros((1, 2))}
    for known in ({}, {"a": np.zeros((3, 2))}, {"a": np.zeros((4, 2), np.float32)}, {"a": np.zeros(4)}):
        with pytest.raises(ValueError, match="'a'"):
            record.merge(known, part)
    known = {"a": np.ones((4, 2))}
    kept = known["a"]
    record.merge(known, part)
    np.testing.assert_array_equal(known["a"][:, 0], [1, 1, 1, 0])
    assert kept.all()  # whoever holds the earlier array keeps it as it was
