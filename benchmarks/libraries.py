"""Other combinatorial libraries: oxide plates for oxygen evolution, and the phases of a Bi-Cu-V-O wafer.

    python benchmarks/libraries.py DATA [--quick]

DATA holds combinatorial/ (by default ../shared/data). Plates 3496 and 3851: overpotential (V) of some 2100 mixtures of
six cations. Leave-one-out R2 of the linear and the pairwise law against independent figures, and the evidence of four
laws on 300 random mixtures and on all.

Bi-Cu-V-O: 307 diffraction patterns. A third of them is measured; loadings of the principal components of their square
roots are followed over composition by Gaussian processes, and what is predicted of the other two thirds is clustered
(k-means, k = 5) and compared by the adjusted Rand index with the published majority phases; 0.747 from all patterns.
Beside it: the majority phase predicted by Gaussian processes of the published phase fractions of the measured third,
against that of the nearest measured composition. The third is drawn at random or fills the composition triangle.

Processes over compositions have straight lines between pure components as their mean (`over_compositions`): what these
are worth on simulated laws, and on the phase fractions.
"""

import argparse
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.metrics import adjusted_rand_score  # noqa: E402
from wafers import LAWS, closed_form, columns  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import laplace, observations  # noqa: E402
from gpax_lab.core._compositions import barycentric, checked, normalized  # noqa: E402
from gpax_lab.models import over_compositions  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

VOLT = (0.3, 0.6)
"""What is known of an overpotential beforehand."""
MISFIT = 0.1  # of that range: printed plates scatter more than sputtered films
PLATES = {"3496": (0.542, 0.707), "3851": (0.490, 0.662)}  # independent: leave-one-out R2, linear and pairwise
SOME = 300
CLUSTERS, COMPONENTS, WHOLE_ARI = 5, 6, 0.747


def plate(folder, number):
    """Fractions (n, 6) and overpotential (n,) in V."""
    table = np.loadtxt(Path(folder) / "combinatorial" / f"oer_plate_{number}" / "data.csv", delimiter=",")
    return normalized(checked(table[:, :-1], 1e-3)), table[:, -1]


def explained(x, y, name):
    """Exact leave-one-out R2 of least squares."""
    phi, _, _ = columns(x, name)
    left, size, _ = np.linalg.svd(phi, full_matrices=False)
    left = left[:, size > 1e-10 * size[0]]
    error = (y - left @ (left.T @ y)) / (1 - np.sum(left**2, axis=1))
    return float(1 - np.sum(error**2) / np.sum((y - y.mean()) ** 2))


def plates(report, folder):
    """The laws of the plates."""
    for number, figures in PLATES.items():
        x, volt = plate(folder, number)
        y = (volt - VOLT[0]) / (VOLT[1] - VOLT[0])
        for law, expected in zip(("Vegard", "Nordheim"), figures, strict=True):
            found = explained(x, y, law)
            report.result(f"plate {number}, {law}: leave-one-out R2", found, "1", expected)
            report.claim(f"plate {number}, {law}: agrees with independent figures", abs(found - expected) < 1e-3)
        report.result(f"plate {number}, Redlich-Kister: leave-one-out R2", explained(x, y, "Redlich-Kister"), "1")
        some = np.random.default_rng(0).choice(len(y), SOME, replace=False)
        evidence = {law: closed_form(x[some], y[some], law, misfit=MISFIT) for law in LAWS}
        for law, value in evidence.items():
            report.result(f"plate {number}, {law}: log evidence of {SOME} mixtures, y in ranges", value, "nat")
        report.claim(f"plate {number}: pairwise laws beat straight lines", evidence["Nordheim"] > evidence["Vegard"])
        every = {law: closed_form(x, y, law, misfit=MISFIT) for law in LAWS}
        for law, value in every.items():
            report.result(f"plate {number}, {law}: log evidence of all mixtures, y in ranges", value, "nat")


def phases(folder):
    """Compositions (n, 3), square roots of the patterns (n, q), published phase fractions (n, phases)."""
    path = Path(folder) / "combinatorial" / "BiCuV_XRD"
    names, solution = np.load(path / "bases_name.npy"), np.load(path / "weights_sol.npy")
    kinds, which = np.unique([str(n).split("+", 1)[1].split("_", 1)[0] for n in names], return_inverse=True)
    share = np.stack([solution[:, which == k].sum(axis=1) for k in range(len(kinds))], axis=1)
    share /= share.sum(axis=1, keepdims=True)
    x = normalized(np.load(path / "composition.npy"))
    return x, np.sqrt(np.maximum(np.load(path / "XRD.npy"), 0.0)), share[:, share.max(axis=0) > 0.05]


def clusters(features):
    """(n,) number of the cluster of each row."""
    return KMeans(CLUSTERS, n_init=20, random_state=0).fit_predict(features)


def filling(place, count, start):
    """Rows of points that fill the triangle: each one the farthest from those before (Gonzalez 1985)."""
    rows = [start]
    for _ in range(count - 1):
        rows.append(int(np.linalg.norm(place[:, None] - place[rows][None], axis=2).min(axis=1).argmax()))
    return np.array(rows)


def follow(model, x, rows, values):
    """(n, m) posterior means everywhere of m quantities (len(rows), m) measured at some rows."""
    means = []
    for column in values.T:
        belief = laplace(num_samples=8).init(jax.random.key(0), model, observations(x[rows], column, capacity=128))
        means.append(np.asarray(belief.moments(jnp.asarray(x))[0]))
    return np.stack(means, axis=1)


def mapping(report, folder, seeds):
    """What a third of the wafer tells of the phases of the rest."""
    x, pattern, share = phases(folder)
    place = barycentric(x)
    majority = share.argmax(axis=1)
    reference = float(adjusted_rand_score(majority, clusters(pattern)))
    report.result("Bi-Cu-V, all patterns: adjusted Rand index", reference, "1", WHOLE_ARI)
    report.claim("Bi-Cu-V: agrees with the independent figure", abs(reference - WHOLE_ARI) < 0.05)
    model, flat, third = over_compositions(3), over_compositions(3, line=False), len(place) // 3
    found = {}
    for way in ("random", "filling"):
        scores = []
        for seed in range(seeds):
            dice = np.random.default_rng(seed)
            rows = dice.choice(len(place), third, replace=False)
            if way == "filling":
                rows = filling(place, third, int(dice.integers(len(place))))
            rest = np.setdiff1d(np.arange(len(place)), rows)
            centred = pattern[rows] - pattern[rows].mean(axis=0)[None]
            basis = np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS]
            loading = follow(model, x, rows, centred @ basis.T)
            nearest = rows[np.linalg.norm(place[rest][:, None] - place[rows][None], axis=2).argmin(axis=1)]
            fraction, level = (follow(each, x, rows, share[rows]) for each in (model, flat))
            chosen = clusters(loading)
            scores.append(
                [
                    adjusted_rand_score(majority[rest], chosen[rest]),
                    adjusted_rand_score(majority[rest], clusters(pattern)[rest]),
                    np.mean(fraction[rest].argmax(axis=1) == majority[rest]),
                    np.mean(majority[nearest] == majority[rest]),
                    np.sqrt(np.mean((fraction[rest] - share[rest]) ** 2)),
                    np.sqrt(np.mean((share[nearest] - share[rest]) ** 2)),
                    np.sqrt(np.mean((level[rest] - share[rest]) ** 2)),
                ]
            )
        found[way] = np.array(scores)
        titles = (
            "adjusted Rand index of the patterns predicted for the rest",
            "the same with all patterns measured",
            "accuracy of the majority phase of the rest",
            "the same by the nearest measured composition",
            "RMSE of the phase fractions of the rest",
            "the same by the nearest measured composition",
            "the same by processes without straight lines",
        )
        for title, values in zip(titles, found[way].T, strict=True):
            report.result(f"Bi-Cu-V, a third, {way}: {title}", float(values.mean()), "1")
            if seeds > 1:
                report.result("its standard deviation over choices", float(values.std(ddof=1)), "1")
        report.claim(
            f"Bi-Cu-V, {way}: processes predict phase fractions better than the nearest composition does",
            found[way][:, 4].mean() < found[way][:, 5].mean(),
        )


def lines(report, truths=12, noise=0.03):
    """Simulated truths of three components, straight or bent by 0.1 to 4 ranges: what straight lines are worth."""
    models = {"with": over_compositions(3), "without": over_compositions(3, line=False)}
    for law in list(LAWS)[1:]:
        for count in (8, 16):
            dice, missed = np.random.default_rng(count), {way: [] for way in models}
            for _ in range(truths):
                x = dice.dirichlet(np.ones(3), count + 128)
                phi, _, order = columns(x, law)
                wide = np.exp(dice.uniform(np.log(0.1), np.log(4.0), 2))[np.maximum(order - 1, 0)]
                true = phi @ np.where(order == 0, dice.uniform(size=order.size), wide * dice.normal(size=order.size))
                obs = observations(x[:count], true[:count] + noise * dice.normal(size=count), capacity=16)
                for way, model in models.items():
                    belief = laplace(num_samples=16).init(jax.random.key(0), model, obs)
                    away = np.asarray(belief.moments(jnp.asarray(x[count:]))[0]) - true[count:]
                    missed[way].append(np.sqrt(np.mean(away**2)))
            for way, values in missed.items():
                title = f"{law} holds, {count} observations, process {way} straight lines: RMSE of fresh mixtures"
                report.result(title, float(np.mean(values)), "ranges")
            if law == "Vegard":
                better = np.mean(missed["with"]) < np.mean(missed["without"])
                report.claim(f"{count} observations: a straight truth is found sooner with straight lines", better)


def main():
    """Run and report."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("data", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "data"))
    line.add_argument("--quick", action="store_true", help="one choice of a third")
    line.add_argument("--seeds", type=int, default=8, help="choices of a third")
    options = line.parse_args()
    if not (Path(options.data) / "combinatorial").is_dir():
        raise SystemExit(f"{options.data}: no folder combinatorial there; give the one that holds it")
    report = Report()
    lines(report, 3 if options.quick else 12)
    mapping(report, options.data, 1 if options.quick else options.seeds)
    plates(report, options.data)
    report.finish()


if __name__ == "__main__":
    main()
