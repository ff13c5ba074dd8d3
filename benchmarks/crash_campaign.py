"""The small campaign that `crash.py` kills, interrupts and starves, and what is looked at afterwards.

Two of them: "nuts" samples its parameters anew after every measurement; "fixed" keeps draws of the prior, so that a
fresh process is under way in a second. Both go through the same `run`, journal and resume.
"""

import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gpax_lab
from gpax_lab import acquisition, kernels
from gpax_lab.core import Instrument
from gpax_lab.experiment import Experiment, Outcome, Simulated, bayes_opt, run
from gpax_lab.inference import nuts
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler
from gpax_lab.models import gp
from gpax_lab.storage import Campaign
from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import JournalEmpty

STEPS = 8
SEEDS = np.array([[0.0], [25 / 49], [1.0]])
READINGS = len(SEEDS) + STEPS
SLEEP_S = 0.003


def configure(cache: str) -> None:
    """What every process sets before its first JAX call; compiled functions are shared through the folder `cache`."""
    gpax_lab.setup(cache=cache, verbose=False)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def objective(key, x):
    """A smooth hill with noise."""
    return 4 * x[0] * (1 - x[0]) + 0.05 * jax.random.normal(key)


def prior_draws(count: int) -> Sampler:
    """Draws of the prior that are never updated: a process with fixed parameters."""

    def init(key, model, obs):
        space = unconstrained_density(model, obs.y.dtype)
        params = jax.vmap(lambda k: space.constrain(space.draw(k)))(jax.random.split(key, count))
        info = Info.unknown(obs.y.dtype)
        even = jnp.full(count, -jnp.log(count), obs.y.dtype)
        nan = jnp.full((), jnp.nan, obs.y.dtype)
        return Posterior(params, even, nan, None, info, None, model).conditioned(obs)

    return Sampler(init, lambda key, posterior, obs: posterior.conditioned(obs))


@functools.cache
def experiment(kind: str) -> Experiment:
    """The state machine: 50 points on a line, log expected improvement."""
    model = gp.exact(1, kernels.matern52, bounds=[[0.0, 1.0]])
    sampler = nuts(20, 20, thin_to=8, max_tree_depth=5) if kind == "nuts" else prior_draws(8)
    return bayes_opt(model, sampler, acquisition.log_ei(), acquisition.grid([[0.0, 1.0]], (50,)))


@functools.cache
def simulated() -> Simulated:
    """The objective, compiled once a process."""
    return Simulated(objective)


class Bench(Instrument):
    """An instrument that takes a few milliseconds a point and notes what is asked of it and when.

    Attributes:
        log: (what, seconds on the system's monotonic clock) in order; what is "measure" or "safe".
    """

    repeatable = True

    def __init__(self, raw_bytes: int = 0):
        self.log: list[tuple[str, float]] = []
        self._raw = np.zeros(raw_bytes // 8)

    def measure(self, x, token):
        """One noisy value, and raw bytes as a spectrum would bring them."""
        self.log.append(("measure", time.monotonic()))
        time.sleep(SLEEP_S)
        reading = simulated().measure(x, token)
        if self._raw.size:
            reading.arrays["spectrum"] = self._raw
        return reading

    def make_safe(self):
        """Noted: it must come last."""
        self.log.append(("safe", time.monotonic()))


class Told(Campaign):
    """A campaign that says which measurements are acknowledged, once `append` has returned."""

    tell: Callable[[tuple[str, float]], None] = staticmethod(lambda said: None)

    def append(self, *entries):
        """Record, then say so."""
        super().append(*entries)
        for kind, _, header, arrays in entries:
            if kind == "reading":
                self.tell((header["token"], float(arrays["y"])))


def opened(kind: str, path: Path, tell=Told.tell) -> Told:
    """The campaign in the file, or a new one where nothing was recorded."""
    try:
        campaign = Told.open(path)
    except JournalEmpty:
        path.unlink()
        campaign = Told.create(path, {"settings": {"kind": kind}})
    except FileNotFoundError:
        campaign = Told.create(path, {"settings": {"kind": kind}})
    campaign.tell = tell
    return campaign


def go(kind: str, path: Path, instrument=None, tell=Told.tell, stop=lambda: False, checked: bool = True) -> Outcome:
    """Begin the campaign, or go on with the one in the file; a file in which nothing was recorded is begun anew."""
    campaign = opened(kind, path, tell)
    if not checked:
        campaign.require_space = lambda nbytes: None
    options = {"seeds": SEEDS, "key": jax.random.key(3), "scalarize": Simulated.scalarize, "stop": stop}
    with campaign:
        return run(experiment(kind), instrument or Bench(), campaign, STEPS, **options)


def fingerprint(outcome: Outcome) -> str:
    """Digest of every bit of the observations, the posterior's parameters and the random key."""
    state = outcome.state
    digest = hashlib.sha256(np.asarray(jax.random.key_data(state.key)).tobytes())
    for leaf in jax.tree.leaves((state.obs, state.posterior.params, state.posterior.tuning)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def readings(path: Path) -> dict[str, float]:
    """The measurements that the journal holds, by token; opening it for writing cuts a torn tail as resume would."""
    with Campaign.open(path) as campaign:
        return {f.header["token"]: float(f.arrays["y"]) for f in campaign.history if f.kind == "reading"}


def verdict(kind: str, path: Path, acknowledged: list[tuple[str, float]]) -> tuple[bool, int, str]:
    """Of a journal left behind: whether it reopens, acknowledged measurements lost, and where resume ends."""
    try:
        held = readings(path)
    except JournalEmpty:
        held = {}
    except Exception as error:
        return False, len(acknowledged), f"{type(error).__name__}: {error}"
    lost = sum(held.get(token) != value for token, value in acknowledged)
    return True, lost, fingerprint(go(kind, path))


_CALLS = ("open_append", "open_new", "write", "sync", "truncate", "sync_directory")


class FileCalls:
    """Records every call by which a campaign changes its journal, with the measurements acknowledged before it.

    The export at its end goes to another file and is left out.

    Attributes:
        calls: (name, bytes written or size cut to or None, number of measurements acknowledged before).
        acknowledged: (token, value) in order.
    """

    def __init__(self, kind: str, path: Path):
        self.path, self.whole = path, False
        self.calls: list[tuple[str, bytes | int | None, int]] = []
        self.acknowledged: list[tuple[str, float]] = []
        real = {name: getattr(files, name) for name in _CALLS}
        for name, function in real.items():
            setattr(files, name, functools.partial(self._call, name, function))
        try:
            go(kind, path, tell=self.acknowledged.append)
        finally:
            for name, function in real.items():
                setattr(files, name, function)

    def _call(self, name, function, *arguments, **options):
        done = function(*arguments, **options)
        if name in ("open_append", "open_new") and Path(arguments[0]) != self.path:
            self.whole = True
        if self.whole:
            return done
        what = bytes(arguments[1][:done]) if name == "write" else arguments[1] if name == "truncate" else None
        self.calls.append((name, what, len(self.acknowledged)))
        return done

    def states(self) -> list[tuple[str, bytes, int]]:
        """What is in the file after each call, and in the middle of each write, with the measurements safe by then."""
        found: list[tuple[str, bytes, int]] = []
        data = b""
        later = [before for _, _, before in self.calls[1:]] + [len(self.acknowledged)]
        for (name, what, before), after in zip(self.calls, later, strict=True):
            if name == "write":
                found.append(("within", data + what[: len(what) // 2], before))
                data += what
            elif name == "truncate":
                data = data[:what]
            found.append(("after", data, after))
        return found
