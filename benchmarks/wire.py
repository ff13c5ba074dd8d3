"""What the wire must hold, measured against the simulated microscope in a process of its own.

Claims: 1 MB and 10 MB blocks arrive byte for byte over a raw socket and over HiSLIP; our socket reaches a quarter of
the speed of a bare ``recv_into`` measured in alternation; a refused target sends nothing; no answer reaches the wrong
query. One JSON line a result; the exit status is 1 where a claim fails. ``--quick`` takes fewer rounds.
"""

import argparse
import json
import math
import random
import socket
import statistics
import sys
import time

import numpy as np
from gpax_instruments.drivers import PFM
from gpax_instruments.errors import LINK_FAULTS
from gpax_instruments.links import Scpi, open_link
from gpax_instruments.links._scpi import TAG_ECHO
from gpax_instruments.twins import start_pfm

from gpax_lab.core import Axis, MoveRefused

MEGA = 1_000_000
failures: list[str] = []


def report(name, value, unit, reference, ratio, holds):
    print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}), flush=True)
    if not holds:
        failures.append(name)


class BareSocket:
    """The yardstick: the same query, received into memory that is already there, nothing checked."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.memory = memoryview(bytearray(11 * MEGA))

    def block(self, nbytes):
        """Ask for a block and receive it."""
        self.socket.sendall(b"TEST:BLOCK? %d\n" % nbytes)
        total, got = 2 + len(str(nbytes)) + nbytes + 1, 0
        while got < total:
            n = self.socket.recv_into(self.memory[got:total])
            if not n:
                raise ConnectionError("the twin closed")
            got += n


def speed(read, nbytes):
    start = time.perf_counter()
    result = read()
    return nbytes / MEGA / (time.perf_counter() - start), result


def blocks(twin, rounds):
    """Byte-exactness and speed; the three ways take turns, so that a busy moment hits all of them."""
    bare = BareSocket(twin.scpi_port)
    ours = Scpi(open_link(f"tcp://127.0.0.1:{twin.scpi_port}"), 30.0, tag=TAG_ECHO)
    visa = Scpi(open_link(f"TCPIP::127.0.0.1::hislip0,{twin.hislip_port}::INSTR"), 30.0)
    for client in (ours, visa):
        client.write("FORM:BORD SWAP")
    for nbytes in (MEGA, 10 * MEGA):
        truth = np.arange(nbytes // 4, dtype="<f4").tobytes()
        ways = [
            ("bare", lambda n=nbytes: bare.block(n)),
            ("socket", lambda n=nbytes: ours.query_block(f"TEST:BLOCK? {n}", "<f4")),
            ("hislip", lambda n=nbytes: visa.query_block(f"TEST:BLOCK? {n}", "<f4")),
        ]
        exact, rates = {"socket": 0, "hislip": 0}, {name: [] for name, _ in ways}
        for way in ways:  # once unmeasured: the twin makes the block
            way[1]()
        for k in range(rounds):
            for name, read in ways[k % 3 :] + ways[: k % 3]:  # nobody is always first
                rate, block = speed(read, nbytes)
                rates[name].append(rate)
                if block is not None:
                    exact[name] += block.tobytes() == truth
                del block
        yardstick = statistics.median(rates["bare"])
        size = f"{nbytes // MEGA}MB"
        for name in ("socket", "hislip"):
            rate = statistics.median(rates[name])
            good = exact[name] == rounds
            report(f"{name} {size} byte-exact", exact[name], "blocks", rounds, exact[name] / rounds, good)
            fast = name == "hislip" or rate >= 0.25 * yardstick  # pyvisa-py's own speed is reported, not claimed
            report(
                f"{name} {size} speed", round(rate, 1), "MB/s", round(yardstick, 1), round(rate / yardstick, 3), fast
            )
    bare.socket.close()
    ours.close()
    visa.close()


def refused_targets(twin, n=10_000):
    """Not one byte on the wire for a refused target."""
    rng = np.random.default_rng(0)
    link = open_link(f"tcp://127.0.0.1:{twin.scpi_port}")
    probe = Scpi(link, 5.0, tag=TAG_ECHO)
    low_x, high_x, low_y, high_y = probe.query_numbers("LIM?")[0].tolist()
    axes = [Axis("x", "m", low_x, high_x), Axis("y", "m", low_y, high_y)]
    pfm = PFM(link.address, axes, link=link)
    pfm.connect()
    special = [math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1e-310, np.nextafter(high_x, 1), low_x, high_x, 1e308]
    shape = (n, 2)
    targets = np.where(rng.random(shape) < 0.5, rng.choice(special, shape), rng.normal(0, high_x, shape))
    before, refused, wrong = link.sent, 0, 0
    for k, x in enumerate(targets):
        inside = bool(low_x <= x[0] <= high_x and low_y <= x[1] <= high_y)
        try:
            pfm.check_value(x) if inside else pfm.measure(x, f"t{k}")
            wrong += not inside
        except MoveRefused:
            refused += 1
            wrong += inside
    pfm.close()
    report(
        f"bytes sent for {refused} refused of {n} targets", link.sent - before, "bytes", 0, None, link.sent == before
    )
    report("targets judged wrongly", wrong, "targets", 0, None, wrong == 0)


def misattributed(address, tag, trials, name):
    """Late and duplicated answers at random; each query asks for a number of its own."""
    dice = random.Random(0)
    client = Scpi(open_link(address), 0.05, tag=tag, attempts=1)
    wrong = faults = right = 0
    for k in range(trials):
        try:
            client.connect()
            fate = dice.random()
            if fate < 0.35:
                client.write("FAULT DUP,1")
            elif fate < 0.5:
                client.write("FAULT LATE,1,0.08")
            answer = client.query(f"SYST:TAG? {1_000_000 + k}")
            right += answer == str(1_000_000 + k)
            wrong += answer != str(1_000_000 + k)
        except LINK_FAULTS:
            faults += 1
    client.close()
    holds = wrong == 0 and right > trials / 10 and faults > 0
    report(
        f"{name}: wrong answers accepted in {trials} trials ({right} right, {faults} refused)",
        wrong,
        "answers",
        0,
        None,
        holds,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    quick = parser.parse_args().quick
    with start_pfm(seed=0) as twin:
        blocks(twin, 7 if quick else 31)
        refused_targets(twin)
        trials = 200 if quick else 1000
        misattributed(f"tcp://127.0.0.1:{twin.scpi_port}", TAG_ECHO, trials, "socket")
        misattributed(f"TCPIP::127.0.0.1::hislip0,{twin.hislip_port}::INSTR", None, trials, "hislip")
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
