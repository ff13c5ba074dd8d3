"""Sample efficiency on closed pools of real experiments, fully Bayesian, against random choice and a plain GP.

    python benchmarks/pools.py DATA [--quick]

DATA holds bo_pools/ (by default ../shared/data). Designs are unique rows; their reading is the mean of the unique
replicate values (Liang et al. 2021, npj Comput. Mater. 7, 188). Two random designs, then one at a time by streaming
inference (Matern 5/2, a lengthscale per input, 64 draws) and a score. Judged by the share of the best 5 percent of all
designs found after n, over keys with their standard error. Random choice finds n / N of them, exactly. The plain GP is
scikit-learn's by maximum likelihood with expected improvement, as measured elsewhere on the same rules with 20 seeds.
"""

import argparse
import csv
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import Problem, acquisition, bayes_opt, gp, kernels, smc, study  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

SEEDS, COUNTS = 2, (20, 30, 50)
POOLS = {  # name: (file, whether large observations are wanted)
    "Crossed barrel": ("Crossed_barrel_dataset.csv", True),
    "AgNP": ("AgNP_dataset.csv", False),
    "Perovskite": ("Perovskite_dataset.csv", False),
    "photo_wf3": ("olympus_photo_wf3", False),
}
FACTS = {"Crossed barrel": (600, 46.71), "Perovskite": (94, None)}  # independent: designs, best reading
PLAIN = {"Crossed barrel": (0.090, 0.163, 0.315)}  # scikit-learn, GP-EI, at COUNTS


def pool_of(path):
    """Inputs (m, d) scaled to the unit cube and observations (m,) of the unique designs in a file or folder."""
    file = path if path.is_file() else next(iter(sorted(path.glob("*.csv"))))
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = [row for row in csv.reader(text) if row]
    try:
        [float(v) for v in rows[0]]
    except ValueError:
        rows = rows[1:]
    table = np.array(rows, float)
    designs, which = np.unique(table[:, :-1], axis=0, return_inverse=True)
    values = np.array([np.mean(np.unique(table[which.ravel() == i, -1])) for i in range(len(designs))])
    low, high = designs.min(axis=0), designs.max(axis=0)
    return (designs - low) / np.where(high > low, high - low, 1.0), values


def problem_of(designs, values):
    """The pool as a problem: the recorded reading of the design that was asked for."""
    table, readings = jnp.asarray(designs), jnp.asarray(values)

    def look_up(x):
        return readings[jnp.argmin(jnp.sum((table - x[None]) ** 2, axis=1))]

    return Problem(lambda key, x: look_up(x), look_up)


def found(x, designs, values, maximize, n):
    """(K,) share of the best 5 percent among the first n of x (K, points, d)."""
    sign = 1.0 if maximize else -1.0
    top = np.argsort(-sign * values)[: max(1, round(0.05 * len(values)))]
    rows = np.argmin(((x[:, :n, None, :] - designs[None, None]) ** 2).sum(axis=-1), axis=-1)
    return np.array([np.isin(top, row).mean() for row in rows])


def main():
    """Run and report."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="Crossed barrel alone, 4 keys, 20 points")
    line.add_argument("--keys", type=int, default=50)
    line.add_argument("--only", choices=list(POOLS), help="one pool")
    options = line.parse_args()
    folder = Path(options.data) / "bo_pools"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; give the one that holds bo_pools")
    report = Report()
    names = ["Crossed barrel"] if options.quick else [options.only] if options.only else list(POOLS)
    keys, counts = (4, (20,)) if options.quick else (options.keys, COUNTS)
    for name in names:
        file, maximize = POOLS[name]
        designs, values = pool_of(folder / file)
        total = len(values)
        designs_known, best_known = FACTS.get(name, (None, None))
        report.result(f"{name}: unique designs", total, "1", designs_known)
        report.result(f"{name}: best reading", float(values.max() if maximize else values.min()), "y", best_known)
        right = designs_known in (None, total) and (best_known is None or abs(values.max() - best_known) < 0.01)
        report.claim(f"{name}: the pool agrees with independent figures of it", right)
        domain = acquisition.pool(designs)
        model = gp.exact(designs.shape[1], kernels.matern52)
        scores = {"log EI": acquisition.log_ei(maximize)}
        if not options.quick:
            scores |= {f"UCB {beta:g}": acquisition.ucb(beta, maximize) for beta in (1.0, 0.25)}
        experiments = {title: bayes_opt(model, smc(64), score, domain) for title, score in scores.items()}
        result = study(
            jax.random.split(jax.random.key(0), keys), experiments, {name: problem_of(designs, values)}, domain,
            max(counts) - SEEDS, seeds=SEEDS, maximize=maximize, callback=lambda text: print(text, flush=True),
        )  # fmt: skip
        for i, n in enumerate(counts):
            chance, plain = n / total, PLAIN.get(name, (None,) * 3)[i]
            best = 0.0
            for e, title in enumerate(result.experiments):
                share = found(result.x[e, 0], designs, values, maximize, n)
                mean, error = float(share.mean()), float(share.std(ddof=1) / np.sqrt(keys))
                best = max(best, mean - 2 * error)
                report.result(f"{name}, {title}: share of the top 5 percent at {n}", mean, "1", chance, mean / chance)
                report.result(f"{name}, {title}: its standard error over keys", error, "1")
                if plain is not None:
                    report.result(
                        f"{name}, {title}: against scikit-learn's GP-EI at {n}", mean, "1", plain, mean / plain
                    )
            if name == "Crossed barrel" and not options.quick:
                report.claim(f"{name}: the best score beats chance at {n} by two standard errors", best > chance)
                text = f"{name}: the best score beats the figure of scikit-learn's GP-EI at {n} by two standard errors"
                report.claim(text, best > plain)
    report.finish()


if __name__ == "__main__":
    main()
