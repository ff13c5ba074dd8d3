"""Which experiment is better, with error bars: all combinations of experiments, objectives and keys in one call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpax_lab.acquisition._candidates import Candidates, Pool
from gpax_lab.core import Status
from gpax_lab.core._inputs import check_key
from gpax_lab.core._observations import EMPTY, FAILED, MEASURED, SMALLEST_CAPACITY, Observations
from gpax_lab.core._types import Float
from gpax_lab.experiment._experiment import Experiment, Objective
from gpax_lab.experiment._simulate import simulate
from gpax_lab.experiment._study_blocks import PARTS, Block, blocks, fingerprint, read_block, read_plan
from gpax_lab.experiment._study_executor import check_blocks, computed_blocks

_AXIS = "campaigns"


class Problem(NamedTuple):
    """Something to optimise.

    Attributes:
        measure: (key, x (d,)) -> y (), an observation with its noise; NaN where it fails. Pure JAX (jnp, not np).
        truth: x (d,) -> () the noise-free value by which campaigns are judged; likewise.
        best: its optimum over the domain; None takes the best of a pool's points, or of points that fill a box.
    """

    measure: Objective
    truth: Callable[[Array], Array]
    best: float | None = None


@dataclass(frozen=True)
class Study:
    """What every campaign measured. Axes: experiment, objective, key, point (seeds first), input.

    Attributes:
        experiments: names.
        objectives: names.
        x: (E, O, K, n, d) points in the order of measurement; NaN once a pool is used up.
        y: (E, O, K, n) observations, NaN where one failed or there was none.
        regret: (E, O, K, n) distance of the best noise-free value at the successful points so far from the optimum; not
            negative, up to the resolution with which the optimum of a box is known.
        trouble: (E, O, K) share of fits whose outcome was not OK.
        seconds: (E, O) wall time of all keys together, compilation included.
        seeds: how many of the points were seeds.
        planned: how many keys the study has in all. K is smaller while blocks are missing: of every combination the
            keys are shown that all combinations have.
    """

    experiments: tuple[str, ...]
    objectives: tuple[str, ...]
    x: Float[np.ndarray, "E O K n d"]
    y: Float[np.ndarray, "E O K n"]
    regret: Float[np.ndarray, "E O K n"]
    trouble: Float[np.ndarray, "E O K"]
    seconds: Float[np.ndarray, "E O"]
    seeds: int
    planned: int = 0

    @classmethod
    def load(cls, folder: str | Path) -> "Study":
        """What is there of a study that was, or is being, computed with `folder=`.

        Raises:
            ValueError: there is no study, or no key yet that all combinations have.
        """
        plan, found = read_plan(Path(folder)), {}
        cut = blocks(len(plan["experiments"]), len(plan["objectives"]), len(plan["keys"]), plan["block"])
        for block in cut:
            if (part := read_block(Path(folder), block.index)) is not None:
                found[block] = part
        return _assembled(cut, found, plan)

    def __str__(self) -> str:
        """The report: regret at the last point, and how far the others are from the best, key by key."""
        many = self.regret.shape[2]
        points = f"{self.x.shape[3]} points, {self.seeds} of them seeds"
        whole = f" of {self.planned}" if self.planned > many else ""
        lines = [f"regret after {points}; mean of {many}{whole} keys +- its standard error"]
        bands = self.bands()
        for o, objective in enumerate(self.objectives):
            order = np.argsort(bands["mean"][:, o, -1])
            for e in order:
                name, first = self.experiments[e], self.experiments[order[0]]
                line = f"  {objective}: {name} {bands['mean'][e, o, -1]:.4g} +- {bands['error'][e, o, -1]:.2g}"
                if name != first:
                    gap = self.difference(name, first)
                    line += f" ({gap['mean'][o, -1]:+.2g} +- {gap['error'][o, -1]:.2g} against {first})"
                trouble = float(self.trouble[e, o].mean())
                lines.append(line + (f"; {100 * trouble:.0f} percent of its fits in trouble" if trouble > 0 else ""))
        return "\n".join(lines)

    def bands(self, level: float = 0.8) -> dict[str, np.ndarray]:
        """Over keys, each (E, O, n): mean and standard error of the regret, its median, and a band of `level`."""
        edge = (1.0 - level) / 2.0
        low, median, high = np.quantile(self.regret, [edge, 0.5, 1.0 - edge], axis=2)
        count = self.regret.shape[2]
        error = self.regret.std(axis=2, ddof=min(1, count - 1)) / np.sqrt(count)
        return {"mean": self.regret.mean(axis=2), "error": error, "median": median, "low": low, "high": high}

    def difference(self, one: str, other: str) -> dict[str, np.ndarray]:
        """Regret of `one` minus that of `other`, key by key, each (O, n): mean and standard error.

        Campaigns of one key share seeds and noise, so the difference scatters less than either (paired comparison).
        """
        a, b = (self.regret[self.experiments.index(name)] for name in (one, other))
        gap = a - b
        count = gap.shape[1]
        return {"mean": gap.mean(axis=1), "error": gap.std(axis=1, ddof=min(1, count - 1)) / np.sqrt(count)}

    def to_xarray(self) -> Any:
        """One labelled xarray.Dataset (extra `study`)."""
        import xarray

        dims = ("experiment", "objective", "key", "point")
        labels = {"experiment": list(self.experiments), "objective": list(self.objectives)}
        return xarray.Dataset(
            {
                "x": ((*dims, "input"), self.x),
                "y": (dims, self.y),
                "regret": (dims, self.regret),
                "trouble": (dims[:3], self.trouble),
                "seconds": (dims[:2], self.seconds),
            },
            coords=labels,
            attrs={"seeds": self.seeds},
        )


def study(
    keys: Array,
    experiments: Mapping[str, Experiment],
    objectives: Mapping[str, Problem],
    domain: Candidates,
    num_steps: int,
    *,
    seeds: int = 5,
    maximize: bool = True,
    devices: Sequence[jax.Device] | None = None,
    executor: Any = None,
    block: int | None = None,
    folder: str | Path | None = None,
    only: Sequence[int] | None = None,
    callback: Callable[[str], None] = lambda text: None,
) -> Study:
    """Run every experiment on every objective from every key, sharded over all devices of all hosts.

    Campaigns of one key begin with the same seed points and observations, whatever the experiment. On a CPU the
    campaigns of a device run one after the other, on an accelerator in lockstep. Under `jax.distributed` every process
    calls this with the same arguments and gets the whole result.

    With `executor` the campaigns are computed elsewhere, in blocks of keys; on CPUs of one kind the result is the same
    bit for bit. With `folder` every block is kept as soon as it is there, and a study that was cut off goes on where it
    ended; `Study.load(folder)` shows what there is.

    Args:
        keys: (K,) random keys, one per campaign.
        experiments: by name, from `bayes_opt` and its like.
        objectives: by name.
        domain: where seeds are drawn, and over which the optimum is sought.
        num_steps: propose-measure-observe steps of each campaign.
        seeds: points measured before the first fit.
        maximize: whether large values are wanted.
        devices: where to run; all devices of all processes by default.
        executor: anything with `submit(function, *arguments)` that gives something with `result()`: of
            `concurrent.futures`, Dask (`client.get_executor()`), submitit, MPI. Blocks that are lost are repeated by
            what runs them, or by calling `study` again with the same folder.
        block: keys in a block; all of an experiment and objective by default, 8 with `executor` or `folder`. Every
            process compiles each experiment once, so that smaller blocks rarely pay.
        folder: where blocks are kept.
        only: numbers of the blocks to compute, of those counted by experiment, objective, keys; for arrays of jobs, see
            `gpax-lab study`. Needs `folder`.
        callback: called with a line of text after each block.

    Returns:
        Study: print it for the report, or `plot.regret(result.bands(), result.experiments, result.objectives)`.

    Raises:
        ValueError: nothing to compare, no seeds, a problem that does not return one number, another study in the
            folder, or (`only`) no key yet that all combinations have.
        TypeError: an objective is no Problem, or the executor is none.
        RuntimeError: blocks failed; the others are kept in the folder.

    Example:
        result = study(jax.random.split(key, 20), {"EI": one, "UCB": other}, {"film": problem}, domain, num_steps=30)
    """
    _check_problems(keys, objectives, domain)
    if not experiments or not objectives or keys.ndim != 1 or keys.size == 0 or seeds < 1 or num_steps < 1:
        raise ValueError("a study needs experiments, objectives, keys of shape (K,), at least one seed and one step.")
    check_blocks(executor, block, folder, only, devices)
    plan = {
        "experiments": list(experiments),
        "objectives": list(objectives),
        "keys": np.asarray(jax.random.key_data(keys)).tolist(),
        "num_steps": num_steps,
        "seeds": seeds,
        "maximize": maximize,
        "block": min(block or (keys.size if executor is folder is None else 8), keys.size),
    }
    cut = blocks(len(experiments), len(objectives), keys.size, plan["block"])
    common = domain, maximize, devices, plan["block"]
    works = [
        _Work(_Campaign(experiment, problem.measure, num_steps, seeds), problem, *common)
        for experiment in experiments.values()
        for problem in objectives.values()
    ]
    found = computed_blocks(cut, works, plan, executor, folder, only, callback)
    return _assembled(cut, found, plan)


@dataclass(frozen=True)
class _Work:
    """What a block is computed by: words of keys (K, w) -> arrays whose rows are its campaigns.

    Attributes:
        size: keys for which it is compiled; a shorter block is filled up, and the surplus is dropped.
    """

    campaign: "_Campaign"
    problem: Problem
    domain: Candidates
    maximize: bool
    devices: Sequence[jax.Device] | None
    size: int

    def __call__(self, words: np.ndarray) -> dict[str, np.ndarray]:
        keys = jax.random.wrap_key_data(jnp.asarray(words[np.arange(self.size) % len(words)]))
        found = over_keys(self.campaign, self.domain, keys, self.devices)
        x, y, codes = (part[: len(words)] for part in found)
        regret = _regret(self.problem, self.domain, x, y, self.maximize)
        return {"x": x, "y": y, "regret": regret, "codes": codes}

    def fingerprint(self) -> str:
        """Of all that it computes."""
        return fingerprint(self.campaign, self.problem.truth, self.domain, _point(self.domain))


def _assembled(cut: Sequence[Block], found: Mapping[Block, dict[str, np.ndarray]], plan: Mapping[str, Any]) -> Study:
    """The study of the keys that all combinations have."""
    shape, count = (len(plan["experiments"]), len(plan["objectives"])), len(plan["keys"])
    whole = np.ones(count, bool)
    for block in cut:
        whole[block.keys] &= block in found
    if not whole.any():
        raise ValueError(f"{len(found)} of {len(cut)} blocks are there, and no key yet that all combinations have.")
    parts: dict[str, np.ndarray] = {}
    for name in PARTS:
        rows = [found[block][name] for block in cut if whole[block.keys].all()]
        stacked = np.concatenate(rows)
        parts[name] = stacked.reshape(*shape, int(whole.sum()), *stacked.shape[1:])
    seconds = np.zeros(shape)
    for block, part in found.items():
        seconds[block.experiment, block.objective] += float(part["seconds"])
    return Study(
        experiments=tuple(plan["experiments"]),
        objectives=tuple(plan["objectives"]),
        x=parts["x"],
        y=parts["y"],
        regret=parts["regret"],
        trouble=np.mean(parts["codes"] != Status.OK, axis=-1),
        seconds=seconds,
        seeds=plan["seeds"],
        planned=count,
    )


def _check_problems(keys: Array, objectives: Mapping[str, Problem], domain: Candidates) -> None:
    check_key(keys, "study(keys, experiments, objectives, ...)", several=True)
    for name, problem in objectives.items():
        if not isinstance(problem, Problem):
            raise TypeError(f"objective {name!r} must be Problem(measure, truth); got {type(problem).__name__}.")
        if problem.best is not None and not np.isfinite(problem.best):
            raise ValueError(
                f"the optimum of {name!r} is a finite number, or None for an unknown one; got {problem.best}."
            )
        check_measure(name, problem.measure, domain)
        _check_number(f"truth of {name!r}", problem.truth, _point(domain))


def check_measure(name: str, read: Objective, domain: Candidates) -> None:
    """Raise ValueError if a simulated measurement does not return one number."""
    _check_number(f"measure of {name!r}", lambda x: read(jax.random.key(0), x), _point(domain))


def _point(domain: Candidates) -> Any:
    return jax.eval_shape(lambda key: domain.space_filling(key, 1)[0], jax.random.key(0))


def _check_number(what: str, function: Callable[[Array], Array], x: Any) -> None:
    value = jax.eval_shape(function, x)
    if not hasattr(value, "shape"):
        raise ValueError(f"{what} must return one number, shape (); got a {type(value).__name__}.")
    if value.shape != ():
        raise ValueError(
            f"{what} must return one number, shape (); got {value.shape}. x has shape {x.shape}: write x[0] where you "
            "mean its first input."
        )


def over_keys(
    campaign: Callable[..., Any],
    domain: Candidates,
    keys: Array,
    devices: Sequence[jax.Device] | None = None,
    which: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """What `campaign(domain, key)` returns, a tuple of arrays, stacked over keys (K,) and sharded over devices.

    With `which` (K,) int, `campaign(domain, key, which)`: another one for each key, in one compiled function.
    """
    mesh = Mesh(np.asarray(devices if devices is not None else jax.devices()), (_AXIS,))
    words = np.asarray(jax.random.key_data(keys))
    if which is not None:
        words = np.column_stack([words, which.astype(words.dtype)])
    count, width = len(words), mesh.devices.size
    padded = words[np.arange(-(-count // width) * width) % count]  # every device gets as many; the surplus is dropped
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    shared = jax.make_array_from_callback(padded.shape, sharding, lambda index: padded[index])
    result = _sharded(campaign, domain, shared, mesh, which is not None)
    whole = multihost_utils.process_allgather(result, tiled=True) if jax.process_count() > 1 else result
    return tuple(np.asarray(leaf)[:count] for leaf in whole)


@partial(jax.jit, static_argnames=("campaign", "mesh", "several"))
def _sharded(campaign: Callable[..., Any], domain: Candidates, words: Array, mesh: Mesh, several: bool) -> Any:
    every, split = PartitionSpec(), PartitionSpec(_AXIS)

    def on_one_device(words: Array, domain: Candidates) -> Any:
        def one(word: Array) -> Any:
            if several:
                return campaign(domain, jax.random.wrap_key_data(word[:-1]), word[-1].astype(int))
            return campaign(domain, jax.random.wrap_key_data(word))

        if mesh.devices.flat[0].platform == "cpu":
            return jax.lax.map(one, words)  # in lockstep all would wait for the longest trajectory
        return jax.vmap(one)(words)

    return jax.shard_map(on_one_device, mesh=mesh, in_specs=(split, every), out_specs=split, check_vma=False)(
        words, domain
    )


@dataclass(frozen=True)
class _Campaign:
    """Points (n, d), observations (n,) and outcomes of the fits (steps,) of a campaign; equal ones compile once."""

    experiment: Experiment
    measure: Objective
    steps: int
    seeds: int

    def __call__(self, domain: Candidates, key: Array) -> tuple[Array, Array, Array]:
        key_points, key_seed, key_go = jax.random.split(key, 3)
        x = domain.space_filling(key_points, self.seeds)
        y = jax.vmap(self.measure)(jax.random.split(key_seed, self.seeds), x).astype(x.dtype)
        obs = initial_observations(self.experiment, x, y, self.steps)
        _, path = simulate(key_go, self.experiment, self.measure, self.steps, obs)
        points = jnp.concatenate([x, path.x.reshape(-1, x.shape[1])])
        return points, jnp.concatenate([y, path.y.ravel()]), path.info.status


def initial_observations(experiment: Experiment, x: Array, y: Array, steps: int) -> Observations:
    """The seeds in a buffer for the campaign (traced: `observations` is for concrete arrays)."""

    def filled(capacity: int) -> Observations:
        pad, good = capacity - x.shape[0], jnp.isfinite(y)
        status = jnp.where(good, MEASURED, FAILED).astype(jnp.int8)
        return Observations(
            jnp.concatenate([x, jnp.repeat(x[:1], pad, axis=0)]),
            jnp.pad(jnp.where(good, y, 0.0), (0, pad)),
            jnp.zeros(capacity, y.dtype),
            jnp.pad(status, (0, pad), constant_values=EMPTY),
        )

    small = filled(-(-(x.shape[0] + 1) // SMALLEST_CAPACITY) * SMALLEST_CAPACITY)
    key = jax.random.key(0)
    batch = jax.eval_shape(lambda k, o: experiment.propose(experiment.init(k, o))[1], key, small).shape[0]
    return filled(-(-(x.shape[0] + steps * batch) // SMALLEST_CAPACITY) * SMALLEST_CAPACITY)


def _regret(problem: Problem, domain: Candidates, x: np.ndarray, y: np.ndarray, maximize: bool) -> np.ndarray:
    """(K, n) from points (K, n, d) and observations (K, n); infinite until the first observation that did not fail."""
    sign = 1.0 if maximize else -1.0
    truth = jax.jit(jax.vmap(problem.truth))
    points = domain.points if isinstance(domain, Pool) else domain.space_filling(jax.random.key(0), 20_000)
    best = np.max(sign * np.asarray(truth(points))) if problem.best is None else sign * problem.best
    values = sign * np.asarray(truth(jnp.asarray(x.reshape(-1, x.shape[-1])))).reshape(x.shape[:-1])
    return best - np.maximum.accumulate(np.where(np.isfinite(y), values, -np.inf), axis=-1)
