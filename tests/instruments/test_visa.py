import gc
import socket
import struct

import pytest
from gpax_instruments.errors import BadFrame, LinkLost, LinkTimeout
from gpax_instruments.visa import VisaLink, classify
from pyvisa.constants import StatusCode
from pyvisa.errors import InvalidBinaryFormat, VisaIOError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VisaIOError(StatusCode.error_timeout), LinkTimeout),
        (VisaIOError(StatusCode.error_connection_lost), LinkLost),
        (VisaIOError(StatusCode.error_resource_not_found), LinkLost),
        (TimeoutError("timed out"), LinkTimeout),
        (ConnectionResetError(), LinkLost),
        (BrokenPipeError(), LinkLost),
        (ConnectionRefusedError(), LinkLost),
        (RuntimeError("Connection was dropped by server."), LinkLost),
        (RuntimeError("protocol synchronization error"), BadFrame),
        (RuntimeError("unrecognized message type: 77"), BadFrame),
        (InvalidBinaryFormat(), BadFrame),
        (ValueError("no digits"), BadFrame),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"), BadFrame),
        (struct.error("short"), BadFrame),
        (AssertionError(), BadFrame),
    ],
)
def test_every_exception_of_pyvisa_has_a_class_of_ours(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize("name", ["TCPIP::127.0.0.1::5025::SOCKET", "tcpip0::localhost::5025::socket"])
def test_raw_sockets_are_refused(name):
    with pytest.raises(ValueError, match=r"use tcp://.*:5025 instead"):
        VisaLink(name)


# pyvisa-py drops its sockets on a failed connection without closing them
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_connecting_to_nobody(within):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    import pyvisa

    pyvisa.ResourceManager("@py")  # loading the backend takes its time and is not part of the claim
    with within(1), pytest.raises(LinkLost):
        VisaLink(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", timeout_s=1, backend="@py")
    gc.collect()  # here, where the warning is expected


def test_an_unknown_backend_says_what_to_install():
    with pytest.raises(LinkLost, match="pyvisa-py"):
        VisaLink("TCPIP::127.0.0.1::hislip0::INSTR", backend="@nosuch")
