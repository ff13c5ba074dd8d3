"""Simulated instruments in a process of their own, with a ledger of all that they did to the sample.

The dialects, doors and physics are those of `gpax_instruments.twins`. The beam alone is steadier: what an unblanked
beam does while no shot is taken follows from the clock there, so that no two campaigns would see the same specimen.
"""

import os
import time

import crash_campaign as small
import jax
from gpax_instruments.twins import pfm, stem
from gpax_instruments.twins._dialect import Dialect
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._microscope import Microscope
from gpax_instruments.twins._scpi_server import ScpiServer, WireLog
from gpax_instruments.twins._stem_scope import Scope
from gpax_instruments.twins._writer import Writer

SEED, LAW = 1, "thermodynamic"


class Steady(Scope):
    """A microscope whose beam harms the specimen during shots and images alone."""

    def _idle_dose(self):
        """Nothing."""


class Ledger:
    """A file that says what an instrument did: "LIFE TOKEN" for an act, "LIFE TOKEN cut" where its end was cut off.

    Args:
        path: of the file; None for none.
        life: number of the instrument.
    """

    def __init__(self, path=None, life=0):
        self._file = None if path is None else os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self._life, self._last = life, ""

    def _write(self, words):
        if self._file is not None:
            os.write(self._file, f"{self._life} {words}\n".encode())  # at once: it outlives a killed process

    def act(self, method):
        """The method, noted with the token, its last argument, once it has acted."""

        def act(*arguments):
            method(*arguments)
            self._last = arguments[-1]
            self._write(self._last)

        return act

    def end(self, method, scope):
        """The method, which ends what is going on, noted where something is."""

        def end():
            if scope.busy:
                self._write(f"{self._last} cut")
            method()

        return end


def build(kind, dwell, ledger, used=False):
    """A dialect, its faults and the microscope behind it, which somebody has `used` before or not since it is on."""
    dialect, faults = Dialect(), Faults()
    if kind == "stem":
        scope = Steady(dialect.lock, faults, SEED, dwell=dwell)
        if used:
            use(dialect, scope, scope.unblank, lambda: scope.trigger("EELS", "earlier"))
        scope.trigger, scope.make_safe = ledger.act(scope.trigger), ledger.end(scope.make_safe, scope)
        stem.dialect_of(dialect, scope, faults)
        return dialect, faults, scope
    writer = Writer(LAW, SEED, dwell=dwell) if kind == "writer" else None
    scope = Microscope(dialect.lock, faults, seed=SEED, dwell=dwell, writer=writer)
    if used and writer:
        use(dialect, scope, lambda: scope.pulse(5.0, 0.01, "earlier"))
    elif used:
        use(dialect, scope, lambda: scope.set_wave(5.0, 32), lambda: scope.trigger("earlier"))
    scope.trigger, scope.pulse = ledger.act(scope.trigger), ledger.act(scope.pulse)
    scope.withdraw = ledger.end(scope.withdraw, scope)
    pfm.dialect_of(dialect, scope, faults)
    return dialect, faults, scope


def use(dialect, scope, *steps):
    """Somebody's own work, before the campaign."""
    with dialect.lock:
        for step in steps:
            step()
        while scope.busy:
            time.sleep(0.001)
        scope.make_safe()
        dialect.clear()  # it says no more that it was switched on


class Laboratory:
    """The host of a room: one instrument at a time, new or with its door closed and opened again.

    Args:
        cache: folder of compiled functions.
        kinds: what is compiled at once, and not when it is set up.
        say: tells the benchmark.
    """

    def __init__(self, cache, kinds, say):
        small.configure(cache)
        jax.config.update("jax_platforms", "cpu")
        self._server = self._log = None
        for kind in kinds:
            build(kind, 0.0, Ledger())

    def set_up(self, kind, dwell, life, ledger, wire, port=0):
        """A new instrument, the first of which somebody has used before; the port of its door."""
        self.close()
        self._dialect, self._faults, self._scope = build(kind, dwell, Ledger(ledger, life), life == 1)
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
