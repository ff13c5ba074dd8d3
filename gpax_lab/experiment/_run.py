"""A campaign against an instrument: the same pure functions as `simulate`, driven from Python and journalled.

Every measurement is announced in the journal before it begins and its reading recorded before it is used, so that
whatever kills the program, nothing measured is lost and the campaign goes on along the trajectory it would have taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.core import Instrument, InstrumentError
from gpax_lab.core._inputs import one_value
from gpax_lab.core._observations import Observations, observations
from gpax_lab.experiment import _record as record
from gpax_lab.experiment._buffer import buffer_for
from gpax_lab.experiment._contracts import Event, Hook, Journal, Outcome, Scalarizer
from gpax_lab.experiment._experiment import Experiment, NothingLeft, State, left_of, measurement_key, token_of
from gpax_lab.experiment._guard import LOSSES, Guard, Paused, leave_safe, recognised, refuse
from gpax_lab.experiment._positions import first_points, measured_at
from gpax_lab.experiment._rescalarize import kept, mended, received, rescalarize
from gpax_lab.experiment._simulate import batch_of
from gpax_lab.experiment._versions import going_on_with
from gpax_lab.experiment.interventions import Adopt, Rescale, apply, join_pins, joined, share_of, to_record
from gpax_lab.experiment.stopping import Rule, all_done
from gpax_lab.hypotheses._mixture import Hypotheses
from gpax_lab.hypotheses._model_average import ModelAverage


def run(
    experiment: Experiment,
    instrument: Instrument,
    campaign: Journal,
    steps: int,
    *,
    seeds: np.ndarray,
    key: jax.Array,
    scalarize: Scalarizer | Mapping[str, Scalarizer],
    rules: Sequence[Rule] = (),
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
    callback: Callable[[Event], None] = lambda event: None,
    extend: record.Extend | None = None,
    failures: int | None = 5,
    idle_s: float | None = 10.0,
    wait_s: float = 0.0,
    lost: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
    another: bool = False,
) -> Outcome:
    """Run or resume a campaign; a journal with history is continued where it ended.

    Args:
        experiment: the state machine, e.g. `bayes_opt(...)`.
        instrument: measures one point at a time; see `core.Instrument`.
        campaign: the journal; see `gpax_lab.storage.Campaign`. A `mark` in its header goes into every token: of two
            campaigns with one key at an instrument that remembers tokens, the second would else be handed the
            readings of the first. `gpax-lab` draws one.
        steps: propose-measure-observe steps in all, those already in the journal included.
        seeds: (n, d) points to measure first, n >= 1.
        key: random key of the campaign.
        scalarize: reading -> value or (value, variance); or several by name, of which the first is used until a
            person chooses another one.
        rules: reasons to stop early, see `stopping`.
        hooks: called before every proposal; see `interventions`.
        stop: asked between two measurements; True pauses the campaign (Ctrl-C sets such a flag). Asked while a lost
            instrument is waited for, too, where an error of its own is no answer.
        callback: progress display.
        extend: builds this experiment with other hypotheses; needed to adopt laws. See `record.Extend`.
        failures: so many measurements that fail one after the other pause the campaign; None for any number.
        idle_s: the instrument is made safe before the first fit, and whenever nothing is measured for longer than this,
            s; None: only at the end.
        wait_s: how long a lost instrument is waited for, s. Once it is back it is made safe, its identity and limits
            are compared, and the measurement that was under way is treated as one that a killed program left behind:
            asked for again under its token where the instrument may repeat or remembers it, and else a failed reading.
        lost: errors by which an instrument says that it can not be reached, beside each `core.InstrumentError` that
            is `unreachable`.
        another: whether the instrument may be another one than the journal knows, or allow more; see `guard`.

    An instrument has to end by itself: `measure` is not interrupted. The drivers of `gpax_instruments` have a deadline
    for every exchange and every act; of one that has none and never returns, a second Ctrl-C ends the campaign, safe.
    Two campaigns at one instrument are noticed where it tells what was done last; `gpax-lab run` locks it, too.

    After this process was stopped, or the machine slept, the journal says so ("suspended"), the instrument is made
    safe before anything else, and the pause is in no duration. No deadline depends on the time of day. Where versions,
    processor, device or XLA's options are not those that wrote the journal, its entry "resume" says under "changed"
    in what they differ, and that the campaign goes on bit for bit is not promised.

    Returns:
        Outcome. The instrument is in its safe state however this returns or raises; a journal that ends with "stop" was
        written after that.

    Raises:
        ValueError: no seeds, seeds that are not finite or that the model is not made for, a scalarizer that gives
            something else than one number, or another instrument than the journal knows.
        TypeError: no instrument, or a reading that is not made of numbers; what can be kept of it is recorded.
        Exception: whatever the instrument or the disk raised, after the instrument was made safe and the fault
            journalled; the campaign can be resumed.
    """
    guard, driver = Guard(instrument, lost, wait_s, idle_s, stop, campaign.append), None
    try:
        guard.check()
        if failures is not None and not failures >= 1:
            raise ValueError(f"failures must be 1 or more, or None for any number; got {failures}.")
        driver = _Driver(experiment, guard, campaign, scalarize, stop, callback, extend, failures, another)
        outcome = driver.run(steps, first_points(seeds), key, rules, hooks)
    except BaseException as error:
        leave_safe(guard, campaign, 0 if driver is None else driver.step, error)
        raise
    leave_safe(guard, campaign, driver.step, None)
    campaign.append(("stop", outcome.steps, {"reason": outcome.reason, "finished": outcome.finished}, {}))
    return outcome


class _Lost(Exception):
    """The instrument could not be reached, after it was asked to measure or (`entered` False) before."""

    def __init__(self, fault: Exception, entered: bool) -> None:
        super().__init__(str(fault))
        self.fault, self.entered = fault, entered


class _Driver:
    """One run: the journal, the instrument and the counters that the loop shares."""

    def __init__(self, experiment, guard, campaign, scalarize, stop, callback, extend, failures, another) -> None:
        self.experiment, self.campaign = experiment, campaign
        self.guard, self.instrument, self.another = guard, guard.instrument, another
        self.failures, self.failed, self.why = failures, 0, ""
        self.mended: dict[str, record.Answer] = {}
        self.scalarizers = scalarize if isinstance(scalarize, Mapping) else {"value": scalarize}
        self.stop, self.callback, self.extend = stop, callback, extend
        self.known: dict[str, np.ndarray] = {}
        self.mark = str(campaign.history[0].header.get("mark", "")) if campaign.history else ""
        self.state: State | None = None
        self.step = 0
        self.spread: np.ndarray | None = None
        self.waiting: list[record.Record] = []
        self.largest = max((_size(frame.arrays) for frame in campaign.history if frame.kind == "reading"), default=0)

    def run(self, steps, seeds, key, rules, hooks) -> Outcome:
        progress = record.fold(self.experiment, self.campaign.history, self.extend)
        self.experiment, self.adopted = progress.experiment, progress.adopted
        self.step, self.past, self.begun = progress.step, dict(progress.readings), set(progress.begun)
        self.places, self.known = progress.places, progress.recorded
        self.choose(progress.scalarizer or next(iter(self.scalarizers)))
        self.announce()
        state = progress.state
        self.recognise()
        self.guard.rest()
        self.read_again()
        try:
            if state is None:
                state = self.begin(seeds, key, steps)
            return self.loop(state, progress.asked, progress.pinned, steps, rules, hooks)
        except Paused as why:
            self.flush()
            return Outcome(self.state, self.step, str(why), False)

    def announce(self) -> None:
        """Record who goes on with the journal: by another program, processor or compiler not bit for bit."""
        before = self.campaign.history
        if before[1:] or not any("versions" in frame.header for frame in before):
            self.campaign.append(("resume" if before[1:] else "begin", self.step, going_on_with(before), {}))

    def recognise(self) -> None:
        """Compare the instrument with the one that the journal knows, and record it where it is new."""
        self.described = self.guard.description()
        if self.described and not recognised(self.described, self.campaign.history, self.another):
            self.campaign.append(("instrument", self.step, self.described, {}))

    def read_again(self) -> None:
        """Give readings that no scalarizer could use to this one, which may have been mended since.

        Raises:
            Exception: what the scalarizer raises; it has to be mended before the instrument is used.
        """
        if all(np.isfinite(answer.y) for answer in self.past.values()) and not any(
            frame.kind == "reread" for frame in self.campaign.history
        ):
            return
        for frame in self.campaign.readings():
            if np.isfinite(frame.arrays["y"]):
                continue
            token = frame.header["token"]
            answer = self.past[token]
            if not np.isfinite(answer.y):
                value, variance = self.scalar(kept(frame))
                if not np.isfinite(value):
                    continue
                answer = self.past[token] = answer._replace(y=value, noise=variance)
                header = {"token": token, "value": value, "scalarizer": self.scalarizer}
                numbers = {"y": np.asarray(value, np.float64), "noise": np.asarray(variance, np.float64)}
                self.waiting.append(("reread", self.step, header, numbers))
            self.mended[token] = answer
        self.flush()

    def mend(self, state: State) -> State:
        """The state that knows what was read again, fitted anew; itself where it knows all of that."""
        answers, self.mended = self.mended, {}
        obs = mended(state.obs, answers.values())
        if obs is None:
            return state
        self.secure()
        state = self.fitted_anew(state, obs)
        self.flush()
        return state

    def pause_after_failures(self) -> None:
        if self.failures is not None and self.failed >= self.failures:
            raise Paused(
                f"{self.failed} measurements in a row failed, the last one because {self.why or 'of an unknown reason'}"
                ". Look at the instrument, its limits and the scalarizer; resume goes on from here"
            )

    def begin(self, seeds, key, steps) -> State:
        key_start, key_seed = jax.random.split(key)
        self.experiment.check(seeds, "the seeds")
        self.spread = np.ptp(seeds, axis=0) if len(seeds) > 1 else None
        readings = []
        for i, x in enumerate(seeds):
            token = token_of(jax.random.fold_in(key_seed, i), self.mark)
            readings.append(self.measure(x, token, 0, "seed"))
            self.callback(Event("seed", i + 1, len(seeds), readings[-1].place, readings[-1].y, None))
        places = np.array([reading.place for reading in readings])
        self.pause_after_failures()
        self.secure()  # the first fit compiles, which takes minutes
        self.callback(Event("model", 0, steps, None, None, None))
        y, noise = np.array([reading[:2] for reading in readings]).T
        obs = observations(places, y, noise)
        batch = batch_of(self.experiment, key_start, obs, steps)
        state = self.experiment.init(key_start, buffer_for(obs, steps * batch))
        if not np.array_equal(places, seeds):
            state = state._replace(asked=state.asked.at[: len(seeds)].set(seeds))
        self.remember(state)
        return state

    def loop(self, state, asked, pinned, steps, rules, hooks) -> Outcome:
        self.state = state
        while True:
            self.pause_after_failures()
            reason = next((text for rule in rules if (text := rule(state))), None)
            if reason or self.step >= steps:
                self.flush()
                return Outcome(state, self.step, reason or all_done(state, steps), True)
            if self.stop():
                raise Paused(_ON_REQUEST)
            if not asked:
                state, pinned = self.intervene(self.mend(state), hooks)
            if pinned is None:
                before = state
                try:
                    state, x = self.experiment.propose(state)
                    x = left_of(x)
                except NothingLeft:
                    self.flush()
                    return Outcome(before, self.step, "no candidate is left to measure", True)
            else:
                x = jnp.asarray(pinned, state.obs.x.dtype)
            self.propose_record(state, x, pinned is not None)
            asked, pinned = False, None
            tokens = [token_of(k, self.mark) for k in jax.random.split(measurement_key(state), x.shape[0])]
            readings = [
                self.measure(np.asarray(a), t, self.step, "measure", state) for a, t in zip(x, tokens, strict=True)
            ]
            state = self.learn(state, x, readings)
            self.step += 1
            self.remember(state)
            self.callback(Event("learn", self.step, steps, readings[-1].place, readings[-1].y, state))

    def learn(self, state: State, x: jax.Array, readings: Sequence[record.Answer]) -> State:
        """The state that knows the answers to the points x (q, d), each where it was measured."""
        y, noise = jnp.asarray(np.array([reading[:2] for reading in readings]).T, state.obs.y.dtype)
        places = np.array([reading.place for reading in readings])
        if np.array_equal(places, np.asarray(x)):
            return self.experiment.observe(state, x, y, noise)
        return self.experiment.observe(state, jnp.asarray(places, x.dtype), y, noise, asked=x)

    def intervene(self, state, hooks) -> tuple[State, np.ndarray | None]:
        wishes, pinned = [action for hook in hooks for action in hook(state)], None
        # Stable: Rescale first, then Adopt, the rest in order: a state is recorded after each of the first two.
        for action in sorted(wishes, key=lambda a: (not isinstance(a, Rescale), not isinstance(a, Adopt))):
            if isinstance(action, Adopt) and self.has(action):
                continue
            header, arrays = to_record(action)
            self.waiting.append(("intervention", self.step, header, arrays))
            if isinstance(action, Rescale):
                state = self.rescale(state, action.scalarizer)
            if isinstance(action, Adopt):
                state = self.adopt(state, action)
            state = apply(state, action)
            pinned = join_pins(pinned, action)
        return state, pinned

    def rescale(self, state: State, scalarizer: str) -> State:
        """The campaign as if every reading had been read with this scalarizer from the start, and a fit to that."""
        self.choose(scalarizer)
        return self.fitted_anew(state, rescalarize(state.obs, self.campaign.readings(), self.scalar))

    def fitted_anew(self, state: State, obs: Observations) -> State:
        """The state with other readings in its slots, and a fit to these; recorded."""
        key, key_fit = jax.random.split(state.key)
        state = self.experiment.init(key_fit, obs)._replace(key=key, acquisition=state.acquisition, asked=state.asked)
        if self.adopted and isinstance(state.posterior, ModelAverage):
            state = state._replace(posterior=self.joined_anew(state.posterior))
        self.remember(state)
        return state

    def has(self, action: Adopt) -> bool:
        """Whether this very law joined already, in a write that ended before its proposal."""
        return to_record(action) in map(to_record, self.adopted)

    def adopt(self, state: State, action: Adopt) -> State:
        """The campaign with one more hypothesis, fitted to all readings; the others stay as they are."""
        known = record.hypotheses_of(state.posterior)
        assert isinstance(state.posterior, ModelAverage)  # or `hypotheses_of` has raised
        experiment = record.extended(self.experiment, known, (action,), self.extend)
        assert self.extend is not None  # or `extended` has raised
        key, key_fit = jax.random.split(state.key)
        alone = self.extend(Hypotheses({action.name: action.model(known)}, np.ones(1))).init(key_fit, state.obs)
        wider = record.widened(known, (action,))
        race = joined(state.posterior, alone.posterior.posteriors[0], share_of(action, known), wider)
        self.experiment, self.adopted = experiment, (*self.adopted, action)
        state = state._replace(key=key, posterior=race)
        self.remember(state)
        return state

    def joined_anew(self, race: ModelAverage) -> ModelAverage:
        """After past readings have changed, adopted laws begin again with the share they had at first."""
        count = len(race.posteriors) - len(self.adopted)
        models = list(race.hypotheses.models.items())

        def first(n: int) -> Hypotheses:
            return replace(race.hypotheses, models=dict(models[:n]), prior=race.hypotheses.prior[:n])

        begun = ModelAverage(race.posteriors[:count], first(count), race.log_prior[:count])
        for n, action in enumerate(self.adopted, start=count):
            begun = joined(begun, race.posteriors[n], share_of(action, begun.hypotheses), first(n + 1))
        return ModelAverage(begun.posteriors, race.hypotheses, begun.log_prior)

    def choose(self, scalarizer: str) -> None:
        if scalarizer not in self.scalarizers:
            raise ValueError(f"no scalarizer {scalarizer!r}; there are {sorted(self.scalarizers)}.")
        self.scalarizer = scalarizer

    def propose_record(self, state, x, pinned) -> None:
        header = {
            "value": None if pinned else float(state.value),
            "fallback": bool(state.fallback),
            "pinned": pinned,
            "key": np.asarray(jax.random.key_data(state.key)).tolist(),
        }
        self.waiting.append(("proposal", self.step, header, {"x": np.asarray(x)}))

    def remember(self, state) -> None:
        """Queue the state for the next write; it follows from what is on the disk already."""
        self.state = state
        changed = record.snapshot(state, self.known)
        record.merge(self.known, changed)
        self.waiting.append(("state", self.step, {}, changed))
        self.waiting.append(("posterior", self.step, record.posterior_summary(state), {}))

    def flush(self, *entries: record.Record) -> None:
        self.campaign.append(*self.waiting, *entries)
        self.waiting = []

    def measure(self, x: np.ndarray, token: str, step: int, phase: str, state: State | None = None) -> record.Answer:
        """What one measurement gave, from the journal if it holds it, else from the instrument."""
        if token in self.places and not np.array_equal(self.places[token], x):
            raise ValueError(
                f"the journal measured {self.places[token].tolist()} where this program would measure {x.tolist()}: "
                "seeds, settings, score or versions differ from those that wrote it. Restore them, or begin anew."
            )
        if token in self.past:
            return self.past[token]
        if self.stop():
            raise Paused(_ON_REQUEST)
        self.pause_after_failures()
        for loss in range(LOSSES + 1):
            try:
                self.wake(step)
                self.reach(self.guard.ready)
                answer = self.ask(x, token, step, phase, state)
                self.wake(step)
                return answer
            except _Lost as out_of_reach:
                if loss == LOSSES:
                    raise out_of_reach.fault from None
                self.await_return(out_of_reach.fault)
                if out_of_reach.entered:
                    self.begun.add(token)  # its outcome is as unknown as after kill -9
        raise AssertionError("unreachable")

    def await_return(self, fault: Exception) -> None:
        """Wait for a lost instrument, and see that it is the same and allows no more."""
        self.callback(Event("lost", self.step, 0, None, None, self.state))
        self.guard.await_return(fault, self.step, self.recognise_again)

    def recognise_again(self) -> None:
        now = self.guard.description()
        if now != self.described:
            refuse(self.described, now, "the instrument was lost, and what came back")
            self.campaign.append(("instrument", self.step, now, {}))
            self.described = now

    def wake(self, step: int) -> None:
        """Where this process stood still, or the machine slept: say so, and begin anew from the safe state."""
        if (seconds := self.guard.watch.untold()) > 0:
            self.flush(("suspended", step, {"seconds": seconds}, {}))
            self.secure()

    def secure(self) -> None:
        """Make the instrument safe before something that takes long."""
        if self.guard.idle_s is not None:
            self.reach(self.guard.secure)

    def reach(self, act: Callable[[], None]) -> None:
        """Do it, or wait for the lost instrument, which is then safe."""
        try:
            act()
        except Exception as fault:
            if not self.guard.lost(fault):
                raise
            self.await_return(fault)

    def ask(self, x: np.ndarray, token: str, step: int, phase: str, state: State | None) -> record.Answer:
        """Announce the measurement, have it done, and record it."""
        may_repeat = self.instrument.repeatable or self.instrument.remembers_token
        doubtful = token in self.begun and not may_repeat
        self.campaign.require_space(_SPARE_BYTES + 2 * self.largest)
        self.flush(("intent", step, {"token": token, "phase": phase}, {"x": x}))
        if doubtful:
            text = "begun before the program ended; outcome unknown, and this instrument must not repeat it"
            return self.file_lost(step, token, x, text)
        entered = False
        try:
            with self.guard.at_work():
                entered = True
                reading = self.instrument.measure(x, token)
        except Exception as error:
            if entered and isinstance(error, InstrumentError) and error.point_failed:
                return self.file_lost(step, token, x, str(error), type(error).__name__)
            if self.guard.lost(error):
                raise _Lost(error, entered) from error
            raise
        return self.file_reading(step, token, x, reading, self.guard.worked_s, state)

    def file_lost(self, step: int, token: str, x: np.ndarray, reason: str, *flags: str) -> record.Answer:
        header = {"ok": False, "reason": reason, "flags": list(flags), "units": {}}
        return self.file(step, token, header, {"x": x}, np.nan, 0.0)

    def file_reading(
        self, step: int, token: str, x: np.ndarray, reading: Any, seconds: float, state: State | None
    ) -> record.Answer:
        raw, value, variance = received(reading), np.nan, 0.0
        error: Exception | None = raw.error
        where = measured_at(x, raw.position, state, self.spread)
        why = "the scalarizer gave no finite value"
        try:
            value, variance = self.scalar(reading) if where.believed and raw.ok else (np.nan, 0.0)
        except Exception as problem:  # the raw reading is kept before anyone hears of it
            error, why = problem, f"the scalarizer raised {problem!r}"
        header = {
            "ok": bool(np.isfinite(value)),
            "reason": raw.reason or where.reason or ("" if np.isfinite(value) else why),
            "flags": [*raw.flags, *where.flags],
            "units": raw.units,
            "scalarizer": self.scalarizer,
            "usable": raw.ok and where.believed,
            "seconds": seconds,
        } | ({"words": raw.words} if raw.words else {})
        filed = self.file(step, token, header, {"x": x} | where.arrays(x) | raw.arrays, value, variance)
        if error is not None:
            raise error
        return filed

    def scalar(self, reading: Any) -> tuple[float, float]:
        if not reading.ok:
            return np.nan, 0.0
        result = self.scalarizers[self.scalarizer](reading)
        value, variance = one_value(result)
        return (value, variance) if np.isfinite(value) and np.isfinite(variance) else (np.nan, 0.0)

    def file(self, step, token, header, arrays, value, variance) -> record.Answer:
        self.largest = max(self.largest, _size(arrays))
        self.failed, self.why = (0, "") if np.isfinite(value) else (self.failed + 1, header["reason"])
        numbers = {"y": np.asarray(value, np.float64), "noise": np.asarray(variance, np.float64)}
        self.flush(("reading", step, {"token": token, "value": float(value)} | header, arrays | numbers))
        return record.Answer(float(value), float(variance), record.place_of(arrays))


_ON_REQUEST = "stopped on request; resume goes on from here"


_SPARE_BYTES = 4 << 20
"""Bytes free before a measurement beside twice the largest reading so far: for the state after it, and to spare."""


def _size(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())
