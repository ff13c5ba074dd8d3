"""The simulated Nanonis controller over its wire: commands, codes, ports, files and faults."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from gpax_instruments._nanonis_commands import CODES, COMMANDS, R13742, R14718
from gpax_instruments.errors import LINK_FAULTS, BadFrame, DeviceError, LinkLost, LinkTimeout
from gpax_instruments.links import open_link
from gpax_instruments.links._nanonis import NanonisClient
from gpax_instruments.twins import _tunnelling as tunnelling
from gpax_instruments.twins import start_nanonis
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._nanonis_modules import basic, modules
from gpax_instruments.twins._nanonis_scan import Scan
from gpax_instruments.twins._nanonis_spectra import Spectroscopy
from gpax_instruments.twins._nanonis_world import NAMES, RANGE_M, World, radius_of
from nanonis_ports import AMPLE, LATENESS, arm, client_of
from scripted import eventually

PATIENCE = 0.3
HERE = (2e-7, -3e-7)


@pytest.fixture(scope="module")
def twin():
    with start_nanonis(ports=3, seed=1) as running:
        yield running


@pytest.fixture
def client(twin):
    with client_of(twin) as one:
        arm(one, "CLEAR")
        yield one
        one.timeout_s = AMPLE
        one.connect()
        arm(one, "CLEAR")


SETTINGS = [  # setter, values, getter, arguments, what is told
    ("Util.AcqPeriodSet", (0.05,), "Util.AcqPeriodGet", (), [0.05]),
    ("Bias.Set", (0.25,), "Bias.Get", (), [0.25]),
    ("ZCtrl.SetpntSet", (2e-10,), "ZCtrl.SetpntGet", (), [2e-10]),
    ("Piezo.DriftCompSet", (1, 1e-12, 2e-12, 0.0, 20.0), "Piezo.DriftCompGet", (),
     [1, 1e-12, 2e-12, 0.0, 0, 0, 0, 20.0]),
    ("FolMe.SpeedSet", (2e-6, 1), "FolMe.SpeedGet", (), [2e-6, 1]),
    ("Scan.FrameSet", (1e-8, 2e-8, 1e-7, 5e-8, 30.0), "Scan.FrameGet", (), [1e-8, 2e-8, 1e-7, 5e-8, 30.0]),
    ("Scan.BufferSet", ([0, 30], 64, 32), "Scan.BufferGet", (), [[0, 30], 64, 32]),
    ("BiasSpectr.ChsSet", ([0, 86, 30],), "BiasSpectr.ChsGet", (), [[0, 86, 30], [NAMES[k] for k in (0, 86, 30)]]),
    ("BiasSpectr.LimitsSet", (-0.5, 1.5), "BiasSpectr.LimitsGet", (), [-0.5, 1.5]),
    ("BiasSpectr.TimingSet", tuple(0.01 * k for k in range(8)), "BiasSpectr.TimingGet", (),
     [0.01 * k for k in range(8)]),
    ("LockIn.ModAmpSet", (1, 0.02), "LockIn.ModAmpGet", (1,), [0.02]),
    ("LockIn.ModPhasFreqSet", (1, 777.0), "LockIn.ModPhasFreqGet", (1,), [777.0]),
    ("LockIn.ModOnOffSet", (1, 1), "LockIn.ModOnOffGet", (1,), [1]),
    ("FolMe.XYPosSet", (*HERE, 1), "FolMe.XYPosGet", (1,), list(HERE)),
]  # fmt: skip


@pytest.mark.parametrize(("setter", "values", "getter", "arguments", "told"), SETTINGS, ids=lambda v: str(v)[:18])
def test_what_is_set_is_told(client, setter, values, getter, arguments, told):
    client.call(setter, *values)
    found = client.call(getter, *arguments)
    for one, other in zip(found, told, strict=True):
        if isinstance(other, list) and other and isinstance(other[0], str):
            assert one == other
        else:
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-11)


def switches(client, word):
    """Every switch with two tables of codes, set to a word, and what the controller tells of it."""

    def sent(field):
        return CODES[field].sent[word]

    client.call("SafeTip.OnOffSet", sent("SafeTip.OnOff"))
    client.call("Piezo.DriftCompSet", sent("Piezo.DriftComp"), 0.0, 0.0, 0.0, 10.0)
    client.call("Scan.PropsSet", sent("Scan.Props continuous"), sent("Scan.Props bouncy"), 0, "s", "c", ["m"], 0)
    flag = sent("BiasSpectr.Props")
    client.call("BiasSpectr.PropsSet", flag, 0, flag, 0, 0.0, flag, flag)
    client.call("BiasSpectr.AdvPropsSet", *(4 * (sent("BiasSpectr.AdvProps"),)))
    props, spectrum = client.call("Scan.PropsGet"), client.call("BiasSpectr.PropsGet")
    told = {
        "SafeTip.OnOff": client.call("SafeTip.OnOffGet"),
        "Piezo.DriftComp": client.call("Piezo.DriftCompGet")[:1],
        "Scan.Props continuous": props[:2],
        "BiasSpectr.Props": [spectrum[0], spectrum[2], spectrum[6], spectrum[7]],
        "BiasSpectr.AdvProps": client.call("BiasSpectr.AdvPropsGet"),
    }
    return {field: {CODES[field].word(number) for number in numbers} for field, numbers in told.items()}


@pytest.mark.parametrize("word", ["on", "off"])
def test_codes_both_ways(client, word):
    assert {frozenset(words) for words in switches(client, word).values()} == {frozenset({word})}
    assert {frozenset(words) for words in switches(client, "as is").values()} == {frozenset({word})}


@pytest.mark.parametrize("word", ["all", "next", "off"])
def test_codes_of_saving_both_ways(client, word):
    code = CODES["Scan.Props autosave"].sent[word]
    for sent in (code, 0):  # 0 leaves it
        client.call("Scan.PropsSet", 0, 0, sent, "a series", "a comment", ["Current"], sent)
        props = client.call("Scan.PropsGet")
        assert [CODES["Scan.Props autosave"].word(props[k]) for k in (2, -1)] == [word, word]
        assert props[3:6] == ["a series", "a comment", ["Current"]]


def test_every_command_of_the_table_is_obeyed_or_refused_with_a_text(client):
    world = World(threading.Condition(), Faults())
    tables = basic(world, R14718), Spectroscopy(world, R14718).handlers(), Scan(world).handlers()
    world.close()
    assert set(modules(*tables)) == set(COMMANDS)
    for name in (name for name, command in COMMANDS.items() if name.endswith("Get") and not command.arguments):
        assert client.call(name)
    high, low = client.call("Signals.RangeGet", 24)
    assert high > low  # the highest comes first
    assert client.call("Signals.CalibrGet", 0)[1] == 0.0
    assert len(client.call("Signals.NamesGet")[0]) == 128


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("FolMe.XYPosSet", (1.1 * RANGE_M[0], 0.0, 1), "outside the piezo range"),
        ("FolMe.XYPosSet", (float("nan"), 0.0, 1), "outside the piezo range"),
        ("Bias.Set", (11.0,), "limited"),
        ("Bias.Set", (float("nan"),), "limited"),
        ("Scan.FrameSet", (9e-7, 0.0, 1e-6, 1e-6, 0.0), "frame is outside"),
        ("Scan.FrameDataGrab", (77, 1), "not in the scan buffer"),
        ("Signals.ValGet", (128, 0), "does not exist"),
        ("ZCtrl.ZPosSet", (0.0,), "Z-Controller off"),
        ("LockIn.ModAmpSet", (2, 0.1), "does not exist"),
        ("File.datLoad", ("C:\\nothing.dat", 0), "not found"),
        ("Bias.Pulse", (1, 0.1, 5.0, 9, 2), "no code"),
        ("BiasSpectr.Start", (1, "x" * 8), None),
    ],
)
def test_refusals_have_a_text_and_leave_the_link_in_step(client, name, values, words):
    if words is None:
        assert len(client.call(name, *values)[0]) > 1
    else:
        with pytest.raises(DeviceError, match=words):
            client.call(name, *values)
    assert client.call("Util.VersionGet")[2] == R14718


def test_pixels_are_coerced_to_a_multiple_of_16_and_lines_keep_the_ratio(client):
    client.call("Scan.BufferSet", [0], 100, 50)
    assert client.call("Scan.BufferGet")[1:] == [96, 50]
    client.call("Scan.BufferSet", [0], 192, 0)
    assert client.call("Scan.BufferGet")[1:] == [192, 100]
    client.call("BiasSpectr.LimitsSet", -99.0, 99.0)
    assert client.call("BiasSpectr.LimitsGet") == [-10.0, 10.0]
    client.call("BiasSpectr.LimitsSet", -1.0, 1.0)


def test_a_spectrum_tells_the_truth_about_its_gap_and_its_states(client):
    client.call("BiasSpectr.ChsSet", [0, 86])
    client.call("BiasSpectr.LimitsSet", -1.5, 1.5)
    client.call("BiasSpectr.PropsSet", 2, 1, 2, 1001, 0.0, 1, 2)
    client.call("BiasSpectr.TimingSet", *(8 * (0.0,)))
    client.call("Bias.Set", 1.2)
    client.call("FolMe.XYPosSet", *HERE, 1)
    names, data, _ = client.call("BiasSpectr.Start", 1, "truth")
    assert names == ["Bias calc (V)", "Current (A)", "LI Demod 1 X (A)"]
    surface = tunnelling.Surface(1, RANGE_M[0])
    gap = surface.sites(np.array([client.call("FolMe.XYPosGet", 1)])).gap[0]
    bias = data[0].astype(float)
    shape = tunnelling.integral(gap, bias)
    scale = float(data[1] @ shape / (shape @ shape))
    residual = data[1] - scale * shape
    assert np.std(residual) < 2 * 0.002 * np.max(np.abs(data[1]))
    slope = tunnelling.conductance(gap, bias)
    ratio = float(data[2] @ slope / (slope @ slope)) / scale
    np.testing.assert_allclose(ratio, client.call("LockIn.ModAmpGet", 1)[0], rtol=0.01)  # slope times amplitude
    # The integral is that of the conductance: trapezoids of it agree.
    fine = np.linspace(0.0, 1.5, 20001)
    steps = tunnelling.conductance(gap, fine)
    area = float(np.sum(0.5 * (steps[1:] + steps[:-1])) * (fine[1] - fine[0]))
    np.testing.assert_allclose(tunnelling.integral(gap, 1.5), area, rtol=1e-6)


def test_the_current_falls_by_the_decay_of_the_barrier(client):
    client.call("Bias.Set", 1.2)
    client.call("ZCtrl.SetpntSet", 1e-9)
    client.call("FolMe.XYPosSet", *HERE, 1)
    np.testing.assert_allclose(client.call("Current.Get")[0], 1e-9, rtol=0.02)
    client.call("ZCtrl.OnOffSet", 0)
    z = client.call("ZCtrl.ZPosGet")[0]
    client.call("ZCtrl.ZPosSet", z + 1e-10)
    ratio = client.call("Current.Get")[0] / 1e-9
    np.testing.assert_allclose(ratio, np.exp(-2 * tunnelling.KAPPA * 1e-10), rtol=0.05)
    client.call("ZCtrl.OnOffSet", 1)


def test_a_file_of_the_session_is_loaded_and_read_by_others(client):
    from pathlib import Path

    from gpax_lab.storage import load

    client.call("BiasSpectr.PropsSet", 2, 1, 1, 32, 0.0, 1, 2)
    names, data, _ = client.call("BiasSpectr.Start", 1, "kept")
    assert [name for name in names if "[bwd]" in name]
    folder = client.call("Util.SessionPathGet")[0]
    again, values, header = client.call("File.datLoad", f"{folder}/kept00001.dat", 0)
    assert again == names
    np.testing.assert_array_equal(values, data)
    np.testing.assert_allclose(float(dict(header)["X (m)"]), HERE[0], atol=1e-10)
    assert client.call("File.datLoad", f"{folder}/kept00001.dat", 1)[0] == []
    found = load(Path(folder) / "kept00001.dat")
    np.testing.assert_allclose(found["Current"].values, data[1], rtol=1e-6)
    client.call("BiasSpectr.Start", 0, "kept")
    assert client.call("File.datLoad", f"{folder}/kept00002.dat", 0)[0] == names
    client.call("BiasSpectr.PropsSet", 2, 1, 2, 128, 0.0, 1, 2)


def test_equal_names_give_equal_noise_and_a_pulse_changes_the_height(client):
    client.call("Bias.Set", 1.2)
    first = client.call("BiasSpectr.Start", 1, "same")[1]
    np.testing.assert_array_equal(client.call("BiasSpectr.Start", 1, "same")[1], first)
    assert not np.array_equal(client.call("BiasSpectr.Start", 1, "other")[1], first)
    before = client.call("ZCtrl.ZPosGet")[0]
    client.call("Bias.Pulse", 1, 0.1, 6.0, 1, 2)
    assert abs(client.call("ZCtrl.ZPosGet")[0] - before) > 1e-11
    assert radius_of(6.0, 0.1) > radius_of(6.0, 0.01) > radius_of(1.0, 0.1) == 0.0


def test_cloud_and_logger(client):
    client.call("BiasSpectr.PropsSet", 2, 1, 2, 16, 0.0, 1, 2)
    client.call("BiasSpectr.Start", 0, "cloud")
    client.call("Pattern.CloudSet", 1, 2, [1e-7, 2e-7], [0.0, 1e-7])
    client.call("Pattern.ExpOpen")
    client.call("Pattern.ExpStart", 3)
    assert client.call("Pattern.ExpStatusGet") == [0]
    folder = client.call("Util.SessionPathGet")[0]
    np.testing.assert_allclose(
        [float(dict(client.call("File.datLoad", f"{folder}/cloud0000{k}.dat", 1)[2])["X (m)"]) for k in (2, 3)],
        [1e-7, 2e-7], atol=1e-10,
    )  # fmt: skip
    client.call("TCPLog.ChsSet", [0, 30])
    client.call("TCPLog.Start")
    assert CODES["TCPLog.Status"].word(client.call("TCPLog.StatusGet")[0]) == "running"
    client.call("TCPLog.Stop")


def test_an_image_shows_the_frame_as_it_lies(client):
    client.call("Scan.BufferSet", [30], 32, 32)
    client.call("Scan.FrameSet", *HERE, 4e-7, 2e-7, 40.0)
    client.call("Scan.Action", CODES["Scan.Action"].sent["start"], 1)
    assert client.call("Scan.WaitEndOfScan", 1000)[0] == 0
    name, up, direction = client.call("Scan.FrameDataGrab", 30, 1)
    assert (name, up.shape, direction) == ("Z (m)", (32, 32), 1)
    client.call("Scan.Action", CODES["Scan.Action"].sent["start"], 0)
    client.call("Scan.WaitEndOfScan", 1000)
    _, down, direction = client.call("Scan.FrameDataGrab", 30, 1)
    assert direction == 0
    np.testing.assert_array_equal(down[::-1], up)
    # A corner of the frame, clockwise from the axes of the scanner, is where the tip finds the same height.
    along, across = np.array([(31.5 / 32 - 0.5) * 4e-7, (0.5 / 32 - 0.5) * 2e-7])
    cos, sin = np.cos(np.radians(40.0)), np.sin(np.radians(40.0))
    client.call("FolMe.XYPosSet", HERE[0] + cos * along + sin * across, HERE[1] - sin * along + cos * across, 1)
    np.testing.assert_allclose(client.call("ZCtrl.ZPosGet")[0], up[0, 31], atol=2e-11)


@pytest.fixture(scope="module")
def slow_twin():
    with start_nanonis(dwell=LATENESS, pace=1.0, ports=2, noise=0.0) as running:
        yield running


def test_a_door_that_waits_is_held_and_the_other_one_ends_it(slow_twin):
    answers = []

    def take():
        with client_of(slow_twin) as client, contextlib.suppress(DeviceError):
            try:
                client.call("BiasSpectr.Start", 1, "held", wait_s=LATENESS)
            except DeviceError as error:
                answers.append(str(error))

    thread = threading.Thread(target=take)
    thread.start()
    with client_of(slow_twin, 1) as other:
        assert eventually(lambda: other.call("BiasSpectr.StatusGet") == [1])
        with pytest.raises(DeviceError, match="running"):
            other.call("BiasSpectr.Start", 1, "second")
        other.call("BiasSpectr.Stop")
        thread.join(AMPLE)
        assert ["stopped" in one for one in answers] == [True]
        with pytest.raises(DeviceError, match="not found"):
            other.call("File.datLoad", other.call("Util.SessionPathGet")[0] + "/held00001.dat", 0)


def test_lines_that_were_not_scanned_yet_are_not_numbers(slow_twin):
    with client_of(slow_twin) as client:
        client.call("Scan.BufferSet", [30], 16, 16)
        client.call("Scan.SpeedSet", 0.0, 0.0, 0.05, 0.05, CODES["Scan.Speed keep"].sent["time"], 0.0)
        client.call("Scan.Action", 0, 1)
        assert client.call("Scan.WaitEndOfScan", 10) == [1, ""]
        assert client.call("Scan.WaitEndOfLine", 10_000, wait_s=10.0)[0] == 0
        assert client.call("Scan.StatusGet") == [1]
        client.call("Scan.Action", CODES["Scan.Action"].sent["stop"], 0)
        image = client.call("Scan.FrameDataGrab", 30, 1)[1]
        there = np.isfinite(image).all(axis=1)
        assert 1 <= there.sum() < 16
        np.testing.assert_array_equal(there, np.arange(16) < there.sum())
        assert client.call("Scan.StatusGet") == [0]


@pytest.mark.parametrize(("refusals", "release"), [("fields", R14718), ("alone", R13742)])
def test_refusals_after_fields_and_an_older_release(refusals, release):
    with start_nanonis(refusals=refusals, release=release) as twin, client_of(twin) as client:
        with pytest.raises(DeviceError, match="does not exist"):
            client.call("Signals.ValGet", 200, 0)
        with pytest.raises(DeviceError, match="not in the scan buffer"):
            client.call("Scan.FrameDataGrab", 99, 1)
        props = client.call("BiasSpectr.PropsGet")
        assert len(props) == (8 if release == R14718 else 7)
        if release < R14718:
            with pytest.raises(DeviceError, match="needs release R14718"):
                client.call("File.datLoad", "x", 0)
        assert client.call("Bias.Get")


FAULTS = {
    "DROP": (LinkLost, 0.0),
    "HALF": (LinkLost, 0.0),
    "STALL": (LinkTimeout, PATIENCE),
    "LATE": (LinkTimeout, PATIENCE),
    "JUNK": (BadFrame, 0.0),
    "ECHO": (BadFrame, 0.0),
}


@pytest.mark.parametrize("fault", [*FAULTS, "SHORT"])
def test_a_fault_closes_the_link_for_good_in_time(client, within, fault):
    kind, seconds = FAULTS.get(fault, (LinkTimeout, PATIENCE))
    client.call("Scan.BufferSet", [0], 64, 64)
    client.call("Scan.Action", 0, 1)
    arm(client, fault)
    client.timeout_s = seconds or AMPLE
    with within(seconds), pytest.raises(kind):
        client.call("Scan.FrameDataGrab", 0, 1)
    assert not client.link.alive
    with pytest.raises(LinkLost, match="closed"):
        client.call("Bias.Get")  # for good: nothing is opened behind anybody's back
    client.timeout_s = AMPLE
    client.connect()
    for k in range(3):  # nothing of the late or torn answer is left
        client.call("ZCtrl.SetpntSet", 1e-10 * (k + 1))
        np.testing.assert_allclose(client.call("ZCtrl.SetpntGet")[0], 1e-10 * (k + 1), rtol=1e-6)


def test_an_answer_that_comes_twice_goes_to_nobody(client):
    """Two equal questions in a row are parted, and no second copy passes for the answer to the second."""
    right = 0
    for k in range(60):
        client.connect()
        x = 1e-9 * (k + 1)
        client.call("FolMe.XYPosSet", x, 0.0, 1)
        arm(client, "DUP")
        with contextlib.suppress(*LINK_FAULTS):
            client.call("FolMe.XYPosGet", 1)
            client.link.write(b"", time.monotonic() + 1.0)
            if k % 2:
                client.connect()
            new = client.call("FolMe.XYPosGet", 1)
            np.testing.assert_allclose(new[0], x, atol=1e-11)
            right += 1
    client.connect()
    assert right < 60  # some were found out


def test_a_module_that_is_closed_says_so(client):
    arm(client, "MODULE")
    with pytest.raises(DeviceError, match="NeedModule"):
        client.call("BiasSpectr.ChsGet")
    assert client.call("BiasSpectr.ChsGet")


def test_one_client_a_door_and_the_next_one_after_it(twin, client):
    other = NanonisClient(open_link(f"tcp://127.0.0.1:{twin.ports[0]}"), PATIENCE)
    with pytest.raises(LinkTimeout):
        other.connect()
    client.close()
    other.timeout_s = AMPLE
    other.connect()
    assert other.call("Bias.Get")
    other.close()


@pytest.mark.parametrize("junk", [b"\xff" * 40, b"Bias.Get".ljust(32, b"\0") + b"\xff" * 8, b"x" * 39])
def test_what_is_no_request_ends_that_connection_only(twin, junk):
    with socket.create_connection(("127.0.0.1", twin.ports[2]), timeout=AMPLE) as port:
        port.sendall(junk)
        port.shutdown(socket.SHUT_WR)
        assert port.recv(100) == b""
    with client_of(twin, 2) as client:
        assert client.call("Bias.Get")
