"""The web application of a live page: a few addresses, each behind the gate."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpax_lab.live import _gate as gate
from gpax_lab.live._board import Board
from gpax_lab.live._digest import plain
from gpax_lab.live._gate import Gate, Refused, Session
from gpax_lab.live._wish import BadWish, Wish, parse

_FILES = {"/live.css": ("live.css", "text/css"), "/live.js": ("live.js", "text/javascript"),
          "/draw.js": ("draw.js", "text/javascript"), "/icon.svg": ("icon.svg", "image/svg+xml")}  # fmt: skip
_BEAT_S = 4.0
_AT_ONCE = 500
"""Records in one message."""
_OPENING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gpax_lab</title>
<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Open the live page</a></p></html>"""
_CLOSED = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>gpax_lab: closed</title><h1>This page needs its link</h1><p>%s.</p>
<p>The program that runs the campaign prints a link; it opens one browser. A new one stands in the file that ends in
.link beside the journal, and the page gives out more under "Another device".</p></html>"""


class _Guarded:
    """Every request passes here: Host, size and pace of the body, and what every answer carries."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in gate.HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            scope["host"] = self._gate.check_host(_all(scope, b"host"))
            if scope["method"] not in ("GET", "HEAD", "POST"):
                raise Refused(405, "GET and POST alone")
            if len(scope["raw_path"]) > 200 or len(scope["query_string"]) > 500:
                raise Refused(414, "an address is short")
            await self._app(scope, receive, sealed)
        except Refused as refused:
            await _refusal(refused)(scope, receive, sealed)


def application(board: Board, gates: Gate, cookie: str, used: Callable[[], None], limit: int) -> ASGIApp:
    """The application.

    Args:
        board: what is shown.
        gates: who may do what.
        cookie: name of the cookie.
        used: called when a link was used.
        limit: pages that may follow at a time.
    """
    handlers = _Handlers(board, gates, cookie, used, limit)
    routes = [
        Route("/", handlers.page),
        *(Route(path, handlers.file) for path in _FILES),
        Route("/facts", handlers.facts),
        Route("/events", handlers.events),
        Route("/map/{layer}", handlers.layer),
        Route("/raw/{number:int}", handlers.raw),
        Route("/fit/{number:int}", handlers.fit),
        Route("/report", handlers.report),
        Route("/act", handlers.act, methods=["POST"]),
        Route("/withdraw", handlers.withdraw, methods=["POST"]),
        Route("/link", handlers.link, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={Refused: _refused})
    app.router.redirect_slashes = False
    return _Guarded(app, gates)


class _Handlers:
    """What each address answers."""

    def __init__(self, board: Board, gates: Gate, cookie: str, used: Callable[[], None], limit: int) -> None:
        self._board, self._gate, self._cookie, self._used, self._limit = board, gates, cookie, used, limit
        self._streams = 0

    def _session(self, request: Request) -> Session:
        return self._gate.session(request.cookies, self._cookie)

    async def page(self, request: Request) -> Response:
        """The page; or, with a token, the cookie that opens it."""
        token = request.query_params.get("token")
        try:
            if token is not None and request.method == "GET":  # whoever only asks for the head opens nothing
                secret = self._gate.exchange(token)
                await asyncio.to_thread(self._used)
                answer = HTMLResponse(_OPENING)  # not a redirect: that would be a request from another site's link
                answer.set_cookie(self._cookie, secret, httponly=True, samesite="strict", path="/")
                return answer
            self._session(request)
        except Refused as refused:
            return HTMLResponse(_CLOSED % refused.reason, refused.status)
        return HTMLResponse(_asset("index.html"))

    async def file(self, request: Request) -> Response:
        """A part of the page."""
        self._session(request)
        name, kind = _FILES[request.url.path]
        return Response(_asset(name), media_type=kind)

    async def facts(self, request: Request) -> Response:
        """What the campaign is about."""
        session, facts, board = self._session(request), self._board.facts, self._board
        axes = [{"name": a.name, "unit": a.unit, "low": a.low, "high": a.high} for a in facts.axes]
        return JSONResponse(plain({
            "title": facts.title, "axes": axes, "quantity": list(facts.quantity), "steps": facts.steps,
            "maximize": facts.maximize, "pool": facts.pool, "scalarizers": list(facts.scalarizers),
            "laws": facts.laws, "positions": board.x, "layout": board.layout,
            "may_act": session.may_act and board.inbox is not None, "live": board.inbox is not None,
        }))  # fmt: skip

    async def layer(self, request: Request) -> Response:
        """A map, (m,) float32, little-endian."""
        self._session(request)
        values = self._board.layers.get(request.path_params["layer"])
        if values is None:
            raise Refused(404, "there is no such map yet")
        return Response(values.tobytes(), media_type="application/octet-stream")

    async def raw(self, request: Request) -> Response:
        """The arrays of a measurement."""
        self._session(request)
        found = await asyncio.to_thread(self._board.raw, request.path_params["number"])
        if found is None:
            raise Refused(404, "there is no such measurement, or it is too old to be kept here")
        return JSONResponse(found)

    async def fit(self, request: Request) -> Response:
        """The curve that describes a measurement; the first one of its kind compiles."""
        self._session(request)
        return JSONResponse(await asyncio.to_thread(self._board.fit, request.path_params["number"]))

    async def report(self, request: Request) -> Response:
        """The comparison of hypotheses in words, as it was last made; asking for it has it made anew."""
        self._session(request)
        if request.query_params.get("anew") == "1":
            self._board.want_report()
        return JSONResponse({"text": self._board.report, "made": self._board.reports})

    async def act(self, request: Request) -> Response:
        """Take a wish in."""
        given = await self._posted(request)
        if not isinstance(given, dict) or not set(given) <= {"action", "given", "by", "why"}:
            raise Refused(400, "an act is a table of action, given, by and why")
        if self._board.inbox is None:
            raise Refused(403, "this page only looks")
        try:
            wish = Wish(given.get("action", ""), given.get("given", {}), given.get("by", ""), given.get("why", ""))
            await asyncio.to_thread(self._board.inbox.ask, wish)
        except BadWish as error:
            raise Refused(400, str(error)) from None
        return JSONResponse({"id": wish.id}, 202)

    async def withdraw(self, request: Request) -> Response:
        """Take a wish back."""
        given = await self._posted(request)
        if not isinstance(given, dict) or set(given) != {"id"} or not isinstance(given["id"], str):
            raise Refused(400, "name the id of a wish")
        done = self._board.inbox is not None and await asyncio.to_thread(self._board.inbox.withdraw, given["id"])
        if not done:
            raise Refused(409, "it does not wait any more")
        return JSONResponse({"id": given["id"]})

    async def link(self, request: Request) -> Response:
        """A link for another device."""
        given = await self._posted(request)
        if not isinstance(given, dict) or set(given) != {"act"} or not isinstance(given["act"], bool):
            raise Refused(400, "say whether the other device may act")
        return JSONResponse({"path": f"/?token={self._gate.link(given['act'])}"})

    async def _posted(self, request: Request) -> Any:
        session = self._session(request)
        lists = {name: request.headers.getlist(name) for name in ("origin", "content-type", "sec-fetch-site")}
        host = request.scope["host"]
        self._gate.check_act(session, host, lists["origin"], lists["content-type"], lists["sec-fetch-site"])
        try:
            return parse(await asyncio.wait_for(_body(request), gate.BODY_S))
        except TimeoutError:
            raise Refused(408, "the body did not come in time") from None
        except ClientDisconnect:
            raise Refused(400, "the body did not come") from None
        except BadWish as error:
            raise Refused(400, str(error)) from None

    async def events(self, request: Request) -> Response:
        """Everything from the entry behind Last-Event-ID on, as it happens."""
        self._session(request)
        if self._streams >= self._limit:
            raise Refused(503, f"{self._limit} pages follow already: close one")
        last = request.headers.get("last-event-id", request.query_params.get("after", "-1"))
        after = int(last) if last.isascii() and last.removeprefix("-").isdecimal() and len(last) < 12 else -1
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(self._follow(max(-1, after)), media_type="text/event-stream", headers=headers)

    async def _follow(self, after: int) -> AsyncIterator[str]:
        board, changed, loop = self._board, asyncio.Event(), asyncio.get_running_loop()

        def call() -> None:
            with contextlib.suppress(RuntimeError):  # the server ends just now
                loop.call_soon_threadsafe(changed.set)

        self._streams += 1
        forget = board.listen(call)
        seen: dict[str, int] = {}
        try:
            yield "retry: 1000\n\n"
            while True:
                over = board.over  # looked at first: what was told before that is still sent
                changed.clear()
                for name, snapshot in (("status", board.status), ("wishes", board.wishes), ("maps", board.maps)):
                    if seen.get(name) != snapshot.version:
                        seen[name] = snapshot.version
                        yield _message(name, {**snapshot.value, "version": snapshot.version})
                while new := board.records[after + 1 : after + 1 + _AT_ONCE]:
                    after = new[-1]["number"]
                    yield _message("records", new, after)
                if over:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), _BEAT_S)
                except TimeoutError:
                    yield _message("beat", {})
        finally:
            self._streams -= 1
            forget()


async def _body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > gate.BODY_BYTES:
        raise Refused(413, f"at most {gate.BODY_BYTES} bytes")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > gate.BODY_BYTES:
            raise Refused(413, f"at most {gate.BODY_BYTES} bytes")
    return bytes(data)


def _message(event: str, value: Any, number: int | None = None) -> str:
    name = "" if number is None else f"id: {number}\n"
    return f"{name}event: {event}\ndata: {json.dumps(value, allow_nan=False, separators=(',', ':'))}\n\n"


def _asset(name: str) -> bytes:
    return (resources.files("gpax_lab.live") / "page" / name).read_bytes()


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"error": refused.reason}, refused.status, {"connection": "close"})


async def _refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return _refusal(refused)
