"""A live page without a campaign: a journal of a few entries, an inbox nobody empties, and requests byte by byte."""

import json
import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gpax_lab.core import Axis
from gpax_lab.live import Facts, Inbox, Page
from gpax_lab.storage import Campaign

AXES = [Axis("x", "m", 0.0, 1e-6), Axis("bias", "V", -5.0, 5.0)]


def facts(**more):
    x, y = np.meshgrid(np.linspace(0, 1e-6, 4), np.linspace(-5, 5, 5), indexing="ij")
    positions = np.stack([x.ravel(), y.ravel()], axis=1)
    return Facts("film <b>7</b>", AXES, ("loop area", "pm V"), positions, 10, **more)


def entries(campaign: Campaign) -> None:
    campaign.append(("intent", 0, {"token": "t0", "phase": "seed"}, {"x": np.array([0.0, 1.0])}))
    header = {"token": "t0", "value": 1.5, "ok": True, "reason": "", "flags": [], "units": {"current": "A"}}
    arrays = {"x": np.array([0.0, 1.0]), "y": np.array(1.5), "noise": np.array(0.0)}
    campaign.append(("reading", 0, header, arrays | {"raw/current": np.linspace(0, 1, 5000)}))
    campaign.append(("fault", 0, {"error": "LinkLost", "text": "<script>alert(1)</script>"}, {}))


@contextmanager
def served(folder: Path, look: bool = False, **options):
    """A page with its campaign and inbox."""
    path = folder / "film.gpxj"
    campaign = Campaign.create(path, {"settings": {}})
    entries(campaign)
    inbox = Inbox(campaign, path, axes=AXES, scalarizers=["value", "half"])
    with Page(path, facts(), None if look else inbox, link=path.with_suffix(".link"), **options) as page:
        yield page, inbox, campaign
    campaign.journal.close()


class Client:
    """Sends requests as bytes, so that no library puts right what is wrong in them."""

    def __init__(self, page: Page, may_act: bool = True) -> None:
        self.port, self.host = page.port, f"127.0.0.1:{page.port}"
        self.token = page.new_link(may_act).split("token=")[1]
        self.cookie = ""

    def enter(self) -> int:
        status, headers, _ = self.get(f"/?token={self.token}")
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].split(";")[0]
        return status

    def raw(self, data: bytes, timeout: float = 20.0, hold: bool = False):
        """Status, headers and body of the answer to these bytes; (0, {}, b"") where the connection was closed."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        try:
            connection.sendall(data)
            if hold:
                return connection
            return parsed(everything(connection))
        except (ConnectionResetError, BrokenPipeError):
            return 0, {}, b""
        finally:
            if not hold:
                connection.close()

    def get(self, path: str, **headers: str | None):
        given = {"Host": self.host, "Cookie": self.cookie, "Connection": "close"} | headers
        return self.raw(head("GET", path, given))

    def post(self, path: str, body: bytes | dict, **headers: str | None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "Host": self.host, "Cookie": self.cookie, "Connection": "close", "Origin": f"http://{self.host}",
            "Content-Type": "application/json", "Content-Length": str(len(data)),
        } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
        return self.raw(head("POST", path, given) + data)

    def events(self, after: int = -1, last: str | None = None):
        """An open stream of events."""
        given = {"Host": self.host, "Cookie": self.cookie} | ({} if last is None else {"Last-Event-ID": last})
        return self.raw(head("GET", f"/events?after={after}", given), hold=True)


def head(method: str, path: str, headers: dict) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def everything(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def parsed(data: bytes):
    if not data:
        return 0, {}, b""
    start, _, body = data.partition(b"\r\n\r\n")
    first, *rest = start.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), headers, body


def until(connection: socket.socket, word: bytes, seconds: float = 10.0) -> bytes:
    """What a stream gave until a word came."""
    connection.settimeout(seconds)
    found = b""
    while word not in found:
        part = connection.recv(65536)
        assert part, found
        found += part
    return found
