"""A posterior written in one program and read in another one predicts the same."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab.core import Status
from gpax_lab.core._observations import observations
from gpax_lab.hypotheses import hypotheses, load_posterior, model_average
from gpax_lab.hypotheses._bandit import bandit
from gpax_lab.inference import smc
from gpax_lab.models import gp, parametric
from gpax_lab.models._exactness import contradictory

X = np.linspace(0.0, 1.0, 5)[:, None]
AT = np.array([[0.05], [0.45], [0.8]])
READ = observations(X, 0.7 * X[:, 0] + 0.05 * np.sin(9.0 * X[:, 0]))

READER = """
import pickle, sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from gpax_lab.hypotheses import load_posterior
sys.path.insert(0, sys.argv[1])
from rivals import build
at = np.array([[0.05], [0.45], [0.8]])
loaded = load_posterior(sys.argv[2] + "/race.npz", build())
with open(sys.argv[2] + "/race.pkl", "rb") as file:
    pickled = pickle.load(file)
np.save(sys.argv[2] + "/moments.npy", np.stack([np.stack(one.moments(at)) for one in (loaded, pickled)]))
"""

RIVALS = """
import numpyro.distributions as dist
from gpax_lab.hypotheses import hypotheses
from gpax_lab.models import gp, parametric

def slope(x, params):
    return params["k"] * x[0]

def build(width=1.0):
    law = parametric(1, slope, {"k": dist.Normal(0.0, width)}, standardize=(0.0, 1.0))
    return hypotheses({"line": law, "any": gp.exact(1, standardize=(0.0, 1.0))})
"""


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    (folder / "rivals.py").write_text(RIVALS)
    sys.path.insert(0, str(folder))
    try:
        import rivals
    finally:
        sys.path.remove(str(folder))
    posterior = model_average(smc(16)).init(jax.random.key(0), rivals.build(), READ)
    posterior.save(folder / "race.npz")
    posterior.posteriors[1].save(folder / "any.npz")
    return folder, rivals, posterior


def test_a_second_process_predicts_the_same(rivals):
    folder, _, posterior = rivals
    (folder / "race.pkl").write_bytes(pickle.dumps(posterior))
    subprocess.run([sys.executable, "-c", READER, str(folder), str(folder)], check=True)
    for moments in np.load(folder / "moments.npy"):
        np.testing.assert_allclose(moments, np.stack(posterior.moments(AT)), rtol=1e-12)


def test_a_campaign_goes_on_from_what_was_read(rivals):
    folder, module, posterior = rivals
    found = load_posterior(folder / "race.npz", module.build())
    for before, after in zip(jax.tree.leaves(posterior), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(before, after)
    alone = load_posterior(folder / "any.npz", module.build().models["any"])
    assert alone.tuning._fields == posterior.posteriors[1].tuning._fields
    np.testing.assert_array_equal(alone.moments(AT)[0], posterior.posteriors[1].moments(AT)[0])


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda m: gp.exact(1, standardize=(0.0, 2.0)), "its prior, kernel, mean or scale differs"),
        (
            lambda m: gp.exact(1, standardize=(0.0, 1.0), bounds=[[0.0, 3.0]]),
            "made for other bounds",
        ),
        (lambda m: m.build().models["line"], "it has the parameters"),
        (lambda m: m.build(), "the posterior of one model"),
    ],
)
def test_another_model_is_refused(rivals, model, text):
    folder, module, _ = rivals
    with pytest.raises(ValueError, match=text):
        load_posterior(folder / "any.npz", model(module))


def test_other_hypotheses_are_refused(rivals):
    folder, module, _ = rivals
    with pytest.raises(ValueError, match="its prior, kernel, mean or scale differs"):
        load_posterior(folder / "race.npz", module.build(width=2.0))
    other = hypotheses({"any": gp.exact(1, standardize=False), "line": gp.exact(1, standardize=False)})
    with pytest.raises(ValueError, match=r"a model average of \['line', 'any'\]"):
        load_posterior(folder / "race.npz", other)


class Theirs(NamedTuple):
    """What a sampler of somebody else carries on."""

    z: jax.Array


Theirs.__module__ = "gpax_lab.inference._theirs"


def test_what_an_unknown_sampler_carries_on_is_refused(rivals, tmp_path):
    """By its type: a module may be called anything."""
    _, _, posterior = rivals
    with pytest.raises(TypeError, match="Theirs is not of this library"):
        replace(posterior.posteriors[0], tuning=Theirs(jnp.zeros(1))).save(tmp_path / "theirs.npz")


def test_a_file_that_names_the_class_of_before_is_read(rivals, tmp_path):
    folder, module, posterior = rivals
    with np.load(folder / "any.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"]))
    for named, known in (("gpax_lab.inference.smc:Tuning", True), ("elsewhere.theirs:Tuning", False)):
        about["each"][0]["tuning"] = named
        np.savez(tmp_path / "old.npz", **(arrays | {"about": np.asarray(json.dumps(about))}))
        if known:
            found = load_posterior(tmp_path / "old.npz", module.build().models["any"])
            np.testing.assert_array_equal(found.tuning.position, posterior.posteriors[1].tuning.position)
        else:
            with pytest.raises(ValueError, match="not written by this library"):
                load_posterior(tmp_path / "old.npz", module.build().models["any"])


def test_a_bandit_has_no_posterior_to_keep(rivals):
    _, module, _ = rivals
    posterior = bandit(smc(8), X).init(jax.random.key(0), module.build(), READ)
    with pytest.raises(TypeError, match="a Posterior or a ModelAverage; got Bandit"):
        posterior.save("nowhere.npz")


def test_observations_known_exactly_that_contradict_are_an_outcome_with_the_remedy_that_fits():
    """A campaign must not stop for it: the observation is measured, and the outcome says what to do."""
    model = parametric(1, lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 1.0)}, noise="known", standardize=False)
    sampler = smc(8)
    first = sampler.init(jax.random.key(0), model, observations([[0.5]], [0.2], noise=0.1))
    twice = sampler.update(jax.random.key(1), first, observations([[0.5], [0.5]], [0.2, 0.4], noise=[0.1, 0.0]))
    assert int(twice.info.status) == Status.CONTRADICTION
    assert "give their variances" in Status.of(twice.info.status).describe()
    pair = observations([[0.5], [0.5], [0.7]], [0.2, 0.4, 0.4])
    assert bool(jax.jit(contradictory, static_argnames="needs")(pair, needs="repeats"))
    assert not bool(contradictory(observations([[0.5], [0.5]], [0.2, 0.2]), "repeats"))
    assert not bool(contradictory(observations([[0.5], [0.5]], [0.2, 0.4], noise=[0.1, 0.0]), "repeats"))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_posterior_is_named(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz holds no posterior"):
        load_posterior(path, gp.exact(1))
    np.savez(path, a=1.0)
    with pytest.raises(ValueError, match=r"other\.npz holds no posterior"):
        load_posterior(path, gp.exact(1))


def test_other_prior_probabilities_are_refused(rivals):
    """The probabilities of the file would be followed, and those that were given would be shown."""
    folder, module, _ = rivals
    given = replace(module.build(), prior=np.array([0.9, 0.1]))
    with pytest.raises(ValueError, match=r"saved with prior probabilities \[0.5, 0.5\].*have \[0.9, 0.1\]"):
        load_posterior(folder / "race.npz", given)
