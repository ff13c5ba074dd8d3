"""Small microscopes for one driver each: a table of answers, of which a test replaces what it is about."""

import contextlib
import socket
import time

import numpy as np
from gpax_instruments import _codecs as codecs
from gpax_instruments.drivers import PFM, STEM, BandExcitation, DomainWriter

from gpax_lab.core import Axis

SPAN = 1e-6
AXES = (Axis("x", "m", 0.0, SPAN, tolerance=1e-9), Axis("y", "m", 0.0, SPAN, tolerance=1e-9))
PLACE, PULSE = (4e-7, 6e-7), (5.0, -1.0)


def block(values, dtype="<f4"):
    """An IEEE 488.2 block as an answer."""
    return codecs.format_block(np.asarray(values, dtype), terminator=b"")


def wave_of(vmax, points):
    """0, up to vmax, down to -vmax, and back to one step before 0."""
    return np.interp(np.arange(int(points)) / points, [0.0, 0.25, 0.75, 1.0], [0.0, vmax, -vmax, 0.0])


class Scripted:
    """Obeys lines. `answers` maps a query to text, bytes or a function of its argument; None is silence.

    `sent` has every command in order. `before` maps a command to a function that runs first, as another program would.
    """

    def __init__(self, model):
        self.sent, self.before, self.answers = [], {}, {}
        self.token, self.used, self.tip, self.beam, self.bias = "", set(), "ENGAGED", "UNBLANKED", 3.0
        self.position, self.wave, self.band, self.pulse = [0.0, 0.0], [1.0, 8.0], [1e5, 1e4, 64.0], [0.0, 1.0]
        self.applied, self.dose, self.deaf = [0.0, 0.0], 0.0, False
        self.status = 0
        self.answers = {
            "*IDN?": f"Maker,{model},1,0",
            "SYST:TAG?": lambda n: n,
            "*STB?": lambda _: str(self.status & 32),  # the only event is that of being switched on
            "*ESR?": lambda _: self.read_events(),
            "SYST:ERR?": '0,"No error"',
            "STAT?": "IDLE",
            "LIM?": f"0,{SPAN},0,{SPAN}",
            "POS?": lambda _: ",".join(map(repr, self.position)),
            "TIP?": lambda _: self.tip,
            "BEAM?": lambda _: self.beam,
            "BIAS?": lambda _: repr(self.bias),
            "BIAS:WAV?": lambda _: ",".join(map(repr, self.wave)),
            "LOOP:RAIL?": "100",
            "LOOP:BIAS?": lambda _: block(wave_of(*self.applied), "<f8"),
            "LOOP:DATA?": lambda _: block(np.linspace(-1.0, 1.0, int(self.applied[1]))),
            "BAND?": lambda _: ",".join(map(repr, self.band)),
            "BAND:DATA?": lambda _: block(np.ones(2 * int(self.band[2]))),
            "PULS:LIM?": "1,10,0.001,100",
            "PULS?": lambda _: ",".join(map(repr, self.pulse)),
            "IMAG:PIX?": "3e-9,4",
            "IMAG:DATA?": block(np.ones(16)),
            "FILM:CELL?": "3,100",
            "SCAN:PIX?": "2e-9,4",
            "SCAN:DATA?": block(np.ones(16)),
            "SCAN:IMAG?": block(np.ones(16)),
            "DIFF:PIX?": "0.5,4",
            "DOSE?": lambda _: repr(self.dose),
            "DOSE:SHOT?": "1000,100",
            "DOSE:SCAN?": "500",
            "EELS:ENER?": block(np.arange(6.0), "<f8"),
            "SHOT:DATA?": block(np.ones(6)),
            "SHOT:DOSE?": "0.0",
        }
        for word in ("LOOP", "SHOT", "PULS", "BAND"):
            self.answers[f"{word}:TOK?"] = lambda _: f'"{self.token}"'
            self.answers[f"{word}:USED?"] = lambda token: str(int(token.strip('"') in self.used))

    def __call__(self, connection, line):
        parts = [self.one(*unit.lstrip(":").partition(" ")[::2]) for unit in line.split(";")]
        answer = [a if isinstance(a, bytes) else a.encode() for a in parts if a is not None]
        if answer and not self.deaf and len(answer) == line.count("?"):
            connection.sendall(b";".join(answer) + b"\n")

    def one(self, word, argument):
        if word.endswith("?"):
            answer = self.answers.get(word)
            return answer(argument) if callable(answer) else answer
        if word == "*ESE":
            return None
        self.before.get(word, lambda: None)()
        self.sent.append(f"{word} {argument}".strip())
        match word:
            case "SAFE":
                self.tip, self.bias, self.beam = "WITHDRAWN", 0.0, "BLANKED"
            case "TIP:ENG":
                self.tip = "ENGAGED"
            case "BEAM:BLAN":
                self.beam = "BLANKED"
            case "BEAM:UNBL":
                self.beam = "UNBLANKED"
            case "MOVE":
                self.position = [float(v) for v in argument.split(",")]
            case "BIAS:WAV":
                self.wave = [float(v) for v in argument.split(",")]
            case "BAND":
                self.band = [float(v) for v in argument.split(",")]
            case "PULS":
                volts, seconds, name = argument.split(",")
                self.pulse = [float(volts), float(seconds)]
                self.act(name)
            case "SCAN":
                self.dose += 500.0
            case "MEAS:LOOP" | "MEAS:BAND" | "MEAS:EELS" | "MEAS:DIFF":
                self.applied, self.dose = list(self.wave), self.dose + 1000.0
                self.act(argument)
        return None

    def read_events(self):
        """Their register, which is empty afterwards."""
        events, self.status = self.status and 128, 0
        return str(events)

    def switch_on(self):
        """What is left after a power failure: the sample, and no memory."""
        self.tip, self.beam, self.bias, self.status = "ENGAGED", "UNBLANKED", 3.0, 32
        self.token, self.used = "", set()

    def act(self, name):
        self.token = name.strip('"')
        self.used.add(self.token)

    def acts(self):
        """The commands that act on the sample."""
        return [line for line in self.sent if line.startswith(("MEAS", "PULS", "SCAN"))]

    def names(self):
        """The token of each act, in order."""
        return [line.split('"')[1] for line in self.acts() if '"' in line]


KINDS = {
    "pfm": ("PFM", PFM, {"axes": AXES, "points": 16}, PLACE),
    "writer": ("PFM", DomainWriter, {}, PULSE),
    "band": ("PFM", BandExcitation, {"axes": AXES}, PLACE),
    "stem": ("STEM", STEM, {"axes": AXES}, PLACE),
}
"""By name: model, driver, arguments and a place."""


@contextlib.contextmanager
def impatient(driver, word="", seconds=0.1):
    """From the command on that begins with word, the driver waits no longer for an answer; without a word, at once."""
    usual, write = (driver.timeout_s, driver.scpi.timeout_s), driver.scpi.write

    def sent(command):
        write(command)
        if command.startswith(word):
            driver.timeout_s = driver.scpi.timeout_s = seconds

    if word:
        driver.scpi.write = sent
    else:
        driver.timeout_s = driver.scpi.timeout_s = seconds
    try:
        yield
    finally:
        driver.scpi.write = write
        driver.timeout_s, driver.scpi.timeout_s = usual


def given_up(connection):
    """Return when the other side has closed the connection, or after half a minute."""
    connection.settimeout(30.0)
    with contextlib.suppress(OSError):
        connection.recv(1, socket.MSG_PEEK)


def eventually(true, seconds=30.0):
    """Whether it becomes true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
