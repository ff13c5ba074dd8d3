"""What is left of a campaign after kill -9, after every file call, after Ctrl-C, on a full disk, and at an instrument
that hangs up, hangs or is started anew.

Claims: every journal reopens; no acknowledged measurement is lost; the resumed campaign ends bit for bit where the
uninterrupted one does; Ctrl-C ends within one step with the instrument safe; a full disk stops it before measuring; a
simulated instrument is left safe, or the error says that it could not be, and never acts twice under one token.
One JSON line a result; the exit status is 1 where a claim fails. `--quick` makes fewer trials; `--instruments COUNT`
makes none but those with simulated instruments, see `crash_instruments.py`.

Two campaigns: "nuts" samples its parameters anew after every reading, "fixed" does not and starts fast; each kill -9
needs a fresh process.
"""

import argparse
import functools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path

# Threads of a BLAS would be there before the processes of this benchmark are forked; the campaign needs none.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import crash_campaign as small
import crash_instruments
from crash_rooms import PROCESSES

from gpax_lab.experiment._signals import StopFlag
from gpax_lab.storage import DiskFull, read
from gpax_lab.storage._errors import JournalFull

POSIX = sys.platform != "win32"
failures: list[str] = []


def report(name, value, unit, reference, holds):
    ratio = round(value / reference, 4) if reference else None
    print(json.dumps({"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}), flush=True)
    if not holds:
        failures.append(name)


def say(text):
    print(text, file=sys.stderr, flush=True)


# In the workshop: one process that has everything compiled and does what the parent asks of it.


def workshop(connection, told, cache):
    small.configure(cache)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # outside a campaign; inside, StopFlag listens
    while (task := connection.recv()) is not None:
        name, *arguments = task
        connection.send(TASKS[name](connection, told, *arguments))


def reference(connection, told, folder, kinds):
    """Where the uninterrupted campaigns end, and how long each takes once compiled."""
    ends, seconds = {}, {}
    for kind in kinds:
        ends[kind] = small.fingerprint(small.go(kind, folder / f"{kind}.gpxj"))
        start = time.monotonic()
        again = small.fingerprint(small.go(kind, folder / f"{kind}-again.gpxj"))
        seconds[kind] = time.monotonic() - start
        assert again == ends[kind], "two uninterrupted campaigns differ"
    return ends, seconds


def verdicts(connection, told, left):
    return [small.verdict(*one) for one in left]


def file_calls(connection, told, folder, kind, stride):
    """After every file call, and within every write: what `comparison_report` says of the file as it is then."""
    recorded = small.FileCalls(kind, folder / f"recorded-{kind}.gpxj")
    found = []
    for number, (where, data, safe) in enumerate(recorded.states()[::stride]):
        path = folder / f"call-{kind}-{number}.gpxj"
        path.write_bytes(data)
        found.append((where, *small.verdict(kind, path, recorded.acknowledged[:safe])))
    return found


def interrupted(connection, told, path, kind):
    """One campaign under Ctrl-C: how it ended, and the instrument's log."""
    bench = small.Bench()
    try:
        finished, text = flagged(told, path, kind, bench), ""
    except KeyboardInterrupt as error:
        finished, text = False, str(error)
    end = time.monotonic()
    told.send("over")
    while connection.recv() != "signalled":
        pass
    return finished, text, bench.log, end


def flagged(told, path, kind, bench):
    with StopFlag() as flag:
        told.send("begun")
        return small.go(kind, path, bench, told.send, flag.__bool__).finished


def starved(connection, told, path, kind, limit, checked):
    """A campaign with large raw measurements on a disk that is too small; `limit` is a file-size limit, 0 for none."""
    acknowledged: list[tuple[str, float]] = []
    bench, text = small.Bench(raw_bytes=300_000), ""
    if limit:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        small.go(kind, path, bench, acknowledged.append, checked=checked)
    except (DiskFull, JournalFull) as error:
        text = f"{type(error).__name__}: {error}"
    finally:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    return text, acknowledged, bench.log


TASKS = {task.__name__: task for task in (reference, verdicts, file_calls, interrupted, starved)}


class Workshop:
    """The parent's end of it."""

    def __init__(self, cache):
        self.connection, theirs = PROCESSES.Pipe()
        self.told, telling = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=workshop, args=(theirs, telling, cache), daemon=True)
        self.process.start()

    def ask(self, *task):
        """Have a task done."""
        self.connection.send(task)
        return self.connection.recv()

    def interrupt(self, path, kind, after, delay, twice):
        """Ctrl-C at `delay` seconds after that many acknowledged measurements; again soon after if `twice`."""
        self.connection.send(("interrupted", path, kind))
        acknowledged = []
        while (said := self.told.recv()) != "over":
            if said != "begun":
                acknowledged.append(said)
            if len(acknowledged) == after:
                break
        time.sleep(delay)
        at = time.monotonic()
        os.kill(self.process.pid, signal.SIGINT)
        if twice:
            time.sleep(0.004)
            os.kill(self.process.pid, signal.SIGINT)
        self.connection.send("signalled")
        result = self.connection.recv()
        while self.told.poll():
            said = self.told.recv()
            acknowledged += [said] if isinstance(said, tuple) else []
        return at, acknowledged, *result


# Kill -9: a fresh process for each.


def victim(told, path, kind, cache):
    small.configure(cache)
    small.experiment(kind)
    told.send("begun")
    small.go(kind, path, tell=told.send)
    told.send("over")
    time.sleep(3600)


class Victim:
    """A process with a campaign in it, and the instant at which it is to be killed."""

    def __init__(self, path, kind, cache, dice):
        self.path, self.kind, self.acknowledged = path, kind, []
        self.after = dice.randrange(small.READINGS)
        self.delay = dice.uniform(0, 0.05) if dice.random() < 0.8 else dice.uniform(0, 3.0)
        self.due, self.over = float("inf"), False
        self.told, telling = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=victim, args=(telling, path, kind, cache), daemon=True)
        self.process.start()

    def listen(self):
        """Take in what it said, and fix the instant of its death once it has said enough."""
        said = self.told.recv()
        if isinstance(said, tuple):
            self.acknowledged.append(said)
        self.over |= said == "over"
        if len(self.acknowledged) == self.after and self.due == float("inf"):
            self.due = time.monotonic() + self.delay

    def kill(self):
        """Kill -9, then take in what it had said."""
        self.process.kill()
        self.process.join()
        while self.told.poll() and not self.over:
            try:
                self.listen()
            except EOFError:
                break
        self.told.close()


def killed(folder, kind, count, cache, dice):
    """`count` journals left behind by processes killed in the middle of their campaign, two at a time."""
    left: list[tuple[str, Path, list]] = []
    alive: list[Victim] = []
    number = 0
    while len(left) < count:
        while len(alive) < min(2, count - len(left)):
            alive.append(Victim(folder / f"killed-{kind}-{number}.gpxj", kind, cache, dice))
            number += 1
        pause = max(0.0, min(one.due for one in alive) - time.monotonic())
        ready = wait([one.told for one in alive], min(pause, 60.0))
        for one in alive:
            if one.told in ready:
                one.listen()
        for one in [one for one in alive if one.over or time.monotonic() >= one.due]:
            one.kill()
            alive.remove(one)
            if not one.over:  # a campaign that was faster than its killer proves nothing
                left.append((kind, one.path, one.acknowledged))
    for one in alive:
        one.kill()
    return left


def judge(name, found, end, lost_of):
    """Report verdicts (reopens, lost, end) against the uninterrupted campaign's end."""
    trials = len(found)
    opens = sum(reopens for reopens, _, _ in found)
    lost = sum(lost for _, lost, _ in found)
    same = sum(where == end for _, _, where in found)
    report(f"{name}: journals that reopen", opens, "journals", trials, opens == trials)
    report(f"{name}: acknowledged measurements lost, of {lost_of}", lost, "measurements", 0, lost == 0)
    report(f"{name}: resumed to the uninterrupted end, bit for bit", same, "campaigns", trials, same == trials)


def kills(shop, folder, cache, ends, counts, dice):
    for kind, count in counts.items():
        left = killed(folder, kind, count, cache, dice)
        safe = sum(len(acknowledged) for _, _, acknowledged in left)
        judge(f"kill -9 at {count} instants, {kind}", shop.ask("verdicts", left), ends[kind], safe)


def calls(shop, folder, ends, strides):
    for kind, stride in strides.items():
        found = shop.ask("file_calls", folder, kind, stride)
        for where, what in (("after", "killed after each file call"), ("within", "killed within each write")):
            part = [one[1:] for one in found if one[0] == where]
            judge(f"{what}, {kind}", part, ends[kind], "all before it")


def clean(log, path, acknowledged):
    """Whether the instrument was left safe and the journal is whole with every acknowledged measurement."""
    contents = read(path)
    held = {frame.header["token"]: float(frame.arrays["y"]) for frame in contents.of("reading")}
    whole = contents.ignored == 0 and all(held.get(token) == value for token, value in acknowledged)
    asked = [what for what, _ in log]
    return asked[-1] == "safe" and whole


def stops(shop, folder, ends, kind, count, dice, gap, twice=False):
    """Ctrl-C at random instants of `count` campaigns."""
    name = f"{'a second Ctrl-C' if twice else 'Ctrl-C'}, {kind}"
    good = number = 0
    late: list[int] = []
    seconds: list[float] = []
    left: list[tuple[str, Path, list]] = []
    while len(seconds) < count:
        path = folder / f"stop-{kind}-{twice}-{number}.gpxj"
        number += 1
        after = dice.randrange(small.READINGS)
        at, acknowledged, finished, text, log, end = shop.interrupt(path, kind, after, dice.uniform(0, gap), twice)
        if finished or not log or (twice and "second" not in text):
            continue  # the campaign was over, had not begun, or had stopped, before the signal came
        good += clean(log, path, acknowledged)
        late.append(sum(what == "measure" and when > at for what, when in log))
        seconds.append(end - at)
        left.append((kind, path, acknowledged))
    report(f"{name}: clean, instrument safe last, journal whole", good, "trials", count, good == count)
    report(f"{name}: measurements begun after it, at most", max(late), "points", None, max(late) <= 1)
    report(f"{name}: trials with a measurement begun after it", sum(map(bool, late)), "trials", None, True)
    report(f"{name}: time to stop, median", round(1e3 * statistics.median(seconds), 1), "ms", None, True)
    report(f"{name}: time to stop, longest", round(1e3 * max(seconds), 1), "ms", None, True)
    judge(name, shop.ask("verdicts", left), ends[kind], sum(len(a) for _, _, a in left))


def full(shop, folder, ends, kind, name, limit, checked, room=lambda: None):
    """A disk that is too small, then room, then resume, all in one living process."""
    path = folder / "a.gpxj"
    text, acknowledged, log = shop.ask("starved", path, kind, limit, checked)
    measured = [what for what, _ in log].count("measure")
    wanted = "DiskFull" if checked else "JournalFull"
    extra = measured - len(acknowledged)  # measurements taken for which there was no room
    stopped = text.startswith(wanted) and extra <= (0 if checked else 1) and measured < small.READINGS
    report(f"{name}: stopped with {wanted} after {measured} measurements", int(stopped), "trials", 1, stopped)
    safe = clean(log, path, acknowledged)
    report(f"{name}: instrument safe, nothing acknowledged lost", int(safe), "trials", 1, safe)
    room()
    judge(f"{name}, resumed", shop.ask("verdicts", [(kind, path, acknowledged)]), ends[kind], len(acknowledged))


HOW = {True: "checked", False: "filled behind the check"}


def disks(shop, folder, ends, kind):
    if POSIX:
        for checked, limit in ((True, (4 << 20) + 1_000_000), (False, 1_000_000)):
            place = folder / f"limit-{checked}"
            place.mkdir()
            full(shop, place, ends, kind, f"file-size limit, {HOW[checked]}", limit, checked)
    else:
        say("skipped: Windows has no RLIMIT_FSIZE")
    for checked in (True, False):
        place = folder / f"disk-{checked}"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
        if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
            say("skipped: no small disk can be mounted here (root on Linux is needed)")
            return
        try:
            room = functools.partial(subprocess.run, ["mount", "-o", "remount,size=64m", str(place)], check=True)
            full(shop, place, ends, kind, f"2 MB disk, {HOW[checked]}", 0, checked, room)
        finally:
            subprocess.run(["umount", str(place)], check=True)


def instruments(bench, count):
    """Campaigns at simulated instruments, each of them disturbed."""
    bench.prepare()
    found = []
    for number, one in enumerate(crash_instruments.schedule(count), start=1):
        found.append(bench.trial(*one))
        if not found[-1].holds:
            say(f"a claim fails: {found[-1]}")
        if number % 50 == 0:
            say(f"{number} of {count}")
    for claim in crash_instruments.claims(found):
        report(*claim)


def simulated(folder, cache, dice, quick):
    """The campaigns of this process's own, at an instrument in the same process."""
    shop = Workshop(cache)
    victims = {"nuts": 2} if quick else {"nuts": 30, "fixed": 70}
    ends, seconds = shop.ask("reference", folder, tuple(victims))
    gap = seconds["nuts"] / small.READINGS
    calls(shop, folder, ends, {"nuts": 5} if quick else {"nuts": 1, "fixed": 1})
    if POSIX:
        stops(shop, folder, ends, "nuts", 10 if quick else 150, dice, gap)
        stops(shop, folder, ends, "nuts", 3 if quick else 30, dice, gap, twice=True)
    else:
        say("skipped: Windows cannot send Ctrl-C to one process")
    disks(shop, folder, ends, "nuts")
    kills(shop, folder, cache, ends, victims, dice)
    shop.connection.send(None)
    shop.process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials, under a minute and a half")
    parser.add_argument("--instruments", type=int, metavar="COUNT", help="so many trials at instruments, no others")
    options = parser.parse_args()
    count = options.instruments or (11 if options.quick else 1000)
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), str(Path(name) / "cache")
        bench = crash_instruments.Bench(folder, cache, random.Random(1)) if POSIX else None
        if not options.instruments:
            simulated(folder, cache, dice, options.quick)
        if bench is None:
            say("skipped: Windows cannot stop and signal a process")
        else:
            try:
                instruments(bench, count)
            finally:
                bench.end()
    if failures:
        say(f"failed: {'; '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
