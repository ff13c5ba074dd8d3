"""What the Nanonis driver must hold, measured against the simulated controller in a process of its own.

Claims: through wire faults of every kind at any answer, campaigns end bit for bit where the undisturbed one does, every
reading is the one that the controller has filed under its token, no spectrum is taken twice, nothing is sent outside
the limits, the tip never meets the surface, and no answer is given to the wrong question; after kill -9 nothing that
was acknowledged is lost, the next program makes safe before anything else, and the campaign ends where the undisturbed
one does; an image of 256 x 256 arrives at a quarter of a bare socket's speed or better.
One JSON line a result; the exit status is 1 where a claim fails. ``--quick`` makes fewer faults and kills.
"""

import argparse
import collections
import contextlib
import json
import random
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import crash_desk as desk
import nanonis_desk as small
import numpy as np
from crash_rooms import Room
from gpax_instruments import _nanonis_codecs as codecs
from gpax_instruments.errors import LINK_FAULTS
from gpax_instruments.links import open_link
from gpax_instruments.links._nanonis import NanonisClient
from gpax_instruments.twins import start_nanonis
from results import Report

FAULTS = ("DROP", "HALF", "STALL", "LATE", "DUP", "JUNK", "ECHO", "SHORT")
LATE_S = 30.0  # a late answer comes when nobody waits any more, or never
TIMEOUT_S = 0.1
INTERVAL_S = 0.1  # between two faults, on average: a connection is set up anew in between
DWELL_S = 0.01
EDGE = 256
report = Report()


class Twin:
    """The controller, its ledger, and a port of our own to look at it and to arm faults."""

    def __init__(self, folder, name, **options):
        self.ledger_file, self.wire_file = folder / f"{name}.ledger", folder / f"{name}.wire"
        self.process = start_nanonis(ports=4, ledger=self.ledger_file, wire_log=self.wire_file, seed=3, **options)
        self.port = self.process.ports[0]
        self.client = NanonisClient(open_link(f"tcp://127.0.0.1:{self.process.ports[3]}"), 30.0)
        self.client.connect()
        self._offset = 0

    def arm(self, name, count=1, seconds=LATE_S):
        """Have the controller do something wrong; the answer to this is never touched."""
        body, end = codecs.pack("s i f", (name, count, seconds)), time.monotonic() + 30.0
        self.client.link.write(codecs.request_header("Twin.Fault", len(body)) + body, end)
        self.client.link.read_exact(codecs.HEADER_BYTES + 8, end)

    def happened(self):
        """The acts since this was asked last."""
        with self.ledger_file.open() as file:
            file.seek(self._offset)
            acts = [json.loads(line) for line in file]
            self._offset = file.tell()
        return acts

    def unsafe(self):
        """What is not safe, in words."""
        status, bias = self.client.again("ZCtrl.StatusGet")[0], self.client.again("Bias.Get")[0]
        return "" if (status, bias) == (1, 0.0) else f"controller {status}, bias {bias} V"

    def filed(self, token):
        """The spectrum that the controller has filed under a token."""
        folder = self.client.again("Util.SessionPathGet")[0]
        return self.client.again("File.datLoad", f"{folder}/{token}00001.dat", 0)[1]

    def stop(self):
        """End it."""
        self.client.close()
        self.process.stop()


def outside(acts):
    """Acts beyond what the driver was allowed."""
    low, high = -1e-12, small.SIDE_M + 1e-12
    for act in acts:
        if act["act"] == "move" and not (low <= act["x"] <= high and low <= act["y"] <= high):
            yield act
        if act["act"] in ("bias", "pulse") and not abs(act["bias"]) <= small.MAX_BIAS_V:
            yield act
        if act["act"] == "spectrum" and not (act["low"] >= -1.5 - 1e-6 and act["high"] <= 1.5 + 1e-6):
            yield act
        if act["act"] == "crash":
            yield act


def faults(folder, cache, count, dice):
    """Campaigns through wire faults until so many have struck."""
    twin = Twin(folder, "faults")
    room = Room("nanonis_desk", "Desk", cache, {})
    whole = folder / "whole.gpxj"
    end, _ = room.ask("whole", small.NAME, whole, twin.port)
    twin.happened()
    struck, equal, same, filed, wrong_acts, twice, restarts, campaigns, failed = (
        collections.Counter(),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    )
    readings = 0
    while sum(struck.values()) < count:
        path = folder / f"faults-{campaigns}.gpxj"
        room.tell("through", path, twin.port, TIMEOUT_S, 120.0)
        while room.hear(0.0) != ("said", "begun"):
            time.sleep(0.001)
        answer = None
        while answer is None:
            twin.arm(dice.choice(FAULTS))
            answer = room.hear(dice.expovariate(1 / INTERVAL_S))
        twin.arm("CLEAR")
        if answer[0] != "answer":
            raise RuntimeError(answer[1])
        found, errors = answer[1]
        acts = twin.happened()
        struck.update(act["name"] for act in acts if act["act"] == "fault")
        restarts += len(errors)
        equal += found == end
        same += room.ask("same_arrays", path, whole)
        failed += len(room.ask("failed", path))
        wrong_acts += len(list(outside(acts)))
        spectra = collections.Counter(act["name"] for act in acts if act["act"] == "spectrum" and not act["cut"])
        twice += sum(number - 1 for number in spectra.values())
        for frame in desk.read(path).of("reading"):
            data = twin.filed(frame.header["token"])
            readings += 1
            filed += all(
                np.array_equal(desk.kept(frame).arrays[name], row)
                for name, row in zip(("bias", "current", "li_demod_1_x"), data, strict=True)
            )
        campaigns += 1
        path.unlink()
    unsafe = twin.unsafe()
    room.kill()
    twin.stop()
    total = sum(struck.values())
    report.result(f"wire faults that struck ({', '.join(f'{struck[n]} {n}' for n in FAULTS)})", total, "faults", count)
    report.result("campaigns that they struck", campaigns, "campaigns")
    report.result("times that one of them had to be begun again", restarts, "times")
    claim("campaigns that end bit for bit where the undisturbed one does", equal, "campaigns", campaigns)
    claim("campaigns with its readings in every bit", same, "campaigns", campaigns)
    claim("readings that are those filed under their tokens", filed, "readings", readings)
    claim("readings that failed", failed, "readings", 0)
    claim("spectra taken a second time under a token", twice, "spectra", 0)
    claim("acts outside the limits, crashes among them", wrong_acts, "acts", 0)
    report.claim("every kind of fault has struck", set(struck) == set(FAULTS))
    report.claim(f"left safe at the end: {unsafe}", not unsafe)


def questions(folder, trials, dice):
    """Late, torn and doubled answers; each question has an answer of its own."""
    twin = Twin(folder, "questions")
    client = NanonisClient(open_link(f"tcp://127.0.0.1:{twin.port}"), 0.05, attempts=1)
    right = wrong = refused = 0
    for k in range(trials):
        x = 1e-10 * (k + 1)
        with contextlib.suppress(*LINK_FAULTS):
            client.timeout_s = 30.0
            client.connect()
            client.call("FolMe.XYPosSet", x, -x, 1)
            client.timeout_s = 0.05
            if dice.random() < 0.5:  # the same question before it is parted from the next one, which is struck then
                client.call("FolMe.XYPosGet", 1)
            twin.arm(dice.choice(("DUP", "DUP", "DUP", "LATE", "STALL", "JUNK", "ECHO")), 1, 0.08)
            for _ in range(3):
                found = client.call("FolMe.XYPosGet", 1)
                good = max(abs(found[0] - x), abs(found[1] + x)) < 2e-11
                right, wrong = right + good, wrong + (not good)
            continue
        refused += 1
        twin.arm("CLEAR")
    client.close()
    twin.stop()
    report.result(f"answers accepted in {trials} trials, {refused} of them ended by a fault", right, "answers")
    claim("answers of them to another question", wrong, "answers", 0)
    report.claim("some answers are accepted and some refused", right > trials / 10 and refused > trials / 10)


def kills(folder, cache, count, dice):
    """Campaigns that are killed at a random instant, and gone on with."""
    twin = Twin(folder, "kills", dwell=DWELL_S)
    judge = Room("nanonis_desk", "Desk", cache, {})
    whole = folder / "whole-kills.gpxj"
    end, _ = judge.ask("whole", small.NAME, whole, twin.port)
    path = folder / "again.gpxj"
    _, life = judge.ask("whole", small.NAME, path, twin.port)
    path.unlink()
    twin.happened()
    done = lost = reopened = equal = same = wrong_acts = twice = failed = safe = late = 0
    while done < count:
        path = folder / f"kill-{done}.gpxj"
        room = Room("nanonis_desk", "Desk", cache, {small.NAME: whole})
        room.tell("disturbed", small.NAME, path, twin.port, 0.0, 10.0)
        while (said := room.hear(120.0)) != ("said", "begun"):
            if said is None or said[0] == "died":
                raise RuntimeError("a campaign did not begin")
        acknowledged, over = [], time.monotonic() + dice.uniform(0.0, life)
        finished = False
        while (left := over - time.monotonic()) > 0 and (said := room.hear(left)) is not None:
            finished = finished or said[0] == "answer"
            acknowledged += [said[1]] if said[0] == "said" else []
        room.kill()
        while (said := room.hear(0.0)) is not None and said[0] != "died":  # what it had said before
            finished = finished or said[0] == "answer"
            acknowledged += [said[1]] if said[0] == "said" else []
        if finished:
            late += 1
            path.unlink(missing_ok=True)
            twin.happened()
            continue
        done += 1
        judgement = judge.ask("look", path, acknowledged)
        reopened, lost = reopened + judgement.reopens, lost + judgement.lost
        judge.ask("connect", small.NAME, twin.port)
        safe += not twin.unsafe()
        found, reasons = judge.ask("resume", small.NAME, path)
        equal += found == end
        failed += len(reasons)
        same += judge.ask("same_arrays", path, whole)
        acts = twin.happened()
        wrong_acts += len(list(outside(acts)))
        spectra = collections.Counter(act["name"] for act in acts if act["act"] == "spectrum" and not act["cut"])
        twice += sum(number - 1 for number in spectra.values())
        path.unlink()
    judge.kill()
    twin.stop()
    report.result(f"kills -9 at a random instant ({late} campaigns were over before)", done, "kills", count)
    claim("journals that reopen", reopened, "journals", done)
    claim("acknowledged readings lost", lost, "readings", 0)
    claim("safe before anything else once connected again", safe, "campaigns", done)
    claim("campaigns that end bit for bit where the undisturbed one does", equal, "campaigns", done)
    claim("campaigns with its readings in every bit", same, "campaigns", done)
    claim("readings that failed", failed, "readings", 0)
    claim("spectra taken to their end twice under a token", twice, "spectra", 0)
    claim("acts outside the limits, crashes among them", wrong_acts, "acts", 0)


def images(folder, rounds):
    """An image by our client and over a bare socket, in turns."""
    twin = Twin(folder, "images")
    twin.client.call("Scan.BufferSet", [30], EDGE, EDGE)
    twin.client.call("Scan.Action", 0, 1)
    twin.client.call("Scan.WaitEndOfScan", 30_000, wait_s=30.0)
    truth = twin.client.call("Scan.FrameDataGrab", 30, 1)[1]
    bare = socket.create_connection(("127.0.0.1", twin.process.ports[1]), timeout=30)
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = codecs.request_header("Scan.FrameDataGrab", 8) + struct.pack(">II", 30, 1)
    size = codecs.HEADER_BYTES + 4 + len("Z (m)") + 8 + 4 * EDGE**2 + 4 + 8
    memory = memoryview(bytearray(size))

    def received():
        bare.sendall(request)
        got = 0
        while got < size:
            got += bare.recv_into(memory[got:])

    exact, times = 0, {"bare": [], "ours": []}
    for k in range(rounds):
        for name in ("bare", "ours") if k % 2 else ("ours", "bare"):
            twin.client.call("Util.AcqPeriodGet")  # nobody's question is the one before
            began = time.perf_counter()
            if name == "bare":
                received()
                times[name].append(time.perf_counter() - began)
            else:
                image = twin.client.call("Scan.FrameDataGrab", 30, 1)[1]
                times[name].append(time.perf_counter() - began)
                exact += np.array_equal(image, truth)
    bare.close()
    twin.stop()
    bare_s, ours_s = (statistics.median(times[name]) for name in ("bare", "ours"))
    megabytes = 4 * EDGE**2 / 1e6
    share = bare_s / ours_s
    report.result(f"image {EDGE} x {EDGE}", megabytes / ours_s, "MB/s", megabytes / bare_s, round(share, 3))
    claim("images that are right in every bit", exact, "images", rounds)
    report.claim("a quarter of a bare socket's speed", share >= 0.25)


def claim(text, value, unit, reference):
    """A count that has to be that one."""
    report.result(text, value, unit, reference, None if not reference else round(value / reference, 4))
    report.claim(text, value == reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 faults and 3 kills")
    quick = parser.parse_args().quick
    dice = random.Random(17)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = str(folder / "cache")
        images(folder, 21 if quick else 201)
        questions(folder, 100 if quick else 1000, dice)
        faults(folder, cache, 60 if quick else 1000, dice)
        kills(folder, cache, 3 if quick else 200, dice)
    report.finish()


if __name__ == "__main__":
    sys.exit(main())
