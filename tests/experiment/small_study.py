"""A small study, and `python small_study.py OUT [port process]`: what this process finds, alone or as one of two."""

import json
import sys
from pathlib import Path

import jax

if __name__ == "__main__" and len(sys.argv) == 4:  # before the first computation
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[3]))

import jax.numpy as jnp
from small_campaign import BOUNDS, model, prior_draws

from gpax_lab import acquisition
from gpax_lab.experiment import Problem, Study, bayes_opt, study

KEYS = jax.random.split(jax.random.key(0), 5)
DOMAIN = acquisition.grid(BOUNDS, (50,))
STEPS, SEEDS = 3, 2


def hill(x):
    return 4 * x[0] * (1 - x[0])


def wave(x):
    return jnp.sin(9 * x[0])


def noisy(truth, fails=lambda x: False):
    def measure(key, x):
        return jnp.where(fails(x), jnp.nan, truth(x) + 0.05 * jax.random.normal(key))

    return measure


def make():
    """Two experiments and two problems; the second fails on a stretch."""
    experiments = {
        "ei": bayes_opt(model(), prior_draws(), acquisition.log_ei(), DOMAIN),
        "unc": bayes_opt(model(), prior_draws(), acquisition.uncertainty(), DOMAIN),
    }
    problems = {
        "hill": Problem(noisy(hill), hill),
        "wave": Problem(noisy(wave, lambda x: x[0] < 0.1), wave, best=1.0),
    }
    return experiments, problems


def found() -> Study:
    """The study."""
    experiments, problems = make()
    return study(KEYS, experiments, problems, DOMAIN, STEPS, seeds=SEEDS)


if __name__ == "__main__":
    result = found()
    report = {"devices": jax.device_count(), "x": result.x.tolist(), "regret": result.regret.tolist()}
    Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf-8")
