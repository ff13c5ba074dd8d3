"""Damaged answers of an instrument and damaged requests to a simulated one: hangs, numbers believed, ends."""

import contextlib
import math
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
from damage import append, cut, exaggerate, flip, insert, overwrite
from gpax_instruments import _codecs as codecs
from gpax_instruments.errors import BadFrame
from gpax_instruments.links._link import SocketLink
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_instruments.twins import start_pfm
from gpax_instruments.twins._dialect import Block, Dialect
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._hislip import HislipServer
from gpax_instruments.twins._scpi_server import Listener, WireLog

from gpax_lab.core import InstrumentError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "instruments"))

from scripted import KINDS, Scripted

TIMEOUT_S = 0.1
LONGEST_S = 15  # three measurements: some tens of exchanges, of which a few may end at their deadline
GRACE_S = 2.0  # what a busy machine may take on top; what hangs, hangs for longer
RAMP = np.arange(64, dtype="<f4")
ANSWERS = {
    b"*IDN?": b"Maker,Model,1,0",
    b"POS?": b"1e-06,2.5e-06",
    b"LIM?": b"0,1e-06,0,1e-06",
    b"DATA?": codecs.format_block(RAMP, terminator=b""),
}
ASKED = {
    b"*IDN?": lambda client: client.query("*IDN?"),
    b"POS?": lambda client: client.query_numbers("POS?")[0],
    b"LIM?": lambda client: client.query_finite("LIM?", 4),
    b"DATA?": lambda client: client.query_block("DATA?", "<f4"),
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}


def twice(data, dice):
    return data + data


def noise(data, dice):
    return dice.randbytes(dice.choice((1, 10, 1000)))


def silence(data, dice):
    return b""


DAMAGES = (flip, flip, cut, cut, insert, overwrite, append, exaggerate, exaggerate, twice, noise, silence)


class Answering(Listener):
    """Answers truly, but for the next answer after `damage` was set; `sent` is what went out for it."""

    damage, sent, dice, drip = None, b"", None, False

    def serve(self, connection):
        pending = b""
        while data := connection.recv(1 << 16):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self.reply(connection, line)

    def reply(self, connection, line):
        tag, _, command = line.rpartition(b";")
        number = tag.removeprefix(b"SYST:TAG? ")
        whole = (number + b";" if tag else b"") + ANSWERS[command.removeprefix(b":")] + b"\n"
        damage, self.damage = self.damage, None
        if damage is not None:
            self.prefix = number + b";"
            self.sent = whole = damage(whole, self.dice)
        if damage is not None and self.drip:
            for k in range(len(whole)):
                connection.sendall(whole[k : k + 1])
                time.sleep(0.002)
        else:
            connection.sendall(whole)


def meant(sent, prefix, command):
    """What an answer says, read by other means than ours; None where it is not whole."""
    if not sent.startswith(prefix):
        return None
    rest = sent[len(prefix) :]
    if command == b"DATA?":
        head = re.match(rb"#([1-9])", rest)
        digits = rest[2 : 2 + int(head[1])] if head else b""
        if not head or len(digits) != int(head[1]) or re.fullmatch(rb"[0-9]+", digits) is None:
            return None
        start, size = 2 + len(digits), int(digits)
        if size % 4 or re.match(rb"\r?\n", rest[start + size :]) is None:
            return None
        return np.frombuffer(rest[start : start + size], "<f4")
    line, newline, _ = rest.partition(b"\n")
    line = line.removesuffix(b"\r")
    if not newline or re.fullmatch(rb"[\x20-\x7e]+", line) is None:
        return None
    return line.decode() if command == b"*IDN?" else _numbers(line.decode(), 4 if command == b"LIM?" else None)


def _numbers(line, count):
    values = []
    for word in (part.strip() for part in line.split(",")):
        if _NUMBER.fullmatch(word):
            value = float(word)
            value = math.nan if math.isclose(abs(value), 9.91e37, rel_tol=1e-6) and value > 0 else value
            values.append(math.copysign(math.inf, value) if abs(value) >= 9.9e37 * (1 - 1e-9) else value)
        elif word.lower().lstrip("+-") in _WORDS:
            values.append((-1 if word.startswith("-") else 1) * _WORDS[word.lower().lstrip("+-")])
        else:
            return None
    if count is not None and (len(values) != count or not all(map(math.isfinite, values))):
        return None
    return np.array(values)


def _same(one, other):
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)


class Tally:
    """How trials ended."""

    def __init__(self):
        self.ends = dict.fromkeys(("believed", "refused", "broke"), 0)
        self.wrong = self.late = 0
        self.longest = 0.0

    def run(self, what, ask):
        """The value that was believed, or None; every end is counted."""
        begun = time.monotonic()
        value = None
        try:
            value = ask()
            self.ends["believed"] += 1
        except InstrumentError:
            self.ends["refused"] += 1
        except Exception as error:
            self.ends["broke"] += 1
            print(f"{what}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        seconds = time.monotonic() - begun
        self.longest = max(self.longest, seconds)
        self.late += seconds > TIMEOUT_S + GRACE_S
        return value

    def report(self, report, what):
        for end, words in (("believed", "taken as good"), ("refused", "refused with an error of ours")):
            report.result(f"{what} {words}", self.ends[end], "answers")
        report.result(f"{what} that ended in another error", self.ends["broke"], "answers", 0)
        report.result(f"{what} taken as good that say something else", self.wrong, "answers", 0)
        report.result(f"{what} that held the caller beyond the deadline", self.late, "answers", 0)
        report.result(f"{what}: longest wait", round(self.longest, 3), "s", TIMEOUT_S)
        report.claim(f"{what} end in an error of ours or as they say", not (self.ends["broke"] or self.wrong))
        report.claim(f"{what} end in time", self.late == 0)


def answers(report, dice, trials):
    """Over a raw socket, through tags, text, numbers and blocks."""
    server = Answering(None, Faults(), WireLog())
    server.dice = dice
    server.start()
    client = Scpi(SocketLink("127.0.0.1", server.port), TIMEOUT_S, tag=TAG_ECHO, attempts=1, pause_s=0.0)
    tally = Tally()
    for number in range(trials):
        client.timeout_s = 5.0
        client.connect()
        client.timeout_s = TIMEOUT_S
        command = dice.choice(list(ASKED))
        server.damage, server.sent, server.drip = dice.choice(DAMAGES), b"", dice.random() < 0.02
        value = tally.run(f"answer {number}", lambda command=command: ASKED[command](client))
        server.damage = None  # what came unasked from the last trial was found before anything was sent
        if value is not None:
            said = meant(server.sent, server.prefix, command)
            right = said is not None and _same(value, said)
            if right:  # and what follows it, if anything, is no answer to the next one
                client.timeout_s = 5.0
                with contextlib.suppress(InstrumentError):
                    right = _same(ASKED[b"POS?"](client), [1e-6, 2.5e-6])
            if not right:
                tally.wrong += 1
                print(f"answer {number}: {server.sent[:60]!r} is taken for {value!r}"[:300], file=sys.stderr)
    client.close()
    server.stop()
    tally.report(report, "damaged answers over a socket")


class Spoiling:
    """Spoils one message, after `left` whole ones."""

    damage, dice, left = None, None, 0

    def spoilt(self, data):
        self.left -= 1
        if self.damage is None or self.left >= 0:
            return data
        damage, self.damage = self.damage, None
        return damage(bytes(data), self.dice)


class Noisy:
    """A connection through which a server sends what it has spoilt."""

    def __init__(self, connection, server):
        self._connection, self._server = connection, server

    def sendall(self, data):
        self._connection.sendall(self._server.spoilt(data))

    def __getattr__(self, name):
        return getattr(self._connection, name)


class NoisyHislip(Spoiling, HislipServer):
    """A HiSLIP door through which headers and all come damaged."""

    def serve(self, connection):
        super().serve(Noisy(connection, self))


def messages(report, dice, trials):
    """Over HiSLIP, headers of messages included."""
    try:
        from gpax_instruments.links._visa import VisaLink
    except ModuleNotFoundError as error:
        print(f"HiSLIP is left out: {error}", file=sys.stderr)
        return
    device = Dialect()
    device.add("*IDN?", lambda: "Maker,Model,1,0")
    device.add("POS?", lambda: "1e-06,2.5e-06")
    device.add("DATA?", lambda: Block(memoryview(RAMP.tobytes())))
    server = NoisyHislip(device, Faults(), WireLog())
    server.dice = dice
    server.start()
    tally, link = Tally(), None
    for number in range(trials):
        if link is None or not link.alive:
            link = VisaLink(f"TCPIP::127.0.0.1::hislip0,{server.port}::INSTR", 5.0, "@py")
        client = Scpi(link, TIMEOUT_S, attempts=1, pause_s=0.0)
        command = dice.choice((b"*IDN?", b"POS?", b"DATA?"))
        server.damage = dice.choice(DAMAGES)
        value = tally.run(f"message {number}", lambda client=client, command=command: ASKED[command](client))
        # What is in the numbers themselves nobody can tell; their count is said twice.
        if command == b"DATA?" and value is not None and value.shape != RAMP.shape:
            tally.wrong += 1
            print(f"message {number}: {value.shape}", file=sys.stderr)
        server.damage = None
    link.close()
    server.stop()
    tally.report(report, "damaged messages over HiSLIP")


class Microscope(Spoiling, Listener):
    """A microscope of the tests behind a socket."""

    def __init__(self, scripted):
        super().__init__(None, Faults(), WireLog())
        self.scripted = scripted

    def serve(self, connection):
        pending = b""
        while data := connection.recv(1 << 16):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self.scripted(Noisy(connection, self), line.decode("latin-1"))


def measurements(report, dice, trials):
    """Whole measurements by every driver, one of whose answers comes damaged."""
    ends = dict.fromkeys(("good", "failed", "refused", "broke"), 0)
    longest = 0.0
    for number in range(trials):
        kind = list(KINDS)[number % len(KINDS)]
        model, driver, options, place = KINDS[kind]
        server = Microscope(Scripted(model))
        server.dice, server.damage, server.left = dice, dice.choice(DAMAGES), dice.randrange(40)
        server.start()
        begun = time.monotonic()
        try:
            device = driver(f"tcp://127.0.0.1:{server.port}", **({"timeout_s": TIMEOUT_S} | options))
            device.busy_timeout_s = device.image_timeout_s = TIMEOUT_S
            device.scpi.pause_s = 0.0
            with device:
                for k in range(3):
                    ends["good" if device.measure(place, f"t{k}").ok else "failed"] += 1
        except InstrumentError:
            ends["refused"] += 1
        except Exception as error:
            ends["broke"] += 1
            print(f"measurement {number} of {kind}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        longest = max(longest, time.monotonic() - begun)
        server.stop()
    what = "measurements with a damaged answer"
    report.result(f"{what}: good ones before and after it", ends["good"], "measurements")
    report.result(f"{what}: failed measurements", ends["failed"], "measurements")
    report.result(f"{what}: errors of ours", ends["refused"], "campaigns")
    report.result(f"{what}: other errors", ends["broke"], "campaigns", 0)
    report.result(f"{what}: longest of three", round(longest, 2), "s", LONGEST_S)
    report.claim(f"{what} are failed measurements or errors of ours", ends["broke"] == 0)
    report.claim(f"{what} end in time", longest < LONGEST_S)


def decoded(report, dice, trials):
    """Whole answers in memory."""
    ends, wrong = {"believed": 0, "refused": 0, "broke": 0}, 0
    for number in range(trials):
        command = dice.choice((b"POS?", b"DATA?"))
        data = dice.choice(DAMAGES)(ANSWERS[command] + b"\n", dice)
        try:
            if command == b"DATA?":
                said = meant(data, b"", command) if data.endswith(b"\n") else None
                value = codecs.parse_block(data, "<f4")
                right = said is not None and _same(value, said)
            else:
                value = codecs.parse_numbers(data.decode("latin-1").removesuffix("\n"))[0]
                right = _same(value, _numbers(data.decode("latin-1").removesuffix("\n"), None))
            ends["believed"] += 1
            if not right:
                wrong += 1
                print(f"bytes {number}: {data[:60]!r} are taken for {value!r}"[:300], file=sys.stderr)
        except BadFrame:
            ends["refused"] += 1
        except Exception as error:
            ends["broke"] += 1
            print(f"bytes {number}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
    report.result("damaged bytes taken as good by the decoders", ends["believed"], "answers")
    report.result("damaged bytes refused by the decoders", ends["refused"], "answers")
    report.result("damaged bytes that ended in another error", ends["broke"], "answers", 0)
    report.result("damaged bytes taken as good that say something else", wrong, "answers", 0)
    report.claim("the decoders take nothing that is not whole", wrong == ends["broke"] == 0)


LINES = (
    b"*IDN?", b"*CLS", b"*ESE 4;*ESE?", b"*ESR?", b"SYST:TAG? 17;:POS?", b"SYST:ERR?", b"LIM?", b"MOVE 1e-07,2e-07",
    b"TIP:ENG", b"TIP?", b"BIAS 1.5", b"BIAS:WAV 2.0,32", b"BIAS:WAV?", b'MEAS:LOOP "t1"', b"LOOP:TOK?",
    b'LOOP:USED? "t1"', b"LOOP:DATA?", b"LOOP:BIAS?", b"FORM:BORD SWAP", b"TEST:BLOC? 400", b"STAT?", b"SAFE", b"*RST",
)  # fmt: skip


def _request(dice):
    """A damaged request: a line, or a HiSLIP message with or without the one that should come first."""
    line = b"\n".join(dice.sample(LINES, dice.choice((1, 1, 3)))) + b"\n"
    damage = dice.choice((flip, cut, insert, overwrite, append, exaggerate, twice, noise))
    hislip = dice.random() < 0.4
    if hislip:
        first = struct.pack("!2sBBIQ", b"HS", 0, 0, 0x0100_5858, 7) + b"hislip0"
        kind = dice.choice((6, 7, 7, 7, 4, 8, 12, 15, 17, 19, 21, 24))
        message = struct.pack("!2sBBIQ", b"HS", kind, dice.randrange(2), dice.randrange(1 << 16), len(line)) + line
        if dice.random() < 0.7:
            return True, first + damage(message, dice)
        return True, damage(first + message, dice)
    return False, damage(line, dice)


def _alive(twin):
    """Whether both doors still answer."""
    link = SocketLink("127.0.0.1", twin.scpi_port)
    client = Scpi(link, 10.0, tag=TAG_ECHO, attempts=1)
    try:
        client.connect()
        socket.create_connection(("127.0.0.1", twin.hislip_port), 10.0).close()
        return twin.process.poll() is None
    except (InstrumentError, OSError) as error:
        print(f"the simulated microscope: {error}", file=sys.stderr)
        return False
    finally:
        client.close()


def requests(report, dice, trials):
    """To the simulated microscope in a process of its own."""
    ended = 0
    with start_pfm(seed=1) as twin:
        for number in range(trials):
            hislip, data = _request(dice)
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", twin.hislip_port if hislip else twin.scpi_port), 10.0) as door,
            ):
                door.sendall(data)
                door.settimeout(0.002)
                if dice.random() < 0.5:
                    door.recv(1 << 16)
            if number % 50 == 49 and not _alive(twin):
                ended += 1
                break
        ended += not _alive(twin)
        twin._stderr.seek(0)
        said = twin._stderr.read().decode(errors="replace")
    faults = said.count("Traceback")
    if said:
        print(said[-2000:], file=sys.stderr)
    report.result("damaged requests to the simulated microscope", trials, "requests")
    report.result("of these, ended or silenced it", ended, "requests", 0)
    report.result("of these, ended one of its threads in an error of Python", faults, "requests", 0)
    report.claim("no damaged request ends the simulated microscope", ended == faults == 0)


def wire(report, dice, trials):
    """So many answers and requests over a socket, a tenth over HiSLIP and to drivers, ten times as many in memory."""
    before = threading.active_count()
    answers(report, dice, trials)
    messages(report, dice, max(trials // 10, 20))
    measurements(report, dice, max(trials // 10, 20))
    decoded(report, dice, 10 * trials)
    requests(report, dice, trials)
    time.sleep(0.5)
    left = threading.active_count() - before
    report.result("threads left behind", left, "threads", 0)
    report.claim("no thread is left behind", left <= 0)
