"""Clients of the simulated Nanonis controller, and what makes it misbehave."""

import contextlib
import time

from gpax_instruments import _nanonis_codecs as codecs
from gpax_instruments.links import open_link
from gpax_instruments.links._nanonis import NanonisClient

AMPLE, LATENESS = 30.0, 600.0


@contextlib.contextmanager
def client_of(twin, port=0, timeout_s=AMPLE):
    client = NanonisClient(open_link(f"tcp://127.0.0.1:{twin.ports[port]}"), timeout_s)
    client.connect()
    try:
        yield client
    finally:
        client.close()


def arm(client, name, count=1, seconds=LATENESS):
    """Tell the twin what to do wrong next."""
    body = codecs.pack("s i f", (name, count, seconds))
    deadline = time.monotonic() + AMPLE
    client.link.write(codecs.request_header("Twin.Fault", len(body)) + body, deadline)
    _, size, _ = codecs.split_header(client.link.read_exact(codecs.HEADER_BYTES, deadline))
    assert codecs.parse_answer("", client.link.read_exact(size, deadline)) == ([], "")
