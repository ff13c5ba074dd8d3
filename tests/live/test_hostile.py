"""What a page refuses: each rule of its safety, tried with requests byte by byte."""

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra live is not installed")

from small_page import Client, head, served, until

from gpax_lab.live import Page, _gate, _protocol

PIN = {"action": "pin", "given": {"x": [[5e-7, 1.0]]}, "by": "Ana", "why": "a crack"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with served(tmp_path_factory.mktemp("page")) as parts:
        yield parts


@pytest.fixture
def client(place):
    made = Client(place[0])
    assert made.enter() == 200
    return made


def asked(place) -> int:
    return len(place[1].fates())


def test_what_a_person_sends_arrives(place, client):
    before = asked(place)
    status, headers, body = client.post("/act", PIN)
    assert status == 202
    fate = place[1].fates()[-1]
    assert asked(place) == before + 1
    assert (fate.wish.id, fate.state) == (json.loads(body)["id"], "waiting")
    assert (fate.wish.by, fate.wish.why, fate.wish.given) == ("Ana", "a crack", PIN["given"])
    for name, value in _gate.HEADERS.items():
        assert headers[name] == value


def test_the_page_and_its_parts_are_there(client):
    for path in ("/", "/live.js", "/draw.js", "/live.css", "/icon.svg", "/facts", "/report"):
        status, headers, body = client.get(path)
        assert status == 200, path
        assert body
        assert headers["content-security-policy"].startswith("default-src 'self';")
    assert b"http://" not in client.get("/")[2].replace(b"http://www.w3.org", b"")  # nothing from elsewhere


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "127.0.0.1:80:80",
     "127.0.0.1:x", "[::1", "0.0.0.0", "192.168.0.1", "127.0.0.1@evil.example", "локалхост"],
)  # fmt: skip
def test_another_host(place, client, host):
    before = asked(place)
    origin = f"http://{host}"
    assert client.get("/facts", Host=host)[0] in (400, 421)
    assert client.post("/act", PIN, Host=host, Origin=origin)[0] in (400, 421)
    assert asked(place) == before


def test_no_host_and_two_hosts(client):
    assert client.get("/facts", Host=None)[0] == 400
    given = f"Host: {client.host}\r\nHost: evil.example\r\nCookie: {client.cookie}\r\nConnection: close"
    assert client.raw(f"GET /facts HTTP/1.1\r\n{given}\r\n\r\n".encode())[0] == 400


@pytest.mark.parametrize(
    "origin",
    [None, "null", "", "http://evil.example", "https://127.0.0.1.evil.example", "file://", "http://127.0.0.1:1"],
)
def test_another_origin(place, client, origin):
    before = asked(place)
    assert client.post("/act", PIN, Origin=origin)[0] == 403
    assert client.post("/withdraw", {"id": "0" * 16}, Origin=origin)[0] == 403
    assert client.post("/link", {"act": True}, Origin=origin)[0] == 403
    assert asked(place) == before


def test_a_request_that_a_browser_says_comes_from_elsewhere(client):
    for site in ("cross-site", "same-site", "none"):
        assert client.post("/act", PIN, Sec_Fetch_Site=site)[0] == 403


@pytest.mark.parametrize("cookie", ["", "gpax_lab=1", "gpax_lab_{port}=", "gpax_lab_{port}=" + "A" * 43, "a" * 5000])
def test_no_cookie_or_a_wrong_one(place, client, cookie):
    before = asked(place)
    wrong = cookie.replace("{port}", str(client.port))
    for path in ("/", "/live.js", "/facts", "/events", "/map/mean", "/raw/2", "/report"):
        status, _, body = client.get(path, Cookie=wrong)
        assert status == 401, path
        assert b"loop area" not in body
    assert client.post("/act", PIN, Cookie=wrong)[0] == 401
    assert client.post("/link", {"act": True}, Cookie=wrong)[0] == 401
    assert asked(place) == before


def test_a_token_opens_once(place, client):
    assert client.enter() == 401  # the same link again
    other = Client(place[0])
    assert other.get(f"/?token={'A' * 43}")[0] == 401
    assert other.get("/?token=")[0] == 401
    assert other.enter() == 200


def test_tokens_are_not_guessed(tmp_path):
    with served(tmp_path) as (page, _, _):
        client = Client(page)
        found = [client.get(f"/?token={i:043d}")[0] for i in range(15)]
        assert found == [401] * 10 + [429] * 5
        assert client.enter() == 200  # a right one is no guess


def test_the_cookie_is_for_this_page_alone(place):
    client = Client(place[0])
    cookie = client.get(f"/?token={client.token}")[1]["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie
    assert len(cookie.split("=")[1].split(";")[0]) >= 43  # 32 random bytes


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; q",
             "text/plain;application/json", "application/json; charset=utf-16"],
)  # fmt: skip
def test_another_content_type(place, client, kind):
    before = asked(place)
    assert client.post("/act", PIN, Content_Type=kind)[0] == 415
    assert asked(place) == before


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"action": "pin", "given": {"x": [[float("nan"), 0.0]]}}, "no number of JSON"),
        (b'{"action": "pin", "given": {"x": [[1e999, 0]]}}', "finite"),
        (b'{"action": "pin", "given": {"x": [[-Infinity, 0]]}}', "no number of JSON"),
        (b'{"action": "pin", "given": {"x": [[' + b"9" * 5000 + b", 0]]}}", "too long"),
        (b'{"action": "pin", "given": {"x": [[true, 0]]}}', "a number is needed"),
        (b'{"action": "pin", "given": {"x": [["0", 0]]}}', "a number is needed"),
        (b'{"action": "pin", "given": {"x": []}}', "a list of 1"),
        (b'{"action": "pin", "given": {"x": [[0], [0, 1]]}}', "rows of one length"),
        (b'{"action": "pin", "given": {"x": [[0, 1]], "y": 1}}', "takes no 'y'"),
        (b'{"action": "pin", "given": {}}', "needs x"),
        (b'{"action": "pin", "action": "stop", "given": {}}', "twice"),
        (b'{"action": "pin", "given": {"x": [[0, 1]]}, "id": "0000000000000000"}', "a table of action"),
        (b'{"action": "__import__", "given": {}}', "there is no act"),
        (b'{"action": ["pin"], "given": {}}', "there is no act"),
        (b'{"action": "pin", "given": [1]}', "a table of names"),
        (b'{"action": "pause", "by": "a\\u0000b"}', "can not be shown"),
        (b'{"action": "pause", "by": "' + b"a" * 500 + b'"}', "at most 80"),
        (b'{"action": "veto", "given": {"box": [[1, 0], [0, 1]]}}', "low < high"),
        (b'{"action": "veto", "given": {}}', "either x or box"),
        (b"[" * 30000, "no JSON text"),
        (b"\xff\xfe", "no JSON text"),
        (b"", "no JSON text"),
        (b"[]", "a table"),
    ],
)
def test_what_means_nothing(place, client, given, reason):
    before = asked(place)
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    status, _, answer = client.post("/act", body)
    assert status == 400
    assert reason in json.loads(answer)["error"]
    assert asked(place) == before


def test_a_huge_body(place, client):
    before = asked(place)
    assert client.post("/act", b" " * (_gate.BODY_BYTES + 1))[0] in (0, 413)
    assert client.post("/act", b"{}", Content_Length="99999999999999")[0] in (0, 413)
    start = {"Host": client.host, "Cookie": client.cookie, "Origin": f"http://{client.host}",
             "Content-Type": "application/json", "Transfer-Encoding": "chunked", "Connection": "close"}  # fmt: skip
    chunks = b"".join(b"8000\r\n" + b" " * 0x8000 + b"\r\n" for _ in range(4)) + b"0\r\n\r\n"
    assert client.raw(head("POST", "/act", start) + chunks)[0] in (0, 413)
    assert asked(place) == before


def test_a_body_and_a_head_that_do_not_come(place, client, monkeypatch):
    monkeypatch.setattr(_gate, "BODY_S", 0.3)
    monkeypatch.setattr(_protocol, "HEAD_S", 0.5)
    before = asked(place)
    assert client.post("/act", b"{", Content_Length="1000")[0] == 408
    started = time.monotonic()
    connection = client.raw(b"GET / HTTP/1.1\r\nHost: ", hold=True)
    connection.settimeout(30.0)
    assert connection.recv(1) == b""  # closed by the server, `HEAD_S` after it was opened
    assert time.monotonic() - started < 10.0
    connection.close()
    assert asked(place) == before


@pytest.mark.parametrize(
    "path",
    ["/../live.js", "/..%2f..%2fpyproject.toml", "/live/../../etc/passwd", "/live.js/..", "//etc/passwd",
     "/page/live.js", "/map/../../x", "/map/..%2fx", "/map/secret", "/raw/1", "/raw/-1",
     "/raw/999999999999999999999", "/raw/x", "/film.gpxj", "/.link", "/act", "/act/", "/facts/",
     "/" + "a" * 400, "/live.js%00.css"],
)  # fmt: skip
def test_paths_that_lead_nowhere(client, path):
    assert client.get(path)[0] in (404, 405, 414)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_other_methods(client, method):
    given = {"Host": client.host, "Cookie": client.cookie, "Connection": "close"}
    assert client.raw(head(method, "/act", given))[0] in (400, 405)


def test_no_web_sockets(client):
    given = {"Host": client.host, "Cookie": client.cookie, "Connection": "Upgrade", "Upgrade": "websocket",
             "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="}  # fmt: skip
    connection = client.raw(head("GET", "/events", given), hold=True)
    assert b"101" not in connection.recv(100)
    connection.close()


def test_who_only_looks_can_not_act(place):
    client = Client(place[0], may_act=False)
    assert client.enter() == 200
    assert client.get("/facts")[0] == 200
    assert json.loads(client.get("/facts")[2])["may_act"] is False
    before = asked(place)
    for path, body in (("/act", PIN), ("/withdraw", {"id": "0" * 16}), ("/link", {"act": True})):
        assert client.post(path, body)[0] == 403
    assert asked(place) == before


def test_acts_come_no_faster_than_people(place):
    client = Client(place[0])
    client.enter()
    found = [client.post("/withdraw", {"id": "0" * 16})[0] for _ in range(25)]
    assert found == [409] * 20 + [429] * 5


def test_not_more_pages_follow_than_there_is_room_for(tmp_path):
    with served(tmp_path) as (page, _, _):
        client = Client(page)
        client.enter()
        open_ones = [client.events() for _ in range(_gate.STREAMS)]
        for connection in open_ones:
            until(connection, b"event: records")
        status, _, body = client.get("/events")
        assert status == 503
        assert b"close one" in body
        for connection in open_ones:
            connection.close()
        end = time.monotonic() + 20.0
        while client.get("/facts")[0] != 200 and time.monotonic() < end:
            pass
        while (connection := client.events()) and b"200" not in connection.recv(15) and time.monotonic() < end:
            connection.close()
            time.sleep(0.1)
        until(connection, b"event: records")
        connection.close()


def test_a_stream_goes_on_behind_the_last_entry(place, client):
    connection = client.events()
    first = until(connection, b'"kind":"fault"')
    assert b"id: 3\nevent: records" in first
    connection.close()
    for last, kinds in (("1", (b'"reading"', b'"fault"')), ("2", (b'"fault"',)), ("x", (b'"intent"', b'"fault"'))):
        connection = client.events(last=last)
        found = until(connection, b'"kind":"fault"')
        assert all(kind in found for kind in kinds)
        assert (b'"intent"' in found) == (last == "x")
        connection.close()


def test_the_last_entry_reaches_the_browsers_before_the_page_goes(tmp_path):
    for again in range(5):
        folder = tmp_path / str(again)
        folder.mkdir()
        with served(folder) as (page, _, campaign):
            client = Client(page)
            client.enter()
            connection = client.events()
            until(connection, b'"kind":"fault"')
            campaign.append(("stop", 0, {"reason": "done", "finished": True}, {}))
        assert b'"kind":"stop"' in until(connection, b'"kind":"stop"')
        connection.close()


def test_text_of_others_is_never_markup(client):
    """The page is the same whatever the journal says, and what the journal says goes out as JSON alone."""
    assert b"<b>7</b>" not in client.get("/")[2]
    _, headers, body = client.get("/facts")
    assert headers["content-type"].startswith("application/json")
    assert json.loads(body)["title"] == "film <b>7</b>"
    sources = [
        (Path(_gate.__file__).parent / "page" / name).read_text(encoding="utf-8") for name in ("live.js", "draw.js")
    ]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert not any(word in source for source in sources), word


def test_a_page_for_looking_takes_nothing(tmp_path):
    with served(tmp_path, look=True) as (page, _, _):
        client = Client(page)
        assert client.enter() == 200
        assert client.post("/act", PIN)[0] == 403


def test_other_machines_need_a_token(tmp_path):
    for host in ("0.0.0.0", "192.168.1.5", "::", "microscope.lab"):
        with pytest.raises(ValueError, match="GPAX_LAB_LIVE_TOKEN"):
            _gate.Gate(host)
    for weak in ("short", "a" * 40, "ü" * 40):
        with pytest.raises(ValueError, match="nobody guesses"):
            _gate.Gate("0.0.0.0", weak)
    token = "k3Rw9-4fTz_8mQv2LxJc7NpYb6HsGdA0e"
    with served(tmp_path, host="0.0.0.0", token=token, names=["microscope.lab"]) as (page, _, _):
        client = Client(page)
        assert client.get(f"/?token={token}", Host="microscope.lab")[0] == 200
        assert client.get(f"/?token={token}", Host="0.0.0.0")[0] == 421
        assert client.get(f"/?token={token}")[0] == 200  # a person's own token opens every browser
        assert token not in page.address


def test_secrets_are_in_no_journal_and_the_link_is_for_this_user(tmp_path):
    with served(tmp_path) as (page, _, campaign):
        path = tmp_path / "film.link"
        first = path.read_text(encoding="utf-8")
        assert path.stat().st_mode & 0o077 == 0
        client = Client(page)
        client.token = first.strip().split("token=")[1]
        assert client.enter() == 200
        assert path.read_text(encoding="utf-8") != first  # another browser needs another one
        client.post("/act", PIN)
        for secret in (client.token, client.cookie.split("=")[1]):
            assert secret.encode() not in campaign.journal.path.read_bytes()
    assert not path.exists()


def test_a_taken_port_is_an_error_in_words(place, tmp_path):
    with pytest.raises(OSError, match="in use"), served(tmp_path, port=place[0].port):
        pass


def test_the_page_needs_its_extra(monkeypatch, tmp_path):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gpax-lab\[live\]"'):
        Page(tmp_path / "film.gpxj", None)
