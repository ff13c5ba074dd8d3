"""A small campaign on a grid of 50 points, and an instrument that notes all that is asked of it."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab import acquisition, kernels
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.experiment import Experiment, Outcome, Simulated, bayes_opt, run
from gpax_lab.inference import nuts
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler
from gpax_lab.models import gp
from gpax_lab.storage import Campaign, JournalRecord, read
from gpax_lab.storage._scan import scan

BOUNDS = [[0.0, 1.0]]
KEY = jax.random.key(3)
SEEDS = np.array([[0.0], [25 / 49], [1.0]])


def objective(key, x):
    return 4 * x[0] * (1 - x[0]) + 0.05 * jax.random.normal(key)


def prior_draws(count: int = 8) -> Sampler:
    """Draws from the prior that are never updated: a process whose parameters are not learned, cheap to compile."""

    def init(key, model, obs):
        space = unconstrained_density(model, obs.y.dtype)
        params = jax.vmap(lambda k: space.constrain(space.draw(k)))(jax.random.split(key, count))
        info = Info.unknown(obs.y.dtype)
        even = jnp.full(count, -jnp.log(count), obs.y.dtype)
        nan = jnp.full((), jnp.nan, obs.y.dtype)
        return Posterior(params, even, nan, None, info, None, model).conditioned(obs)

    return Sampler(init, lambda key, posterior, obs: posterior.conditioned(obs))


def model():
    return gp.exact(1, kernels.matern52, bounds=BOUNDS)


def learning(gp_model=None, batch: int = 1) -> Experiment:
    """The campaign that samples its parameters anew after every measurement."""
    sampler = nuts(20, 20, thin_to=8, max_tree_depth=5)
    return bayes_opt(gp_model or model(), sampler, acquisition.log_ei(), acquisition.grid(BOUNDS, (50,)), batch)


def fixed(batch: int = 1) -> Experiment:
    """The same with fixed parameters."""
    score = acquisition.log_ei() + acquisition.distance_penalty(0.05)
    return bayes_opt(model(), prior_draws(), score, acquisition.grid(BOUNDS, (50,)), batch)


class Noted(Simulated):
    """A simulated instrument that keeps a list of what was asked of it and fails where it is told to.

    Attributes:
        asked: (what, token) in order; what is "measure" or "safe".
        fail: called with (x, number of this measurement); may raise, or return a number to be read instead.
    """

    def __init__(self, fail: Callable[[np.ndarray, int], float | None] = lambda x, n: None, repeatable: bool = True):
        super().__init__(objective)
        self.asked: list[tuple[str, str]] = []
        self.fail, self.repeatable = fail, repeatable

    def measure(self, x, token):
        self.asked.append(("measure", token))
        instead = self.fail(x, len(self.tokens) - 1)
        reading = super().measure(x, token)
        if instead is not None:
            reading.arrays["value"] = np.asarray(instead)
        return reading

    def make_safe(self):
        self.asked.append(("safe", ""))

    @property
    def tokens(self) -> list[str]:
        return [token for what, token in self.asked if what == "measure"]


def go(path: Path, experiment: Experiment, steps: int, instrument=None, **options) -> Outcome:
    """Begin a campaign, or go on with the one in the file."""
    campaign = Campaign.open(path) if path.exists() else Campaign.create(path, {"settings": {}})
    given = {"seeds": SEEDS, "key": KEY, "scalarize": Simulated.scalarize} | options
    with campaign:
        return run(experiment, instrument or Noted(), campaign, steps, **given)


def records(path: Path, *kinds: str) -> tuple[JournalRecord, ...]:
    """What the journal holds of these kinds."""
    return read(path).of(*kinds)


def cut_before_reading(path: Path, number: int) -> str:
    """Kill: the journal ends right before the reading of that number; returns the token of its measurement."""
    data = path.read_bytes()
    place = [i for i, frame in enumerate(read(path).records) if frame.kind == "reading"][number]
    path.write_bytes(data[: scan(data).spans[place][0]])
    return records(path, "intent")[-1].header["token"]


def bits(tree) -> list[bytes]:
    """Every array of a state, bit for bit."""
    leaves = jax.tree.leaves(tree)
    return [
        np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a).tobytes()
        for a in leaves
    ]


def measured(obs: Observations) -> list[float]:
    """Measured inputs in the order of their slots."""
    return np.asarray(obs.x)[np.asarray(obs.status) == MEASURED, 0].tolist()


def only_at(step: int, *actions):
    """A hook, a function of the state alone, that acts before the step with that many measurements behind it."""
    return lambda state: actions if np.sum(np.asarray(state.obs.status) >= MEASURED) == len(SEEDS) + step else ()
