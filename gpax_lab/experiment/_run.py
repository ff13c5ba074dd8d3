"""A campaign against an instrument: the same pure functions as `simulate`, driven from Python and journalled.

Every measurement is announced in the journal before it begins and recorded before it is used, so that whatever kills
the program, nothing measured is lost and the campaign goes on along the trajectory it would have taken.

An instrument has to end by itself: `measure` is not interrupted. The drivers of `gpax_instruments` have a deadline
for every exchange and every act; of one that has none and never returns, a second Ctrl-C ends the campaign, safe.
Two campaigns at one instrument are noticed where it tells what was done last; `gpax-lab run` locks it, too.

After this process was stopped, or the machine slept, the journal says so ("suspended"), the instrument is made
safe before anything else, and the pause is in no duration. No deadline depends on the time of day. Where versions,
processor, device or XLA's options are not those that wrote the journal, its entry "resume" says under "changed"
in what they differ, and that the campaign goes on bit for bit is not promised.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.core import Instrument
from gpax_lab.core._observations import FAILED, MEASURED, Observations
from gpax_lab.experiment import _record as record
from gpax_lab.experiment._adoption import Extend, adopt, joined_already
from gpax_lab.experiment._contracts import Event, Hold, Hook, Journal, Outcome, Scalarizer
from gpax_lab.experiment._experiment import Experiment, NothingLeft, State, check_begin, left_of, token_of, tokens_of
from gpax_lab.experiment._guard import Guard, Paused, leave_safe
from gpax_lab.experiment._history import Progress
from gpax_lab.experiment._intervention_records import join_pins
from gpax_lab.experiment._journalling import Journalling
from gpax_lab.experiment._learning import Answered, begin, fitted_anew, learn, without
from gpax_lab.experiment._measuring import Measuring
from gpax_lab.experiment._positions import first_points
from gpax_lab.experiment._rescalarize import mended
from gpax_lab.experiment._scalarizers import Scalarizers
from gpax_lab.experiment.interventions import Adopt, Discard, Intervention, Rescale, apply
from gpax_lab.experiment.stopping import Rule


def run(
    experiment: Experiment,
    instrument: Instrument,
    campaign: Journal,
    num_steps: int,
    *,
    seeds: np.ndarray,
    key: jax.Array,
    scalarize: Scalarizer | Mapping[str, Scalarizer],
    rules: Sequence[Rule] = (),
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
    hold: Hold = lambda: "",
    callback: Callable[[Event], None] = lambda event: None,
    extend: Extend | None = None,
    max_failures: int | None = 5,
    idle_s: float | None = 10.0,
    wait_s: float = 0.0,
    lost: tuple[type[Exception], ...] = (ConnectionError, TimeoutError),
    another_instrument: bool = False,
) -> Outcome:
    """Run or resume a campaign; a journal with history is continued where it ended.

    Args:
        experiment: the state machine, e.g. `bayes_opt(...)`.
        instrument: measures one point at a time; see `core.Instrument`.
        campaign: the journal; see `gpax_lab.storage.Campaign`. A `mark` in its header goes into every token: of two
            campaigns with one key at an instrument that remembers tokens, the second would else be handed the
            measurements of the first. `gpax-lab` draws one.
        num_steps: propose-measure-observe steps in all, those already in the journal included.
        seeds: (n, d) points to measure first, n >= 1.
        key: random key of the campaign.
        scalarize: measurement -> value or (value, variance); or several by name, the first until a person chooses one.
        rules: reasons to stop early, see `stopping`.
        hooks: called before every proposal; see `interventions`.
        stop: asked between two measurements; True pauses the campaign (Ctrl-C sets such a flag). Asked while a lost
            instrument is waited for, too, where an error of its own is no answer.
        hold: asked between two measurements; as long as it gives a word nothing is measured, and the instrument is made
            safe after `idle_s`, or at once for "secured". Hooks are asked meanwhile: what needs a fit is done at once.
        callback: progress display.
        extend: hypotheses -> this experiment with these, e.g. `lambda h: bayes_opt(h, model_average(smc()), log_ei(),
            grid)`; needed to adopt laws.
        max_failures: so many measurements that fail one after the other pause the campaign; None for any number.
        idle_s: the instrument is made safe before the first fit, and whenever nothing is measured for longer than this,
            s; None: only at the end.
        wait_s: how long a lost instrument is waited for, s. Once it is back it is made safe, its identity and limits
            are compared, and the measurement that was under way is treated as one that a killed program left behind:
            asked for again under its token where the instrument may repeat or remembers it, and else a failed
            measurement.
        lost: errors that say that it can not be reached, beside each `core.InstrumentError` that is `unreachable`.
        another_instrument: it may be another one than the journal knows, or allow more (wider axes, higher limits).

    Returns:
        Outcome. The instrument is safe however this returns or raises; a "stop" in the journal was written after that.

    Raises:
        ValueError: no seeds, seeds that are not finite or that the model is not made for, a scalarizer that gives
            something else than one number, or another instrument than the journal knows.
        TypeError: no instrument, experiment or key, or a measurement not made of numbers, of which what can be is kept.
        Exception: whatever the instrument or the disk raised, after the instrument was made safe and the fault
            journalled; the campaign can be resumed.
    """
    guard, journal = Guard(instrument, lost, wait_s, idle_s, stop, campaign.append), None
    try:
        guard.check()
        check_begin(key, experiment)
        if max_failures is not None and not max_failures >= 1:
            raise ValueError(f"max_failures must be 1 or more, or None for any number; got {max_failures}.")
        if not num_steps >= 0:
            raise ValueError(f"num_steps must be 0 or more; got {num_steps}.")
        journal, scalarizers = Journalling(campaign), Scalarizers(scalarize)
        measure = Measuring(guard, journal, scalarizers, max_failures, stop, hold, callback)
        loop = _Loop(experiment, measure, journal, scalarizers, extend, callback)
        outcome = loop.run(num_steps, first_points(seeds), key, rules, hooks, another_instrument)
    except BaseException as error:
        leave_safe(guard, campaign, 0 if journal is None else journal.step, error)
        raise
    leave_safe(guard, campaign, journal.step, None)
    campaign.append(("stop", outcome.steps, {"reason": outcome.reason, "finished": outcome.finished}, {}))
    return outcome


class _Loop:
    """Propose, measure, observe, from where the journal ends."""

    def __init__(
        self,
        experiment: Experiment,
        measure: Measuring,
        journal: Journalling,
        scalarizers: Scalarizers,
        extend: Extend | None,
        callback: Callable[[Event], None],
    ) -> None:
        self.experiment, self.measure, self.journal = experiment, measure, journal
        self.scalarizers, self.extend, self.callback = scalarizers, extend, callback
        self.kept: list[Intervention] = []
        self.adopted: tuple[Adopt, ...] = ()
        self.usable: dict[str, record.Answer] = {}
        self.beside: list[Answered] = []  # answers to other points than those of the step under way

    def run(
        self,
        steps: int,
        seeds: np.ndarray,
        key: jax.Array,
        rules: Sequence[Rule],
        hooks: Sequence[Hook],
        another: bool,
    ) -> Outcome:
        """Take the journal up, and loop."""
        progress = self.journal.resume(self.experiment, self.extend)
        self.experiment, self.adopted = progress.experiment, tuple(progress.told.adopted)
        self.scalarizers.choose(progress.told.scalarizer or None)
        self.journal.announce()
        self.measure.recognise(another)
        self.usable = self.journal.scalarize_failed(self.scalarizers)
        try:
            state = progress.state
            state = self.begin(seeds, key, steps) if state is None else self.catch_up(state, progress)
            return self.loop(state, progress.asked, progress.pinned, steps, rules, hooks)
        except Paused as why:
            self.journal.flush()
            return self.outcome(self.journal.state, str(why), False)

    def begin(self, seeds: np.ndarray, key: jax.Array, steps: int) -> State:
        """Measure the seeds, and fit the model for the first time."""
        key_start, key_seed = jax.random.split(key)
        self.experiment.check(seeds, "the seeds")
        self.measure.width = np.ptp(seeds, axis=0) if len(seeds) > 1 else None
        known: list[Answered] = []
        for i, x in enumerate(seeds):
            token = token_of(jax.random.fold_in(key_seed, i), self.journal.mark)
            answer = self.measure(x, token, 0, "seed")
            known.append(Answered(x, answer))
            self.callback(Event("seed", i + 1, len(seeds), answer.position, answer.y, None))
        self.measure.pause_after_failures()
        self.measure.secure()  # the first fit compiles, which takes minutes
        self.callback(Event("model", 0, steps, None, None, None))
        known += self.told()
        state = begin(self.experiment, key_start, known, num_steps=steps)
        self.journal.remember(state)
        return state

    def loop(
        self,
        state: State,
        asked: bool,
        pinned: np.ndarray | None,
        steps: int,
        rules: Sequence[Rule],
        hooks: Sequence[Hook],
    ) -> Outcome:
        """Step by step to the end.

        Args:
            state: the last one.
            asked: whether people were asked for the step under way; if so, the state knows all interventions.
            pinned: (q, d) points that they want next, or None.
            steps: in all.
            rules: reasons to stop early.
            hooks: people to ask.
        """
        journal = self.journal
        while True:
            self.measure.pause_after_failures()
            reason = next((text for rule in rules if (text := _reason(rule, state))), None)
            if reason or journal.step >= steps:
                journal.flush()
                return self.outcome(state, reason or _all_done(state, steps), True)
            state, held = self.while_held(state, () if asked else hooks)
            if held:
                continue  # a rule may have been answered
            if not asked:
                state, pinned = self.intervene(self.mend(state), self.wishes(state, hooks))
            if pinned is None:
                before = state
                try:
                    state, x = self.experiment.propose(state)
                    x = left_of(x)
                except NothingLeft:
                    journal.flush()
                    return self.outcome(before, "no candidate is left to measure", True)
            else:
                x = jnp.asarray(pinned, state.obs.x.dtype)
            journal.proposed(state, x, pinned is not None)
            asked, pinned = False, None
            tokens = tokens_of(state.key, x.shape[0], journal.mark)
            answers = [
                self.measure(np.array(a), t, journal.step, "measure", state) for a, t in zip(x, tokens, strict=True)
            ]
            state = self.learn(state, x, answers)
            journal.step += 1
            journal.remember(state)
            last, health = answers[-1], journal.health
            event = Event(
                "learn",
                journal.step,
                steps,
                last.position,
                last.y,
                state,
                status=health.worst,
                fallbacks=health.fallbacks,
            )
            self.callback(event)

    def outcome(self, state: State | None, reason: str, finished: bool) -> Outcome:
        """How it ended; a campaign that is over says what its fits came to."""
        health = self.journal.health
        words = reason + health.words() if finished else reason
        return Outcome(state, self.journal.step, words, finished, health.worst, health.fallbacks)

    def told(self) -> list[Answered]:
        """What people have told of points that nobody had asked for, and no state knows."""
        told = self.journal.told
        new = [token for token in told.new if told.phases[token] == "told"]
        return [Answered(told.asked_at[token], told.answers[token], False) for token in new]

    def catch_up(self, state: State, progress: Progress) -> State:
        """Bring in what ask and tell has left open beside the step under way: it is learned with that step, or now."""
        told, journal = progress.told, self.journal
        here = set(told.proposals[-1].tokens(journal.mark)) if told.proposals else set()
        open_points = {t: told.asked_at[t] for t in told.asked_at if t in told.begun}
        for proposal in told.proposals[:-1]:
            tokens = proposal.tokens(journal.mark)
            open_points |= {t: x for t, x in zip(tokens, proposal.x, strict=True) if t not in told.answers}
        answered = {t: told.asked_at[t] for t in told.new if told.phases[t] != "told"}
        self.beside = [
            Answered(x, self.measure(x, token, journal.step, "measure", state), told.phases.get(token) != "told")
            for token, x in (answered | open_points).items()
            if token not in here
        ]
        self.beside += self.told()
        if told.to_discard:
            self.measure.secure()
        if not progress.asked and (self.beside or told.to_discard):
            state, self.beside = self.taken_in(state, self.beside), []
            self.journal.remember(state)
        return state

    def taken_in(self, state: State, known: list[Answered]) -> State:
        """The state without what was discarded, and with these answers."""
        bad, self.journal.told.to_discard = self.journal.told.to_discard, {}
        if bad and (obs := without(state.obs, bad.values())) is not None:
            state = fitted_anew(self.experiment, state, obs, self.adopted)
        return learn(self.experiment, state, known) if known else state

    def learn(self, state: State, x: jax.Array, answers: Sequence[record.Answer]) -> State:
        """The state that knows the answers to the points x (q, d), each where it was measured."""
        known = [Answered(np.asarray(point), answer) for point, answer in zip(x, answers, strict=True)]
        beside, self.beside = self.beside, []
        return self.taken_in(state, known + beside)

    def while_held(self, state: State, hooks: Sequence[Hook]) -> tuple[State, bool]:
        """The state after what people did while they held the campaign, and whether they did."""

        def attend() -> None:
            nonlocal state
            self.kept = self.wishes(state, hooks)
            if now := [action for action in self.kept if isinstance(action, _REFITTING)]:
                self.kept = [action for action in self.kept if not isinstance(action, _REFITTING)]
                state, _ = self.intervene(self.mend(state), now)
                self.journal.flush()
                self.callback(Event("held", self.journal.step, 0, None, None, state))

        return (state, True) if self.measure.hold(attend, state) else (state, False)

    def wishes(self, state: State, hooks: Sequence[Hook]) -> list[Intervention]:
        """What people ask for now, and what was put off."""
        kept, self.kept = self.kept, []
        return [*kept, *(action for hook in hooks for action in hook(state))]

    def intervene(self, state: State, actions: Sequence[Intervention]) -> tuple[State, np.ndarray | None]:
        """The state after these interventions, and the points (q, d) that people want next."""
        pinned = None
        for action in sorted(actions, key=_rank):
            if isinstance(action, Adopt) and joined_already(action, self.adopted):
                continue
            if isinstance(action, Discard) and action.token in self.journal.told.discarded:
                continue
            if isinstance(action, Discard):
                self.journal.told.discard(action)
            self.journal.intervened(action)
            if isinstance(action, Discard):
                state = self.discarded(state)
            if isinstance(action, Rescale):
                self.scalarizers.choose(action.scalarizer)
                state = self.fitted_anew(state, self.journal.rescalarized(state.obs, self.scalarizers))
            if isinstance(action, Adopt):
                self.experiment, state = adopt(self.experiment, state, action, self.extend)
                self.adopted = (*self.adopted, action)
                self.journal.remember(state)
            state = apply(state, action)
            pinned = join_pins(pinned, action)
        return state, pinned

    def mend(self, state: State) -> State:
        """The state that knows measurements that no scalarizer could use before, fitted anew; itself for none."""
        answers, self.usable = self.usable, {}
        obs = mended(state.obs, answers.values())
        if obs is None:
            return state
        self.measure.secure()
        state = self.fitted_anew(state, obs)
        self.journal.flush()
        return state

    def discarded(self, state: State) -> State:
        """The state without the measurements that were marked bad just now; recorded."""
        before, state = state, self.taken_in(state, [])
        if state is not before:
            self.journal.remember(state)
        return state

    def fitted_anew(self, state: State, obs: Observations) -> State:
        """The state with other values in its slots, and a fit to these; recorded."""
        state = fitted_anew(self.experiment, state, obs, self.adopted)
        self.journal.remember(state)
        return state


_REFITTING = Rescale | Adopt | Discard


def _reason(rule: Rule, state: State) -> str | None:
    """Why a rule wants to stop, or nothing.

    Raises:
        TypeError: it says neither, as a rule that is still to be made does: `budget` in place of `budget(20)`.
    """
    reason = rule(state)
    if reason is not None and not isinstance(reason, str):
        name = getattr(rule, "__name__", repr(rule))
        raise TypeError(f"a stopping rule gives a reason in words, or None; {name} gave {reason!r}.")
    return reason


def _rank(action: Intervention) -> tuple[bool, bool, bool]:
    """Order of interventions: Discard, Rescale, Adopt, the rest as it comes: a state is recorded after the first."""
    return not isinstance(action, Discard), not isinstance(action, Rescale), not isinstance(action, Adopt)


def _all_done(state: State, steps: int) -> str:
    """That the steps are done, which a step without an observation is not."""
    status = np.asarray(state.obs.status)
    failed, good = np.sum(status == FAILED), np.sum(status == MEASURED)
    if not failed:
        return f"all {steps} steps are done"
    return f"{steps} steps were tried; {failed} of {failed + good} measurements failed, seeds included"
