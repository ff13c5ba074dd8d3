"""Our instruments as devices of bluesky: its protocols, and its RunEngine over a twin."""

import threading
import time

import numpy as np
import pytest
from gpax_instruments.adapters import as_bluesky

from gpax_lab.core import Axis, Instrument, Measurement, MoveRefused


class Bench(Instrument):
    axes = (Axis("x", "mm", 0.0, 1.0), Axis("y", "mm", 0.0, 1.0))
    limits = {"power": 3.0}  # noqa: RUF012

    def __init__(self):
        self.measured, self.tokens, self.safe, self.slow, self.error = [], [], 0, threading.Event(), None

    def identity(self):
        return "ACME,bench,1,0"

    def measure(self, x, token):
        self.slow.wait(30.0)
        if self.error:
            raise self.error
        self.measured.append(x)
        self.tokens.append(token)
        good = bool(x[0] < 0.9)
        return Measurement(
            {"power": np.asarray(x.sum()), "spectrum": np.arange(4, dtype="<f4")}, {"power": "W", "spectrum": "1"},
            x + 1e-3, good, "" if good else "saturated",
        )  # fmt: skip

    def make_safe(self):
        self.safe += 1


@pytest.fixture
def bench():
    made = Bench()
    made.slow.set()
    return made


def test_an_axis_refuses_and_sends_nothing(bench):
    axes, _ = as_bluesky(bench, "bench")
    for target in (np.nan, np.inf, 1.5, None, "0.5", True):
        with pytest.raises(MoveRefused):
            axes["x"].check_value(target)
        with pytest.raises(MoveRefused):
            axes["x"].set(target)
    assert bench.measured == []
    assert np.isnan(axes["x"].locate()["setpoint"])


def test_a_measurement_is_triggered_and_read(bench):
    axes, detector = as_bluesky(bench, "bench")
    status = detector.trigger()
    assert isinstance(status.exception(10.0), ValueError)  # no axis was set
    assert not status.success
    for name, value in (("x", 0.25), ("y", 0.5)):
        assert axes[name].set(value).success
    called = []
    bench.slow.clear()
    status = detector.trigger()
    status.add_callback(called.append)
    assert not status.done
    with pytest.raises(TimeoutError):
        status.exception(0.01)
    bench.slow.set()
    assert status.exception(10.0) is None
    deadline = time.monotonic() + 10.0
    while not called and time.monotonic() < deadline:
        time.sleep(0.001)
    assert called == [status]
    status.add_callback(called.append)  # at once
    assert called == [status, status]
    told = detector.read()
    assert {name: np.shape(one["value"]) for name, one in told.items()} == {
        "bench-power": (), "bench-spectrum": (4,), "bench-ok": (), "bench-reason": (),
    }  # fmt: skip
    assert set(detector.describe()) == set(told)
    assert detector.describe()["bench-spectrum"]["units"] == "1"
    assert axes["x"].locate() == {"setpoint": 0.25, "readback": 0.251}
    assert axes["y"].read()["bench-y"]["value"] == 0.501
    assert detector.read_configuration()["bench-identity"]["value"] == "ACME,bench,1,0"
    assert set(detector.describe_configuration()) == {"bench-identity", "bench-power"}


def test_what_goes_wrong_is_told_and_every_act_has_its_own_token(bench):
    axes, detector = as_bluesky(bench)
    axes["x"].set(0.95)
    axes["y"].set(0.5)
    for _ in range(2):
        assert detector.trigger().exception(10.0) is None
    assert detector.read()["instrument-ok"]["value"] == 0
    assert detector.read()["instrument-reason"]["value"] == "saturated"
    assert len(set(bench.tokens)) == 2
    bench.error = MoveRefused("not today")
    assert detector.trigger().exception(10.0) is bench.error
    axes["x"].stop(success=False)
    assert bench.safe == 1


def test_what_has_no_axes_is_no_device():
    class Blind(Bench):
        axes = None

    with pytest.raises(ValueError, match="tells no axes"):
        as_bluesky(Blind())
    with pytest.raises(TypeError, match="is no instrument"):
        as_bluesky(object())


@pytest.mark.slow
def test_the_protocols_are_those_of_bluesky(bench):
    protocols = pytest.importorskip(
        "bluesky.protocols", reason="bluesky is not installed: pip install gpax-lab[bluesky]"
    )
    axes, detector = as_bluesky(bench)
    for name in (
        "Movable",
        "Readable",
        "Locatable",
        "Checkable",
        "Stoppable",
        "Configurable",
        "HasName",
        "HasParent",
        "HasHints",
    ):
        assert isinstance(axes["x"], getattr(protocols, name)), name
    for name in ("Triggerable", "Readable", "Configurable", "Stoppable", "HasName", "HasParent", "HasHints"):
        assert isinstance(detector, getattr(protocols, name)), name
    assert isinstance(axes["x"].set(0.5), protocols.Status)


@pytest.mark.slow
def test_a_run_engine_scans_the_twin():
    """A grid over the simulated force microscope: documents as bluesky's own, limits ours, safe at the end."""
    pytest.importorskip("bluesky", reason="bluesky is not installed: pip install gpax-lab[bluesky]")
    from bluesky import RunEngine
    from bluesky.plans import grid_scan
    from event_model import DocumentNames, schema_validators
    from gpax_instruments.drivers import PFM
    from gpax_instruments.twins import start_pfm

    axes = (Axis("x", "m", 0.0, 1e-6), Axis("y", "m", 0.0, 1e-6))
    documents = []
    with start_pfm(seed=1) as twin, PFM(twin.address, axes, vmax=8.0, points=32, repeatable=True) as pfm:
        devices, loop = as_bluesky(pfm, "pfm")
        engine = RunEngine({})
        engine.subscribe(lambda name, doc: documents.append((name, doc)))
        engine(grid_scan([loop], devices["x"], 1e-7, 5e-7, 3, devices["y"], 2e-7, 8e-7, 2))
        events = [doc for name, doc in documents if name == "event"]
        assert len(events) == 6
        assert {len(doc["data"]["pfm-response"]) for doc in events} == {32}
        told = [[doc["data"]["pfm-x"], doc["data"]["pfm-y"]] for doc in events]
        grid = [[x, y] for x in (1e-7, 3e-7, 5e-7) for y in (2e-7, 8e-7)]
        np.testing.assert_allclose(told, grid, atol=1e-9)  # read back
        assert all(doc["data"]["pfm-ok"] == 1 for doc in events)
        assert pfm.scpi.query("TIP?").strip() == "WITHDRAWN"
        sent = pfm.scpi.link.sent
        with pytest.raises(MoveRefused, match="outside"):
            engine(grid_scan([loop], devices["x"], 2e-6, 3e-6, 2, devices["y"], 2e-7, 8e-7, 2))
        assert pfm.scpi.query("TIP?").strip() == "WITHDRAWN"
        assert pfm.scpi.link.sent - sent < 500  # the safe state and the question, no move
    for name, doc in documents:
        if name in ("start", "stop", "descriptor"):
            schema_validators[DocumentNames[name]].validate(doc)
