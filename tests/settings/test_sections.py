"""What settings reach: models, noise, kernels, samplers, hypotheses and instruments, built from a few lines each."""

import tomllib
from typing import get_args

import numpy as np
import pytest

from gpax_lab.experiment._intervention_records import to_record
from gpax_lab.experiment.interventions import Adopt, Intervention, Pin, Reject, Rescale, Reweigh, Veto
from gpax_lab.settings import SettingsError, build, load, parse
from gpax_lab.settings._files import to_toml
from gpax_lab.settings._interventions import Planned
from gpax_lab.storage import Dataset, axis, save

XY = "x = { low = 0.0, high = 2e-6 }\ny = { low = 0.0, high = 2e-6 }\n"
NORMAL = '{ distribution = "Normal", loc = 0.0, scale = 1.0 }'
IN_XY = f'inputs = ["x", "y"], prior = {{ A = {NORMAL} }}'
LAWS = f'[hypotheses.laws]\na = {{ formula = "A * x", {IN_XY} }}\nb = {{ formula = "A * y", {IN_XY} }}\n'
IMAGE = 'image = { file = "image.h5", size = 8 }'
SECTIONS = {
    "sum": ("ExactGP", "[model]\nkernel = 'matern52 + scope(\"fast\", periodic) * active([0], linear)'\n"),
    "coregion": ("ExactGP", "[model]\nkernel = 'coregion(2, matern52)'\n"),
    "sparse": ("SparseGP", '[model]\nkind = "sparse"\ninducing = 32\n'),
    "heteroscedastic": ("ExactGP", '[model]\nnoise = { kind = "heteroscedastic", anchors = 5 }\n'),
    "student": ("ExactGP", '[model]\nnoise = { kind = "student", df = 3.0 }\n'),
    "uncertain inputs": ("ExactGP", "[model]\nuncertain_inputs = true\n"),
    "parametric": ("Parametric", f'[model]\nkind = "parametric"\nmean = {{ formula = "A * x", {IN_XY} }}\n'),
    "mlp": (
        "DeepKernelGP",
        f'[model]\nkind = "deep_kernel"\nencoder = {{ widths = [16] }}\n{IMAGE}\n[sampler]\nkind = "ensemble"\n',
    ),
    "convolutional": (
        "DeepKernelGP",
        f'[model]\nkind = "deep_kernel"\nencoder = {{ kind = "convolutional", rotations = true }}\n{IMAGE}\n',
    ),
    "description": (
        "DeepKernelGP",
        f'[model]\nkind = "deep_kernel"\npositions = true\nencoder = {{ kind = "principal_components" }}\n{IMAGE}\n',
    ),
    "batch": (
        "ExactGP",
        '[sampler]\nkind = "smc"\n[acquisition]\nfunction = "q_log_nei"\nbatch_size = 3\nby_travel = true\n'
        "thin_to = 8\n",
    ),
    "laws": (
        "Hypotheses",
        f'[sampler]\nkind = "smc"\n[hypotheses]\nscale = [0.0, 1.0]\n{LAWS}'
        'c = { law = "vegard", components = 2, y = [0.0, 1.0] }\n',
    ),
    "bandit": (
        "Hypotheses",
        f'[hypotheses]\nscale = [0.0, 1.0]\nfollow = {{ kind = "bandit", epsilon = 0.2 }}\nflexible = false\n{LAWS}',
    ),
    "all draws": ("ExactGP", '[sampler]\nkind = "nuts"\nthin_to = "none"\n'),
}
WRONG = {
    f"[hypotheses]\nscale = [0.0, 1.0]\n{LAWS}": "no log evidence",
    '[model]\nkernel = "matern52 + rfb"\n': 'no kernel "rfb". Did you mean "rbf"?',
    "[model]\nkernel = 'active([5], rbf)'\n": "inputs 0 to 1 only",
    "[model]\nkernel = 'matern52 * scope(\"per\", periodic)'\n[prior]\nperiod = 0.5\n": 'Did you mean "per/period"?',
    '[model]\nmean = { law = "lien", y = [0.0, 1.0] }\n': 'Did you mean "line"?',
    '[model]\nmean = { law = "line" }\n': "model.mean.y is missing",
    '[model]\nmean = { formula = "A * x" }\n': "model.mean.prior is missing",
    '[model]\nkind = "deep_kernel"\nimage = { file = "none.h5" }\n': "none.h5",
    f"[prior]\nnoise = 0.1\n[hypotheses]\nscale = [0.0, 1.0]\n{LAWS}": "[prior] goes with [model]",
    '[[interventions]]\nkind = "rescale"\nstep = 1\nscalarizer = "log_area"\n': "quantity.alternatives",
    '[[interventions]]\nkind = "veto"\nstep = 1\npoints = [[1.0]]\n': "every point needs 2 numbers",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an image of the field of view."""
    root = tmp_path_factory.mktemp("sections")
    at = np.linspace(0.0, 2e-6, 32)
    axes = tuple(axis(name, at, "m") for name in "xy")
    save(root / "image.h5", {"image": Dataset(np.sin(3e6 * at)[:, None] * np.cos(4e6 * at)[None], axes)})
    return root


def plan_of(folder, text, instrument='kind = "twin"\n'):
    """The plan of a campaign with these sections."""
    path = folder / "campaign.toml"
    path.write_text(f"[campaign]\nsteps = 10\n[instrument]\n{instrument}{text}", encoding="utf-8")
    settings = load(path)
    assert parse(tomllib.loads(to_toml(settings))) == settings
    return build(settings)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_kind_is_built_and_survives_toml(folder, name):
    kind, text = SECTIONS[name]
    assert type(plan_of(folder, text).model).__name__ == kind


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_refused_in_words(folder, text):
    with pytest.raises(SettingsError) as caught:
        plan_of(folder, text)
    assert WRONG[text] in str(caught.value), str(caught.value)


def test_patches_are_cut_around_the_positions_of_the_instrument(folder):
    model = plan_of(folder, SECTIONS["mlp"][1]).model
    at = np.linspace(0.0, 2e-6, 32)
    patch = model.inputs(np.array([[at[10], at[20]], [at[11], at[20]]]))
    assert patch.shape == (2, 8, 8)
    assert np.allclose(patch[0, 1:], patch[1, :-1])  # one row further


INSTRUMENTS = {
    "STEM": f'kind = "stem"\naddress = "tcp://127.0.0.1:1"\n{XY}[quantity]\nscalarizer = "mean_of"\narray = "counts"\n',
    "DomainWriter": 'kind = "domain_writer"\naddress = "tcp://127.0.0.1:1"\n[quantity]\nscalarizer = "mean_of"\n'
    'array = "domain"\n',
    "BandExcitation": f'kind = "band_excitation"\naddress = "tcp://127.0.0.1:1"\n{XY}'
    '[quantity]\nscalarizer = "resonance"\n',
    "RecordedData": 'kind = "dataset"\nfile = "image.h5"\nover = ["x", "y"]\n[quantity]\nscalarizer = "mean_of"\n'
    'array = "generic"\n[acquisition]\ncandidates = { kind = "pool" }\n',
}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument_is_reached(folder, name):
    plan = plan_of(folder, "", INSTRUMENTS[name])
    assert type(plan.driver).__name__ == name
    assert len(plan.axes) == plan.seeds.shape[1] == 2


ACTIONS = {
    "pin": ("points = [[1e-6, 1e-6]]", Pin(np.array([[1e-6, 1e-6]]), by="settings")),
    "veto": ("points = [[1e-6, 1e-6]]", Veto(np.array([[1e-6, 1e-6]]), by="settings")),
    "reweigh": ("weights = [1.0]", Reweigh((1.0,), by="settings")),
    "rescale": ('scalarizer = "loop_area"', Rescale("loop_area", by="settings")),
    "adopt": (
        f'name = "slope"\nformula = "A * x"\nprior = {{ A = {NORMAL} }}\nshare = 0.3',
        Adopt(
            "slope",
            "A * x",
            {"A": {"distribution": "Normal", "loc": 0.0, "scale": 1.0}},
            {},
            ("x",),
            share=0.3,
            by="settings",
        ),
    ),
    "reject": (
        'name = "kink"\nformula = "abs(x)"\nwhy = "a corner"',
        Reject("kink", "abs(x)", by="settings", why="a corner"),
    ),
}


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_intervention_is_planned_in_its_step(folder, kind):
    """From the file to what a journal would write of it."""
    text, wanted = ACTIONS[kind]
    everything = {one.__name__.lower() for one in get_args(Intervention)}
    assert set(ACTIONS) == everything - {"discard"}  # nobody knows beforehand which measurement will be bad
    settings = plan_of(folder, f'[[interventions]]\nkind = "{kind}"\nstep = 2\n{text}\n').settings
    planned = Planned(settings.interventions, ())
    assert planned(None) == []
    planned.step = 2
    (found,) = planned(None)
    (header, arrays), (right, points) = to_record(found), to_record(wanted)
    assert header == right
    np.testing.assert_equal(arrays, points)
    assert planned(None) == []


def test_a_driver_refuses_in_words_of_its_field(folder):
    instrument = f'kind = "pfm"\naddress = "tcp://127.0.0.1:1"\nvmax = 12.0\nmax_bias = 10.0\n{XY}'
    with pytest.raises(SettingsError, match=r"instrument\.vmax = 12\.0 V: give a finite number .* at most 10"):
        plan_of(folder, "", instrument)
