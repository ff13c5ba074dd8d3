"""Simulated instruments in a process of their own, with a ledger of all that they did to the sample.

The dialects, doors and physics are those of `gpax_instruments.twins`. The beam alone is steadier: what an unblanked
beam does while no shot is taken follows from the clock there, so that no two campaigns would see the same specimen.
"""

import os

import crash_campaign as small
import jax
from gpax_instruments.twins import pfm, stem
from gpax_instruments.twins.dialect import Dialect
from gpax_instruments.twins.faults import Faults
from gpax_instruments.twins.microscope import Microscope
from gpax_instruments.twins.scpi_server import ScpiServer, WireLog
from gpax_instruments.twins.stem_scope import Scope
from gpax_instruments.twins.writer import Writer

SEED, LAW = 1, "thermodynamic"
KINDS = ("pfm", "stem", "writer")


class Steady(Scope):
    """A microscope whose beam harms the specimen during shots and images alone."""

    def _idle_dose(self):
        """Nothing."""


def noted(method, note):
    """The method, which tells the token, its last argument, once it has acted."""

    def act(*arguments):
        method(*arguments)
        note(arguments[-1])

    return act


def build(kind, dwell, note):
    """A dialect and the microscope behind it; `note` is told the token of each act."""
    dialect, faults = Dialect(), Faults()
    if kind == "stem":
        scope = Steady(dialect.lock, faults, SEED, dwell=dwell)
        scope.trigger = noted(scope.trigger, note)
        stem.dialect_of(dialect, scope, faults)
        return dialect, faults, scope
    writer = Writer(LAW, SEED, dwell=dwell) if kind == "writer" else None
    scope = Microscope(dialect.lock, faults, SEED, dwell=dwell, writer=writer)
    scope.trigger, scope.pulse = noted(scope.trigger, note), noted(scope.pulse, note)
    pfm.dialect_of(dialect, scope, faults)
    return dialect, faults, scope


class Laboratory:
    """The host of a room: one instrument at a time, new or with its door closed and opened again.

    Args:
        cache: folder of compiled functions.
        ready: whether every kind is compiled at once, and not when it is set up.
        say: tells the benchmark.
    """

    def __init__(self, cache, ready, say):
        small.configure(cache)
        jax.config.update("jax_platforms", "cpu")
        self._server = self._log = None
        for kind in KINDS if ready else ():
            build(kind, 0.0, say)

    def set_up(self, kind, dwell, life, ledger, wire, port=0):
        """A new instrument that remembers nothing; the port of its door."""
        self.close()
        book = os.open(ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        note = lambda token: os.write(book, f"{life} {token}\n".encode())  # noqa: E731 - not lost with a killed process
        self._dialect, self._faults, self._scope = build(kind, dwell, note)
        self._log = WireLog(wire)
        return self.open(port)

    def open(self, port):
        """Open the door at a port, 0 for any."""
        self._server = ScpiServer(self._dialect, self._faults, self._log, port)
        self._server.start()
        return self._server.port

    def close(self):
        """Cut every connection and let nobody in; the instrument itself goes on."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def hang_up(self):
        """Cut every connection; who calls again is let in."""
        port = self._server.port
        self.close()
        self.open(port)

    def arm(self, name, count):
        """The next `count` answers go wrong."""
        self._faults.arm(name, count)

    def safe(self):
        """What is not safe, in words; empty where all is. From now on no answer goes wrong."""
        self._faults.clear()
        scope = self._scope
        with self._dialect.lock:
            if isinstance(scope, Scope):
                found = {"beam on": not scope.blanked, "busy": scope.busy}
            else:
                found = {"tip down": scope.engaged, f"{scope.bias} V": scope.bias != 0.0, "busy": scope.busy}
        return ", ".join(word for word, true in found.items() if true)
