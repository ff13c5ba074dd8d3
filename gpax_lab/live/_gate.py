"""Who may do what at a live page: every rule in one place, none of them about the network library.

A page drives an instrument, and any other page that the same browser shows may send requests to it. So: only names of
this machine in Host (DNS rebinding); a secret that no other page knows, in a cookie that no script reads and no other
site sends; POST only as JSON from our own origin; small bodies, in time; and not more than a person could mean.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

BODY_BYTES, BODY_S, HEAD_S = 64 << 10, 10.0, 10.0
"""Longest body, and how long it and the head of a request may take to arrive."""
STREAMS, SESSIONS = 16, 64
"""Pages that may follow at a time, and browsers that may be known."""
_ACTS, _ACTS_S = 20, 10.0
"""So many acts in so many seconds from one browser."""
_TRIES, _TRIES_S = 10, 60.0
"""So many wrong tokens in so many seconds, from all."""
TOKEN_BYTES = 32
_SHORTEST = 32  # characters of a token that a person gives
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every answer."""


class Refused(Exception):
    """A request that is refused: the status of HTTP, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Session(NamedTuple):
    """A browser that is known: a name for limits, and whether it may act."""

    name: str
    may_act: bool


@dataclass
class _Link:
    may_act: bool
    again: bool = False  # whether it may be used more than once


class Limit:
    """So many in so many seconds."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count, self._seconds = count, seconds
        self._seen: list[float] = []

    def __call__(self) -> bool:
        """Whether one more is within the limit; it then counts."""
        now = time.monotonic()
        self._seen = [at for at in self._seen if now - at < self._seconds]
        if len(self._seen) >= self._count:
            return False
        self._seen.append(now)
        return True


class Gate:
    """What a request has to show.

    Args:
        host: where the server listens.
        token: a secret of a person's own, of 32 characters or more, that may be used again and again; needed where
            others than this machine can reach the host. None: links that open one browser each.
        names: further names under which browsers know it, as behind a proxy.

    Raises:
        ValueError: another host than this machine without a token, or a token that can be guessed.
    """

    def __init__(self, host: str, token: str | None = None, names: Iterable[str] = ()) -> None:
        if not is_loopback(host) and token is None:
            raise ValueError(
                f"others could reach {host}: set a token of {_SHORTEST} characters or more in the environment variable "
                "GPAX_LAB_LIVE_TOKEN, or stay on 127.0.0.1 and use an ssh tunnel"
            )
        if token is not None and (len(token) < _SHORTEST or len(set(token)) < 8 or not token.isascii()):
            raise ValueError(f"the token of the live page needs {_SHORTEST} characters or more that nobody guesses")
        bare = host if ":" not in host else f"[{host}]"
        self._names = {name.lower() for name in (*_LOOPBACK, bare, *names) if name not in ("0.0.0.0", "[::]")}
        self._links: dict[str, _Link] = {}
        self._sessions: dict[str, Session] = {}
        self._acts: dict[str, Limit] = {}
        self._wrong = Limit(_TRIES, _TRIES_S)
        if token is not None:
            self._links[_hashed(token)] = _Link(True, again=True)

    def link(self, may_act: bool = True) -> str:
        """A new secret that opens one browser."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._links[_hashed(token)] = _Link(may_act)
        while len(self._links) > SESSIONS:  # the oldest one that nobody used
            del self._links[next(name for name, link in self._links.items() if not link.again)]
        return token

    def exchange(self, token: str) -> str:
        """The secret of the cookie for that of a link.

        Raises:
            Refused: unknown, or used already; or too many wrong ones.
        """
        link = _found(self._links, token)
        if link is None:
            if not self._wrong():
                raise Refused(429, "too many wrong tokens: wait a minute")
            raise Refused(401, "this link was used already, or never was one: take a new one")
        if not link.again:
            del self._links[_hashed(token)]
        cookie = secrets.token_urlsafe(TOKEN_BYTES)
        self._sessions[_hashed(cookie)] = Session(secrets.token_hex(4), link.may_act)
        while len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return cookie

    def check_host(self, hosts: list[str]) -> str:
        """The Host of a request, which must name this machine.

        Raises:
            Refused: none, several, or another name: a page of another site whose name was made to point here.
        """
        if len(hosts) != 1:
            raise Refused(400, "a request names one Host")
        host = hosts[0].lower()
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name = host
        elif not port.isdecimal():
            raise Refused(400, "a port is a number")
        if name not in self._names:
            raise Refused(421, "this page is not served under that name")
        return host

    def session(self, cookies: Mapping[str, str], name: str) -> Session:
        """The browser that a request comes from.

        Raises:
            Refused: it shows no cookie of ours.
        """
        found = _found(self._sessions, cookies.get(name, ""))
        if found is None:
            raise Refused(401, "open the link that the campaign shows")
        return found

    def check_act(self, session: Session, host: str, origins: list[str], types: list[str], site: list[str]) -> None:
        """What a POST must show beside the cookie: our own origin, JSON, and patience.

        Raises:
            Refused: it does not.
        """
        if len(origins) != 1 or origins[0].lower() not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, "an act comes from this page alone")
        if site and site != ["same-origin"]:
            raise Refused(403, "an act comes from this page alone")
        kind, _, charset = (types[0] if len(types) == 1 else "").partition(";")
        if kind.strip().lower() != "application/json" or charset.strip().lower() not in ("", "charset=utf-8"):
            raise Refused(415, "an act is application/json")
        if not session.may_act:
            raise Refused(403, "this link is for looking only")
        if not self._acts.setdefault(session.name, Limit(_ACTS, _ACTS_S))():
            raise Refused(429, "too many acts at once: wait some seconds")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _found(table: Mapping[str, object], secret: str):
    """The entry of a secret, looked for in the same time whatever the secret is."""
    wanted, found = _hashed(secret), None
    for name, value in table.items():
        if hmac.compare_digest(name, wanted):
            found = value
    return found
