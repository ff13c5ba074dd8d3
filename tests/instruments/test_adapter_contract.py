"""One contract for all adapters: what an instrument of any other control system may never do to a sample."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from adapter_peers import PEERS
from adapter_rigs import RIGS
from gpax_instruments.adapters import _adapter
from gpax_instruments.errors import DeviceError, LinkLost, LinkTimeout, UnknownOutcome

from gpax_lab.core import InstrumentError, MoveRefused
from gpax_lab.core._measurement import require_instrument

NOWHERE = [
    [np.nan, 0.5], [0.5, np.inf], [-np.inf, 0.5], [1.5, 0.5], [0.5, -1e-9], [1e300, 0.5], [True, True], [0.5],
    [[0.5, 0.5]], ["0.5", "0.5"], None, [None, 0.5], [0.5, 0.5, 0.5], [10**400, 0.5], 0.5, [1j, 0.5],
]  # fmt: skip
ALL = RIGS | PEERS


def marked(names):
    """Names of rigs, those of foreign libraries marked as slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in PEERS)) for name in names]


TELLING = [name for name, kind in ALL.items() if kind.narrows]
HERE = np.array([0.25, 0.75])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(_adapter, "PATIENCE_S", 0.03)


@pytest.fixture(params=marked(ALL))
def rig(request, monkeypatch):
    made = ALL[request.param](monkeypatch)
    yield made
    made.world.free.set()


@pytest.fixture
def connected(rig):
    adapter = rig.make().connect()
    yield adapter
    rig.world.fault = ("", "")
    adapter.close()


def moves(world):
    return [act for act in world.acts if act[0] == "move"]


def test_it_is_an_instrument_and_opens_nothing_by_itself(rig):
    adapter = rig.make()
    require_instrument(adapter)
    assert rig.world.opened == 0
    assert [axis.name for axis in adapter.axes] == ["x", "y"]


def test_a_target_that_is_none_sends_nothing(rig, connected):
    sent = list(rig.world.acts)
    for target in NOWHERE:
        for act in (connected.set, connected.check_value, lambda at: connected.measure(at, "t")):
            with pytest.raises(MoveRefused, match="nothing was sent"):
                act(target)
    assert rig.world.acts == sent


def test_a_target_that_is_none_does_not_even_open_the_link(rig):
    with pytest.raises(MoveRefused, match="nothing was sent"):
        rig.make().measure([np.nan, 0.5], "t")
    assert rig.world.opened == 0


def test_it_is_safe_as_soon_as_it_is_connected(rig, connected):
    assert not rig.world.lit
    assert moves(rig.world) == []


def test_it_goes_there_measures_and_leaves_it_safe(rig):
    with rig.make() as adapter:
        measurement = adapter.measure(HERE, "t1")
        assert measurement.ok, measurement.reason
        np.testing.assert_allclose(measurement.position, HERE, atol=1e-9)
        np.testing.assert_allclose(adapter.locate().readback, HERE, atol=1e-9)
        assert measurement.arrays
        assert set(measurement.units) == set(measurement.arrays)
        assert all(np.all(np.isfinite(values)) for values in measurement.arrays.values())
        rig.world.lit = True
    assert not rig.world.lit
    assert rig.world.acts[-1] == ("light", 0)
    assert rig.world.measured == 1


@pytest.mark.parametrize("fault", ["acknowledged and ignored", "clamped", "told as NaN", "one axis ignores"])
def test_a_move_that_was_not_made_is_found_by_reading_back(rig, connected, fault):
    match fault:
        case "acknowledged and ignored":
            rig.world.deaf = True
        case "clamped":
            rig.world.rails = (0.4, 0.6)
        case "told as NaN":
            rig.world.told = np.nan
        case _:
            true = rig.world.move
            rig.world.move = lambda axis, value: None if axis == 1 else true(axis, value)
    with pytest.raises(MoveRefused):
        connected.measure(HERE, "t")
    assert rig.world.measured == 0
    if fault == "acknowledged and ignored":
        rig.world.deaf = False
        assert connected.measure(HERE, "t").ok  # the point was lost, not the campaign


def test_a_refused_move_costs_its_point_alone(rig, connected):
    rig.world.fault = ("refuse", "move")
    with pytest.raises(MoveRefused, match="not now"):
        connected.measure(HERE, "t")
    assert connected.measure(HERE, "t").ok
    assert rig.world.opened == 1


@pytest.mark.parametrize("when", ["move", "where", "measure"])
def test_a_dropped_link_ends_in_link_lost_and_in_safety(rig, connected, when):
    rig.world.lit = True
    rig.world.fault = ("gone", when)
    with pytest.raises((LinkLost, UnknownOutcome)) as caught:
        connected.measure(HERE, "t")
    assert isinstance(caught.value, LinkLost) or isinstance(caught.value.__cause__, LinkLost)
    assert not rig.world.lit  # over a new link
    assert connected.measure(HERE, "t").ok


def test_one_that_stays_away_ends_in_link_lost(rig, connected, within):
    rig.world.fault = ("gone", "all")
    for _ in range(2):
        with within(1.0), pytest.raises(LinkLost):
            connected.measure(HERE, "t")
        with within(1.0), pytest.raises(LinkLost):
            connected.make_safe()
    rig.world.fault = ("", "")
    assert connected.measure(HERE, "t").ok


def hangs(world, adapter, when):
    """From the next act of a kind on it is silent; the adapter waits a moment for that one, and long for all others."""

    def struck():
        adapter.timeout_s = adapter.busy_timeout_s = 10.0

    adapter.timeout_s, adapter.busy_timeout_s = 0.05, 0.1
    world.fault, world.struck = ("silent", when), struck


@pytest.mark.parametrize("when", ["open", "move", "measure"])
def test_one_that_hangs_is_given_up_in_its_time(rig, when, within):
    adapter = rig.make()
    if when != "open":
        adapter.connect()
    hangs(rig.world, adapter, when)
    with within(2.0), pytest.raises((LinkTimeout, UnknownOutcome)) as caught:
        adapter.measure(HERE, "t")
    assert isinstance(caught.value, LinkTimeout) or isinstance(caught.value.__cause__, LinkTimeout)
    assert not rig.world.lit
    adapter.close()


def test_one_that_hangs_in_the_safe_state_is_made_safe_over_a_new_link(rig, within):
    with rig.make() as adapter:
        rig.world.lit = True
        hangs(rig.world, adapter, "safe")
        with within(2.0):
            adapter.make_safe()
        assert not rig.world.lit


@pytest.mark.parametrize("signal", [np.nan, np.inf])
def test_a_number_that_is_none_is_no_measurement(rig, connected, signal):
    if np.isinf(signal) and RIGS["micromanager"] is type(rig):
        signal = np.nan  # images of integers have no infinity
    rig.world.signal = signal
    measurement = connected.measure(HERE, "t")
    assert not measurement.ok
    assert measurement.reason
    assert {"nan", "inf"} & set(measurement.flags)


def test_a_stage_that_leaves_during_the_measurement_is_told(rig, connected):
    rig.world.drift = 0.1
    measurement = connected.measure(HERE, "t")
    assert not measurement.ok
    assert "moved" in measurement.flags
    np.testing.assert_allclose(measurement.position, HERE + 0.1, atol=1e-9)


def test_long_moves_go_in_steps(rig):
    with rig.make(rig.axes(max_step=0.1)) as adapter:
        adapter.set(np.array([0.9, 0.5]))
    told = [value for _, axis, value in moves(rig.world) if axis == 0]
    assert told[-1] == pytest.approx(0.9)
    assert np.max(np.abs(np.diff([0.5, *told]))) <= 0.1 + 1e-12


def test_what_does_not_get_safe_is_told(rig, connected):
    rig.world.stuck_on = rig.world.lit = True
    connected.timeout_s = 0.3
    with pytest.raises(DeviceError, match="not safe"):
        connected.make_safe()


@pytest.mark.parametrize("rig", marked(name for name, kind in ALL.items() if kind.axis), indirect=True)
def test_an_axis_goes_to_its_safe_value_in_its_steps_too(rig):
    """A gate at 0.9 V is not put to 0 V at once because the program ends."""
    with rig.make(rig.axes(max_step=0.1), safe={rig.axis: 0.0, "lamp": 0.0}) as adapter:
        adapter.set([0.9, 0.5])
        rig.world.acts.clear()
    told = [value for _, axis, value in moves(rig.world) if axis == 0]
    assert told[-1] == 0.0
    assert np.max(np.abs(np.diff([0.9, *told]))) <= 0.1 + 1e-12
    assert not rig.world.lit


@pytest.mark.parametrize("rig", marked(TELLING), indirect=True)
def test_limits_of_the_other_side_narrow_ours(rig):
    rig.limits = (0.2, 3.0)
    with rig.make() as adapter:
        assert [(axis.low, axis.high) for axis in adapter.axes] == [(0.2, 1.0)] * 2
        with pytest.raises(MoveRefused, match=r"outside 0\.2 to 1\.0; nothing was sent"):
            adapter.measure([0.1, 0.5], "t")
    rig.limits = (2.0, 3.0)
    with pytest.raises(DeviceError, match="nowhere to go"):
        rig.make().connect()
    assert not rig.world.lit  # before it was asked for its limits
    assert moves(rig.world) == []


@pytest.mark.parametrize("rig", marked(TELLING), indirect=True)
def test_another_unit_is_refused_before_anything_moves(rig):
    rig.unit = "mm"
    with pytest.raises(DeviceError, match="axis x is in 1, the other side says mm"):
        rig.make().connect()
    with rig.make(units={"x": "mm", "y": "mm"}) as adapter:
        assert adapter.measure(HERE, "t").ok


def test_a_slow_stage_is_waited_for(rig, connected):
    world, goal, since = rig.world, rig.world.position.copy(), [time.monotonic()]
    true = world.where

    def move(axis, value):
        world.acts.append(("move", axis, value))
        goal[axis], since[0] = value, time.monotonic()

    def where(axis):
        share = min(1.0, (time.monotonic() - since[0]) / 0.1)
        world.position[axis] += share * (goal[axis] - world.position[axis])
        return true(axis)

    world.move, world.where = move, where
    measurement = connected.measure(HERE, "t")
    assert measurement.ok
    np.testing.assert_allclose(measurement.position, HERE, atol=1e-3)


@pytest.mark.slow
def test_two_hundred_points_with_whatever_may_go_wrong(rig):
    """Nothing outside the limits is ever sent, no measurement is called good that is not, and it is safe at the end."""
    random, world = np.random.default_rng(0), rig.world
    adapter, good = rig.make(timeout_s=2.0, busy_timeout_s=2.0), 0
    for step in range(200):
        world.fault, world.deaf, world.told, world.rails, world.signal = ("", ""), False, None, (0.0, 1.0), 2.5
        target = random.choice([*random.uniform(-0.2, 1.2, 6), np.nan, np.inf], 2)
        match random.integers(8):
            case 0 | 1:
                world.fault = (random.choice(["gone", "refuse"]), random.choice(["open", "move", "where", "measure"]))
            case 2:
                world.deaf = True
            case 3:
                world.rails = (0.4, 0.6)
            case 4:
                world.signal = np.nan
            case 5 if step % 10 == 0:
                world.told = np.nan
        try:
            measurement = adapter.measure(target, f"t{step}")
        except InstrumentError:
            continue
        assert np.all((target >= 0.0) & (target <= 1.0))
        if measurement.ok:
            good += 1
            np.testing.assert_allclose(world.position, target, atol=1e-3)
            assert not np.isnan(world.signal)
    assert good > 10
    world.fault = ("", "")
    adapter.make_safe()
    adapter.close()
    assert not world.lit
    assert all(0.0 <= value <= 1.0 for _, _, value in moves(world))


def test_nothing_of_any_control_system_is_imported_beforehand():
    code = (
        "import sys, gpax_instruments, gpax_instruments.adapters;"
        "print(*[m for m in ('tango', 'caproto', 'qcodes', 'pymeasure', 'pymmcore', 'bluesky', 'ophyd', 'ophyd_async',"
        " 'tiled', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
