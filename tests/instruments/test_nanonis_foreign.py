"""Other people's clients, from PyPI, at the simulated Nanonis controller: what they read there is what we read.

``pip install -e ".[nanonis]"`` installs them.
"""

import json
import os
import re
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
from gpax_instruments._nanonis_commands import COMMANDS, R13742
from gpax_instruments.twins import start_nanonis
from gpax_instruments.twins._nanonis_world import NAMES
from nanonis_ports import client_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
HERE = (1e-7, -2e-7)


@pytest.fixture(scope="module", params=["alone", "fields"])
def twin(request):
    with start_nanonis(ports=4, seed=2, refusals=request.param) as running:
        running.refusals = request.param
        yield running


@pytest.fixture
def ours(twin):
    """Our own client, at the last port: a bias of 1.2 V, two channels of 64 points, and an image of 32 x 16."""
    with client_of(twin, 3) as client:
        client.call("Bias.Set", 1.2)
        client.call("FolMe.XYPosSet", *HERE, 1)
        client.call("BiasSpectr.ChsSet", [0, 86])
        client.call("BiasSpectr.PropsSet", 2, 1, 2, 64, 0.0, 1, 2)
        client.call("Scan.BufferSet", [0, 30], 32, 16)
        client.call("Scan.Action", 0, 1)
        client.call("Scan.WaitEndOfScan", 1000)
        yield client


# --- nanonis-spm, the vendor's -------------------------------------------------------------------------------------


@pytest.fixture
def spm(twin):
    module = pytest.importorskip("nanonis_spm")
    with socket.create_connection(("127.0.0.1", twin.ports[0]), timeout=30) as connection:
        client = module.Nanonis(connection)
        client.returnDebugInfo(0)
        yield client


def test_nanonis_spm(spm, ours):
    with pytest.raises(struct.error, match="bad char"):  # it can not parse the form that it declares for this one
        spm.Util_VersionGet()
    assert b"Nanonis SPM Control Software" in bytes(spm.send("Util.VersionGet", [], []))
    spm.Bias_Set(0.8)
    np.testing.assert_allclose([spm.Bias_Get()[2][0], ours.call("Bias.Get")[0]], 0.8, rtol=1e-6)
    spm.FolMe_XYPosSet(3e-7, 1e-7, 1)
    np.testing.assert_allclose(spm.FolMe_XYPosGet(1)[2], ours.call("FolMe.XYPosGet", 1))
    assert "outside the piezo range" in spm.FolMe_XYPosSet(1.0, 0.0, 1)[0]  # returned, not raised
    np.testing.assert_allclose(ours.call("FolMe.XYPosGet", 1), [3e-7, 1e-7], atol=1e-11)
    image = spm.Scan_FrameDataGrab(30, 1)[2]
    np.testing.assert_array_equal(np.asarray(image[4]).reshape(16, 32), ours.call("Scan.FrameDataGrab", 30, 1)[1])
    assert image[1] == "Z (m)"
    spectrum = spm.BiasSpectr_Start(1, "theirs")[2]
    labels, data, _ = ours.call("BiasSpectr.Start", 1, "theirs")
    assert list(spectrum[2]) == labels
    np.testing.assert_array_equal(np.asarray(spectrum[5]).reshape(3, 64), data)
    assert list(spm.Signals_NamesGet()[2][2]) == NAMES
    np.testing.assert_allclose(
        np.ravel(spm.Signals_ValsGet([24, 30], 1)[2][1]), ours.call("Signals.ValsGet", [24, 30], 1)[0]
    )


OTHERWISE = {
    "BiasSpectr.StatusGet",  # declared there without a return, so that its answer is unusable
    "TCPLog.ChsSet",  # the length is an argument of its own
    "Pattern.CloudSet",
    "Piezo.DriftCompSet",  # u32 for i32, and so
    "Scan.WaitEndOfScan",  # with the length of the path: the same bits
    "Scan.PropsGet",
}


def test_the_forms_of_nanonis_spm_are_ours():
    """Types of arguments and of what comes back, command by command, as written in the vendor's client."""
    module = pytest.importorskip("nanonis_spm")
    with open(module.NanonisClass.__file__, encoding="utf-8", errors="replace") as file:
        text = file.read()
    compared = 0
    for name, command in COMMANDS.items():
        found = re.search(rf'quickSend\(\s*"{re.escape(name)}",\s*\[[^]]*\],\s*(\[[^]]*\]),\s*(\[[^]]*\])', text)
        if found is None or name in OTHERWISE:
            continue
        arguments, returns = command.form(R13742)
        assert [words(one) for one in json.loads(found[1])] == theirs(arguments, sent=True), name
        assert [words(one) for one in json.loads(found[2])] == theirs(returns, sent=False), name
        compared += 1
    assert compared > 60


def words(code):
    return code.replace("+*", "*").replace("*+", "*").replace("*-", "*")


def theirs(form, sent):
    """Our form in the vendor's words: an array that is sent bears its length, one that comes is told it before."""
    flat = []
    for code in form.split():
        plain = {"s": ["*c"], "S": ["*c"], "F2": ["2f"]}.get(code, [code])
        if code.endswith(("*", "+")) and len(code) == 2:
            plain = [f"*{code[0]}"]
        lengths = {"s": ["i"], "S": ["i", "i"], "F2": ["i", "i"], "S2": ["i", "i"]}.get(code, [])
        lengths = ["i"] if code in ("i*", "f*") else lengths
        flat += plain if sent else lengths + plain
    if not sent and form.startswith("s s"):
        flat = ["*c", "*c", *flat[4:]]  # Util.VersionGet is declared with strings that bear their lengths
    return flat


# --- nanonisTCP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [R13742, 99999999])
def test_nanonistcp(twin, ours, version):
    module = pytest.importorskip("nanonisTCP")
    from nanonisTCP.Bias import Bias
    from nanonisTCP.BiasSpectr import BiasSpectr
    from nanonisTCP.FolMe import FolMe
    from nanonisTCP.Scan import Scan
    from nanonisTCP.Signals import Signals

    client = module.nanonisTCP("127.0.0.1", twin.ports[1], version=version)
    try:
        client.send_command(client.make_header("Util.VersionGet", body_size=0))
        assert b"Nanonis" in client.receive_response()
        Bias(client).Set(0.9)
        np.testing.assert_allclose([Bias(client).Get(), ours.call("Bias.Get")[0]], 0.9, rtol=1e-6)
        FolMe(client).XYPosSet(2e-7, 1e-7, True)
        np.testing.assert_allclose(FolMe(client).XYPosGet(True), ours.call("FolMe.XYPosGet", 1))
        if version == R13742:
            FolMe(client).XYPosSet(1.0, 0.0, True)  # it reads two bytes of the four, and sees no refusal
        else:
            with pytest.raises(Exception, match=r"target|piezo|XY"):
                FolMe(client).XYPosSet(1.0, 0.0, True)
        np.testing.assert_allclose(ours.call("FolMe.XYPosGet", 1), [2e-7, 1e-7], atol=1e-11)
        name, image, direction = Scan(client).FrameDataGrab(30, 1)
        assert (name, direction) == ("Z (m)", "up")
        np.testing.assert_array_equal(image, ours.call("Scan.FrameDataGrab", 30, 1)[1])
        found = BiasSpectr(client).Start(1, "tcp")["data_dict"]
        labels, data, _ = ours.call("BiasSpectr.Start", 1, "tcp")
        for label, row in zip(labels, data, strict=True):
            np.testing.assert_array_equal(found[label], row)
        assert Signals(client).NamesGet() == NAMES
        frame = [1e-7, 2e-7, 3e-7, 4e-7, 15.0]
        Scan(client).FrameSet(*frame)
        np.testing.assert_allclose(ours.call("Scan.FrameGet"), frame, rtol=1e-6)
        np.testing.assert_allclose(Scan(client).FrameGet(), frame, rtol=1e-6)
    finally:
        client.close_connection()


# --- nspmctl -------------------------------------------------------------------------------------------------------


def nspmctl(twin, *arguments):
    environment = os.environ | {
        "NANONIS_HOST": "127.0.0.1", "NANONIS_PORTS": str(twin.ports[2]), "NSPMCTL_NO_DAEMON": "1",
    }  # fmt: skip
    words = [sys.executable, "-m", "nspmctl", "--no-daemon", *arguments]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout or "{}") if done.stdout.lstrip().startswith("{") else done.stdout


def test_nspmctl(twin, ours):
    pytest.importorskip("nspmctl")
    status, answer = nspmctl(twin, "get", "bias_v")
    assert status == 0
    np.testing.assert_allclose(answer["value"], 1.2, rtol=1e-6)
    assert nspmctl(twin, "set", "bias_v", "1.1")[0] == 0
    np.testing.assert_allclose(ours.call("Bias.Get")[0], 1.1, rtol=1e-6)
    assert "bad char" in json.dumps(nspmctl(twin, "get", "util_version"))  # as nanonis-spm, on which it stands
    move = ("set", "folme_xypos", "--arg", "Y_m=1e-7", "--arg", "Wait_end_of_move=1", "--arg")
    status, answer = nspmctl(twin, *move, "X_m=2e-7")
    assert status == 0, answer
    np.testing.assert_allclose(ours.call("FolMe.XYPosGet", 1), [2e-7, 1e-7], atol=1e-11)
    status, answer = nspmctl(twin, *move, "X_m=1.0")
    assert status != 0
    assert "outside the piezo range" in json.dumps(answer)
    assert "LI Demod 1 X (A)" in json.dumps(nspmctl(twin, "get", "signals_names"))
    status, answer = nspmctl(
        twin, "act", "Scan_FrameDataGrab", "--arg", "Channel_index=30", "--arg", "Data_direction=1"
    )
    assert (status, "Z (m)" in json.dumps(answer)) == (0, True)
    status, answer = nspmctl(twin, "act", "BiasSpectr_Start", "--arg", "Get_data=1", "--arg", "Save_base_name=ctl")
    assert (status, "Bias calc (V)" in json.dumps(answer)) == (0, True)
