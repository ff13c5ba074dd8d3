"""What the live page must hold, measured at a campaign in a process of its own.

Claims: from an entry of the journal, and from a wish, to a browser's stream of events 0.2 s (median), also while NUTS
is being compiled in the same process; with three browsers the memory of the campaign is flat; every hostile request is
refused, and an honest one between them is taken. One JSON line a result; the exit status is 1 where a claim fails.
`--minutes` says how long memory is watched (30 in full, half a minute with `--quick`).
"""

import argparse
import http.client
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from gpax_lab.storage import read

ALLOWED_S, GROWTH_MB = 0.2, 24.0
failures: list[str] = []


def report(name, value, unit, reference, holds=True):
    print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference}), flush=True)
    if not holds:
        failures.append(name)


def campaign(folder: Path, wait_s: float, steps: int, sampler: str) -> None:
    """The other process: a campaign with its page."""
    import jax
    import jax.numpy as jnp

    from gpax_lab import acquisition, bayes_opt, gp, inference, setup
    from gpax_lab.core import Axis
    from gpax_lab.experiment import Simulated, run
    from gpax_lab.live import Facts, Inbox, Page
    from gpax_lab.storage import Campaign

    setup(verbose=False)
    where = acquisition.grid([[0.0, 1.0], [0.0, 1.0]], (32, 32))
    fit = inference.nuts(200, 200) if sampler == "nuts" else inference.laplace(32)
    experiment = bayes_opt(gp.exact(2), fit, acquisition.log_ei(), where)

    class Slow(Simulated):
        def measure(self, x, token):
            time.sleep(wait_s)
            return super().measure(x, token)

    def film(key, x):
        return jnp.exp(-9 * jnp.sum((x - 0.4) ** 2)) + 0.02 * jax.random.normal(key)

    axes = [Axis("x", "m", 0.0, 1.0), Axis("y", "m", 0.0, 1.0)]
    path, points = folder / "film.gpxj", np.asarray(where.points)
    with Campaign.create(path, {"settings": {}}) as file:
        inbox = Inbox(file, path, axes=axes)
        facts = Facts("film", axes, ("height", "nm"), points, steps, pool=True)
        page = Page(path, facts, inbox, link=path.with_suffix(".link"), told=lambda link: print(link, flush=True))
        with page:
            run(
                experiment, Slow(film), file, steps, seeds=points[:: len(points) // 6], key=jax.random.key(0),
                scalarize=Simulated.scalarize, hooks=[inbox, page], hold=inbox.hold, stop=inbox.stop,
                callback=page.callback,
            )  # fmt: skip


class Browser(threading.Thread):
    """Follows the stream as the page does, and fetches each map; notes when an entry or a wish arrived."""

    def __init__(self, host: str, link: str) -> None:
        super().__init__(daemon=True)
        self.host = host
        answer, _ = self.request("GET", f"/?token={link.split('token=')[1]}")
        self.cookie = answer.headers["set-cookie"].split(";")[0]
        self.delays: list[tuple[float, float]] = []  # when, how long
        self.wishes: dict[str, float] = {}
        self.maps = self.entries = 0
        self.over = False

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        given = {"Cookie": getattr(self, "cookie", "")} | headers
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in given.items()})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer, data

    def wish(self, action: str, **given):
        """Ask for something as the page does."""
        return self.post("/act", {"action": action, "given": given, "by": "benchmark", "why": ""})

    def post(self, path: str, value: dict):
        """Send JSON from our own origin."""
        origin = f"http://{self.host}"
        return self.request("POST", path, json.dumps(value), Origin=origin, Content_Type="application/json")

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request("GET", "/events", headers={"Cookie": self.cookie})
        stream, name = connection.getresponse(), ""
        try:
            while not self.over and (line := stream.readline()):
                now, text = time.time(), line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    self.take(name, json.loads(text.removeprefix("data: ")), now)
        except OSError:
            pass

    def take(self, name, value, now):
        if name == "records":
            if self.entries:  # the first message holds all that was there before
                self.delays += [(now, now - one["wall"]) for one in value]
            self.entries += len(value)
        elif name == "wishes":
            for one in value["wishes"]:
                self.wishes.setdefault(one["id"], now)
        elif name == "maps":
            self.maps += "step" in value  # the first message says that there is none yet
            for layer in ("mean", "std", "acquisition"):
                if "step" in value:
                    self.request("GET", f"/map/{layer}")


def started(folder: Path, wait_s: float, steps: int, sampler: str, fresh: bool):
    """The process of a campaign and the links of three browsers."""
    environment = dict(os.environ)
    if fresh:  # nothing that was compiled before
        environment |= {"GPAX_LAB_CACHE": str(folder / "cache"), "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, __file__, "--campaign", str(folder), str(wait_s), str(steps), sampler]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    first = process.stdout.readline().strip()
    host = first.split("/")[2]
    return process, host, first


def another_link(folder: Path, before: str) -> str:
    """The link in the file, once it is another one."""
    end = time.monotonic() + 10.0
    while True:
        text = (folder / "film.link").read_text(encoding="utf-8").strip()
        if text != before or time.monotonic() > end:
            return text
        time.sleep(0.02)


def browsers(folder: Path, host: str, first: str, count: int) -> list[Browser]:
    found, link = [], first
    for _ in range(count):
        before = (folder / "film.link").read_text(encoding="utf-8").strip()
        found.append(Browser(host, link))
        link = another_link(folder, before)
    for one in found:
        one.start()
    return found


class Screen:
    """Chromium with the page open, where both are there: when each measurement stood on it."""

    def __init__(self, link: str) -> None:
        self.seen: list[tuple[float, str]] = []
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        if path is None or importlib.util.find_spec("playwright") is None:
            self.page = None
            return
        from playwright.sync_api import sync_playwright

        self.started = sync_playwright().start()
        self.page = self.started.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
        self.page.goto(link)
        self.page.wait_for_selector("#last dd", state="attached")
        self.page.evaluate(
            """() => { window.seen = []; const last = document.querySelector('#last');
            new MutationObserver(() => requestAnimationFrame(() => window.seen.push([Date.now() / 1000,
            last.querySelector('dd').textContent]))).observe(last, {childList: true}); }"""
        )

    def close(self) -> None:
        """Keep what it saw."""
        if self.page is not None:
            self.seen = [(at, text.split()[0]) for at, text in self.page.evaluate("window.seen") if text]
            self.started.stop()

    def delays(self, walls: list[float]) -> list[float]:
        """s from each measurement's entry, in order, to the screen."""
        first: dict[int, float] = {}
        for at, number in self.seen:
            if number.isdecimal():
                first.setdefault(int(number), at)
        return [at - walls[number - 1] for number, at in first.items() if 0 < number <= len(walls)]


def quantiles(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "95 %": round(float(np.quantile(values, 0.95)), 4),
        "longest": round(max(values), 4),
        "of": len(values),
    }


def latency(quick: bool) -> None:
    """Entries and wishes to three browsers; wishes also while the sampler is being compiled."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process, host, first = started(folder, 0.05, 6 if quick else 40, "nuts", fresh=True)
        try:
            found = browsers(folder, host, first, 3)
            screen = Screen((folder / "film.link").read_text(encoding="utf-8").strip())
            compiling, running = [], []
            fitted = False
            while process.poll() is None:
                fitted = fitted or found[0].maps > 0
                try:
                    asked = time.time()
                    answer, data = found[0].wish("pin", x=[[0.5, 0.5]])
                    if answer.status == 202:
                        name = json.loads(data)["id"]
                        (running if fitted else compiling).append((name, asked))
                        time.sleep(0.3)
                        found[0].post("/withdraw", {"id": name})
                except OSError:
                    break  # the campaign is over
                time.sleep(0.7)
            process.wait(timeout=60)
            screen.close()
        finally:
            process.kill()
            process.stdout.close()
        walls = [entry.wall for entry in read(folder / "film.gpxj").of("reading")]
        if seen := screen.delays(walls):
            report("entry to screen", quantiles(seen), "s", ALLOWED_S, statistics.median(seen) < ALLOWED_S)
        for words, wishes in (("while compiling", compiling), ("while running", running)):
            seen = [one.wishes[name] - asked for name, asked in wishes for one in found if name in one.wishes]
            if seen:
                report(f"wish to stream, {words}", quantiles(seen), "s", ALLOWED_S, statistics.median(seen) < ALLOWED_S)
        delays = [delay for one in found for _, delay in one.delays]
        report("entry to stream", quantiles(delays), "s", ALLOWED_S, statistics.median(delays) < ALLOWED_S)
        if not compiling:
            failures.append("no wish while compiling")


def memory(minutes: float) -> None:
    """Resident memory of a campaign with three browsers, from the end of compiling on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = max(20, int(minutes * 60))
        process, host, first = started(folder, 5.0 if minutes > 5 else 0.5, min(steps, 300), "laplace", fresh=False)
        try:
            found = browsers(folder, host, first, 3)
            watched = psutil.Process(process.pid)
            while found[0].maps < 4 and process.poll() is None:
                time.sleep(0.2)
            begun, sizes = time.monotonic(), []
            while time.monotonic() - begun < 60 * minutes and process.poll() is None:
                sizes.append((time.monotonic() - begun, watched.memory_info().rss / 1e6))
                time.sleep(min(2.0, minutes))
        finally:
            process.kill()
            process.stdout.close()
    time_s, size = np.array(sizes).T
    half = len(size) // 2
    early, late = float(np.median(size[half : half + max(1, half // 4)])), float(np.median(size[-max(1, half // 4) :]))
    lasted = round(float(time_s[-1]) / 60, 1)
    told = {"begin": round(float(size[0])), "half": round(early), "end": round(late), "minutes": lasted,
            "entries": found[0].entries, "maps": found[0].maps}  # fmt: skip
    report("memory with three browsers", told, "MB", f"+ {GROWTH_MB:g} in the second half", late - early < GROWTH_MB)


def spoilt(rng: random.Random, host: str, cookie: str):
    """A request that has to be refused: an honest one with one thing wrong."""
    headers = {"Host": host, "Cookie": cookie, "Origin": f"http://{host}", "Content-Type": "application/json"}
    body = {"action": "pin", "given": {"x": [[0.5, 0.5]]}, "by": "eve", "why": ""}
    text, path = None, "/act"
    strange = [float("nan"), float("inf"), -1e400, "0", None, True, [], {}, 10**400]
    match rng.randrange(12):
        case 0:
            headers["Host"] = rng.choice(["evil.example", f"evil.{host}", "0.0.0.0", "[::]", "127.0.0.1.nip.io"])
        case 1:
            headers["Origin"] = rng.choice(["http://evil.example", "null", "file://", f"http://{host}.evil", ""])
        case 2:
            del headers["Origin"]
        case 3:
            headers["Cookie"] = rng.choice(["", cookie[:-1], cookie + "x", cookie.upper(), "a=b"])
        case 4:
            headers["Content-Type"] = rng.choice(["text/plain", "", "application/x-www-form-urlencoded", "json"])
        case 5:
            headers["Sec-Fetch-Site"] = rng.choice(["cross-site", "same-site", "none"])
        case 6:
            body["given"]["x"][0][rng.randrange(2)] = rng.choice(strange)
        case 7:
            body["action"] = rng.choice(["__class__", "eval", "", None, 5, "pin\u0000", "PIN", "discard_all"])
        case 8:
            body[rng.choice(["id", "at", "wish", "__proto__", "token"])] = 1
        case 9:
            text = rng.choice(
                [b"", b"{", b"[" * 20_000, b"\xff", b"null", b" " * 70_000, b'{"action":"pause","action":"stop"}']
            )
        case 10:
            path = rng.choice(["/acts", "/act/", "/../act", "/act%00", "/link/", "/map/act", "//act"])
        case 11:
            body["by"] = rng.choice(["a" * 100, "\u202e\u0007", 5, None, ["a"]])
    return path, headers, json.dumps(body).encode() if text is None else text


def hostile(count: int) -> None:
    """Requests with one thing wrong each, to a page with nobody behind it."""
    from gpax_lab.core import Axis
    from gpax_lab.live import Facts, Inbox, Page
    from gpax_lab.storage import Campaign

    rng, taken, honest, statuses = random.Random(0), 0, 0, {}
    axes = [Axis("x", "m", 0.0, 1.0), Axis("y", "m", 0.0, 1.0)]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "film.gpxj"
        with Campaign.create(path, {"settings": {}}) as file:
            inbox = Inbox(file, axes=axes)
            with Page(path, Facts("film", axes, ("height", "nm"), np.zeros((1, 2)), 1), inbox) as page:
                host = f"127.0.0.1:{page.port}"
                for k in range(count):
                    if k % 10 == 0:  # nobody is refused for haste alone
                        browser = Browser(host, page.new_link())
                        answer, _ = browser.wish("pin", x=[[0.5, 0.5]])
                        honest += answer.status == 202
                        inbox.withdraw(inbox.fates()[-1].wish.id)
                    before = len([fate for fate in inbox.fates() if fate.state == "waiting"])
                    target, headers, data = spoilt(rng, host, browser.cookie)
                    status = refused(host, target, headers, data)
                    statuses[status] = statuses.get(status, 0) + 1
                    after = len([fate for fate in inbox.fates() if fate.state == "waiting"])
                    taken += status < 400 or after != before
    told = {"refused": count - taken, "of": count, "honest taken": honest, "statuses": dict(sorted(statuses.items()))}
    report("hostile requests", told, "", "all refused", taken == 0 and honest == -(-count // 10))


def refused(host, path, headers, data) -> int:
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        return connection.getresponse().status
    except OSError:
        return 499  # the connection was closed before all was sent
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--only", choices=["hostile", "latency", "memory"])
    parser.add_argument("--campaign", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.campaign:
        folder, wait_s, steps, sampler = given.campaign
        campaign(Path(folder), float(wait_s), int(steps), sampler)
        return
    if given.only in (None, "hostile"):
        hostile(300 if given.quick else 5000)
    if given.only in (None, "latency"):
        latency(given.quick)
    if given.only in (None, "memory"):
        memory(given.minutes or (0.5 if given.quick else 30.0))
    if failures:
        sys.exit(f"falls short: {', '.join(failures)}")


if __name__ == "__main__":
    main()
