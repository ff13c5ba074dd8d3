"""Settings: every mistake names its field, what was given and what is allowed; what is right survives a round trip."""

import dataclasses
import tomllib

import numpy as np
import pytest

from gpax_lab.core import Axis, Instrument
from gpax_lab.core._plugins import PluginError, load_plugin
from gpax_lab.settings import SettingsError, build, load, parse
from gpax_lab.settings import _kinds as kinds
from gpax_lab.settings._build import sampler_of
from gpax_lab.settings._check import parsed
from gpax_lab.settings._files import to_plain, to_toml
from gpax_lab.settings._kinds import instrument_section, sampler_section
from gpax_lab.settings._quantity import quantity_of, scalarizer_of
from gpax_lab.settings._schema import Grid
from gpax_lab.spectra import Scalarizer

PFM = {
    "kind": "pfm",
    "address": "tcp://127.0.0.1:5025",
    "x": {"low": 0.0, "high": 2e-6},
    "y": {"low": 0.0, "high": 1e-6},
}
GOOD = {"campaign": {"steps": 30}, "instrument": {"kind": "twin"}}


def changed(path, value):
    """The good settings with one field set (or, for ..., removed)."""
    table = {name: dict(section) for name, section in GOOD.items()}
    *sections, name = path.split(".")
    here = table
    for section in sections:
        here = here.setdefault(section, {})
    if value is ...:
        del here[name]
    else:
        here[name] = value
    return table


MISTAKES = [  # field, value, what the message must say
    ("campaign.steps", ..., ["campaign.steps is missing", "after the seeds"]),
    ("campaign", ..., ["campaign is missing", "[campaign]"]),
    ("campaign", 3, ["campaign = 3", "a table"]),
    ("campaign.steps", 0, ["campaign.steps = 0", "from 1 to 100000"]),
    ("campaign.steps", 3.0, ["campaign.steps = 3.0", "whole number"]),
    ("campaign.steps", True, ["campaign.steps = True", "whole number"]),
    ("campaign.steps", "30", ["campaign.steps = '30'", "whole number"]),
    ("campaign.step", 3, ["campaign.step is unknown", 'Did you mean "steps"?']),
    ("campaign.failures", 3, ["campaign.failures is unknown", 'Did you mean "max_failures"?']),
    ("model", {"noise": {"kind": "student", "freedom": 4.0}}, ["model.noise.freedom is unknown", "of, df"]),
    ("campain", {}, ["campain is unknown", 'Did you mean "campaign"?']),
    ("campaign.name", " ", ["campaign.name = ' '", "a text that is not empty"]),
    ("instrument", ..., ["instrument is missing", '"replay"']),
    ("instrument.kind", ..., ["instrument.kind is missing", '"pfm", "replay"', '"twin"']),
    ("instrument.kind", "twins", ["instrument.kind = 'twins'", '"pfm", "replay"', 'or "twin"', 'Did you mean "twin"?']),
    ("instrument.kind", ["twin"], ["instrument.kind = ['twin']", '"pfm", "replay"', 'or "twin"']),
    ("instrument.noise", float("nan"), ["instrument.noise = nan", "a finite number"]),
    ("instrument.noise", 2, ["instrument.noise = 2", "of at least 0 and at most 1"]),
    ("instrument.points", 4, ["instrument.points = 4", "from 8 to 4096"]),
    ("instrument", {"kind": "replay"}, ["instrument.file is missing", "recorded map"]),
    ("instrument", PFM | {"vmax": 0}, ["instrument.vmax = 0", "above 0"]),
    ("instrument", PFM | {"x": {"low": 0.0}}, ["instrument.x.high is missing", "highest allowed target"]),
    ("instrument", PFM | {"y": {"low": 1.0, "high": 0.5}}, ["instrument.y.high = 0.5", "above low = 1.0"]),
    ("instrument", PFM | {"y": {"low": 0.0, "high": 1.0, "hi": 1.0}}, ["instrument.y.hi is unknown", "[instrument.y]"]),
    ("quantity.scalarizer", "loop_aera", ["quantity.scalarizer = 'loop_aera'", 'Did you mean "loop_area"?']),
    ("quantity.goal", "max", ["quantity.goal = 'max'", '"maximize" or "minimize"', 'Did you mean "maximize"?']),
    ("quantity.despike", 1, ["quantity.despike = 1", "true or false"]),
    ("model.kernel", "matern", ["model.kernel = 'matern'", '"matern52"', "Did you mean"]),
    ("model.standardize", [1.0], ["model.standardize = [1.0]", "[location, scale]"]),
    ("prior.lenghtscale", 0.3, ["prior.lenghtscale is unknown", 'Did you mean "lengthscale"?']),
    ("prior.alpha", 1.0, ["prior.alpha is unknown", "lengthscale, variance, noise"]),
    ("prior.noise", -1.0, ["prior.noise = -1.0", "above 0"]),
    ("prior.noise", [0.1, 0.2], ["prior.noise", "[0.1, 0.2]", "give a number."]),
    ("prior.lengthscale", [0.1, 0.2, 0.3], ["prior.lengthscale", "a number or a list of 2"]),
    ("prior.lengthscale", {"loc": 0.0}, ["prior.lengthscale.distribution is missing", "LogNormal"]),
    ("prior.lengthscale", {"distribution": "Lognormal", "loc": 0.0, "scale": 1.0}, ['Did you mean "LogNormal"?']),
    ("prior.lengthscale", {"distribution": "Normal", "loc": 0.0, "scale": 1.0}, ["= 'Normal' is not allowed", "Gamma"]),
    ("prior.lengthscale", {"distribution": "LogNormal", "loc": 0.0}, ["prior.lengthscale.scale is missing"]),
    (
        "prior.lengthscale",
        {"distribution": "HalfNormal", "sigma": 1.0},
        ["prior.lengthscale.sigma is unknown", "scale"],
    ),
    ("prior.lengthscale", {"distribution": "HalfNormal", "scale": 0.0}, ["prior.lengthscale.scale = 0.0", "above 0"]),
    ("prior.lengthscale", {"distribution": "Uniform", "low": 2, "high": 1}, ["prior.lengthscale.high", "above low"]),
    ("sampler.kind", "hmc", ["sampler.kind = 'hmc'", '"laplace", "nuts" or "smc"']),
    ("sampler", {"kind": "nuts", "num_samples": 4}, ["sampler.num_samples = 4", "at least 8"]),
    ("sampler", {"kind": "smc", "num_samples": 4}, ["sampler.num_samples = 4", "at least 8"]),
    ("sampler", {"kind": "laplace", "draws": 40}, ["sampler.draws is unknown", "num_samples, starts"]),
    ("acquisition.function", "log_e", ["acquisition.function = 'log_e'", '"thompson"', 'Did you mean "log_ei"?']),
    ("acquisition", {"function": "ucb", "xi": 0.1}, ["acquisition.xi has no meaning", '"log_ei" or "log_pi"']),
    ("acquisition", {"function": "log_ei", "beta": 2.0}, ["acquisition.beta has no meaning", '"ucb"']),
    ("acquisition.learn_every", 1, ["every point on learning", "0 for none"]),
    ("acquisition", {"function": "ucb", "explore": 1.0}, ["acquisition.explore", "log space"]),
    (
        "acquisition",
        {"function": "ucb", "distance_penalty": {"radius": 1e-7}},
        ["acquisition.distance_penalty", "log space"],
    ),
    ("acquisition.travel", {"speed": 1e-6}, ["acquisition.travel.measure_s is missing", "s at a point"]),
    ("acquisition.candidates", {"kind": "grid", "shape": [32]}, ["acquisition.candidates.shape", "a list of 2"]),
    ("acquisition.candidates", {"kind": "grid", "shape": [3, "3"]}, ["acquisition.candidates.shape[1] = '3'"]),
    ("acquisition.candidates", {"kind": "grid", "shape": [5, 5]}, ["25 points for 36 measurements"]),
    ("acquisition.candidates", {"kind": "pool"}, ['kind = "pool"', "replay"]),
    ("acquisition", {"function": "thompson", "candidates": {"kind": "grid", "shape": [80, 80]}}, ["6400", "4096"]),
    ("stop.budget", -1, ["stop.budget = -1", "at least 1"]),
    ("stop.confidence", 1.0, ["stop.confidence = 1.0", "0.9999"]),
]


@pytest.mark.parametrize(
    ("field", "value", "words"), MISTAKES, ids=[f"{f}-{i}" for i, (f, _, _) in enumerate(MISTAKES)]
)
def test_a_mistake_names_its_field_and_what_is_allowed(field, value, words):
    with pytest.raises(SettingsError) as caught:
        parse(changed(field, value))
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_every_setting_survives_the_journal_and_toml():
    table = GOOD | {
        "instrument": PFM | {"address": 'TCPIP::"odd\\name"\t::hislip0::INSTR'},
        "quantity": {"scalarizer": "log_loop_area", "goal": "minimize", "despike": True, "reject_above": 1e-3},
        "model": {"kernel": "rational_quadratic", "standardize": [-3.2, 0.6]},
        "prior": {"lengthscale": {"distribution": "LogNormal", "loc": [-1, -2], "scale": 0.7}, "alpha": 2.0},
        "sampler": {"kind": "laplace", "num_samples": 16},
        "acquisition": {
            "function": "log_pi", "xi": 0.01, "explore": 1.0, "candidates": {"kind": "box", "starts": 64},
            "travel": {"speed": 1e-6, "measure_s": 2.0}, "distance_penalty": {"radius": 5e-8},
            "feasible": {"radius": 8e-8, "strength": 2.0},
        },
        "stop": {"budget": 30, "target": -2.0, "confidence": 0.9, "no_more_gain": 1e-3},
    }  # fmt: skip
    settings = parse(table)
    assert settings.prior["lengthscale"]["loc"] == (-1.0, -2.0)
    assert parse(to_plain(settings)) == settings
    assert parse(tomllib.loads(to_toml(settings))) == settings


def test_defaults_are_filled_in():
    settings = parse(GOOD)
    defaults = sampler_section("nuts")(), Grid(), instrument_section("twin")()
    assert (settings.sampler, settings.acquisition.candidates, settings.instrument) == defaults


@pytest.mark.parametrize("kind", ["nuts", "smc", "laplace"])
def test_every_kind_of_sampler_is_built_and_kept(kind):
    settings = parse(GOOD | {"sampler": {"kind": kind}})
    assert sampler_of(settings).yields_evidence is (kind != "nuts")
    assert parse(to_plain(settings)) == settings


def test_a_file_that_is_not_toml_is_named(tmp_path):
    path = tmp_path / "film.toml"
    path.write_text("[campaign\nsteps = 3", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"film\.toml is not TOML.*line 1"):
        load(path)
    path.write_text("[campaign]\nsteps = -3", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"film\.toml: campaign\.steps = -3"):
        load(path)


def test_a_map_is_found_beside_the_settings_and_checked(tmp_path, recorded, replay_settings):
    table = replay_settings | {"instrument": {"kind": "replay", "file": recorded.name}}
    path = recorded.parent / "beside.toml"
    path.write_text(to_toml(parse(table)), encoding="utf-8")
    settings = load(path)
    assert settings.instrument.file == str(recorded.resolve())
    assert build(settings).candidates.points.shape == (36, 2)
    missing = dataclasses.replace(settings, instrument=dataclasses.replace(settings.instrument, file="no.h5"))
    with pytest.raises(SettingsError, match=r"instrument\.file = 'no\.h5' is not a recorded loop map"):
        build(missing)
    greedy = dataclasses.replace(settings, campaign=dataclasses.replace(settings.campaign, steps=32))
    with pytest.raises(SettingsError, match=r"ask for 37 points; .* holds 36 positions"):
        build(greedy)


def test_seeds_and_candidates_stay_within_the_limits():
    low, high = 1e-7, 2.1e-6  # low + (high - low) rounds to above high
    table = GOOD | {"instrument": PFM | {"x": {"low": low, "high": high}, "y": {"low": -high, "high": -low}}}
    for kind in ("grid", "box"):
        plan = build(
            parse(table | {"campaign": {"steps": 30, "seeds": 50}, "acquisition": {"candidates": {"kind": kind}}})
        )
        points = [plan.seeds]
        points += [np.asarray(plan.candidates.points)] if kind == "grid" else [np.asarray([plan.candidates.high])]
        for axis, column in zip(plan.axes, np.concatenate(points).T, strict=True):
            assert [axis.check(value) for value in column.tolist()] == column.tolist()


def test_a_prior_reaches_the_model():
    table = GOOD | {
        "prior": {"lengthscale": {"distribution": "Uniform", "low": [0.1, 2.0], "high": [0.2, 3.0]}, "noise": 0.5}
    }
    from jax import random

    from gpax_lab.priors import sample

    draw = sample(random.key(0), build(parse(table)).model.prior)
    assert 0.1 < draw["lengthscale"][0] < 0.2
    assert 2.0 < draw["lengthscale"][1] < 3.0
    assert draw["noise"] == 0.5


def test_a_measurement_at_the_rail_is_rejected():
    reading = type(
        "Reading", (), {"arrays": {"bias": np.array([0.0, 1.0, 0.0, -1.0]), "response": np.ones(4, np.float32)}}
    )
    keep = build(parse(GOOD | {"quantity": {"reject_above": 1.01}})).scalarize
    drop = build(parse(GOOD | {"quantity": {"reject_above": 1.0}})).scalarize
    assert np.isfinite(keep(reading)).all()
    assert np.isnan(drop(reading)).all()


def test_our_scalarizers_are_scalarizers_with_units():
    """The mean of a window against numpy; and what a campaign reads is what a file gives."""
    energy, counts = np.linspace(0.0, 1.0, 11), np.arange(22.0).reshape(2, 11) + 1.0
    reading = type("Reading", (), {"arrays": {"energy": energy, "counts": counts}})
    window = {"scalarizer": "mean_of", "array": "counts", "axis": "energy", "low": 0.25, "high": 0.75}
    chosen = parse(GOOD | {"quantity": window}).quantity
    assert scalarizer_of(chosen)(reading) == (pytest.approx(counts[:, 3:8].mean(), rel=1e-12), 0.0)
    assert quantity_of(chosen, {"counts": "Hz"}) == {"name": "mean", "unit": "Hz"}
    logarithm = parse(GOOD | {"quantity": window | {"log": True}}).quantity
    assert scalarizer_of(logarithm)(reading)[0] == pytest.approx(np.log10(counts[:, 3:8].mean()), rel=1e-12)
    assert quantity_of(logarithm, {"counts": "Hz"})["unit"] == "log10(Hz)"
    nothing = parse(GOOD | {"quantity": window | {"low": 2.0, "high": 3.0}}).quantity
    assert np.isnan(scalarizer_of(nothing)(reading)).all()
    with pytest.raises(SettingsError, match="say along which array"):
        build(parse(GOOD | {"quantity": {"scalarizer": "mean_of", "array": "counts", "low": 0.0}}))
    area = parse(GOOD | {"quantity": {"scalarizer": "loop_area"}}).quantity
    assert isinstance(scalarizer_of(area), Scalarizer)
    assert quantity_of(area, {"bias": "V", "response": "pm/V"}) == {"name": "loop area", "unit": "pm"}
    assert scalarizer_of(area) is scalarizer_of(parse(GOOD | {"quantity": {"scalarizer": "loop_area"}}).quantity)


class _Fixed(Instrument):
    """A light source."""

    axes = (Axis("wavelength", "nm", 400.0, 800.0),)


class _Without(Instrument):
    """A counter."""


@pytest.mark.parametrize(("driver", "why"), [(_Fixed, "sets its axes by itself"), (_Without, "takes none")])
def test_axes_for_a_class_that_takes_none_are_refused_with_the_way_to_take_them(monkeypatch, driver, why):
    monkeypatch.setattr(kinds, "load", lambda group, name: driver)
    section = kinds.instrument_section(driver.__name__)
    with pytest.raises(SettingsError, match=rf"{why}.*def __init__\(self, axes: Sequence\[Axis\]\)"):
        parsed(section, {"axes": {"wavelength": {"unit": "nm", "low": 400.0, "high": 800.0}}}, "instrument")
    assert parsed(section, {}, "instrument") is not None


@pytest.mark.parametrize(("dim", "shape"), [(1, (1024,)), (2, (32, 32)), (3, (10, 10, 10)), (12, (2,) * 12)])
def test_a_grid_without_a_shape_follows_the_number_of_axes(dim, shape):
    assert Grid().shape_over(dim) == shape
    assert Grid((5,)).shape_over(1) == (5,)


def test_an_array_that_the_instrument_has_not_is_named_before_anything_is_measured():
    section = {"scalarizer": "mean_of", "array": "respnse"}
    with pytest.raises(SettingsError, match=r'takes respnse.*response.*Did you mean "response"'):
        build(parse(GOOD | {"instrument": PFM, "quantity": section}))


def test_a_plug_in_that_is_not_installed_is_looked_for_in_another_package():
    with pytest.raises(PluginError, match="once that package is installed"):
        load_plugin("scalarizers", "my_own_number")
