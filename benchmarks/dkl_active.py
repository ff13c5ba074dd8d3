"""Active learning on structure: which model finds the best spectra with few of them?

Four maps (`structure_maps.py`): measured hysteresis loops, measured EELS, and two simulated ones whose structure does
determine the spectrum: loops of a film with domains, the oxide of particles in a STEM. Every method measures seeds,
then always the places of the largest mean + standard deviation, until 5 percent of the places are spent. Reported: the
share of the best 2 percent of the places that it has measured by then (and on average along the way), and how well it
predicts blocks of rows of which it has seen nothing.

    python benchmarks/dkl_active.py [../shared/data] [--seeds 20] [--maps twin BEPS] [--peers FOLDER] [--quick]
"""

from results import Report, pin_threads

pin_threads()

import argparse  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402

import gpax_lab  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import structure_maps as maps  # noqa: E402

from gpax_lab import (  # noqa: E402
    acquisition,
    bayes_opt,
    gp,
    hypotheses,
    laplace,
    model_average,
    nn,
    observations,
    simulate,
)
from gpax_lab.images import around  # noqa: E402
from gpax_lab.inference._ensemble import ensemble  # noqa: E402
from gpax_lab.models._deep_kernel import deep_kernel  # noqa: E402

BETA = 1.0
AS_PUBLISHED = {"floor": 0.0, "apart_every": None}
"""The one rule of this comparison, for ours and for the peers. It is not the recipe: see `stuck.py`."""
FIXED = {"standardize": (0.0, 1.0)}  # for the model average, whose evidence needs priors that no reading changes


def methods(of: maps.Map, quick: bool) -> dict:
    """Model and sampler by name; None for chance."""
    box = [[of.positions[:, k].min(), of.positions[:, k].max()] for k in (0, 1)]
    components = nn.principal_components(jnp.asarray(of.patches()), 5).encoder
    brightness = around(of.patches().mean(axis=(1, 2)).reshape(49, 6), 1) if of.name == "EELS" else around(of.image, 1)

    def bright(x):
        # The map of tile means has one pixel per tile of eight.
        return brightness((x - 3.5) / 8.0 if of.name == "EELS" else x)

    one = nn.linear(jnp.ones((1, 1)), shape=(1, 1))
    network = nn.rotation_pooled(nn.convolutional((of.size, of.size), 2, (4, 8), 16))
    plain = nn.mlp((of.size, of.size))
    turned = nn.rotation_pooled(plain, mirrored=True)  # where in the patch something lies still matters
    simple = laplace(num_samples=16, starts=2, iterations=40)
    rivals = {
        "coordinates": gp.exact(2, bounds=box, **FIXED),
        "brightness": deep_kernel(one, bright, **FIXED),
        "components": deep_kernel(components, of.look(), **FIXED),
    }
    deep = ensemble(2, 100, 20) if quick else ensemble(4, 400, 60)
    return {
        "random": None,
        "GP on coordinates": (gp.exact(2, bounds=box), simple),
        "GP on brightness": (deep_kernel(one, bright), simple),
        "GP on principal components": (deep_kernel(components, of.look()), simple),
        "model average of the three": (hypotheses(rivals), model_average(simple)),
        "deep kernel, MLP": (deep_kernel(plain, of.look()), deep),
        "deep kernel, rotation-pooled": (deep_kernel(network, of.look()), deep),
        "deep kernel, rotation-pooled MLP": (deep_kernel(turned, of.look()), deep),
    }


def found(of: maps.Map, order: np.ndarray) -> np.ndarray:
    """(n,) share of the best 2 percent among the first 1 to n positions measured."""
    best = np.argsort(-of.values)[: max(1, round(0.02 * len(of.values)))]
    return np.cumsum(np.isin(order, best)) / len(best)


def campaign(of: maps.Map, method, seeds: np.ndarray, batch: int, budget: int, number: int):
    """Order of measurement (budget,), and the last posterior."""
    obs = observations(of.positions[seeds], of.values[seeds], capacity=8 * -(-(budget + batch) // 8))
    model, sampler = method
    score, domain = acquisition.ucb(BETA), acquisition.pool(of.positions)
    plan = plans.setdefault(id(model), bayes_opt(model, sampler, score, domain, batch, **AS_PUBLISHED))
    measure = measures.setdefault(of.name, lambda key, x: of.at(x)[0])
    steps = -(-(budget - len(seeds)) // batch)
    state, path = simulate(jax.random.key(number), plan, measure, steps, obs)
    index = {tuple(p): k for k, p in enumerate(of.positions.tolist())}
    order = [index[tuple(p)] for p in np.asarray(path.x).reshape(-1, 2).tolist()]
    return np.concatenate([seeds, order])[:budget], state.posterior


def at_random(many: int, seeds: np.ndarray, number: int) -> np.ndarray:
    """All positions in random order, seeds first."""
    rest = np.setdiff1d(np.arange(many), seeds)
    return np.concatenate([seeds, np.random.default_rng(number + 100).permutation(rest)])


plans: dict = {}
measures: dict = {}


def blocks(of: maps.Map, method, count: int, budget: int) -> tuple[float, float]:
    """Error (over the standard deviation) and 90 percent coverage on blocks of rows that were left out."""
    edges = np.array_split(np.unique(of.rows), count)
    errors, inside = [], []
    for number, block in enumerate(edges):
        away = np.isin(of.rows, block)
        rng = np.random.default_rng(number)
        train = rng.choice(np.flatnonzero(~away), budget, replace=False)
        obs = observations(of.positions[train], of.values[train], capacity=8 * -(-budget // 8))
        model, sampler = method
        posterior = sampler.init(jax.random.key(number), model, obs)
        x = jnp.asarray(of.positions[away])
        mean, variance = (np.asarray(part) for part in posterior.moments(x))
        weight = np.exp(np.asarray(posterior.log_weight))
        spread = np.sqrt(variance + weight @ np.asarray(posterior.noise_variance(x)))
        missed = of.values[away] - mean
        errors.append(np.mean(missed**2))
        inside.append(np.mean(np.abs(missed) < 1.6449 * spread))
    return float(np.sqrt(np.mean(errors))), float(np.mean(inside))


def peer(of: maps.Map, name: str, folder: Path, seeds: np.ndarray, budget: int, refits: int, cycles: int) -> dict:
    """A peer's campaigns, in its own environment."""
    here = Path(__file__).parent / "peers"
    environment = {"atomai": "botorch", "gpax": "gpax"}[name]
    batch = -(-(budget - seeds.shape[1]) // refits)
    with tempfile.TemporaryDirectory() as place:
        job, result = Path(place) / "job.npz", Path(place) / "result.npz"
        flat = of.patches().reshape(len(of.values), -1)
        np.savez(job, patches=flat, values=of.values, seeds=seeds, batch=batch, budget=budget, cycles=cycles,
                 beta=BETA, first=0)  # fmt: skip
        python = folder / environment / "bin" / "python"
        subprocess.run([python, here / "run_dkl.py", name, job, result], check=True)
        return dict(np.load(result))


def main() -> None:
    """Run all and say who won."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--maps", nargs="*", default=["particles", "twin", "BEPS", "EELS"])
    parser.add_argument("--methods", nargs="*", help="only those whose names begin like this")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments (peers/environments.py)")
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--peer-refits", type=int, default=5, help="how often a peer trains in a campaign")
    parser.add_argument("--peer-cycles", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="one campaign on a small simulated film")
    given = parser.parse_args()
    report = Report()
    for name in ["twin"] if given.quick else given.maps:
        if name in ("BEPS", "EELS") and not given.data.exists():
            print(f"{name}: skipped, {given.data} is not here", file=sys.stderr)
            continue
        compare(report, map_of(name, given), given)
    report.finish()


def map_of(name: str, given) -> maps.Map:
    """One of the four maps, small where it should be quick."""
    match name:
        case "twin":
            return maps.twin(n=20 if given.quick else 50)
        case "particles":
            return maps.particles(n=20 if given.quick else 50)
        case "BEPS":
            return maps.beps(given.data)
        case "EELS":
            return maps.eels(given.data)
    raise SystemExit(f"maps are twin, particles, BEPS and EELS; got {name}.")


def compare(report: Report, of: maps.Map, given) -> None:
    """All methods on one map."""
    many = len(of.values)
    budget = max(15, round(0.05 * many))
    first = max(5, budget // 8)
    batch = max(1, (budget - first) // 15)
    count = 1 if given.quick else given.seeds
    report.result(f"{of.name}: places", many, "places", reference=budget, ratio=budget / many)
    starts = np.stack([np.random.default_rng(k).choice(many, first, replace=False) for k in range(count)])
    chosen = methods(of, given.quick)
    if given.quick:
        chosen = {k: v for k, v in chosen.items() if k in ("random", "GP on principal components", "deep kernel, MLP")}
    if given.methods:
        chosen = {k: v for k, v in chosen.items() if k.startswith(tuple(given.methods))}
    shares = {}
    for name, method in chosen.items():
        begun = time.perf_counter()
        if method is None:
            orders = [at_random(many, start, k)[:budget] for k, start in enumerate(starts)]
        else:
            orders = [campaign(of, method, s, batch, budget, k)[0] for k, s in enumerate(starts)]
        shares[name] = np.array([found(of, order) for order in orders])
        tell(report, of, name, shares[name])
        report.result(f"{of.name}: {name}, a campaign", (time.perf_counter() - begun) / count, "s")
        if method is not None and not given.quick:
            error, inside = blocks(of, method, 5, budget)
            report.result(f"{of.name}: {name}, error on rows left out", error, "standard deviations", reference=1.0)
            report.result(f"{of.name}: {name}, 90 percent interval on rows left out", inside, "share", reference=0.9)
    for name in ("atomai", "gpax") if given.peers and not given.quick else ():
        result = peer(of, name, given.peers, starts[: given.peer_seeds], budget, given.peer_refits, given.peer_cycles)
        shares[name] = np.array([found(of, order) for order in result["taken"]])
        tell(report, of, name, shares[name])
        rest = [np.setdiff1d(np.arange(many), taken) for taken in result["taken"]]
        pairs = [(of.values[r] - m[r], s[r]) for r, m, s in zip(rest, result["mean"], result["std"], strict=True)]
        inside = np.mean([np.mean(np.abs(missed) < 1.6449 * std) for missed, std in pairs])
        report.result(f"{of.name}: {name}, 90 percent interval", float(inside), "share", reference=0.9)
        report.result(f"{of.name}: {name}, a step", float(np.median(result["seconds"])), "s")
    if of.name in ("twin", "particles") and not given.quick and not given.methods:
        deep = shares["deep kernel, rotation-pooled MLP"][:, -1]
        for name in ("random", "GP on coordinates", "GP on principal components"):
            gain = deep - shares[name][:, -1]
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            report.claim(f"{of.name}: the deep kernel finds more than {name}", bool(gain.mean() > 2 * error))


def tell(report: Report, of: maps.Map, name: str, share: np.ndarray) -> None:
    """Mean and standard error of the share found at the end, and its mean along the way."""
    last = share[:, -1]
    error = float(last.std(ddof=1) / np.sqrt(len(last))) if len(last) > 1 else 0.0
    report.result(f"{of.name}: {name}, best 2 percent found", float(last.mean()), "share")
    report.result(f"{of.name}: {name}, its standard error", error, "share")
    report.result(f"{of.name}: {name}, found on the average along the way", float(share.mean()), "share")


if __name__ == "__main__":
    main()
