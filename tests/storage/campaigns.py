"""Journals for the export tests."""

import datetime

import numpy as np

from gpax_lab.storage._journal import Journal

HEADER = {
    "settings": {"budget": 3, "stop": {"target": 1.5, "patience": None}, "bounds": [0.0, 1.0], "tags": ["a", "b"]},
    "versions": {"gpax_lab": "0.1.0"},
    "started": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "axes": [
        {"name": "x", "unit": "m", "low": 0.0, "high": 1e-6},
        {"name": "y", "unit": "m", "low": 0.0, "high": 1e-6},
    ],
    "quantity": {"name": "loop area", "unit": "V"},
}


def positions(n):
    return np.random.default_rng(1).random((n, 2)) * 1e-6


def values(n):
    return np.random.default_rng(2).normal(size=n)


def responses(n, channels=16):
    return np.random.default_rng(4).normal(size=(n, channels)).astype(np.float32)


BIAS = np.concatenate([np.linspace(-8, 8, 8), np.linspace(8, -8, 8)])


def write(path, n=5, *, raw=True, failed=(), header=HEADER):
    """A campaign of n measurements; those whose number is in `failed` did not succeed."""
    where, scalars, loops = positions(n), values(n), responses(n)
    with Journal.create(path, header) as journal:
        entries = []
        for step in range(n):
            x = where[step] * 1e6
            ok = step not in failed
            arrays = {"x": x, "position": where[step]}
            if raw and ok:
                arrays |= {"raw/bias": BIAS, "raw/response": loops[step]}
            head = {"ok": ok, "reason": "" if ok else "saturated", "flags": [], "value": scalars[step] if ok else None}
            head["units"] = {"bias": "V", "response": "pm"}
            mean = {"lengthscale": [0.1 * step, 0.2], "noise": 0.01 * step}
            proposal = {"key": [1, step], "acquisition": float("nan") if step == 0 else 0.1}
            entries += [
                ("proposal", step, proposal, {"x": x[None]}),
                ("intent", step, {"token": str(step)}, {"x": x}),
                ("reading", step, head, arrays),
                ("posterior", step, {"mean": mean, "sd": {"noise": 0.5}, "diagnostics": {"rhat": {"noise": 1.01}}}, {}),
            ]
        journal.append(*entries)
        journal.append(("intervention", n, {"what": "veto", "who": None}, {}), ("stop", n, {"reason": "budget"}, {}))
    return path
