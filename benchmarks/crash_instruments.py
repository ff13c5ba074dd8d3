"""Campaigns at simulated instruments that are killed, signalled, hung up on and left without an answer.

Each trial has a new instrument in a process of its own, which survives the campaign; another process runs the campaign
as the command line does, and is disturbed at a random instant of its life, also in the middle of an exchange. Then the
instrument itself is asked for its state, the campaign is gone on with to its end by a third process, and what the
journals and the instrument's ledger hold is compared.

What is claimed where an act was cut off by the safe state: its reading is a failed one, and the campaign ends bit for
bit where an uninterrupted one with the same readings does. Where none failed, that is the end of the undisturbed one.
An instrument that was started anew knows nothing of what it did: neither the act that was under way then is repeated,
nor one that a program announced to it before it had done any; the measurements of these two may be failed ones. The
specimen of the electron microscope is a new one then, and its spectra are others.
"""

import os
import re
import signal
import time
from typing import NamedTuple

import crash_desk as desk
from crash_rooms import Room

KILL = "kill -9"
FOR_GOOD = "an instrument that hangs for good"
ANEW = "killed and started anew, memory lost"
DWELLS = (0.0, 0.02)  # s that a measurement takes, which a safe state then cuts off
LIMIT_S = 60.0  # a campaign that goes on for longer after its disturbance never ends
REFUSED = re.compile("could not be made safe|not seen to be obeyed")
GREETING = re.compile(r"(SYST:TAG\? \d+;)?:?\*IDN\?")


class Trial(NamedTuple):
    """What became of one campaign.

    Attributes:
        name: of the instrument.
        what: the disturbance.
        ended: "finished", "paused", "error", "killed"; "died" by a signal that nobody heard, or "never".
        text: the reason or error, in words.
        told: whether an error said that the instrument could not be made safe.
        unsafe: what was not safe when the campaign had ended (once it answered again), in words.
        connected: what was not safe once the next program had connected, or what that sent before the safe state.
        left: what was not safe at the very end.
        acknowledged: measurements acknowledged before the disturbance ended the campaign.
        judgement: of the journal.
        failed: measurements that failed, in the whole campaign.
        for_nothing: why those of them failed whose act was not cut off, nor under way or announced when all memory was
            lost.
        resumed: why going on did not end well, in words.
        equal: whether it ended where an uninterrupted campaign with the same measurements does.
        undisturbed: whether it ended where the undisturbed one did, raw readings included; None where readings failed,
            or the specimen was a new one.
        acts: for each life of the instrument and token, how often it acted.
    """

    name: str
    what: str
    ended: str
    text: str
    told: bool
    unsafe: str
    connected: str
    left: str
    acknowledged: int
    judgement: desk.Judgement
    failed: int
    for_nothing: list[str]
    resumed: str
    equal: bool
    undisturbed: bool | None
    acts: dict[tuple[str, str], int]

    @property
    def safe(self):
        """Whether the safe state was reached, or refused with the reason; after kill -9 the next program reaches it."""
        return self.what == KILL or not self.unsafe or self.told

    @property
    def twice(self):
        """Tokens under which an instrument acted more than once in one life."""
        return sum(count > 1 for count in self.acts.values())

    @property
    def twice_over_lives(self):
        """Tokens under which it acted in more than one life, the later of which could not know it."""
        tokens = [token for _, token in self.acts]
        return len(tokens) - len(set(tokens))

    @property
    def holds(self):
        """Whether every claim does."""
        journal = self.judgement.reopens and not self.judgement.lost
        end = not self.resumed and self.equal and self.undisturbed is not False and not self.for_nothing
        safe = self.safe and not self.connected and not self.left
        once = not self.twice and not self.twice_over_lives
        return self.ended not in ("never", "died") and safe and journal and end and once


class Bench:
    """Instruments, campaigns and judges for trials.

    Args:
        folder: for the files.
        cache: folder of compiled functions.
        dice: for every random number.
    """

    def __init__(self, folder, cache, dice):
        self.folder, self.cache, self.dice, self.number = folder, cache, dice, 0
        self.twin = Room("crash_twins", "Laboratory", cache, ())
        self.judge, self.campaign = self.desk({}), None
        self.whole, self.ends, self.seconds = {}, {}, {}

    def prepare(self):
        """Know where undisturbed campaigns end, and how long they take."""
        for name in desk.KINDS:
            for dwell in DWELLS:
                self.undisturbed(name, dwell)
        self.campaign = self.desk(self.whole)

    def desk(self, journals):
        """A process that runs campaigns or judges them."""
        return Room("crash_desk", "Desk", self.cache, journals)

    def undisturbed(self, name, dwell):
        """Where the undisturbed campaign ends, and how long it takes once all is compiled."""
        for part in ("first", "again"):
            path = self.folder / f"{name}-{dwell}-{part}.gpxj"
            port = self.twin.ask("set_up", name, dwell, 1, path.with_suffix(".ledger"), path.with_suffix(".wire"))
            end, self.seconds[name, dwell] = self.judge.ask("whole", name, path, port)
            if self.ends.setdefault(name, end) != end:
                raise AssertionError(f"{name}: two undisturbed campaigns differ")
            self.whole.setdefault(name, path)

    def end(self):
        """End all processes."""
        for room in filter(None, (self.twin, self.judge, self.campaign)):
            room.kill()

    def trial(self, name, what):
        """One campaign under one disturbance; again with another instant where it was over before that came."""
        found = None
        while found is None:
            one = Disturbed(self, name, what)
            found = one.trial()
            for file in self.folder.glob(f"{one.path.stem}.*"):
                file.unlink()
        return found


class Disturbed:
    """One campaign that is disturbed, and then gone on with."""

    def __init__(self, bench, name, what):
        self.bench, self.name, self.what, self.dice = bench, name, what, bench.dice
        bench.number += 1
        self.path = bench.folder / f"trial-{bench.number}.gpxj"
        self.dwell = self.dice.choice(DWELLS)
        self.acknowledged, self.ended, self.text = [], "", ""
        # What is to be killed has only what it needs compiled, since another one takes its place.
        self.room = bench.desk({name: bench.whole[name]}) if what == KILL else bench.campaign
        self.twin = Room("crash_twins", "Laboratory", bench.cache, (name,)) if what == ANEW else bench.twin
        self.port = self.set_up(1, 0)

    def set_up(self, life, port):
        """A new instrument; its port."""
        files = self.path.with_suffix(".ledger"), self.path.with_suffix(".wire")
        return self.twin.ask("set_up", self.name, self.dwell, life, *files, port)

    def trial(self):
        """The `Trial`; None where the campaign was over before its disturbance."""
        if not self.disturb():
            return None
        time.sleep(0.02)  # what was on its way has arrived
        unsafe = self.twin.ask("safe")
        judge = self.bench.judge
        judgement = judge.ask("look", self.path, self.acknowledged)
        connected, left, failed, resumed, equal, undisturbed = "", "", {}, "", False, None
        try:
            sent = len(self.wire())
            judge.ask("connect", self.name, self.port)
            connected = self.first_unsafe(self.wire()[sent:]) or self.twin.ask("safe")
            end, failed = judge.ask("resume", self.name, self.path)
            left = self.twin.ask("safe")
            equal = judge.ask("again", self.name, self.path) == end
            if not failed and (self.name, self.what) != ("stem", ANEW):
                whole = self.bench.whole[self.name]
                undisturbed = end == self.bench.ends[self.name] and judge.ask("same_arrays", self.path, whole)
        except (RuntimeError, TimeoutError) as error:
            resumed = str(error)
            judge.kill()
            self.bench.judge = self.bench.desk({})
        done, cut = acts(self.path.with_suffix(".ledger"))
        # One that was started anew has forgotten what was under way, and cannot tell of the first act announced to it.
        forgotten = 2 if self.what == ANEW else 0
        for_nothing = [reason for token, reason in failed.items() if token not in cut][forgotten:]
        told = REFUSED.search(self.text) is not None
        return Trial(
            self.name, self.what, self.ended, self.text, told, unsafe, connected, left, len(self.acknowledged),
            judgement, len(failed), for_nothing, resumed, equal, undisturbed, done,
        )  # fmt: skip

    def wire(self):
        """The lines that the instrument received."""
        return [line.split(maxsplit=2)[2] for line in self.path.with_suffix(".wire").read_text().splitlines()]

    @staticmethod
    def first_unsafe(lines):
        """What was sent before the safe state, except for the question who it is; empty for nothing."""
        before = lines[: lines.index("SAFE")] if "SAFE" in lines else ["no SAFE at all"]
        return "; ".join(line for line in before if not GREETING.fullmatch(line))

    def disturb(self):
        """Run the campaign and disturb it; whether it came to that."""
        room = self.room
        wait_s = self.dice.choice((0.0, 0.5 if self.what == FOR_GOOD else 10.0))
        room.tell("disturbed", self.name, self.path, self.port, wait_s, self.dice.choice((0.005, 10.0)))
        while (said := room.hear(LIMIT_S)) != ("said", "begun"):
            if said is None or said[0] == "died":
                raise RuntimeError("a campaign did not begin")
        came = False
        life = self.bench.seconds[self.name, self.dwell]
        for pause, act in DISTURBANCES[self.what](self, room, self.dice.uniform(0.0, life)):
            over = self.hear(room, pause)
            if over and not came:
                self.clear_up()
                return False
            came = True
            act()
        if self.what != KILL and not self.hear(room, LIMIT_S):
            self.ended = "never"
            room.kill()
        if self.what == FOR_GOOD:
            os.kill(self.twin.process.pid, signal.SIGCONT)
        self.clear_up()
        return True

    def clear_up(self):
        """End the processes of this trial's own, and replace what has died."""
        if self.what == KILL:
            self.room.kill()
        elif not self.room.process.is_alive():
            self.bench.campaign = self.bench.desk(self.bench.whole)
        if self.twin is not self.bench.twin:
            self.twin.kill()

    def hear(self, room, seconds):
        """Take in what the campaign says for so long; whether it has ended."""
        end = time.monotonic() + seconds
        while not self.ended and (said := room.hear(end - time.monotonic())) is not None:
            kind, content = said
            if kind == "said":
                self.acknowledged.append(content)
            elif kind == "answer":
                self.ended, self.text = content
            else:
                self.ended, self.text = kind, content or ""
                room.process.join(1.0)
        return bool(self.ended)

    # What may happen: (seconds after the last act, act), until the campaign is left alone.

    def kill(self, room, when):
        yield when, room.kill
        self.hear(room, 1.0)
        self.ended = "killed"

    def signal(self, number, room, when):
        yield when, lambda: os.kill(room.process.pid, number)

    def press_twice(self, room, when):
        press = lambda: self.ended or os.kill(room.process.pid, signal.SIGINT)  # noqa: E731
        yield when, press
        yield self.dice.uniform(0.0, 0.02), press

    def hang_up(self, room, when):
        yield when, lambda: self.twin.ask("hang_up")

    def lose_answers(self, room, when):
        fault, count = self.dice.choice(("HALF", "DROP")), self.dice.randint(1, 9)
        yield when, lambda: self.twin.ask("arm", fault, count)

    def switch_off(self, room, when):
        yield when, lambda: self.twin.ask("close")
        yield self.dice.uniform(0.0, 1.0), lambda: self.twin.ask("open", self.port)

    def start_anew(self, room, when):
        yield when, self.twin.kill
        yield self.dice.uniform(0.0, 0.5), self.started_anew

    def started_anew(self):
        self.twin = self.bench.twin
        self.set_up(2, self.port)

    def hang(self, room, when):
        yield when, lambda: os.kill(self.twin.process.pid, signal.SIGSTOP)

    def hang_awhile(self, room, when):
        yield from self.hang(room, when)
        yield self.dice.uniform(0.05, 1.5), lambda: os.kill(self.twin.process.pid, signal.SIGCONT)


DISTURBANCES = {
    "SIGTERM": lambda one, *rest: one.signal(signal.SIGTERM, *rest),
    "SIGHUP": lambda one, *rest: one.signal(signal.SIGHUP, *rest),
    "SIGINT": lambda one, *rest: one.signal(signal.SIGINT, *rest),
    "SIGINT twice": Disturbed.press_twice,
    "hang-up": Disturbed.hang_up,
    "answers lost": Disturbed.lose_answers,
    "switched off and on, memory kept": Disturbed.switch_off,
    "hangs for a while": Disturbed.hang_awhile,
    FOR_GOOD: Disturbed.hang,
    ANEW: Disturbed.start_anew,
    KILL: Disturbed.kill,
}


def acts(ledger):
    """Of a ledger: how often the instrument acted, by (life, token); and the tokens of acts that were cut off."""
    found, cut = {}, set()
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        life, token, *end = line.split()
        cut |= {token} if end else set()
        found[life, token] = found.get((life, token), 0) + (not end)
    return found, cut


def schedule(count):
    """(instrument, disturbance) of so many trials: each with each as often as can be."""
    names, whats = list(desk.KINDS), list(DISTURBANCES)
    rounds = (divmod(n, len(whats)) for n in range(count))
    return [(names[(turn + n) % len(names)], whats[n]) for turn, n in rounds]


def claims(found):
    """(name, value, unit, reference, whether the claim holds) of what trials found."""
    for name in desk.KINDS:
        part = [one for one in found if one.name == name]
        if not part:
            continue
        title = f"{len(part)} disturbed campaigns, {name}"

        def all_of(words, holds, of=part, title=title):
            good = sum(map(holds, of))
            return f"{title}: {words}", good, "campaigns", len(of), good == len(of)

        yield all_of("ended by themselves, unless killed", lambda one: one.ended not in ("never", "died"))
        yield all_of("left safe, or refused with the reason", lambda one: one.safe)
        yield all_of("safe before anything else once connected again", lambda one: not one.connected)
        yield all_of("safe at the end", lambda one: not one.left)
        yield all_of("journals that reopen", lambda one: one.judgement.reopens)
        lost, safe = sum(one.judgement.lost for one in part), sum(one.acknowledged for one in part)
        yield f"{title}: acknowledged measurements lost, of {safe}", lost, "measurements", 0, lost == 0
        twice = sum(one.twice for one in part)
        yield f"{title}: acts under a token that had acted", twice, "acts", 0, twice == 0
        yield all_of("ended where uninterrupted with the same measurements, bit for bit", lambda one: one.equal)
        whole = [one for one in part if one.undisturbed is not None]
        yield all_of("of those with all measurements, ended where undisturbed", lambda one: one.undisturbed, whole)
        wrong = sum(len(one.for_nothing) for one in part)
        yield f"{title}: measurements failed, act neither cut off nor forgotten", wrong, "measurements", 0, wrong == 0
        failed, of = sum(one.failed for one in part) - wrong, len(part) * desk.READINGS
        yield f"{title}: measurements failed, act cut off or forgotten, of {of}", failed, "measurements", None, True
        again = sum(one.twice_over_lives for one in part)
        yield f"{title}: acts repeated by one that was started anew", again, "acts", 0, again == 0
    for what in DISTURBANCES:
        part = [one for one in found if one.what == what]
        good, refused = sum(one.holds for one in part), sum(bool(one.unsafe) for one in part)
        yield f"{what}: campaigns for which every claim holds", good, "campaigns", len(part), good == len(part)
        words = "left unsafe by the kill" if what == KILL else "not safe, refused with the reason"
        yield f"{what}: {words}", refused, "campaigns", None, True
